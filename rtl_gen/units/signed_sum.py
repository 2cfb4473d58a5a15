"""Dot products of numbers with weights of ±1: additions and subtractions, no multiplier."""

from amaranth.hdl import *
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from .adders import Adder, AdderChain

__all__ = ["SignedSumLane"]

ABSENT = (Const(1), Const(1))  # (c, d) of a position without a second operand
CHAINED = 2  # sums on one chain: timing analysis follows a chain through its guards


class SignedSumLane(wiring.Component):
    """``sum(-x[k] if minus[k] else x[k])`` for T pixels, by adders alone.

    A negative weight complements its number, which a position of the first level's carry chains
    does at no cost, and owes the sum 1. The tree has one adder less than numbers; every adder
    takes such a 1 at its carry, and the last one is added behind the tree.

    Parameters
    ----------
    inputs, pixels : int
        Numbers of a sum, and sums at once with the same weights.
    bits : int
        Width of the numbers.

    Members
    -------
    i_x : In(ArrayLayout(bits, pixels*inputs)), index t*inputs + k
        Two's complement.
    i_minus, i_plus : In(inputs)
        Weights of -1 and of +1: ``i_plus`` is the complement of ``i_minus``, from registers of its
        own, so that nothing here but carry chains and flip-flops needs LUTs.
    o_sum : Out(ArrayLayout(signed(bits + levels + 1), pixels))

    Latency: ``latency`` cycles, one per level of the tree and two. One sum a cycle.
    """

    # as XnorLane's: nothing for abc9
    leaf_synth = "-run begin:map_luts"

    def __init__(self, *, inputs: int, pixels: int, bits: int):
        self._inputs, self._pixels, self._bits = inputs, pixels, bits
        self.levels = (inputs - 1).bit_length()
        self.latency = self.levels + 2
        self.sum_bits = bits + self.levels + 1  # the least number's negative needs a bit more
        self.leaf_name = f"signed_sum_k{inputs}_t{pixels}_b{bits}"
        super().__init__(
            {
                "i_x": In(data.ArrayLayout(bits, pixels * inputs)),
                "i_minus": In(inputs),
                "i_plus": In(inputs),
                "o_sum": Out(data.ArrayLayout(signed(self.sum_bits), pixels)),
            }
        )

    def elaborate(self, platform):
        m = Module()
        k = self._inputs
        # an operand is its bits as chains take them: pairs (a, b) with value ~(a ^ b)
        levels = []
        for t in range(self._pixels):
            words = [self.i_x[t * k + i] for i in range(k)]
            levels.append([[(bit, self.i_plus[i]) for bit in x] for i, x in enumerate(words)])
        owed = list(self.i_minus)
        for n in range(self.levels):
            pairs = len(levels[0]) // 2
            carries, owed = owed[:pairs], self._later(m, owed[pairs:], f"owed{n}")
            levels = [self._level(m, f"sum{n}_{t}", operands, carries, self.i_minus if n == 0
                                  else None) for t, operands in enumerate(levels)]
        for t, (operand,) in enumerate(levels):
            total = self._sums(m, f"total{t}", [(operand, None, owed[0])], self.sum_bits)[0]
            kept = Signal(signed(self.sum_bits), name=f"kept{t}", reset_less=True)
            m.d.sync += kept.eq(Cat(total))
            m.d.comb += self.o_sum[t].eq(kept)
        return m

    @staticmethod
    def _later(m, bits, name):
        if not bits:
            return []
        kept = Signal(len(bits), name=name, reset_less=True)
        m.d.sync += kept.eq(Cat(bits))
        return list(kept)

    def _level(self, m, name, operands, carries, minus):
        """Sums of neighbours, and the last operand where they are odd, a cycle later; ``minus``
        are the weights of operands that are still numbers times weights."""
        terms = []
        for i, carry in enumerate(carries):
            x, y = operands[2 * i : 2 * i + 2]
            sign = Const(1) if minus is None else minus[2 * i + 1]
            terms.append((x, [(a, sign) for a, _b in y], carry))
        if len(operands) % 2 and minus is not None:
            terms.append((operands[-1], None, Const(0)))
        width = max(len(x) for x in operands) + 1
        sums = []
        for first in range(0, len(terms), CHAINED):
            sums += self._sums(m, f"{name}_{first}", terms[first : first + CHAINED], width)
        following = [[(bit, Const(1)) for bit in total] for total in sums]
        if len(operands) % 2 and minus is None:
            last = Signal(len(operands[-1]), name=f"{name}_last", reset_less=True)
            m.d.sync += last.eq(Cat(a for a, _b in operands[-1]))
            following.append([(bit, Const(1)) for bit in last])
        return following

    @staticmethod
    def _sums(m, name, terms, width):
        """``x + y + carry`` of every term, sign-extended to ``width`` bits, registered, on one
        chain; returns the bits."""
        paired = [y is not None and not isinstance(y[0][1], Const) for _x, y, _carry in terms]
        chain = AdderChain([Adder(width, 0 if y is None else width, pair)
                            for (_x, y, _carry), pair in zip(terms, paired, strict=True)])
        m.submodules[f"{name}_chain"] = chain
        ab, cd = [], []
        for x, y, carry in terms:
            ab += [(carry, Const(1)), *_extended(x, width)]
            seconds = [ABSENT] * width
            if y is not None:
                seconds = _extended(y, width)
            cd += [ABSENT, *seconds]
        ab, cd = [*ab, (Const(0), Const(1))], [*cd, ABSENT]
        m.d.comb += [
            chain.a.eq(Cat(a for a, _b in ab)),
            chain.b.eq(Cat(b for _a, b in ab)),
            chain.c.eq(Cat(c for c, _d in cd)),
            chain.d.eq(Cat(d for _c, d in cd)),
        ]
        register = Signal(chain.length, name=f"{name}_bits", reset_less=True)
        m.d.sync += register.eq(chain.s)
        return [list(register[first : first + width]) for first in chain.first]


def _extended(bits, width):
    """The highest bit again, up to ``width``."""
    return [*bits, *[bits[-1]] * (width - len(bits))]
