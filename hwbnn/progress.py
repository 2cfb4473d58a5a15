"""What a waiting user sees on stderr: a moving line on a terminal, plain lines elsewhere."""

import contextlib
import time
from collections.abc import Iterator

__all__ = ["Progress", "Quiet"]

PLAIN_INTERVAL = 10.0  # seconds between lines of one stage where nothing can be redrawn


class Quiet:
    """Shows nothing; what the Python API uses unless it is given another one."""

    @contextlib.contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Show that ``name`` runs, and for how long it ran."""
        yield

    def kept(self, name: str) -> None:
        """Say that a stage need not run again."""

    def line(self, text: str) -> None:
        """Say what the stage is doing."""

    def count(self, done: int, total: int) -> None:
        """Say how far the stage is."""

    def note(self, text: str) -> None:
        """Say something that stays on the screen."""


class Progress(Quiet):
    """Writes to stderr through rich."""

    def __init__(self):
        from rich.console import Console

        self._console = Console(stderr=True, highlight=False)
        self._status = None
        self._stage = ""
        self._text = ""
        self._start = self._said = 0.0

    @contextlib.contextmanager
    def stage(self, name: str) -> Iterator[None]:
        self._stage, self._text = name, ""
        self._start = self._said = time.monotonic()
        if self._console.is_terminal:
            self._status = self._console.status(name)
            self._status.start()
        try:
            yield
        finally:
            self._stop()
        seconds = time.monotonic() - self._start
        self._console.print(f"{name:<9} {seconds:7.1f} s", markup=False)

    def kept(self, name: str) -> None:
        self._console.print(f"{name:<9} unchanged", markup=False)

    def line(self, text: str) -> None:
        self._text = text
        self._show()

    def count(self, done: int, total: int) -> None:
        self.line(f"{done:,} of {total:,}")

    def note(self, text: str) -> None:
        self._console.print(text, markup=False, soft_wrap=True)

    def _show(self) -> None:
        if not self._stage:
            return
        now = time.monotonic()
        text = f"{self._stage:<9} {now - self._start:7.1f} s  {self._text}"
        if self._status is not None:
            from rich.text import Text

            self._status.update(Text(text))
        elif now - self._said >= PLAIN_INTERVAL:
            self._said = now
            self._console.print(text, markup=False, soft_wrap=True)

    def _stop(self) -> None:
        self._stage = ""
        if self._status is not None:
            self._status.stop()
            self._status = None
