"""One lane of the XNOR-popcount array: weights, their shadows and the counting trees."""

from amaranth.hdl import *
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from .adders import Adder, AdderChain
from .popcount import Sum, plan_popcount, postorder

__all__ = ["LanePlan", "XnorLane", "adder_of"]

# A chain holds whole subtrees of the counting tree of at most EARLY_PRODUCTS products, so that
# their inner nets stay within it, or late sums, whose operands come from far away. Lengths are in
# positions, eight of which are an ECP5 tile; timing analysis sees one carry through a whole chain.
EARLY_PRODUCTS = 15
EARLY_CHAIN = 20
LATE_CHAIN = 16


class LanePlan:
    """Which product goes where in a lane of ``n_inputs`` products.

    Parameters
    ----------
    n_inputs : int
        Products in one sum, at least 2.

    Attributes
    ----------
    stages : int
        Clock cycles from the first products to the sum.
    taken : tuple of tuple of int
        Indices of the products that each stage takes; ``order`` is their concatenation.
    complemented : frozenset of int
        Products whose weight is stored complemented: those that an adder takes as ``c ^ d``.
    chains : list of list of Sum
        Additions that share a carry chain.
    """

    def __init__(self, n_inputs: int):
        self.root = plan_popcount(n_inputs)
        self.sums = postorder(self.root)
        self.stages = self.root.stage + 1
        taken = [[] for _ in range(self.stages)]
        for s in self.sums:
            taken[s.stage] += [o for o in (s.x, s.y, s.carry) if isinstance(o, int)]
        self.taken = tuple(tuple(sorted(indices)) for indices in taken)
        self.order = tuple(index for indices in self.taken for index in indices)
        self.complemented = frozenset(s.y for s in self.sums if isinstance(s.y, int))
        units, late = [], []
        _split(self.root, units, late)
        self.chains = _fill(units, EARLY_CHAIN) + _fill([[s] for s in late], LATE_CHAIN)


def _split(root: Sum, units: list[list[Sum]], late: list[Sum]) -> None:
    """Collect the subtrees of a few products in ``units`` and the sums above them in ``late``."""
    if root.n <= EARLY_PRODUCTS:
        units.append(postorder(root))
        return
    for operand in (root.x, root.y):
        if isinstance(operand, Sum):
            _split(operand, units, late)
    late.append(root)


def _fill(units: list[list[Sum]], longest: int) -> list[list[Sum]]:
    """Chains of at most ``longest`` positions, but at least one unit, of undivided units."""
    chains, length = [], longest
    for unit in units:
        positions = sum(s.width + 1 for s in unit)
        if length + positions > longest:
            chains.append([])
            length = 1
        chains[-1] += unit
        length += positions
    return chains


