"""Margins at the SDRAM's pins by data-sheet arithmetic, for a clock rate and phase."""

import dataclasses

from .timing import SdramPart

__all__ = ["Margins", "PadTiming", "best_phase", "pin_margins"]


@dataclasses.dataclass(frozen=True)
class PadTiming:
    """Pads of the FPGA with a register in each, and the board, in ns.

    ``loop_max`` is clock to output of ``sdram_clk`` plus the input register's setup, ``loop_min``
    the least clock to output minus the input register's hold; both hold the clock trace and the
    data trace. ``skew`` is the difference between any two outputs and their traces.

    The defaults are guesses: ECP5 data sheet from memory (speed 6, PLL: clock to output 4.1, setup
    0.85, hold 0.98), fast corner taken as 0.7 of the clock to output, 0.3 ns of traces.
    """

    loop_max: float = 5.3
    loop_min: float = 2.1
    skew: float = 0.5


@dataclasses.dataclass(frozen=True)
class Margins:
    """What is left at the pins, in ns; negative means broken.

    ``command_setup`` and ``command_hold`` are at the chip (address and written data too),
    ``read_setup`` and ``read_hold`` at the FPGA's input registers, for the ``read_delay`` (see
    ``Schedule``) that makes the lesser of the two best.
    """

    command_setup: float
    command_hold: float
    read_setup: float
    read_hold: float
    read_delay: int

    @property
    def least(self) -> float:
        return min(self.command_setup, self.command_hold, self.read_setup, self.read_hold)


def pin_margins(
    part: SdramPart, clk_hz: float, phase: float, pads: PadTiming | None = None,
    read_delay: int | None = None,
) -> Margins:
    """Margins when the chip's clock rises ``phase`` degrees (0 to 360) after the outputs change.

    A ``read_delay`` that is given is kept.
    """
    pads = pads or PadTiming()
    if not 0 < phase <= 360:
        raise ValueError(f"The phase must be above 0 and at most 360 degrees, not {phase}")
    period = 1e9 / clk_hz
    after = period * phase / 360
    command = (after - pads.skew - part.t_su, period - after - pads.skew - part.t_hd)
    # a word is on the pins from one access time after its edge to one hold time after the next
    first = after + part.t_ac + pads.loop_max
    last = after + period + part.t_oh + pads.loop_min
    # the controller counts from a chip clock in phase, a period after the outputs change
    choices = []
    for delay in range(-1, 3) if read_delay is None else (read_delay,):
        edge = (2 + delay) * period
        choices.append((min(edge - first, last - edge), edge - first, last - edge, delay))
    _least, setup, hold, delay = max(choices)
    return Margins(*command, setup, hold, delay)


def best_phase(
    part: SdramPart, clk_hz: float, steps: int, pads: PadTiming | None = None,
    read_delay: int | None = None,
) -> int:
    """The phase, in steps of 360/``steps`` degrees and above 0, that leaves the largest margin."""
    def least(step):
        return pin_margins(part, clk_hz, 360 * step / steps, pads, read_delay).least

    return max(range(1, steps), key=least)
