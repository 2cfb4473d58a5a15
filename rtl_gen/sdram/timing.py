"""SDR SDRAM parts as data: geometry, timings in ns, and what they are in cycles of a clock."""

import dataclasses
import math
from fractions import Fraction

__all__ = ["PARTS", "SDRAM_32MB", "SDRAM_64MB", "SdramCycles", "SdramPart", "part_of"]

MOVE_BITS = 18  # of the number of bursts of a move
BURST_ADDRESS_BITS = 22  # of the number of a burst in the largest part
BURST = 8  # words a READ command returns; the mode register says so
NS = 10**9


@dataclasses.dataclass(frozen=True, kw_only=True)
class SdramCycles:
    """A part's timings in cycles of one clock: minima, ``refresh`` and ``ras_max`` maxima.

    ``rcd`` ACTIVATE to READ or WRITE; ``rp`` PRECHARGE to the next command; ``rc`` ACTIVATE to
    ACTIVATE of one bank; ``ras`` ACTIVATE to PRECHARGE; ``rrd`` ACTIVATE to ACTIVATE of another
    bank; ``wr`` last word written to PRECHARGE; ``rfc`` AUTO REFRESH to the next command; ``mrd``
    LOAD MODE REGISTER to the next command; ``refresh`` AUTO REFRESH to AUTO REFRESH; ``power_up``
    stable clock to the first command; ``cas_latency`` READ to its first word;
    ``init_refreshes`` AUTO REFRESH commands at power-up.
    """

    rcd: int
    rp: int
    rc: int
    ras: int
    ras_max: int
    rrd: int
    wr: int
    rfc: int
    mrd: int
    refresh: int
    power_up: int
    cas_latency: int
    init_refreshes: int


@dataclasses.dataclass(frozen=True, kw_only=True)
class SdramPart:
    """Geometry and timings of an SDRAM of four banks and 16-bit words.

    ``t_*``, ``refresh_ns`` and ``power_up_ns`` are in ns, as in ``SdramCycles``; ``min_clocks``
    are the timings that a data sheet gives in clocks besides. ``max_hz`` is the fastest clock at
    ``cas_latency``. ``t_ac``, ``t_oh``, ``t_su`` and ``t_hd`` are data access, data hold, and
    input setup and hold at the pins in ns; ``docs/sdram.md`` uses them.

    A word address is row, bank, column from the top: consecutive rows lie in consecutive banks.
    """

    name: str
    row_bits: int = 13
    column_bits: int
    bank_bits: int = 2
    t_rcd: float
    t_rp: float
    t_rc: float
    t_ras: float
    t_ras_max: float = 100_000
    t_rrd: float
    t_wr: float
    t_rfc: float
    t_mrd: float
    refresh_ns: float
    power_up_ns: float
    cas_latency: int = 3
    init_refreshes: int = 8
    max_hz: int
    min_clocks: tuple[tuple[str, int], ...] = (("mrd", 2), ("wr", 2))
    t_ac: float
    t_oh: float
    t_su: float
    t_hd: float

    @property
    def address_bits(self) -> int:
        """Width of a word address."""
        return self.row_bits + self.bank_bits + self.column_bits

    @property
    def n_words(self) -> int:
        return 1 << self.address_bits

    @property
    def megabytes(self) -> int:
        return 2 * self.n_words >> 20

    def cycles_between(self, slowest_hz: int | Fraction,
                       fastest_hz: int | Fraction) -> SdramCycles:
        """Timings that hold at every clock from ``slowest_hz`` to ``fastest_hz``."""
        slow, fast = self.cycles(slowest_hz), self.cycles(fastest_hz)
        return dataclasses.replace(fast, refresh=slow.refresh, ras_max=slow.ras_max)

    def cycles(self, clk_hz: int | Fraction) -> SdramCycles:
        """The timings at a clock: minima rounded up, maxima rounded down.

        Raises
        ------
        ValueError
            The part does not run at ``clk_hz``.
        """
        if not 0 < clk_hz <= self.max_hz:
            limit = f"above 0 and at most {self.max_hz / 1e6:g} MHz"
            raise ValueError(f"The clock of {self.name} must be {limit}, not {clk_hz} Hz")

        def exact(ns):
            return Fraction(ns) * Fraction(clk_hz) / NS

        floor = dict(self.min_clocks)
        names = ("rcd", "rp", "rc", "ras", "rrd", "wr", "rfc", "mrd")
        minima = {
            n: max(1, floor.get(n, 1), math.ceil(exact(getattr(self, f"t_{n}")))) for n in names
        }
        return SdramCycles(
            **minima,
            ras_max=math.floor(exact(self.t_ras_max)),
            refresh=math.floor(exact(self.refresh_ns)),
            power_up=math.ceil(exact(self.power_up_ns)),
            cas_latency=self.cas_latency,
            init_refreshes=self.init_refreshes,
        )


# What is soldered to a ULX3S differs from batch to batch, so each entry is the slowest of the parts
# seen there: 32 MB IS42S16160G-7, AS4C16M16SA-7, MT48LC16M16A2-6A (tRC 60/63/60, tRAS 37/42/42, tRP
# and tRCD 15/21/18, tRRD 14/14/12, tWR 14/14/12, tRFC 60/63/60, tMRD 14/14/2 clocks); 64 MB
# IS42S16320D-7, AS4C32M16SA-7 (as the first two). All numbers are from memory of the data sheets
# and provisional. LiteDRAM's table of modules (litedram/modules.py) was set against them: its
# values are the same or lie between these and those of slower grades; it waits 70 ns after a
# refresh of the ISSI parts, as is done here. Power-up is 100 us for ISSI and Micron, 200 us for
# Alliance, with two to eight refreshes.
_SLOWEST = {
    "t_rcd": 21,
    "t_rp": 21,
    "t_rc": 63,
    "t_ras": 42,
    "t_rrd": 15,
    "t_wr": 15,
    "t_rfc": 70,
    "t_mrd": 15,
    "refresh_ns": 64_000_000 / 8192,
    "power_up_ns": 200_000,
    "max_hz": 142_857_142,  # 7 ns
    "t_ac": 5.4,
    "t_oh": 2.5,
    "t_su": 1.5,
    "t_hd": 0.8,
}
SDRAM_32MB = SdramPart(name="ulx3s-32mb", column_bits=9, **_SLOWEST)
SDRAM_64MB = SdramPart(name="ulx3s-64mb", column_bits=10, **_SLOWEST)
PARTS = {part.name: part for part in (SDRAM_32MB, SDRAM_64MB)}


def part_of(megabytes: int) -> SdramPart:
    """The part of that size; ValueError where there is none."""
    for part in PARTS.values():
        if part.megabytes == megabytes:
            return part
    raise ValueError(f"no SDRAM of {megabytes} MB is known")
