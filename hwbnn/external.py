"""The off-chip memory that a streaming machine reads its weights from, and its exact timing."""

import dataclasses

from boards import Board
from rtl_gen.engine.accelerator import (
    FASTEST_HZ,
    FIFO_DEPTH,
    START_DELAY,
    Accelerator,
    memory_schedule,
)
from rtl_gen.engine.config import EngineConfig
from rtl_gen.pll import PllSetting, fastest_setting
from rtl_gen.sdram.model import ReadStream
from rtl_gen.sdram.pads import SdramPads
from rtl_gen.sdram.pin_timing import Margins, best_phase, pin_margins
from rtl_gen.sdram.timing import PARTS, SdramPart, part_of

from .errors import SdramTooSmall, UnsupportedError
from .program import Program
from .stream_parts import step_words

__all__ = ["BoardMemory", "board_memory", "stream_length", "weight_source"]


def stream_length(program: Program) -> int:
    """16-bit words of a frame's weight stream, headers included."""
    return sum(step_words(step, program.config) for step in program.steps)


class _Shifted:
    """A read stream in the engine's cycles, which begin ``START_DELAY`` after its start."""

    def __init__(self, stream: ReadStream):
        self._stream, self._take = stream, stream.take

    def take(self, earliest: int, count: int) -> int:
        return self._take(earliest + START_DELAY, count) - START_DELAY

    def take_before(self, earliest: int, wanted: int) -> int | None:
        at = self._stream.take_before(earliest + START_DELAY, wanted + START_DELAY)
        return None if at is None else at - START_DELAY

    def move(self, wanted: int, first: int, count: int, *, write: bool) -> int:
        return self._stream.move(wanted + START_DELAY, first, count, write=write) - START_DELAY


def weight_source(program: Program, read_delay: int = 0):
    """The memory's side of the schedule: ``take(earliest, count)`` in engine cycles."""
    part = part_of(program.config.sdram_mb)
    return _Shifted(ReadStream(memory_schedule(part, read_delay), words=stream_length(program),
                               fifo_depth=FIFO_DEPTH, column_bits=part.column_bits))


def memory_words(program: Program) -> int:
    """16-bit words of SDRAM that a streaming machine takes: the weight stream, and maps."""
    return max(stream_length(program), program.off_chip_words)


def too_small(n_words: int, board: Board) -> SdramTooSmall:
    """What to raise where ``n_words`` exceed the board's SDRAM."""
    larger = [p.megabytes for p in PARTS.values() if p.n_words >= n_words]
    return SdramTooSmall(f"weights and maps take {2 * n_words / 2**20:.1f} MB of SDRAM, "
                         f"{board.sdram_bytes >> 20} MB are there", where=board.name,
                         hint=f"{min(larger)} MB hold them" if larger else "no known SDRAM does")


@dataclasses.dataclass(frozen=True)
class BoardMemory:
    """A board's SDRAM behind its pads.

    ``read_delay`` is the controller's, the pads' registers included.
    """

    part: SdramPart
    read_delay: int

    def accelerator(self, config: EngineConfig) -> Accelerator:
        """The engine with this memory, for ``StreamingBoardTop``."""
        return Accelerator(config, self.part, read_delay=self.read_delay)

    def tuned(self, setting: PllSetting) -> PllSetting:
        """``setting`` with the phase of the chip's clock that leaves the largest margin."""
        late = best_phase(self.part, float(setting.out_hz), setting.late_steps,
                          read_delay=self._pin_delay)
        return dataclasses.replace(setting, late=late)

    def margins(self, setting: PllSetting) -> Margins:
        """What data sheets leave at the pins (docs/sdram.md), at a clock and its phase."""
        return pin_margins(self.part, float(setting.out_hz), setting.late_degrees,
                           read_delay=self._pin_delay)

    @property
    def _pin_delay(self) -> int:
        return self.read_delay - SdramPads.READ_DELAY


def board_memory(board: Board, n_words: int = 0) -> BoardMemory:
    """The SDRAM of ``board``, with the read delay that is best at the fastest clock.

    Raises
    ------
    UnsupportedError
        The board has none that is known.
    SdramTooSmall
        It does not hold ``n_words`` 16-bit words.
    """
    try:
        part = part_of(board.sdram_bytes >> 20)
    except ValueError as error:
        raise UnsupportedError(f"streamed weights: {error}", where=board.name,
                               hint="take a plan with all weights on chip") from None
    if n_words > part.n_words:
        raise too_small(n_words, board)
    fastest = fastest_setting(board.clock_hz, FASTEST_HZ)
    steps = fastest.late_steps
    best = pin_margins(part, FASTEST_HZ, 360 * best_phase(part, FASTEST_HZ, steps) / steps)
    return BoardMemory(part, best.read_delay + SdramPads.READ_DELAY)