class XnorLane(wiring.Component):
    """Dot products of ``pixels`` binary vectors with one weight vector, as counts of equal bits.

    Vectors come in the order of ``LanePlan.order``; the part that stage k takes comes k cycles
    after the first one, and so do its load and swap enables and its shadow weights. All lanes of
    a shape are the same hardware, a leaf.

    Members
    -------
    i_act : In(n_inputs * pixels)
        Activations, pixel 0 in the low bits.
    i_wgt : In(n_inputs)
        Shadow weights to load, complemented where the plan says so.
    i_load, i_swap : In(stages)
        Enables by stage, one cycle ahead: ``i_wgt`` is taken two edges after ``i_load`` was set,
        and the weights change at that edge where ``i_swap`` was set.
    o_wgt : Out(n_inputs)
        Shadow weights, for the next lane.
    o_sum : Out(n_inputs.bit_length() * pixels)
        Counts, pixel 0 in the low bits, ``stages`` cycles after what stage 0 takes.
    """

    # Flip-flops and carry cells only: nothing for abc9, which would tie the open carry inputs.
    leaf_synth = "-run begin:map_luts"

    def __init__(self, *, n_inputs: int, pixels: int):
        self.plan = LanePlan(n_inputs)
        self.n_inputs = n_inputs
        self.pixels = pixels
        self.leaf_name = f"xnor_lane_{n_inputs}x{pixels}"
        stages = self.plan.stages
        super().__init__(
            {
                "i_act": In(n_inputs * pixels),
                "i_wgt": In(n_inputs),
                "i_load": In(stages),
                "i_swap": In(stages),
                "o_wgt": Out(n_inputs),
                "o_sum": Out(n_inputs.bit_length() * pixels),
            }
        )

    def elaborate(self, platform):
        m = Module()
        plan = self.plan
        # Each lane has its own copies of the enables, or they would be the slowest nets.
        load = Signal(plan.stages, reset_less=True)
        swap = Signal(plan.stages, reset_less=True)
        m.d.sync += [load.eq(self.i_load), swap.eq(self.i_swap)]
        weights, shadows, first = [], [], 0
        for stage, indices in enumerate(plan.taken):
            last = first + len(indices)
            shadow = Signal(len(indices), name=f"shadow{stage}", reset_less=True)
            weight = Signal(len(indices), name=f"weight{stage}", reset_less=True)
            with m.If(load[stage]):
                m.d.sync += shadow.eq(self.i_wgt[first:last])
            with m.If(swap[stage]):
                m.d.sync += weight.eq(shadow)
            shadows.append(shadow)
            weights.append(weight)
            first = last
        weight = Signal(self.n_inputs)
        m.d.comb += [self.o_wgt.eq(Cat(shadows)), weight.eq(Cat(weights))]
        totals = []
        for pixel in range(self.pixels):
            act = Signal(self.n_inputs, name=f"act{pixel}")
            m.d.comb += act.eq(self.i_act.word_select(pixel, self.n_inputs))
            totals.append(self._tree(m, f"tree{pixel}", act, weight))
        m.d.comb += self.o_sum.eq(Cat(totals))
        return m

    def _tree(self, m, name, act, weight):
        place = {index: k for k, index in enumerate(self.plan.order)}
        chains, registers, results = [], [], {}
        for k, sums in enumerate(self.plan.chains):
            chain = AdderChain([adder_of(s) for s in sums])
            register = Signal(chain.length, name=f"{name}_sum{k}", reset_less=True)
            for s, first in zip(sums, chain.first, strict=True):
                results[s] = register[first : first + s.out_width]
            chains.append(chain)
            registers.append(register)

        def x_bits(operand):
            """The bits (a, b) of each position's first operand."""
            if operand is None:
                return [(Const(0), Const(1))]
            if isinstance(operand, int):
                return [(act[place[operand]], weight[place[operand]])]
            return [(bit, Const(1)) for bit in results[operand]]

        def y_bits(operand, width):
            """The bits (c, d) of each position's second operand."""
            absent = [(Const(1), Const(1))]
            bits = [] if operand is None else x_bits(operand)
            return bits + absent * (width - len(bits))

        for k, (sums, chain) in enumerate(zip(self.plan.chains, chains, strict=True)):
            m.submodules[f"{name}_chain{k}"] = chain
            ab, cd = [], []
            for s in sums:
                ab += x_bits(s.carry) + x_bits(s.x)
                cd += [(Const(1), Const(1))] + y_bits(s.y, s.width)
            ab, cd = ab + x_bits(None), cd + [(Const(1), Const(1))]
            m.d.comb += [
                chain.a.eq(Cat(a for a, _ in ab)),
                chain.b.eq(Cat(b for _, b in ab)),
                chain.c.eq(Cat(c for c, _ in cd)),
                chain.d.eq(Cat(d for _, d in cd)),
            ]
            m.d.sync += registers[k].eq(chain.s)
        return results[self.plan.root]


def adder_of(s: Sum) -> Adder:
    """Shape of the addition of a sum on its chain."""
    pair = isinstance(s.y, int)
    y_width = 0 if s.y is None else 1 if pair else s.y.out_width
    return Adder(s.width, y_width, pair)
