"""Many short additions on one carry chain."""

import dataclasses
from collections.abc import Sequence

from amaranth.hdl import *
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

__all__ = ["AdderChain", "Adder"]


@dataclasses.dataclass(frozen=True)
class Adder:
    """Shape of one addition on a chain: ``width`` sum positions behind one guard position.

    ``y_width`` says how many low positions have a second operand, and ``y_pair`` whether the
    second operand is given as two bits to be combined.
    """

    width: int
    y_width: int
    y_pair: bool = False

    def __post_init__(self):
        if self.width < 1:
            raise ValueError(f"Width must be a positive integer, not {self.width!r}")
        if not 0 <= self.y_width <= self.width:
            raise ValueError(f"Second operand must have 0 to {self.width} bits, not {self.y_width}")


class AdderChain(wiring.Component):
    """Additions ``x + y + carry`` side by side on one carry chain, XNOR included.

    A guard position stands before each addition and after the last one. It gives out the carry of
    the addition below it and injects the carry of the one above it, so no chain is cut. A position
    of ECP5 (half a CCU2C) has four inputs for its propagate function and derives its generate
    from two of them, hence each operand bit may be the combination of two bits at no cost:
    ``x = ~(a ^ b)`` and ``y = c ^ d``. Two binary products and a carry are one position.

    A platform with ``get_adder_chain`` supplies the chain; elsewhere it is one wide addition.

    Parameters
    ----------
    adders : sequence of Adder
        From the low end of the chain.

    Members
    -------
    a, b : In(length)
        ``x = ~(a ^ b)``: first operand at a sum position, injected carry at a guard. A plain bit
        has ``b = 1``, an absent carry ``a = 0, b = 1``.
    c, d : In(length)
        ``y = c ^ d`` where the second operand is a pair, ``y = c`` elsewhere. Inputs at positions
        without that operand are ignored and must be tied to 1, which costs no routing on ECP5.
    s : Out(length)
        Addition k is ``s[first[k]:first[k] + width + 1]``, its carry the top bit; ``s[0]`` is 0.

    Latency: combinational.
    """

    def __init__(self, adders: Sequence[Adder]):
        if not adders:
            raise ValueError("A chain needs at least one adder")
        self.adders = tuple(adders)
        guards = [0]
        for adder in self.adders:
            guards.append(guards[-1] + adder.width + 1)
        self.first = tuple(guard + 1 for guard in guards[:-1])
        self.length = guards[-1] + 1
        self.guards = sum(1 << guard for guard in guards)
        self.has_c = self.has_d = 0
        for adder, first in zip(self.adders, self.first, strict=True):
            mask = ((1 << adder.y_width) - 1) << first
            self.has_c |= mask
            self.has_d |= mask if adder.y_pair else 0
        shape = self.length
        super().__init__(
            {"a": In(shape), "b": In(shape), "c": In(shape), "d": In(shape), "s": Out(shape)}
        )

    def elaborate(self, platform):
        if hasattr(platform, "get_adder_chain"):
            return platform.get_adder_chain(self)
        m = Module()
        x = Signal(self.length)
        y = Signal(self.length)
        # Where both operand bits are equal a position propagates nothing and generates that bit:
        # this makes the guard.
        m.d.comb += [
            x.eq(~(self.a ^ self.b)),
            y.eq(((self.c ^ (self.d & self.has_d)) & self.has_c) | (x & self.guards)),
            self.s.eq(x + y),
        ]
        return m
