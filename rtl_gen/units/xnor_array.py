"""The array of binary dot products."""

import dataclasses
import operator

from amaranth.hdl import *
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from ..leaf import leaf
from .xnor_lane import LanePlan, XnorLane

__all__ = ["XnorArray", "XnorPopcount"]

GROUP = 4  # lanes that share one register of activations


@dataclasses.dataclass(frozen=True)
class XnorPopcount:
    """Parameters of an array and the meaning of what it computes.

    ``lanes`` weight vectors of ``n_inputs`` bits are compared with ``pixels`` vectors every cycle.
    Raises TypeError or ValueError for a parameter that is no integer or too small.
    """

    n_inputs: int
    lanes: int
    pixels: int = 1

    def __post_init__(self):
        for name, least in (("n_inputs", 2), ("lanes", 1), ("pixels", 1)):
            value = operator.index(getattr(self, name))
            if value < least:
                raise ValueError(f"{name} must be an integer of at least {least}, not {value}")

    @property
    def macs(self) -> int:
        """Binary products a cycle."""
        return self.n_inputs * self.lanes * self.pixels

    def compute(self, act: int, wgt: int) -> int:
        """How many of the ``n_inputs`` low bits are equal in ``act`` and ``wgt``."""
        return (~(act ^ wgt) & ((1 << self.n_inputs) - 1)).bit_count()

    def create(self) -> "XnorArray":
        """The hardware."""
        return XnorArray(n_inputs=self.n_inputs, lanes=self.lanes, pixels=self.pixels)


class XnorArray(wiring.Component):
    """``lanes * pixels`` counts of equal bits every cycle, with shadow weights.

    Lanes stand in groups; activations, enables and weights pass from group to group through
    registers, and the sums of early groups wait for the last one. Within a lane, products that a
    later stage of the counting tree takes come later: their activations, weights and enables are
    all delayed alike, once for all lanes.

    Parameters
    ----------
    n_inputs : int
        Bits of a vector, at least 2.
    lanes : int
        Weight vectors.
    pixels : int
        Activation vectors a cycle.

    Members
    -------
    i_act : In(ArrayLayout(n_inputs, pixels))
        Activations, taken every cycle.
    i_wgt : In(n_inputs)
        Weights for lane 0.
    i_load : In(1)
        Shifts the shadow weights by a lane: lane 0 takes ``i_wgt``, lane p what lane p-1 had.
        After ``lanes`` loads the first word is in the last lane.
    i_swap : In(1)
        This cycle's activations and all later ones meet the weights that are in the shadow
        registers now. A load in the same cycle comes after the swap.
    o_sum : Out(ArrayLayout(range(n_inputs + 1), lanes * pixels))
        Element ``p * pixels + t`` compares lane p with ``i_act[t]`` of ``latency`` cycles ago.

    Attributes
    ----------
    latency : int
        Cycles from ``i_act`` to ``o_sum``.
    swap_guard : int
        Cycles from a swap, its own included, in which no load may come: none, so a tile of
        weights takes ``lanes`` cycles.

    Throughput: every cycle, no stall.
    """

    swap_guard = 0

    def __init__(self, *, n_inputs: int, lanes: int, pixels: int = 1):
        self.parameters = XnorPopcount(n_inputs, lanes, pixels)
        self._plan = LanePlan(n_inputs)
        self._groups = -(-lanes // GROUP)
        self.latency = self._plan.stages + self._groups + 1
        super().__init__(
            {
                "i_act": In(data.ArrayLayout(n_inputs, pixels)),
                "i_wgt": In(n_inputs),
                "i_load": In(1),
                "i_swap": In(1),
                "o_sum": Out(data.ArrayLayout(range(n_inputs + 1), lanes * pixels)),
            }
        )

    @property
    def n_inputs(self) -> int:
        return self.parameters.n_inputs

    @property
    def lanes(self) -> int:
        return self.parameters.lanes

    @property
    def pixels(self) -> int:
        return self.parameters.pixels

    def elaborate(self, platform):
        m = Module()
        n, stages, order = self.n_inputs, self._plan.stages, self._plan.order

        flip = sum(1 << index for index in self._plan.complemented)
        weights = Signal(n)
        m.d.comb += weights.eq(self.i_wgt ^ flip)
        enables = [self._delay(m, "load", self.i_load, stages - 1)]
        enables += [self._delay(m, "swap", self.i_swap, stages - 1)]
        load, swap = (Signal(stages, name=f"{name}_stages") for name in ("load", "swap"))
        m.d.comb += [load.eq(Cat(enables[0])), swap.eq(Cat(enables[1]))]
        chain = Signal(n, name="weights_in")
        m.d.comb += chain.eq(self._skew(m, "weights", Cat(weights[k] for k in order)))
        acts = []
        for t in range(self.pixels):
            act = Signal(n, name=f"act{t}")
            m.d.comb += act.eq(self.i_act[t])
            skewed = Signal(n, name=f"act{t}_skewed")
            m.d.comb += skewed.eq(self._skew(m, f"act{t}", Cat(act[k] for k in order)))
            acts.append(skewed)

        for group in range(self._groups):
            acts = [self._register(m, f"act{t}_group{group}", acts[t]) for t in range(self.pixels)]
            if group:
                # The group before shifts one cycle earlier: keep what its last lane had then.
                chain = self._register(m, f"weights_group{group}", chain)
            for p in range(group * GROUP, min(group * GROUP + GROUP, self.lanes)):
                lane = XnorLane(n_inputs=n, pixels=self.pixels)
                m.submodules[f"lane{p}"] = leaf(lane, platform)
                m.d.comb += [
                    lane.i_wgt.eq(chain),
                    lane.i_load.eq(load),
                    lane.i_swap.eq(swap),
                    lane.i_act.eq(Cat(acts)),
                ]
                chain = lane.o_wgt
                for t in range(self.pixels):
                    wait = self._groups - 1 - group
                    total = lane.o_sum.word_select(t, n.bit_length())
                    late = self._delay(m, f"sum{p}_{t}", total, wait)[-1]
                    m.d.comb += self.o_sum[p * self.pixels + t].eq(late)
            load = self._register(m, f"load_group{group}", load)
            swap = self._register(m, f"swap_group{group}", swap)
        return m

    def _register(self, m, name, value):
        register = Signal(len(value), name=name, reset_less=True)
        m.d.sync += register.eq(value)
        return register

    def _delay(self, m, name, value, cycles):
        """``value`` and its copies of 1 to ``cycles`` cycles ago."""
        taps = [value]
        for cycle in range(cycles):
            taps.append(self._register(m, f"{name}_{cycle + 1}", taps[-1]))
        return taps

    def _skew(self, m, name, value):
        """The part of ``value`` that stage k takes, k + 1 cycles later."""
        parts, first = [], 0
        vector = Signal(len(value), name=f"{name}_vector")
        m.d.comb += vector.eq(value)
        for stage, indices in enumerate(self._plan.taken):
            part = vector[first : first + len(indices)]
            parts.append(self._delay(m, f"{name}_stage{stage}", part, stage + 1)[-1])
            first += len(indices)
        return Cat(parts)
