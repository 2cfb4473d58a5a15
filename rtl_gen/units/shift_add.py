"""Products with constants of a few signed powers of two: shifts and adders, no multiplier."""

from amaranth.hdl import *
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from .adders import Adder, AdderChain
from .dsp import Multiplier18

__all__ = ["NO_TERM", "ShiftAddScale", "term_layout"]

NO_TERM = 31  # exponent of a term that is not there
BITS = 36  # of the result, as a multiplier's


def term_layout() -> data.StructLayout:
    """One signed power of two: its sign, and its exponent 0 to 17 or NO_TERM."""
    return data.StructLayout({"negative": unsigned(1), "exponent": unsigned(5)})


class ShiftAddScale(wiring.Component):
    """``sum(±x << exponent)`` over the terms, less 1 for every negative term.

    A negative term is the complement of its shifted number, so the 1 that it lacks is the same for
    all numbers: whoever adds a bias behind it adds these to the bias.

    Parameters
    ----------
    terms : int
        1 to 3.

    Members
    -------
    i_x : In(signed(18))
    i_terms : In(ArrayLayout(term_layout(), terms))
        With ``i_x``; NO_TERM is no term, and positive.
    o_v : Out(signed(36))
        Modulo 2**36.

    Latency: 3 cycles, as the multiplier's. Throughput: one a cycle.
    """

    LATENCY = Multiplier18.LATENCY

    def __init__(self, *, terms: int):
        if not 1 <= terms <= 3:
            raise ValueError(f"a scale has 1 to 3 terms, not {terms}")
        self._terms = terms
        super().__init__(
            {
                "i_x": In(signed(18)),
                "i_terms": In(data.ArrayLayout(term_layout(), terms)),
                "o_v": Out(signed(BITS)),
            }
        )

    def elaborate(self, platform):
        m = Module()
        shifted, negative = [], []
        for n in range(self._terms):
            term = self.i_terms[n]
            # multiples of 4 first, then 0 to 3
            coarse = Signal(signed(34), name=f"coarse{n}", reset_less=True)
            fine = Signal(2, name=f"fine{n}", reset_less=True)
            value = Signal(signed(BITS), name=f"shifted{n}", reset_less=True)
            sign = Signal(2, name=f"negative{n}", reset_less=True)
            with m.Switch(term.exponent[2:]):
                for by in range(5):
                    with m.Case(by):
                        m.d.sync += coarse.eq(self.i_x << 4 * by)
                with m.Default():
                    m.d.sync += coarse.eq(0)
            m.d.sync += fine.eq(term.exponent[:2])
            with m.Switch(fine):
                for by in range(4):
                    with m.Case(by):
                        m.d.sync += value.eq(coarse << by)
            m.d.sync += sign.eq(Cat(term.negative, sign[0]))
            shifted.append(value)
            negative.append(sign[1])
        # bits as a chain takes its first operand: pairs (a, b) with value ~(a ^ b)
        total = [(bit, ~negative[0]) for bit in shifted[0]]
        for n in range(1, self._terms):
            total = self._sum(m, f"sum{n}", total, shifted[n], negative[n])
        result = Signal(BITS, reset_less=True)
        m.d.sync += result.eq(~Cat(a ^ b for a, b in total))
        m.d.comb += self.o_v.eq(result.as_signed())
        return m

    @staticmethod
    def _sum(m, name, total, value, negative):
        m.submodules[name] = chain = AdderChain([Adder(BITS, BITS, True)])
        ends = [(Const(0), Const(1))]
        absent = [(Const(1), Const(1))]
        ab = [*ends, *total, *ends]
        cd = [*absent, *((bit, negative) for bit in value), *absent]
        m.d.comb += [
            chain.a.eq(Cat(a for a, _b in ab)),
            chain.b.eq(Cat(b for _a, b in ab)),
            chain.c.eq(Cat(c for c, _d in cd)),
            chain.d.eq(Cat(d for _c, d in cd)),
        ]
        first = chain.first[0]
        return [(bit, Const(1)) for bit in chain.s[first : first + BITS]]
