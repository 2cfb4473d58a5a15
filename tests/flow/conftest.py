# amaranth: UnusedElaboratable=no
"""Small designs for the tests of emission and building."""

import pytest
from amaranth.hdl import *
from amaranth.lib import memory, stream, wiring
from amaranth.lib.wiring import In, Out

from rtl_gen.leaf import leaf
from rtl_gen.units.dsp import Multiplier18


class Scaler(wiring.Component):
    """A leaf with a multiplier: ``o`` is ``k * i``, 3 cycles later."""

    leaf_synth = "-noccu2"

    def __init__(self, k):
        self.k = k
        self.leaf_name = f"scaler_{k}".replace("-", "m")
        super().__init__({"i": In(signed(18)), "o": Out(signed(36))})

    def elaborate(self, platform):
        m = Module()
        m.submodules.mult = mult = Multiplier18()
        m.d.comb += [mult.a.eq(self.i), mult.b.eq(self.k), self.o.eq(mult.o)]
        return m


class Inverter(wiring.Component):
    """A leaf without a clock."""

    leaf_name = "inverter"
    i: In(18)
    o: Out(18)

    def elaborate(self, platform):
        m = Module()
        m.d.comb += self.o.eq(~self.i)
        return m


class Design(wiring.Component):
    """A marked and a plain memory; four leaves of three kinds behind the marked one.

    ``options`` go to the marked memory, ``ports`` to its read port.
    """

    def __init__(self, *, ports=None, **options):
        self.options, self.ports = options, ports or {}
        super().__init__(
            {
                "addr": In(6),
                "data": In(18),
                "write": In(1),
                "o": Out(signed(36)).array(3),
                "o_inv": Out(18),
                "o_plain": Out(18),
            }
        )

    def elaborate(self, platform):
        m = Module()
        options = {"shape": 18, "depth": 40, "init": [], "attrs": {"hwbnn_name": "weights"}}
        m.submodules.weights = marked = memory.Memory(**(options | self.options))
        m.submodules.plain = plain = memory.Memory(shape=18, depth=64, init=[3])
        reads = []
        for mem, ports in ((marked, self.ports), (plain, {})):
            w, r = mem.write_port(), mem.read_port(**ports)
            reads.append(r)
            m.d.comb += [w.addr.eq(self.addr), w.data.eq(self.data), w.en.eq(self.write)]
            m.d.comb += r.addr.eq(self.addr)
            if "domain" not in ports:
                m.d.comb += r.en.eq(~self.write)
        m.d.comb += self.o_plain.eq(reads[1].data)
        for n, k in enumerate((5, -7, 5)):
            part = Scaler(k)
            m.submodules[f"scaler{n}"] = leaf(part, platform)
            m.d.comb += [part.i.eq(reads[0].data), self.o[n].eq(part.o)]
        part = Inverter()
        m.submodules.inverter = leaf(part, platform)
        m.d.comb += [part.i.eq(reads[0].data), self.o_inv.eq(part.o)]
        return m


@pytest.fixture
def design():
    """The class ``Design``."""
    return Design


class SumEngine(wiring.Component):
    """The smallest engine: logit k is weight k times the sum of all bytes; class of the largest.

    Weights are the external memory ``weights``, signed 18 bit.
    """

    leaf_name = "sum_engine"

    def __init__(self, *, n_pixels, n_classes):
        self.n_pixels, self.n_classes = n_pixels, n_classes
        super().__init__(
            {
                "i_pixel": In(stream.Signature(24)),
                "o_done": Out(1),
                "o_cycles": Out(32),
                "o_class": Out(16),
                "i_logit_addr": In(range(n_classes)),
                "o_logit": Out(signed(32)),
            }
        )

    def elaborate(self, platform):
        m = Module()
        marked = {"hwbnn_name": "weights"}
        m.submodules.weights = weights = memory.Memory(
            shape=signed(18), depth=self.n_classes, init=[], attrs=marked
        )
        w_read = weights.read_port()
        m.submodules.logits = logits = memory.Memory(
            shape=signed(32), depth=self.n_classes, init=[]
        )
        l_write, l_read = logits.write_port(), logits.read_port()
        m.submodules.mult = mult = Multiplier18()
        total, n_in = Signal(17), Signal(range(self.n_pixels + 1))
        index, age = Signal(range(self.n_classes)), Signal(3)
        best = Signal(signed(36), init=-(1 << 35))
        pixel = self.i_pixel.payload
        m.d.comb += [
            w_read.addr.eq(index),
            w_read.en.eq(1),
            mult.a.eq(w_read.data),
            mult.b.eq(total),
            l_write.addr.eq(index),
            l_write.data.eq(mult.o),
            l_read.addr.eq(self.i_logit_addr),
            self.o_logit.eq(l_read.data),
        ]
        m.d.sync += self.o_done.eq(0)
        with m.If(n_in != self.n_pixels):
            m.d.comb += self.i_pixel.ready.eq(1)
            with m.If(self.i_pixel.valid):
                m.d.sync += [
                    total.eq(total + pixel[:8] + pixel[8:16] + pixel[16:]),
                    n_in.eq(n_in + 1),
                    self.o_cycles.eq(0),
                ]
        with m.Elif(age != 4):
            m.d.sync += [age.eq(age + 1), self.o_cycles.eq(self.o_cycles + 1)]
        with m.Else():
            m.d.comb += l_write.en.eq(1)
            m.d.sync += [
                age.eq(0), index.eq(index + 1), self.o_cycles.eq(self.o_cycles + 1),
            ]  # fmt: skip
            with m.If(mult.o > best):
                m.d.sync += [best.eq(mult.o), self.o_class.eq(index)]
            with m.If(index == self.n_classes - 1):
                m.d.sync += [
                    index.eq(0), n_in.eq(0), total.eq(0), self.o_done.eq(1),
                    best.eq(-(1 << 35)),
                ]  # fmt: skip
        return m


@pytest.fixture
def sum_engine():
    """The class ``SumEngine``."""
    return SumEngine
