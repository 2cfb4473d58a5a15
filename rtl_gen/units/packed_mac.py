"""Two dot products on one multiplier a tap: the same pixels times two channels' weights."""

from amaranth.hdl import *
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from .dsp import Multiplier18

__all__ = ["LogicMultiplier", "PackedMac", "fix_bits", "registered_sum"]

CENTRE = 128  # the odd channel multiplies the pixel minus this
PIXEL_SHIFT = 10  # where the centred pixel stands in its factor


def registered_sum(m, terms, width, name):
    """Adder tree over signed ``terms`` with a register per level, modulo ``2**width``.

    Returns the sum and its latency.
    """
    level, n = list(terms), 0
    while len(level) > 1:
        following = []
        for i in range(0, len(level), 2):
            value = sum(level[i + 1 : i + 2], level[i])
            shape = signed(min(len(value), width))
            total = Signal(shape, name=f"{name}{n}_{i // 2}", reset_less=True)
            m.d.sync += total.eq(value)
            following.append(total)
        level, n = following, n + 1
    return level[0], n


class LogicMultiplier(wiring.Component):
    """Product in LUTs of an 8-bit factor and one of ``bits`` bits, both signed or both not.

    Two bits of ``b`` make a row, rows are added in a tree. Latency: 3 cycles, as the DSP block's.
    """

    LATENCY = Multiplier18.LATENCY

    def __init__(self, *, bits: int, is_signed: bool):
        if not 2 <= bits <= 8:
            raise ValueError(f"a factor of {bits} bits is outside 2..8")
        self._bits, self._signed = bits, is_signed
        shape = signed if is_signed else unsigned
        super().__init__(
            {"a": In(shape(8)), "b": In(shape(bits)), "o": Out(shape(8 + bits))}
        )

    def elaborate(self, platform):
        m = Module()
        rows = []
        for low in range(0, self._bits, 2):
            value = 0
            for bit in range(low, min(low + 2, self._bits)):
                row = Mux(self.b[bit], self.a, 0) << (bit - low)
                negative = self._signed and bit == self._bits - 1
                value = value - row if negative else value + row
            rows.append(value)
        for stage in range(self.LATENCY):
            level = []
            for i, value in enumerate(rows):
                kept = Signal.like(Value.cast(value), name=f"row{stage}_{i}", reset_less=True)
                m.d.sync += kept.eq(value)
                level.append(kept)
            shift = 2 << stage
            rows = [
                sum((high << shift for high in level[i + 1 : i + 2]), level[i])
                for i in range(0, len(level), 2)
            ]
        m.d.comb += self.o.eq(rows[0])
        return m


