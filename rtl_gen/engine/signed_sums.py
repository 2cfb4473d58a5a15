"""The dense array's second half where 1x1 layers have weights of ±1: their sums, by adders."""

from amaranth.hdl import *
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from ..leaf import leaf
from ..units.signed_sum import SignedSumLane

__all__ = ["SignedSums"]


class SignedSums(wiring.Component):
    """Sums of K stored values times ±1 in P lanes of T pixels, beside a dense array's multipliers.

    An input beyond a layer's channels has weight 0 in all lanes. Lane 0 always has a channel, so
    its weights say which inputs those are; they are set to 0 for all lanes.

    Members
    -------
    i_x : In(ArrayLayout(bits, T*K)), index t*K + k
    i_weights : In(ArrayLayout(weight_bits*K, P))
        Weights in force for these inputs, two's complement: -1 or +1, 0 beyond the channels.
    o_sum : Out(ArrayLayout(signed(acc_bits), P*T)), index p*T + t

    Latency: ``latency`` cycles, as the multipliers with their adder tree take.
    """

    def __init__(self, *, inputs: int, lanes: int, pixels: int, bits: int, weight_bits: int,
                 acc_bits: int):
        self._inputs, self._lanes, self._pixels = inputs, lanes, pixels
        self._bits, self._weight_bits = bits, weight_bits
        probe = self._lane()
        probe._MustUse__used = True
        self.latency = 1 + probe.latency
        super().__init__(
            {
                "i_x": In(data.ArrayLayout(bits, pixels * inputs)),
                "i_weights": In(data.ArrayLayout(weight_bits * inputs, lanes)),
                "o_sum": Out(data.ArrayLayout(signed(acc_bits), lanes * pixels)),
            }
        )

    def _lane(self):
        return SignedSumLane(inputs=self._inputs, pixels=self._pixels, bits=self._bits)

    def elaborate(self, platform):
        m = Module()
        k, t, bits = self._inputs, self._pixels, self._weight_bits
        x = Signal.like(self.i_x, reset_less=True)
        for i in range(k):
            used = self.i_weights[0][bits * i]
            for pixel in range(t):
                at = pixel * k + i
                m.d.sync += x[at].eq(Mux(used, self.i_x[at], 0))
        for p in range(self._lanes):
            minus = Signal(k, name=f"minus{p}", reset_less=True)
            plus = Signal(k, name=f"plus{p}", reset_less=True)
            signs = Cat(self.i_weights[p][bits * i + bits - 1] for i in range(k))
            m.d.sync += [minus.eq(signs), plus.eq(~signs)]
            lane = self._lane()
            m.d.comb += [lane.i_x.eq(x), lane.i_minus.eq(minus), lane.i_plus.eq(plus)]
            m.submodules[f"lane{p}"] = leaf(lane, platform)
            for pixel in range(t):
                m.d.comb += self.o_sum[p * t + pixel].eq(lane.o_sum[pixel])
        return m
