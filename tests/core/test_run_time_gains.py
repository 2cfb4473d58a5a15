"""Gains that the image decides, element products, concats, each by its meaning."""

from fractions import Fraction
from math import floor

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hwbnn import golden, ints
from hwbnn.ir import Graph, Node
from hwbnn.ops import float_dynamic as D
from hwbnn.ops import float_gain as G
from hwbnn.ops import float_ops as F
from hwbnn.ops import int_dynamic as DI
from hwbnn.ops import int_gain as J
from hwbnn.ops import int_ops as I
from hwbnn.passes import Numeric, lower_to_integers
from hwbnn.passes.calibrate import run_float
from hwbnn.passes.shifts import half, limit_shifts
from hwbnn.types import IntRange, TensorType

WIDE = st.integers(-(1 << 17), (1 << 17) - 1)
MAP = TensorType((2, 3, 3), "int", IntRange(-(1 << 15), (1 << 15) - 1), 11)
VECTOR = TensorType((2, 1, 1), "int", IntRange(0, (1 << 16) - 1), 16)


def rounded(value: Fraction) -> int:
    """To nearest, halves up."""
    return floor(value + Fraction(1, 2))


@given(WIDE, WIDE, WIDE, WIDE, st.integers(0, 30))
def test_mix_and_product_round_once(a, b, p, q, shift):
    unit = Fraction(1, 1 << shift)
    assert ints.mix(a, b, p, q, shift) == rounded((a * p + b * q) * unit)
    assert ints.product(a, b, shift) == rounded(a * b * unit)
    arrays = [np.array([v]) for v in (a, b, p, q)]
    assert ints.mix(*arrays, shift)[0] == ints.mix(a, b, p, q, shift)
    assert ints.product(*arrays[:2], shift)[0] == ints.product(a, b, shift)


@pytest.mark.parametrize("seed", range(5))
def test_values_stay_in_the_types_and_reach_their_ends(seed):
    rng = np.random.default_rng(seed)
    ends = np.array([-(1 << 15), (1 << 15) - 1])
    gain, other = rng.integers(-(1 << 17), 1 << 17, (2, 2))
    bias = rng.integers(-(1 << 30), 1 << 30, 2)
    a, b = (g.reshape(4, 1, 1, 1) for g in np.meshgrid(ends, ends))
    a, b = (np.broadcast_to(v, (4, 2, 3, 3)) for v in (a, b))
    g = np.array([0, (1 << 16) - 1]).reshape(2, 1, 1, 1) + np.zeros((1, 2, 1, 1), int)
    scaled = J.ScaledGain(gain, 16, 9)
    kind = scaled.out_type(VECTOR)
    for op, types, args in (
        (J.Mix(gain, other, 12, 5), (MAP, MAP), (a, b)),
        (J.Product(13), (MAP, MAP), (a, b)),
        (scaled, (VECTOR,), (g,)),
        (J.GainAffine(bias, 14), (MAP, kind),
         (np.tile(a, (2, 1, 1, 1)), np.repeat(scaled.run(g), 4, axis=0))),
        (J.Concat(), (MAP, MAP), (a, b)),
    ):
        made, found = op.out_type(*types), op.run(*args)
        assert made.shape == found.shape[1:] and found.dtype == np.int64
        assert made.range.lo <= found.min() and found.max() <= made.range.hi
        if not isinstance(op, J.GainAffine):  # whose ends need one gain's channel beside another's
            assert (made.range.lo, made.range.hi) == (found.min(), found.max())
    assert kind.frac == 9 and kind.range.width <= 18
    assert J.Product(13).out_type(MAP, MAP).frac == 9
    assert J.GainAffine(bias, 14).out_type(MAP, kind).frac == 11 + 9 - 14


def test_one_gain_for_all_images_is_an_affine():
    rng = np.random.default_rng(3)
    x = rng.integers(-(1 << 15), 1 << 15, (5, 4, 3, 3))
    gain, bias = rng.integers(-(1 << 17), 1 << 17, 4), rng.integers(-(1 << 30), 1 << 30, 4)
    each = np.broadcast_to(gain.reshape(1, 4, 1, 1), (5, 4, 1, 1))
    assert np.array_equal(J.GainAffine(bias, 13).run(x, each),
                          I.Affine(gain, bias, 13, 0).run(x))