class PackedMac(wiring.Component):
    """Sums over the taps of ``x * w_even`` and of ``(x - 128) * w_odd``, two products per DSP.

    With wb weight bits, u = w_even + 2**(wb-1) >= 0 and s = x - 128, a multiplier's factors are
    the bit strings ``{w_odd, 0, x}`` and ``{s, 0, u}``, and its product is

        x*u + 2**10 x*s + 2**(18-wb) u*w_odd + 2**F s*w_odd,   F = 28 - wb.

    The first and the last term are wanted and F bits apart. The second, and what the offset of u
    adds, are the same for all channels: ``i_fix``. The third is the same for all pixels:
    ``i_const``. Both leave the sum once, so a pair costs a tree as wide as two separate ones and
    nothing per tap. The even sum may exceed F bits by one: the odd sum's parity decodes it.

    Parameters
    ----------
    taps : int
        Products per sum; ValueError if the even sum exceeds F bits by more than one.
    weight_bits : int
        wb, 2 to 8, the full two's complement range.
    logic_taps : int
        The last so many taps multiply in LUTs instead of a DSP.

    Members
    -------
    i_x : In(ArrayLayout(8, taps))
        Pixels, unsigned.
    i_u : In(ArrayLayout(wb, taps))
        Even channel's weights + 2**(wb-1).
    i_w : In(ArrayLayout(wb, taps))
        Odd channel's weights, two's complement.
    i_fix : In(signed), ``fix_latency`` cycles after the pixels
        Sum over DSP taps of ``x * (2**(11-wb) * (x-128) + 1)`` plus the sum of x of logic taps.
    i_const : In(signed), with ``i_fix``
        Sum over DSP taps of u * w_odd.
    o_even, o_odd : Out(signed(sum_bits))
        Sums, ``latency`` cycles after the pixels. One of each a cycle.
    """

    def __init__(self, *, taps: int, weight_bits: int = 8, logic_taps: int = 0):
        if not 2 <= weight_bits <= 8:
            raise ValueError(f"weights of {weight_bits} bits are outside 2..8")
        if not 0 <= logic_taps <= taps:
            raise ValueError(f"{logic_taps} of {taps} taps cannot be in logic")
        self._taps, self._wb, self._logic = taps, weight_bits, logic_taps
        top = 1 << (weight_bits - 1)
        self.field = 28 - weight_bits
        self.sum_bits = (taps * 255 * top).bit_length() + 1
        self.odd_bits = (taps * CENTRE * top).bit_length() + 1
        if self.sum_bits > self.field + 1:
            raise ValueError(f"{taps} taps of {weight_bits} bits exceed a field of {self.field}")
        self.const_bits = (taps * (2 * top - 1) * top).bit_length() + 1
        self.fix_bits = fix_bits(taps, weight_bits)
        levels = (taps - 1).bit_length()
        self.fix_latency = Multiplier18.LATENCY + levels - 1
        self.latency = self.fix_latency + 3
        self.leaf_name = f"packed_mac_k{taps}_w{weight_bits}_l{logic_taps}"
        self.leaf_synth = "-nodsp"  # products in logic stay there; DSPs are instances
        super().__init__(
            {
                "i_x": In(data.ArrayLayout(8, taps)),
                "i_u": In(data.ArrayLayout(weight_bits, taps)),
                "i_w": In(data.ArrayLayout(weight_bits, taps)),
                "i_fix": In(signed(self.fix_bits)),
                "i_const": In(signed(self.const_bits)),
                "o_even": Out(signed(self.sum_bits)),
                "o_odd": Out(signed(self.sum_bits)),
            }
        )

    def elaborate(self, platform):
        m = Module()
        field, width = self.field, self.field + self.odd_bits
        products = [self._product(m, k) for k in range(self._taps)]
        dirty, levels = registered_sum(m, products, width, "sum")
        # what the products hold too much, subtracted in the level after the tree's last
        excess = Signal(signed(width), reset_less=True)
        clean = Signal(width, reset_less=True)
        m.d.sync += [
            excess.eq(
                (self.i_fix << (self._wb - 1)) + (self.i_const << (18 - self._wb))
            ),
            clean.eq(dirty - excess),
        ]
        negative = Signal()
        if self.sum_bits > field:
            m.d.comb += negative.eq(clean[field] ^ self._parity(m, self.latency - 1))
        else:
            m.d.comb += negative.eq(clean[field - 1])
        even = Signal(signed(self.sum_bits), reset_less=True)
        odd = Signal(signed(self.odd_bits), reset_less=True)
        # a negative even sum has borrowed one from the odd sum
        m.d.sync += [
            even.eq(Cat(clean[:field], negative).as_signed()),
            odd.eq(clean[field:].as_signed() + negative),
        ]
        m.d.comb += [self.o_even.eq(even), self.o_odd.eq(odd)]
        return m

    def _product(self, m, k):
        """A tap's product with both fields, signed, three cycles later."""
        wb, x = self._wb, self.i_x[k]
        centred = Cat(x[:7], ~x[7])
        if k < self._taps - self._logic:
            m.submodules[f"mul{k}"] = mul = Multiplier18()
            m.d.comb += [
                mul.a.eq(Cat(x, Const(0, 10 - wb), self.i_w[k]).as_signed()),
                mul.b.eq(Cat(self.i_u[k], Const(0, PIXEL_SHIFT - wb), centred).as_signed()),
            ]
            return mul.o
        m.submodules[f"even{k}"] = even = LogicMultiplier(bits=wb, is_signed=False)
        m.submodules[f"odd{k}"] = odd = LogicMultiplier(bits=wb, is_signed=True)
        m.d.comb += [even.a.eq(x), even.b.eq(self.i_u[k])]
        m.d.comb += [odd.a.eq(centred.as_signed()), odd.b.eq(self.i_w[k].as_signed())]
        return Cat(even.o, Const(0, self.field - len(even.o)), odd.o).as_signed()

    def _parity(self, m, latency):
        """Lowest bit of the odd sum, ``latency`` cycles later; four inputs a LUT."""
        level = [self.i_x[k][0] & self.i_w[k][0] for k in range(self._taps)]
        inputs = 2
        for n in range(latency):
            groups = [level[i : i + inputs] for i in range(0, len(level), inputs)]
            bits = Signal(len(groups), name=f"parity{n}", reset_less=True)
            m.d.sync += bits.eq(Cat(Cat(group).xor() for group in groups))
            level, inputs = list(bits), 4
        return level[0]


def fix_bits(taps: int, weight_bits: int) -> int:
    """Width of the correction that depends on the pixels alone."""
    return (taps * 255 * ((127 << (11 - weight_bits)) + 1)).bit_length() + 1
