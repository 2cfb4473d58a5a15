"""The clocks of the design: an ECP5 PLL, the frequencies and phases it can make."""

import dataclasses
from fractions import Fraction

from amaranth.hdl import *
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

__all__ = ["Pll", "PllSetting", "fastest_setting", "reachable_settings"]

# sysCLOCK limits in Hz: input, phase detector, VCO, and any output.
INPUT_HZ = (8_000_000, 400_000_000)
DETECTOR_HZ = (10_000_000, 400_000_000)
VCO_HZ = (400_000_000, 800_000_000)
OUTPUT_HZ = (10_000_000, 400_000_000)
INPUT_DIVIDERS = range(1, 129)
FEEDBACK_DIVIDERS = range(1, 81)
OUTPUT_DIVIDERS = range(1, 129)
EIGHTHS = 8  # of a VCO period: the steps of a phase


@dataclasses.dataclass(frozen=True)
class PllSetting:
    """Dividers of one EHXPLLL; the design's clock is CLKOS, the loop closes through CLKOP.

    VCO = in_hz / clki * clkfb * clkop; output = VCO / clkos. A second output of the same
    rate, CLKOS2, rises ``late`` eighths of a VCO period after CLKOS.
    """

    in_hz: int
    clki: int
    clkfb: int
    clkop: int
    clkos: int
    late: int = 0

    @property
    def vco_hz(self) -> Fraction:
        return Fraction(self.in_hz * self.clkfb * self.clkop, self.clki)

    @property
    def out_hz(self) -> Fraction:
        return self.vco_hz / self.clkos

    @property
    def out_mhz(self) -> float:
        return float(self.out_hz / 1_000_000)

    @property
    def late_steps(self) -> int:
        """Phases that CLKOS2 can take: ``late`` is below it."""
        return EIGHTHS * self.clkos

    @property
    def late_degrees(self) -> float:
        return 360 * self.late / self.late_steps

    @property
    def late_phase(self) -> tuple[int, int]:
        """CLKOS2_CPHASE and CLKOS2_FPHASE: whole VCO periods, as CLKOS_CPHASE is, and eighths."""
        return self.clkos - 1 + self.late // EIGHTHS, self.late % EIGHTHS


def reachable_settings(in_hz: int) -> list[PllSetting]:
    """One legal setting for every frequency that the PLL makes from ``in_hz``, slowest first.

    Raises
    ------
    ValueError
        ``in_hz`` is outside the PLL's input range.
    """
    if not INPUT_HZ[0] <= in_hz <= INPUT_HZ[1]:
        raise ValueError(f"A PLL input must be in {INPUT_HZ[0]} to {INPUT_HZ[1]} Hz, not {in_hz}")
    found: dict[Fraction, PllSetting] = {}
    for clki in INPUT_DIVIDERS:
        detector = Fraction(in_hz, clki)
        if not DETECTOR_HZ[0] <= detector <= DETECTOR_HZ[1]:
            continue
        for clkfb in FEEDBACK_DIVIDERS:
            if not OUTPUT_HZ[0] <= detector * clkfb <= OUTPUT_HZ[1]:
                continue  # what CLKOP runs at
            for clkop in OUTPUT_DIVIDERS:
                vco = detector * clkfb * clkop
                if not VCO_HZ[0] <= vco <= VCO_HZ[1]:
                    continue
                for clkos in OUTPUT_DIVIDERS:
                    out = vco / clkos
                    if OUTPUT_HZ[0] <= out <= OUTPUT_HZ[1]:
                        found.setdefault(out, PllSetting(in_hz, clki, clkfb, clkop, clkos))
    return [found[out] for out in sorted(found)]


def fastest_setting(in_hz: int, max_hz: float) -> PllSetting:
    """The setting with the highest output that is not above ``max_hz``.

    Raises
    ------
    ValueError
        Every output is above it.
    """
    fitting = [s for s in reachable_settings(in_hz) if s.out_hz <= max_hz]
    if not fitting:
        raise ValueError(f"No PLL output is at or below {max_hz / 1e6:g} MHz")
    return fitting[-1]


class Pll(wiring.Component):
    """EHXPLLL: a free-running clock of ``setting.out_hz``.

    Parameters
    ----------
    setting : PllSetting
        Dividers.
    late : bool
        There is a second output.

    Members
    -------
    i_clk : In(1)
        Reference clock.
    o_clk : Out(1)
        The design's clock.
    o_late : Out(1)
        The same ``setting.late_degrees`` later; low without ``late``.
    o_locked : Out(1)
        Asynchronous; high once ``o_clk`` can be used.
    """

    i_clk: In(1)
    o_clk: Out(1)
    o_late: Out(1)
    o_locked: Out(1)

    def __init__(self, setting: PllSetting, *, late: bool = False):
        self._setting, self._late = setting, late
        super().__init__()

    @property
    def setting(self) -> PllSetting:
        return self._setting

    def elaborate(self, platform):
        m = Module()
        s = self._setting
        feedback = Signal()
        off = {f"i_{name}": Const(0) for name in (
            "RST", "STDBY", "PHASESEL0", "PHASESEL1", "PHASEDIR", "PHASESTEP", "PHASELOADREG",
            "PLLWAKESYNC", "ENCLKOP", "ENCLKOS", "ENCLKOS2", "ENCLKOS3",
        )}  # fmt: skip
        second = {}
        if self._late:
            cphase, fphase = s.late_phase
            second = {"p_CLKOS2_ENABLE": "ENABLED", "p_CLKOS2_DIV": s.clkos,
                      "p_CLKOS2_CPHASE": cphase, "p_CLKOS2_FPHASE": fphase,
                      "o_CLKOS2": self.o_late}
        m.submodules.pll = Instance(
            "EHXPLLL",
            a_FREQUENCY_PIN_CLKI=f"{s.in_hz / 1e6:g}",
            a_ICP_CURRENT="12",
            a_LPF_RESISTOR="8",
            a_MFG_ENABLE_FILTEROPAMP="1",
            a_MFG_GMCREF_SEL="2",
            p_PLLRST_ENA="DISABLED",
            p_INTFB_WAKE="DISABLED",
            p_STDBY_ENABLE="DISABLED",
            p_DPHASE_SOURCE="DISABLED",
            p_OUTDIVIDER_MUXA="DIVA",
            p_OUTDIVIDER_MUXB="DIVB",
            p_OUTDIVIDER_MUXC="DIVC",
            p_OUTDIVIDER_MUXD="DIVD",
            p_FEEDBK_PATH="CLKOP",
            p_CLKI_DIV=s.clki,
            p_CLKFB_DIV=s.clkfb,
            p_CLKOP_ENABLE="ENABLED",
            p_CLKOP_DIV=s.clkop,
            p_CLKOP_CPHASE=s.clkop - 1,
            p_CLKOP_FPHASE=0,
            p_CLKOS_ENABLE="ENABLED",
            p_CLKOS_DIV=s.clkos,
            p_CLKOS_CPHASE=s.clkos - 1,
            p_CLKOS_FPHASE=0,
            i_CLKI=self.i_clk,
            i_CLKFB=feedback,
            o_CLKOP=feedback,
            o_CLKOS=self.o_clk,
            o_LOCK=self.o_locked,
            **second,
            **off,
        )
        return m
