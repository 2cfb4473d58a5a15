"""The off-chip memory that a streaming machine reads its weights from, and its exact timing."""

from rtl_gen.engine.accelerator import FIFO_DEPTH, START_DELAY, memory_schedule
from rtl_gen.sdram.model import ReadStream
from rtl_gen.sdram.timing import SDRAM_32MB, SdramPart

from .pack import segments
from .program import Program

__all__ = ["stream_length", "weight_source"]


def stream_length(program: Program) -> int:
    """16-bit words of a frame's weight stream, headers included."""
    parts = program.config.stream_parts
    return sum(1 + len(s.words) * parts[s.kind] for s in segments(program))


class _Shifted:
    """A read stream in the engine's cycles, which begin ``START_DELAY`` after its start."""

    def __init__(self, stream: ReadStream):
        self._take = stream.take

    def take(self, earliest: int, count: int) -> int:
        return self._take(earliest + START_DELAY, count) - START_DELAY


def weight_source(program: Program, part: SdramPart = SDRAM_32MB, read_delay: int = 0):
    """The memory's side of the schedule: ``take(earliest, count)`` in engine cycles."""
    return _Shifted(ReadStream(memory_schedule(part, read_delay), words=stream_length(program),
                               fifo_depth=FIFO_DEPTH))
