"""Boards a design can be built for. ``get_board("ulx3s", device="85F")``, ``board_names()``."""

import importlib
import pkgutil

from .board import Board, Budget, Pin, SpeedCaps

__all__ = ["Board", "Budget", "Pin", "SpeedCaps", "UnknownBoard", "board_names", "get_board"]


class UnknownBoard(LookupError):
    """No board of that name, or no such device on it; the text says what there is."""


def _families():
    names = [m.name for m in pkgutil.iter_modules(__path__) if m.name != "board"]
    return {name: importlib.import_module(f"{__name__}.{name}") for name in sorted(names)}


def board_names() -> list[str]:
    """Every board with every device, as ``get_board`` takes them."""
    return [board.name for family in _families().values() for board in family.BOARDS]


def get_board(name: str, device: str | None = None) -> Board:
    """The board ``name``, with or without its device ("ulx3s", "ulx3s-45f"), in any case.

    Without a device, neither in ``name`` nor in ``device``, it is the board's default one.

    Raises
    ------
    UnknownBoard
        There is no such board or device, or the two contradict each other.
    """
    families = _families()
    family, _, in_name = name.lower().partition("-")
    wanted = {d.lower() for d in (in_name, device or "") if d}
    if family in families and len(wanted) <= 1:
        chosen = wanted.pop() if wanted else families[family].DEFAULT_DEVICE.lower()
        for board in families[family].BOARDS:
            if board.name == f"{family}-{chosen}":
                return board
    asked = f"{name} with device {device}" if device else name
    raise UnknownBoard(f"no board {asked!r}; there are {', '.join(board_names())}")
