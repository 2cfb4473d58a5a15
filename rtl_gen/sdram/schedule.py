"""When the controller does what: the cycle counts that the hardware and its model share."""

import dataclasses

from .timing import BURST, SdramCycles

__all__ = ["Schedule"]


@dataclasses.dataclass(frozen=True)
class Schedule:
    """Intervals of the controller's state machine, in cycles.

    A read slot is READ in its first cycle and, at the end of a row, ACTIVATE of the next row in
    the second. Everything else happens between slots.

    Parameters
    ----------
    cycles : SdramCycles
        The part at this clock.
    read_delay : int
        Cycles by which read data comes later than with a device clock in phase and no delay at all;
        -1 where the device's clock leads. Depends on the board and the clock's phase.

    Raises
    ------
    ValueError
        The part is too slow for this schedule at this clock.
    """

    cycles: SdramCycles
    read_delay: int = 0

    def __post_init__(self):
        c = self.cycles
        second_row = BURST - 1  # from a slot's ACTIVATE to the slot after it
        for name, limit in (("rcd", second_row), ("ras", second_row), ("rrd", c.rcd + 1)):
            value = getattr(c, name)
            if value > limit:
                raise ValueError(f"{name} must be at most {limit} cycles here, not {value}")
        if self.refresh_period < 4 * BURST:
            raise ValueError(f"{c.refresh} cycles between refreshes are too few at this clock")
        if not -1 <= self.read_delay <= 4:
            raise ValueError(f"read_delay must be in -1 to 4, not {self.read_delay}")

    @property
    def data_delay(self) -> int:
        """From the cycle that decides on a READ until its first word is in the input register.

        One for the output register, one for the input register, and the CAS latency between.
        """
        return self.cycles.cas_latency + 2 + self.read_delay

    @property
    def write_wait(self) -> int:
        """From WRITE to PRECHARGE."""
        return max(self.cycles.wr, self.cycles.ras - self.cycles.rcd)

    @property
    def write_recovery(self) -> int:
        """From the PRECHARGE after a WRITE to the next word's ACTIVATE."""
        c = self.cycles
        return max(c.rp, c.rc - c.rcd - self.write_wait)

    @property
    def write_slot(self) -> int:
        """Cycles a written word takes."""
        return self.cycles.rcd + self.write_wait + self.write_recovery

    @property
    def longest_wait(self) -> int:
        """The most cycles between two commands of one sequence."""
        c = self.cycles
        return max(BURST, c.rcd, c.rp, c.rfc, c.mrd, self.write_wait, self.write_recovery)

    @property
    def reopen(self) -> int:
        """From PRECHARGE ALL through a refresh to the first READ of the row opened again."""
        return self.cycles.rp + self.cycles.rfc + self.cycles.rcd

    @property
    def drain(self) -> int:
        """Cycles after a start in which nothing new begins and all that is under way ends."""
        c = self.cycles
        read = BURST + self.data_delay
        refresh = c.rp + c.rfc + max(c.rcd, c.ras)
        return max(read, refresh, self.write_slot, 1 + c.ras) + 2

    @property
    def first_boundary(self) -> int:
        """From a start to the first cycle that may decide on a READ (ready controller)."""
        return self.drain + 1 + self.reopen

    @property
    def refresh_period(self) -> int:
        """From a refresh until the next one is due.

        It is shorter than the part's interval by all that may be in the way of a due refresh: a
        slot, a start in its last cycle, closing the banks.
        """
        slot = max(BURST, self.write_slot)
        return self.cycles.refresh - slot - self.drain - 1 - self.cycles.rp
