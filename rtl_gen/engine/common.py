"""Small parts that the engine's blocks share: delay lines, address walkers, named memories."""

from amaranth.hdl import *
from amaranth.lib import memory, wiring
from amaranth.lib.wiring import In, Out

__all__ = ["AddressWalker", "DelayLine", "Ram"]


class DelayLine:
    """A value and its delayed copies: ``line[n]`` is the value ``n`` cycles ago.

    Registers are made on first use, in the module given. They have no reset unless ``reset``.
    """

    def __init__(self, m, value, name, *, reset=False):
        self._m, self._name, self._reset = m, name, reset
        self._taps = [value]

    def __getitem__(self, n):
        while len(self._taps) <= n:
            last = self._taps[-1]
            tap = Signal.like(
                last, name=f"{self._name}_d{len(self._taps)}", reset_less=not self._reset
            )
            self._m.d.sync += tap.eq(last)
            self._taps.append(tap)
        return self._taps[n]

    def after(self, cycles):
        """The same line counted from a later tap: ``line.after(k)[n]`` is ``line[k + n]``."""
        return _Later(self, cycles)


class _Later:
    def __init__(self, line, cycles):
        self._line, self._cycles = line, cycles

    def __getitem__(self, n):
        return self._line[self._cycles + n]


class Ram(wiring.Component):
    """Block RAM with a write port and a synchronous read port, known by name to the tool flow.

    Reading a word in the cycle in which it is written is an error of the design.

    A block RAM's output comes late in its cycle (5.6 ns after the clock on an ECP5): logic behind
    it wants ``registered``, which uses the register inside the block and costs a cycle.

    Members: ``w_en``, ``w_addr``, ``w_data``; ``r_en``, ``r_addr``, ``r_data`` (``LATENCY`` cycles
    later: 1, or 2 if ``registered``; held while ``r_en`` is low).
    """

    def __init__(self, *, name, width, depth, registered=False):
        if depth < 2:
            raise ValueError(f"memory {name} must have at least 2 words, not {depth}")
        self._name, self._width, self._depth = name, width, depth
        self._registered = registered
        super().__init__(
            {
                "w_en": In(1),
                "w_addr": In(range(depth)),
                "w_data": In(width),
                "r_en": In(1),
                "r_addr": In(range(depth)),
                "r_data": Out(width),
            }
        )

    def elaborate(self, platform):
        m = Module()
        m.submodules.mem = mem = memory.Memory(
            shape=unsigned(self._width),
            depth=self._depth,
            init=[],
            attrs={"hwbnn_name": self._name, "hwbnn_registered": int(self._registered)},
        )
        write, read = mem.write_port(), mem.read_port()
        m.d.comb += [
            write.en.eq(self.w_en),
            write.addr.eq(self.w_addr),
            write.data.eq(self.w_data),
            read.en.eq(self.r_en),
            read.addr.eq(self.r_addr),
        ]
        if self._registered and not hasattr(platform, "get_memory"):
            late = Signal(self._width, reset_less=True)
            m.d.sync += late.eq(read.data)
            m.d.comb += self.r_data.eq(late)
        else:
            m.d.comb += self.r_data.eq(read.data)
        return m


class AddressWalker(wiring.Component):
    """Addresses of planes visited one after another: base, base+1, ... then base+step, ...

    Members
    -------
    load, base, step : In
        ``load`` sets the first plane's base.
    valid, first : In
        An element is visited; it is its plane's first.
    addr : Out
        The element's address, in the same cycle.
    """

    def __init__(self, width):
        super().__init__(
            {
                "load": In(1),
                "base": In(width),
                "step": In(width),
                "valid": In(1),
                "first": In(1),
                "addr": Out(width),
            }
        )

    def elaborate(self, platform):
        m = Module()
        plane = Signal.like(self.addr)
        following = Signal.like(self.addr)
        m.d.comb += self.addr.eq(Mux(self.first, plane, following))
        with m.If(self.valid):
            m.d.sync += following.eq(self.addr + 1)
            with m.If(self.first):
                m.d.sync += plane.eq(plane + self.step)
        with m.If(self.load):
            m.d.sync += plane.eq(self.base)
        return m