WIDE_MAP = TensorType((2, 3, 3), "int", IntRange(-(1 << 18), 0), 11)
BITS = TensorType((2, 3, 3), "bit", IntRange(0, 1))
TWO = np.array([1, 2])


@pytest.mark.parametrize(("op", "types", "text"), [
    (J.Product(3), (MAP, WIDE_MAP), "b -262144..0 exceeds 18 bits"),
    (J.Product(3), (MAP, VECTOR), "shapes"),
    (J.Product(3), (MAP, BITS), "needs int"),
    (J.Mix(TWO, TWO << 17, 3, 0), (MAP, MAP), "gain_b .* exceeds 18 bits"),
    (J.Mix(TWO, TWO, 3, 0), (MAP, WIDE_MAP), "b .* exceeds 18 bits"),
    (J.Mix(TWO, TWO[:1], 3, 0), (MAP, MAP), "constant of shape"),
    (J.ScaledGain(TWO << 17, 16, 0), (VECTOR,), "gain .* exceeds 18 bits"),
    (J.ScaledGain(TWO, 14, 0), (VECTOR,), "position 16 are shifted by 14"),
    (J.GainAffine(TWO, 3), (MAP, MAP), "for 2 channels"),
    (J.GainAffine(TWO, 3), (WIDE_MAP, VECTOR), "x .* exceeds 18 bits"),
    (J.Concat(), (MAP, VECTOR), "operands differ"),
    (J.Concat(), (MAP, TensorType((2, 3, 3), "int", IntRange(0, 1), 10)), "operands differ"),
    (G.FGain(), (TensorType((2, 3, 3), "float"),) * 2, "for 2 channels"),
    (G.FMix(np.ones(3)), (TensorType((2, 1, 1), "float"),) * 2, "scale has shape"),
    (G.FConcat(), (TensorType((2, 3, 3), "float"), TensorType((2, 1, 1), "float")), "in size"),
])
def test_refused_types(op, types, text):
    with pytest.raises(ValueError, match=text):
        op.out_type(*types)


def gated(seed=0, product=True, gain=1.0, gate=1.0):
    """Image -> map -> binary conv -> BN -> PReLU -> SE gain of both [* map] -> BN -> + map, twice
    from one map, put behind one another -> dense."""
    rng = np.random.default_rng(seed)
    c = 6
    nodes = [
        Node("image", F.FInput((3, 8, 8), np.full(3, 0.45), np.full(3, 0.25))),
        Node("conv0", F.FConv2d(rng.normal(0, 0.3, (c, 3, 3, 3)), 1, 1), ("image",)),
        Node("x.mean", F.FGlobalAvgPool(), ("conv0",)),
    ]

    def add(name, op, *inputs):
        nodes.append(Node(name, op, inputs))
        return name

    def norm(size, middle):
        gamma = rng.normal(0, 1, c) * size
        gamma[:2] = -size, size
        return F.FBatchNorm(gamma, rng.normal(0, 0.2, c), rng.normal(0, middle, c),
                            rng.uniform(0.5, 1.5, c) * middle**2)

    ends = []
    for m in ("a", "b"):
        sign = add(f"{m}.sign", F.FSign(), "conv0")
        conv = add(f"{m}.conv", F.FBinaryConv2d(rng.choice([-1, 1], (c, c, 3, 3)).astype(np.int8)),
                   sign)
        y = add(f"{m}.y", F.FPReLU(rng.normal(0.25, 0.3, c)),
                add(f"{m}.norm1", norm(1.0, 6.0), conv))
        mean = add(f"{m}.mean", F.FGlobalAvgPool(), y)
        scale = rng.uniform(0, 1, c)
        scale[:2] = -0.01, 1.01
        mix = add(f"{m}.mix", G.FMix(scale), "x.mean", mean)
        h = add(f"{m}.fc0", F.FLinear(rng.normal(0, 1, (3, c)), np.array([0.5, 1, 2])), mix)
        h = add(f"{m}.fc2", F.FLinear(rng.normal(0, 3 * gate, (c, 3)), rng.normal(0, 1, c)),
                add(f"{m}.relu", D.FReLU(), h))
        g = add(f"{m}.g", D.FSigmoid(), h)
        y = add(f"{m}.product", G.FProduct(), y, "conv0") if product else y
        n = add(f"{m}.norm2", norm(gain, 0.5), add(f"{m}.gain", G.FGain(), y, g))
        ends.append(add(f"{m}.add", F.FAdd(), n, "conv0"))
    add("concat", G.FConcat(), *ends)
    add("fc", F.FLinear(rng.normal(0, 0.3, (5, 2 * c)), rng.normal(0, 0.1, 5)),
        add("pool", F.FGlobalAvgPool(), "concat"))
    images = rng.integers(0, 256, (6, 8, 8, 3), dtype=np.uint8)
    images[:3] //= 3  # some dark
    return Graph(nodes, "fc"), images


