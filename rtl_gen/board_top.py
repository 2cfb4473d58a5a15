"""What goes on a board: clocks and resets, the serial port, the host link, and the engine."""

import operator

from amaranth.hdl import *
from amaranth.lib import fifo, wiring
from amaranth.lib.cdc import ResetSynchronizer
from amaranth.lib.wiring import In, Out

from .leaf import leaf
from .pll import Pll, PllSetting
from .sdram.pads import SdramPads
from .stream_register import StreamRegister
from .uart import UartRx, UartTx

__all__ = ["BoardTop", "StreamingBoardTop"]


class BoardTop(wiring.Component):
    """An engine behind a host link on a board with one oscillator and a serial port.

    Domain ``io`` runs at the oscillator's rate and holds the serial port alone, domain ``sync`` at
    the PLL's output and holds all else; bytes cross through asynchronous FIFOs. Both are in reset
    until the PLL has locked and while ``reset`` is high.

    Parameters
    ----------
    engine : Component
        Has the ports that ``HostLink`` documents, mirrored: ``i_pixel``, ``o_done``, ``o_cycles``,
        ``o_class``, ``i_logit_addr``, ``o_logit``, and starts by itself when an image is complete
        (or has ``i_start``). Elaborated in ``sync``, as a leaf module if it has a ``leaf_name``.
    host_link : HostLink
        Its other side.
    setting : PllSetting
        Clock of ``sync``; its input is the oscillator.
    baud : int
        Bit rate, at most a quarter of the oscillator's rate.

    Members
    -------
    clk25, reset, uart_rx : In(1)
        Oscillator, button (high when pressed), line from the host.
    uart_tx : Out(1)
        Line to the host.
    wifi_gpio0 : Out(1)
        Always high.
    led0, led1, led2 : Out(1)
        PLL has locked; the engine works; a byte from the host was lost (until reset).
    """

    clk25: In(1)
    reset: In(1)
    uart_rx: In(1, init=1)
    uart_tx: Out(1, init=1)
    wifi_gpio0: Out(1)
    led0: Out(1)
    led1: Out(1)
    led2: Out(1)

    def __init__(self, *, engine, host_link, setting: PllSetting, baud: int):
        self._engine, self._link = engine, host_link
        self._setting, self._baud = setting, operator.index(baud)
        super().__init__()

    def elaborate(self, platform):
        m = Module()
        m.domains.io = ClockDomain()
        m.domains.sync = ClockDomain()
        m.submodules.pll = pll = self._pll(m)
        hold = Signal()
        m.d.comb += [
            pll.i_clk.eq(self.clk25),
            ClockSignal("io").eq(self.clk25),
            ClockSignal("sync").eq(pll.o_clk),
            hold.eq(self.reset | ~pll.o_locked),
        ]
        m.submodules.io_reset = ResetSynchronizer(hold, domain="io", stages=3)
        m.submodules.sync_reset = ResetSynchronizer(hold, domain="sync", stages=3)

        rates = {"clk_hz": self._setting.in_hz, "baud": self._baud}
        rx, tx = UartRx(**rates), UartTx(**rates)
        m.submodules.rx, m.submodules.tx = DomainRenamer("io")(rx), DomainRenamer("io")(tx)
        sides = {"r_domain": "sync", "w_domain": "io"}
        m.submodules.from_host = from_host = fifo.AsyncFIFO(width=8, depth=16, **sides)
        sides = {"r_domain": "io", "w_domain": "sync"}
        m.submodules.to_host = to_host = fifo.AsyncFIFO(width=8, depth=16, **sides)
        m.submodules.link = link = self._link
        m.d.comb += [rx.i_line.eq(self.uart_rx), self.uart_tx.eq(tx.o_line)]
        wiring.connect(m, rx.o, from_host.w_stream)
        wiring.connect(m, from_host.r_stream, link.i)
        wiring.connect(m, link.o, to_host.w_stream)
        wiring.connect(m, to_host.r_stream, tx.i)

        engine = self._engine
        unit = leaf(engine, platform) if hasattr(engine, "leaf_name") else engine
        m.submodules.engine = self._resettable(m, link, unit)
        # the link decides late whether it has a pixel, and the engine counts far away; what is left
        # of an image that nobody waits for goes with the engine's reset
        pixels = StreamRegister(len(link.o_pixel.payload))
        m.submodules.pixels = ResetInserter(self._hold(link))(pixels)
        wiring.connect(m, link.o_pixel, pixels.i)
        wiring.connect(m, pixels.o, engine.i_pixel)
        m.d.comb += [
            engine.i_logit_addr.eq(link.o_logit_addr),
            link.i_done.eq(engine.o_done),
            link.i_cycles.eq(engine.o_cycles),
            link.i_class.eq(engine.o_class),
            link.i_logit_data.eq(engine.o_logit),
        ]
        if hasattr(engine, "i_start"):
            m.d.comb += engine.i_start.eq(link.o_start)

        busy, lost = Signal(), Signal()
        with m.If(link.o_start):
            m.d.sync += busy.eq(1)
        with m.Elif(engine.o_done):
            m.d.sync += busy.eq(0)
        with m.If(rx.o_lost):
            m.d.io += lost.eq(1)
        m.d.comb += [
            self.wifi_gpio0.eq(1),
            self.led0.eq(pll.o_locked),
            self.led1.eq(busy),
            self.led2.eq(lost),
        ]
        self._memory(m, link, engine)
        return m

    def _pll(self, m):
        """Hook: the PLL."""
        return Pll(self._setting)

    @staticmethod
    def _hold(link):
        return link.o_hold if hasattr(link, "o_hold") else Const(0)

    def _resettable(self, m, link, unit):
        """Hook: the engine, in reset while the link says so."""
        if not hasattr(link, "o_hold"):
            return unit
        m.domains.engine = ClockDomain()
        m.d.comb += [
            ClockSignal("engine").eq(ClockSignal()),
            ResetSignal("engine").eq(ResetSignal() | link.o_hold),
        ]
        return DomainRenamer("engine")(unit)

    def _memory(self, m, link, engine):
        """Hook: what an engine with off-chip memory has besides."""


