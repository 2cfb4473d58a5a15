"""The dense array: K multi-bit inputs times P lanes (times T pixels) on DSP multipliers."""

from amaranth.hdl import *
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from ..leaf import leaf
from ..units.dsp import Multiplier18
from .signed_sums import SignedSums

__all__ = ["DenseArray"]


class DenseLane(wiring.Component):
    """Dot product of K signed 18-bit inputs with K weights, for T pixels.

    Latency: 3 cycles of the multiplier and one per level of the adder tree.
    """

    def __init__(self, *, inputs: int, pixels: int, weight_bits: int):
        self._inputs, self._pixels, self._weight_bits = inputs, pixels, weight_bits
        self.levels = (inputs - 1).bit_length()
        self.latency = Multiplier18.LATENCY + self.levels
        self.sum_bits = 18 + weight_bits + self.levels
        self.leaf_name = f"dense_lane_k{inputs}_t{pixels}_w{weight_bits}"
        self.leaf_synth = ""
        super().__init__(
            {
                "i_x": In(data.ArrayLayout(18, pixels * inputs)),
                "i_w": In(data.ArrayLayout(weight_bits, inputs)),
                "o_sum": Out(data.ArrayLayout(signed(self.sum_bits), pixels)),
            }
        )

    def elaborate(self, platform):
        m = Module()
        bits = 18 + self._weight_bits
        for t in range(self._pixels):
            level = []
            for k in range(self._inputs):
                m.submodules[f"mul{t}_{k}"] = mul = Multiplier18()
                product = Signal(signed(bits), name=f"product{t}_{k}")
                m.d.comb += [
                    mul.a.eq(self.i_x[t * self._inputs + k].as_signed()),
                    mul.b.eq(self.i_w[k].as_signed()),
                    product.eq(mul.o),
                ]
                level.append(product)
            for n in range(self.levels):
                following = []
                for i in range(0, len(level), 2):
                    total = Signal(signed(bits + n + 1), name=f"sum{t}_{n}_{i // 2}",
                                   reset_less=True)
                    m.d.sync += total.eq(sum(level[i + 1 : i + 2], level[i]))
                    following.append(total)
                level = following
            m.d.comb += self.o_sum[t].eq(level[0])
        return m


class DenseArray(wiring.Component):
    """P dense lanes with weights held in registers, loaded behind the running computation.

    Members
    -------
    i_x : In(ArrayLayout(18, T*K)), index t*K + k
        Inputs, two's complement.
    i_swap : In(1)
        With these inputs the weights that were loaded come into force.
    i_load, i_weights : In
        A word of K weights enters lane 0; each lane hands its own to the next.
    o_sum : Out(ArrayLayout(signed(acc_bits), P*T)), index p*T + t
    o_signed : Out(ArrayLayout(signed(acc_bits), P*T)), with ``signed_bits``
        The same without multipliers, right where the weights are ±1 and the inputs have at most
        ``signed_bits`` bits (see SignedSums).

    Latency: ``latency`` cycles. Loads may arrive from the swap's cycle on (``swap_guard`` 0).
    """

    def __init__(self, *, inputs: int, lanes: int, pixels: int, weight_bits: int, acc_bits: int,
                 signed_bits: int = 0):
        self._lane_args = {"inputs": inputs, "pixels": pixels, "weight_bits": weight_bits}
        self._lanes, self._pixels = lanes, pixels
        probe = DenseLane(**self._lane_args)
        probe._MustUse__used = True
        self.latency = 1 + probe.latency
        self.swap_guard = 0
        self._signed = None
        if signed_bits:
            self._signed = {"inputs": inputs, "lanes": lanes, "pixels": pixels,
                            "bits": signed_bits, "weight_bits": weight_bits, "acc_bits": acc_bits}
        sums = Out(data.ArrayLayout(signed(acc_bits), lanes * pixels))
        super().__init__(
            ({"o_signed": sums} if signed_bits else {})
            | {
                "i_x": In(data.ArrayLayout(18, pixels * inputs)),
                "i_swap": In(1),
                "i_load": In(1),
                "i_weights": In(weight_bits * inputs),
                "o_sum": sums,
            }
        )

    def elaborate(self, platform):
        m = Module()
        x = Signal.like(self.i_x, reset_less=True)
        m.d.sync += x.eq(self.i_x)
        before = self.i_weights
        by_adders = SignedSums(**self._signed) if self._signed else None
        if by_adders is not None:
            m.submodules.signed = by_adders
            bits = self._signed["bits"]
            m.d.comb += self.o_signed.eq(by_adders.o_sum)
            for i in range(len(x.as_value()) // 18):
                m.d.comb += by_adders.i_x[i].eq(x[i][:bits])
        for p in range(self._lanes):
            shadow = Signal.like(self.i_weights, name=f"shadow{p}", reset_less=True)
            active = Signal.like(self.i_weights, name=f"active{p}", reset_less=True)
            with m.If(self.i_load):
                m.d.sync += shadow.eq(before)
            with m.If(self.i_swap):
                m.d.sync += active.eq(shadow)
            before = shadow
            if by_adders is not None:
                m.d.comb += by_adders.i_weights[p].eq(active)
            lane = DenseLane(**self._lane_args)
            m.d.comb += [lane.i_x.eq(x), lane.i_w.eq(active)]
            m.submodules[f"lane{p}"] = leaf(lane, platform)
            for t in range(self._pixels):
                m.d.comb += self.o_sum[p * self._pixels + t].eq(lane.o_sum[t])
        return m