def real(values, types, name):
    return values[name] * 2.0 ** -types[name].frac


@pytest.mark.parametrize("product", [True, False])
@pytest.mark.parametrize("seed", range(3))
def test_gains_follow_the_image(seed, product):
    graph, images = gated(seed, product)
    for calibration in (images, None):
        folded, integer = lower_to_integers(graph, calibration)
        values, types = golden.run_batch(integer, images), integer.types()
        exact = run_float(folded, images)
        assert np.allclose(exact["fc"], run_float(graph, images)["fc"])  # folding loses nothing
        for name, value in values.items():
            assert types[name].shape == value.shape[1:]
            assert types[name].range.lo <= value.min() and value.max() <= types[name].range.hi
        for m in ("a", "b"):
            g = real(values, types, f"{m}.g")
            assert types[f"{m}.g"].frac == 16 and types[f"{m}.g"].range.width <= 17
            assert np.abs(g - exact[f"{m}.g"]).max() < 0.03 and g.std(axis=0).max() > 0.01
            # the mixed map is never made; its mean is that of the maps that there are
            means = [real(values, types, x) / 64 for x in integer[f"{m}.mix.sum"].inputs]
            assert np.abs(real(values, types, f"{m}.mix")
                          - folded[f"{m}.mix"].op.run(*means)).max() < 2e-3
            assert np.abs(means[0] - exact["x.mean"]).max() < 2e-3
            assert types[f"{m}.mix.sum"].shape == (6, 1, 1)
            out, wanted = real(values, types, f"{m}.add"), exact[f"{m}.add"]
            if calibration is not None:  # these normalisations do not know their inputs
                assert np.abs(out - wanted).mean() < 0.02 * wanted.std()
        assert np.array_equal(values["concat"],
                              np.concatenate([values["a.add"], values["b.add"]], axis=1))
    _folded, integer = lower_to_integers(graph, images)
    found = real(golden.run_batch(integer, images), integer.types(), "fc")
    assert np.abs(found - exact["fc"]).mean() < 0.03 * exact["fc"].std()
    assert sum(golden.run(integer, images).saturated.values()) == 0


def test_a_gain_of_one_and_of_almost_nothing():
    graph, images = gated(gate=200)
    folded, integer = lower_to_integers(graph, images)
    values, exact = golden.run_batch(integer, images), run_float(folded, images)
    g = np.concatenate([values["a.g"], values["b.g"]])
    assert g.min() == 22 and g.max() == (1 << 16) - 22  # sigmoid(+-8) of the table's last entry
    sure = np.abs(exact["a.fc2"]) > 10
    assert sure.any() and np.abs(values["a.g"] / 65536 - exact["a.g"])[sure].max() < 4e-4
    assert golden.run(integer, images).saturated["a.fc2"] == 0  # no loss beyond the table