class StreamingBoardTop(BoardTop):
    """The same with an SDRAM, which the host fills through the link.

    Parameters
    ----------
    engine : Accelerator
        Its ``read_delay`` has ``SdramPads.READ_DELAY`` in it.
    setting : PllSetting
        Its later output is the chip's clock.
    host_link : WeightLink
    All others of BoardTop.

    Members
    -------
    sdram_* : one IOPort a pin, made by SdramPads; the chip's clock is the PLL's later one
    """

    def __init__(self, *, setting: PllSetting, **others):
        if not setting.late:
            raise ValueError("the memory's clock needs a phase: BoardMemory.tuned gives it one")
        super().__init__(setting=setting, **others)

    def _resettable(self, m, link, unit):
        return unit  # through i_go

    def _pll(self, m):
        pll = Pll(self._setting, late=True)
        m.domains.chip = ClockDomain(reset_less=True)
        m.d.comb += ClockSignal("chip").eq(pll.o_late)
        return pll

    def _memory(self, m, link, engine):
        m.submodules.sdram_pads = SdramPads(engine, clock="chip", inverted=False)
        wiring.connect(m, link.o_write, engine.i_write)
        # what starts the memory comes behind comparisons, and goes far; no word follows so soon
        m.d.sync += [
            engine.i_write_start.eq(link.o_write_start),
            engine.i_write_base.eq(link.o_write_base),
            engine.i_check.eq(link.o_check),
        ]
        m.d.comb += [
            engine.i_base.eq(link.o_base),
            engine.i_words.eq(link.o_words),
            engine.i_go.eq(link.o_go & ~self._hold(link)),
            link.i_checked.eq(engine.o_checked),
            link.i_crc.eq(engine.o_crc),
            link.i_ready.eq(engine.o_ready),
        ]
