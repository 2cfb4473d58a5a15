"""The SDRAM's pins on an ECP5: a register in every pad, and the clock from a pad of its own."""

from amaranth.hdl import *
from amaranth.lib import wiring

from .controller import SdramController

__all__ = ["SdramPads"]

LEVELS = ("cke", "cs_n", "ras_n", "cas_n", "we_n")


class SdramPads(wiring.Component):
    """Pads between a controller and the top-level ports ``sdram_*`` (one port a pin).

    Every line has its flip-flop in the pad (OFS1P3DX, IFS1P3DX), which is what makes clock-to-pin
    and pin-to-register times equal and independent of place and route. They stand behind the
    controller's own registers, so its ``read_delay`` is ``READ_DELAY`` more than the board's
    (``pin_timing.Margins.read_delay``).

    Parameters
    ----------
    controller : SdramController, or what has its pins as members
        Its ``o_*`` and ``i_dq`` are connected; it is a submodule of somebody else.
    clock : str
        Domain whose clock the chip gets: ``sync`` or one of the same rate and another phase.
    inverted : bool
        The chip gets the inverse of that clock.
    """

    READ_DELAY = 2

    def __init__(
        self, controller: SdramController, *, clock: str, inverted: bool = False
    ):
        self._controller, self._clock, self._inverted = controller, clock, inverted
        super().__init__({})

    def elaborate(self, platform):
        m = Module()
        c = self._controller
        clk = ClockSignal()

        def register(cell, name, d):
            q = Signal(name=f"{name}_pad")
            reset = {"i_PD": Const(0)} if cell.endswith("BX") else {"i_CD": Const(0)}
            m.submodules[f"{name}_ff"] = Instance(
                cell, i_SCLK=clk, i_SP=Const(1), i_D=d, o_Q=q, **reset
            )
            return q

        def pin(name):
            return IOPort(1, name=f"sdram_{name}")

        lines = {name: getattr(c, f"o_{name}") for name in LEVELS}
        for name in ("ba", "a", "dqm"):
            value = getattr(c, f"o_{name}")
            lines |= {f"{name}{bit}": value[bit] for bit in range(len(value))}
        for name, value in lines.items():
            q = register("OFS1P3DX", name, value)
            m.submodules[name] = Instance("OB", i_I=q, io_O=pin(name))

        arrived = []
        for bit in range(16):
            q = register("OFS1P3DX", f"dq{bit}_o", c.o_dq[bit])
            # one for each pin: a pad's flip-flop drives nothing else
            off = register("OFS1P3BX", f"dq{bit}_t", ~c.o_dq_en)
            pad = Signal(name=f"dq{bit}_in")
            m.submodules[f"dq{bit}"] = Instance(
                "BB", i_I=q, i_T=off, o_O=pad, io_B=pin(f"dq{bit}")
            )
            arrived.append(register("IFS1P3DX", f"dq{bit}_i", pad))
        m.d.comb += c.i_dq.eq(Cat(arrived))

        clock = Signal()
        first, second = (0, 1) if self._inverted else (1, 0)
        m.submodules.clk_ddr = Instance(
            "ODDRX1F",
            i_SCLK=ClockSignal(self._clock),
            i_RST=Const(0),
            i_D0=Const(first),
            i_D1=Const(second),
            o_Q=clock,
        )
        m.submodules.clk = Instance("OB", i_I=clock, io_O=pin("clk"))
        return m
