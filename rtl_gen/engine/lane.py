"""One post-processing lane: from an accumulator to a stored value and an activation bit."""

from amaranth.hdl import *
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from ..units.dsp import Multiplier18
from ..units.rprelu import ShiftRPReLU
from ..units.shift_add import ShiftAddScale
from .config import EngineConfig

__all__ = ["LATENCY", "STAGE", "Lane"]

# Stage at which each constant is used; stage 0 is the cycle in which i_acc is valid.
STAGE = {"border": 0, "gain": 3, "bias": 6, "residual": 8, "slope": 10, "act_bias": 14,
         "threshold": 16}
LATENCY = 16  # from i_acc to o_x; o_bit follows one cycle later


def saturate(m, value, bits, name):
    """``value`` clamped to ``bits`` signed bits, combinational."""
    result = Signal(signed(bits), name=name)
    high = value[bits - 1 :]
    fits = Signal(name=f"{name}_fits")
    m.d.comb += [
        fits.eq((high == 0) | high.all()),
        result.eq(
            Mux(fits, value[:bits], Cat((~value[-1]).replicate(bits - 1), value[-1])).as_signed()
        ),
    ]
    return result


class Lane(wiring.Component):
    """Affine, residual, RPReLU and threshold of one output channel and pixel (numeric contract).

    Stages: 0-2 dot product from popcount, or prescale of a multi-bit accumulator; 3-5 multiply by
    the gain; 6 bias; 7 shift; 8 residual; 9 saturate; 10-15 RPReLU and saturate; 16 threshold.

    Members
    -------
    i_acc : In(signed(acc_bits))
    i_dense, i_prescale, i_shift, i_residual_on : In
        Static during a step.
    i_row_class, i_col_class : In(2)
        Border class, with i_acc.
    i_residual : In(signed(feature_bits))
        Valid at stage 8.
    i_lo, i_hi : In(signed(feature_bits)), where the configuration has clamps
        What the sum saturates to, static during a step.
    i_constants : In(const_layout)
    o_x : Out(signed(feature_bits)), o_bit : Out(1)
        The bit is 0 where thresholds come at run time (see MapPass).
    o_early : Out(signed(feature_bits)), where the configuration has gains
        The value before RPReLU, with ``o_x``. It then makes the bit, too.

    Latency: 16 cycles to ``o_x``, 17 to ``o_bit``. Throughput: one value a cycle.
    """

    def __init__(self, config: EngineConfig):
        self._config = config
        shape = (
            f"{config.acc_bits}_{config.z_bits}_{config.bias_bits}_{config.border_bits}_"
            f"{config.feature_bits}_{config.rprelu}{config.slope_shift}"
        )
        menus = "_".join(map(str, (*config.affine_shifts, "p", *config.prescales)))
        more = "_clamp" * bool(config.clamps) + "_nobit" * config.thresholds
        early = {"o_early": Out(signed(config.feature_bits))} if config.gains is not None else {}
        more += "_early" * bool(early)
        more += f"_digits{config.scale_digits}" * bool(config.scale_digits)
        self.leaf_name = f"lane_{shape}_s{menus}{more}"
        self.leaf_synth = ""
        limit = In(signed(config.feature_bits))
        super().__init__(
            ({"i_lo": limit, "i_hi": limit} if config.clamps else {}) | early
            | {
                "i_acc": In(signed(config.acc_bits)),
                "i_dense": In(1),
                "i_prescale": In(3),
                "i_shift": In(max(3, (len(config.affine_shifts) - 1).bit_length())),
                "i_residual_on": In(1),
                "i_row_class": In(2),
                "i_col_class": In(2),
                "i_residual": In(signed(config.feature_bits)),
                "i_constants": In(config.const_layout),
                "o_x": Out(signed(config.feature_bits)),
                "o_bit": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        config = self._config
        const = self.i_constants
        here = self._here(m)
        factor = self._dot_product(m, const, here)

        # stages 3-5: multiply
        if config.scale_digits:
            m.submodules.gain = scale = ShiftAddScale(terms=config.scale_digits)
            m.d.comb += [scale.i_x.eq(factor), scale.i_terms.eq(const.gain)]
            product = scale.o_v
        else:
            m.submodules.gain = mul = Multiplier18()
            m.d.comb += [mul.a.eq(factor), mul.b.eq(const.gain.as_signed())]
            product = mul.o

        # stage 6: bias; stage 7: shift
        wide = max(36, config.bias_bits) + 1
        biased = Signal(signed(wide), reset_less=True)
        m.d.sync += biased.eq(product + const.bias.as_signed())
        z = Signal(signed(config.z_bits), reset_less=True)
        with m.Switch(here["shift"]):
            for i, shift in enumerate(config.affine_shifts):
                with m.Case(i):
                    m.d.sync += z.eq(biased >> shift)

        # stage 8: residual; stage 9: saturate
        total = Signal(signed(config.z_bits + 1), reset_less=True)
        residual = Signal(signed(config.feature_bits))
        m.d.comb += residual.eq(Mux(here["residual_on"], self.i_residual, 0))
        m.d.sync += total.eq(z + residual)
        stored = Signal(signed(config.feature_bits), reset_less=True)
        if config.clamps:
            above, below = total > self.i_hi, total < self.i_lo
            m.d.sync += stored.eq(Mux(above, self.i_hi, Mux(below, self.i_lo, total)))
        else:
            m.d.sync += stored.eq(saturate(m, total, config.feature_bits, "stored_value"))

        x = self._activation(m, stored, const)
        m.d.comb += self.o_x.eq(x)
        if config.thresholds:
            return m
        compared = x
        if config.gains is not None:
            for n in range(LATENCY - STAGE["slope"]):
                early = Signal.like(stored, name=f"early{n}", reset_less=True)
                m.d.sync += early.eq(stored if n == 0 else compared)
                compared = early
            m.d.comb += self.o_early.eq(compared)
        bit = Signal(reset_less=True)
        m.d.sync += bit.eq(compared >= const.threshold.as_signed())
        m.d.comb += self.o_bit.eq(bit)
        return m

    def _here(self, m):
        """The step's controls in registers of this lane: long wires from one place otherwise."""
        here = {}
        for name in ("dense", "prescale", "shift", "residual_on"):
            source = getattr(self, f"i_{name}")
            here[name] = Signal.like(source, name=f"here_{name}", reset_less=True)
            m.d.sync += here[name].eq(source)
        return here

    def _dot_product(self, m, const, here):
        """Stages 0-2: ``2*count + border`` or the prescaled, saturated accumulator."""
        config = self._config
        rows = [
            Signal(signed(config.border_bits), name=f"border_col{c}", reset_less=True)
            for c in range(3)
        ]
        for c, value in enumerate(rows):
            with m.Switch(self.i_row_class):
                for r in range(3):
                    with m.Case(r):
                        m.d.sync += value.eq(const[f"border{3 * r + c}"].as_signed())
        acc = Signal(signed(config.acc_bits), reset_less=True)
        col_class = Signal(2, reset_less=True)
        m.d.sync += [acc.eq(self.i_acc), col_class.eq(self.i_col_class)]
        # stage 1
        border = Signal(signed(config.border_bits))
        with m.Switch(col_class):
            for c in range(3):
                with m.Case(c):
                    m.d.comb += border.eq(rows[c])
        dot = Signal(signed(18), reset_less=True)
        m.d.sync += dot.eq((acc[:17] << 1).as_signed() + border)
        half = Signal(max(config.prescales) + 1)
        with m.Switch(here["prescale"]):
            for i, shift in enumerate(config.prescales):
                with m.Case(i):
                    m.d.comb += half.eq((1 << shift) >> 1)
        rounded = Signal(signed(config.acc_bits + 1), reset_less=True)
        m.d.sync += rounded.eq(acc + half)
        # stage 2
        shifted = Signal(signed(config.acc_bits + 1))
        with m.Switch(here["prescale"]):
            for i, shift in enumerate(config.prescales):
                with m.Case(i):
                    m.d.comb += shifted.eq(rounded >> shift)
        factor = Signal(signed(18), reset_less=True)
        m.d.sync += factor.eq(Mux(here["dense"], saturate(m, shifted, 18, "prescaled"), dot))
        return factor

    def _activation(self, m, stored, const):
        """Stages 10-15: RPReLU and saturation, 6 cycles."""
        config = self._config
        bits = config.feature_bits
        result = Signal(signed(bits), reset_less=True)
        if config.rprelu == "shift":
            m.submodules.rprelu = unit = ShiftRPReLU(bits=bits)
            slope = config.slope_layout(const.slope)
            m.d.comb += [
                unit.i_z.eq(stored),
                unit.i_negative.eq(slope.negative),
                unit.i_shift.eq(slope.shift),
            ]
            v = unit.o_v
        else:
            delayed = [stored]
            for n in range(4):
                tap = Signal(signed(bits), name=f"z{n}", reset_less=True)
                m.d.sync += tap.eq(delayed[-1])
                delayed.append(tap)
            if config.rprelu == "none":
                v = delayed[4]
            else:
                m.submodules.slope = mul = Multiplier18()
                m.d.comb += [
                    mul.a.eq(stored),
                    mul.b.eq(const.slope.as_signed()),
                ]
                half = (1 << config.slope_shift) >> 1
                scaled = Signal(signed(36))
                v = Signal(signed(bits + 18 - config.slope_shift + 1), reset_less=True)
                m.d.comb += scaled.eq((mul.o + half) >> config.slope_shift)
                m.d.sync += v.eq(Mux(delayed[3] > 0, delayed[3], scaled))
        if config.rprelu == "none":
            following = Signal(signed(bits), reset_less=True)
            m.d.sync += [following.eq(v), result.eq(following)]
            return result
        biased = Signal(signed(len(v) + 1), reset_less=True)
        m.d.sync += biased.eq(v + const.act_bias.as_signed())
        m.d.sync += result.eq(saturate(m, biased, bits, "activated"))
        return result
