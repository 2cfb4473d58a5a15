# amaranth: UnusedElaboratable=no
"""Small designs for the tests of emission and building."""

import pytest
from amaranth.hdl import *
from amaranth.lib import memory, wiring
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
