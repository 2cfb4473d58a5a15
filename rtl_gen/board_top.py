"""What goes on a board: clocks and resets, the serial port, the host link, and the engine."""

import operator

from amaranth.hdl import *
from amaranth.lib import fifo, wiring
from amaranth.lib.cdc import ResetSynchronizer
from amaranth.lib.wiring import In, Out

from .batch_results import BatchResults
from .crossing import level, pulse
from .host_link import CHUNK
from .leaf import leaf
from .pll import Pll, PllSetting
from .sdram.pads import SdramPads
from .stream_register import StreamRegister
from .uart import UartRx, UartTx

__all__ = ["BoardTop", "StreamingBoardTop"]

TO_SYNC = {"w_domain": "io", "r_domain": "sync"}


class BoardTop(wiring.Component):
    """An engine behind a host link on a board with one oscillator and a serial port.

    Domain ``io`` runs at the oscillator's rate and holds the serial port and the host link, domain
    ``sync`` at the PLL's output and holds the engine. Pixels cross through an asynchronous FIFO,
    pulses through synchronizers, and what stands still around a pulse as it is. Both are in reset
    until the PLL has locked and while ``reset`` is high.

    Parameters
    ----------
    engine : Component
        Has the ports that ``HostLink`` documents, mirrored: ``i_pixel``, ``o_done``, ``o_cycles``,
        ``o_class``, ``i_logit_addr``, ``o_logit``, and starts by itself. Elaborated in ``sync``, as
        a leaf module if it has a ``leaf_name``.
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
        in_io = DomainRenamer("io")
        rx, tx, link = UartRx(**rates), UartTx(**rates), self._link
        m.submodules.rx, m.submodules.tx, m.submodules.link = in_io(rx), in_io(tx), in_io(link)
        # between images of a batch the engine may be busy for long
        depth = 2 * CHUNK if link.batch > 1 else 16
        from_host = fifo.SyncFIFOBuffered(width=8, depth=depth)
        m.submodules.from_host = in_io(from_host)
        m.d.comb += [rx.i_line.eq(self.uart_rx), self.uart_tx.eq(tx.o_line)]
        wiring.connect(m, rx.o, from_host.w_stream)
        wiring.connect(m, from_host.r_stream, link.i)
        wiring.connect(m, link.o, tx.i)

        engine = self._engine
        unit = leaf(engine, platform) if hasattr(engine, "leaf_name") else engine
        # it goes to thousands of registers: from one of its own, no logic behind it
        hold = Signal(init=1)
        m.d.sync += hold.eq(
            level(m, link.o_hold, "sync", init=1) if hasattr(link, "o_hold") else 0)
        m.submodules.engine = self._resettable(m, hold, unit)
        # while the engine is held, what is left of an image that nobody waits for goes nowhere
        width = len(link.o_pixel.payload)
        m.submodules.to_engine = to_engine = fifo.AsyncFIFO(width=width, depth=4, **TO_SYNC)
        pixels = StreamRegister(width)
        m.submodules.pixels = ResetInserter(hold)(pixels)
        wiring.connect(m, link.o_pixel, to_engine.w_stream)
        wiring.connect(m, to_engine.r_stream, pixels.i)
        wiring.connect(m, pixels.o, engine.i_pixel)
        # results stay until the next batch is done, and addresses for many cycles
        m.d.sync += engine.i_logit_addr.eq(link.o_logit_addr)
        found = engine
        if link.batch > 1:
            m.submodules.results = found = BatchResults(link.batch)
            m.d.sync += found.i_image.eq(link.o_image)
            m.d.comb += [
                found.i_done.eq(engine.o_done),
                found.i_class.eq(engine.o_class),
                found.i_cycles.eq(engine.o_cycles),
            ]
        m.d.comb += [
            link.i_done.eq(pulse(m, found.o_done, "sync", "io")),
            link.i_cycles.eq(found.o_cycles),
            link.i_class.eq(found.o_class),
            link.i_logit_data.eq(engine.o_logit),
        ]

        busy, lost = Signal(), Signal()
        with m.If(link.o_start):
            m.d.io += busy.eq(1)
        with m.Elif(link.i_done):
            m.d.io += busy.eq(0)
        with m.If(rx.o_lost):
            m.d.io += lost.eq(1)
        m.d.comb += [
            self.wifi_gpio0.eq(1),
            self.led0.eq(pll.o_locked),
            self.led1.eq(busy),
            self.led2.eq(lost),
        ]
        self._memory(m, link, engine, hold)
        return m

    def _pll(self, m):
        """Hook: the PLL."""
        return Pll(self._setting)

    def _resettable(self, m, hold, unit):
        """Hook: the engine, in reset while ``hold``."""
        m.domains.engine = ClockDomain()
        m.d.comb += [
            ClockSignal("engine").eq(ClockSignal()),
            ResetSignal("engine").eq(hold),
        ]
        return DomainRenamer("engine")(unit)

    def _memory(self, m, link, engine, hold):
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

    def _resettable(self, m, hold, unit):
        return unit  # through i_go

    def _pll(self, m):
        pll = Pll(self._setting, late=True)
        m.domains.chip = ClockDomain(reset_less=True)
        m.d.comb += ClockSignal("chip").eq(pll.o_late)
        return pll

    def _memory(self, m, link, engine, hold):
        m.submodules.sdram_pads = SdramPads(engine, clock="chip", inverted=False)
        m.submodules.to_memory = words = fifo.AsyncFIFO(width=16, depth=4, **TO_SYNC)
        # between the controller's ready and the FIFO's, either of which takes half a cycle
        m.submodules.write_word = word = StreamRegister(16)
        wiring.connect(m, link.o_write, words.w_stream)
        wiring.connect(m, words.r_stream, word.i)
        wiring.connect(m, word.o, engine.i_write)
        # addresses stand still from the pulse on; no word follows a start so soon
        m.d.sync += [
            engine.i_write_start.eq(pulse(m, link.o_write_start, "io", "sync")),
            engine.i_write_base.eq(link.o_write_base),
            engine.i_check.eq(pulse(m, link.o_check, "io", "sync")),
            engine.i_go.eq(level(m, link.o_go, "sync") & ~hold),
        ]
        m.d.comb += [
            engine.i_base.eq(link.o_base),
            engine.i_words.eq(link.o_words),
            link.i_checked.eq(pulse(m, engine.o_checked, "sync", "io")),
            link.i_crc.eq(engine.o_crc),
            link.i_ready.eq(level(m, engine.o_ready, "io")),
        ]