def test_a_gain_without_normalisation_behind_it():
    graph, images = gated()
    nodes = [n for n in graph if n.name in
             ("image", "conv0", "x.mean") or n.name.startswith("a.")][:-2]
    assert isinstance(nodes[-1].op, G.FGain)
    nodes += [Node("sign", F.FSign(), ("a.gain",)),
              Node("last", F.FBinaryConv2d(np.ones((5, 6, 3, 3), np.int8)), ("sign",))]
    folded, integer = lower_to_integers(Graph(nodes, "last"), images)
    assert isinstance(folded["a.gain"].op, G.FGainAffine)
    assert isinstance(integer["a.gain"].op, I.Saturate)
    values, types = golden.run_batch(integer, images), integer.types()
    wanted = run_float(folded, images)["a.gain"]
    assert np.abs(real(values, types, "a.gain") - wanted).max() < 0.01 * np.abs(wanted).max()


@pytest.mark.parametrize("bits", [8, 12, 18])
def test_other_widths(bits):
    graph, images = gated()
    folded, integer = lower_to_integers(graph, images, Numeric(feature_bits=bits))
    values, types = golden.run_batch(integer, images), integer.types()
    wanted = run_float(folded, images)["fc"]
    assert {n.op.bits for n in integer if isinstance(n.op, I.Saturate)} == {bits}
    error = np.abs(real(values, types, "fc") - wanted).mean()
    assert error < {8: 0.3, 12: 0.05, 18: 0.03}[bits] * wanted.std()


def test_gains_share_one_table():
    _folded, integer = lower_to_integers(*gated())
    tables = [n.op for n in integer if isinstance(n.op, DI.Sigmoid)]
    assert len(tables) == 2 and len({t.table.tobytes() for t in tables}) == 1
    assert tables[0].max_error(12) < 0.00099 and tables[0].table.max() < 1 << 16


def test_statistics_cover_a_product_as_well_as_a_sum():
    rng = np.random.default_rng(0)
    a, b = rng.normal(1, 2, 10**6), rng.normal(-0.5, 1, 10**6)
    one = np.ones(1)
    mean, std = G.FProduct().spread((1 * one, 2 * one), (-0.5 * one, one))
    assert abs(mean[0] - (a * b).mean()) < 0.01
    assert abs(std[0] / G.TAILS - (a * b).std()) < 0.01
    assert np.abs(a * b).max() < abs(mean[0]) + 6 * std[0]


def test_few_shifts_are_left_and_change_little():
    rng = np.random.default_rng(7)
    x, g = rng.integers(-(1 << 15), 1 << 15, (3, 4, 5, 5)), rng.integers(0, 1 << 16, (3, 4, 1, 1))
    mean = rng.integers(-(1 << 15), 1 << 15, (3, 4, 1, 1))
    nodes = []
    for shift in range(8, 19, 2):
        gain, other = rng.integers(-(1 << 17), 1 << 17, (2, 4))
        bias = rng.integers(-(1 << 20), 1 << 20, 4) + half(shift)
        nodes += [Node(f"g{shift}", J.ScaledGain(gain, 16, shift), ("gate",)),
                  Node(f"y{shift}", J.GainAffine(bias, shift), ("map", f"g{shift}")),
                  Node(f"m{shift}", J.Mix(gain, other, shift, 5), ("mean", "mean"))]
    kept = limit_shifts(nodes, 4)
    assert [n.name for n in kept] == [n.name for n in nodes]
    for kind in (J.GainAffine, J.Mix):
        assert len({n.op.shift for n in kept if isinstance(n.op, kind)}) == 4
    pairs = zip(nodes, kept, strict=True)
    changed = 0
    for (old_g, new_g), (old, new), (old_m, new_m) in zip(pairs, pairs, pairs, strict=True):
        down = old.op.shift - new.op.shift
        assert down >= 0 and old_g.op.frac - new_g.op.frac == down
        changed += down > 0
        a, b = old.op.run(x, old_g.op.run(g)), new.op.run(x, new_g.op.run(g))
        # a gain is rounded to 2**down of its units, the sum by one
        assert np.abs(a - b).max() <= 1.5 * 2.0**down * 2**15 / 2**old.op.shift + 1
        a, b = old_m.op.run(mean, mean), new_m.op.run(mean, mean)
        down = old_m.op.shift - new_m.op.shift
        assert np.abs(a - b).max() <= 2.0**down * 2**15 / 2**old_m.op.shift + 1
        if not down:
            assert old_m is new_m
    assert changed == 2
