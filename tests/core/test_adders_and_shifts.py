"""Power-of-two slopes, ±1 weights on real maps, repeated channels, and max-pool before PReLU."""

import numpy as np
import pytest

from hwbnn import golden
from hwbnn.ir import Graph, Node
from hwbnn.ops import float_ops as F
from hwbnn.ops import int_ops as I
from hwbnn.passes import Numeric, calibrate, fold_norm, lower_to_integers
from hwbnn.passes.calibrate import run_float
from hwbnn.types import IntRange, TensorType

SIZE = 8


def network(slopes, weights=None, *, repeat=False, pool=False, seed=0):
    """image -> 3x3 -> PReLU [-> pool] -> 1x1 -> scale [+ repeated shortcut] -> mean -> classes."""
    rng = np.random.default_rng(seed)
    c = len(slopes)
    weights = rng.normal(0, 1, (2 * c, c, 1, 1)) if weights is None else weights
    nodes = [
        Node("image", F.FInput((3, SIZE, SIZE), np.full(3, 0.45), np.full(3, 0.25))),
        Node("conv", F.FConv2d(rng.normal(0, 0.3, (c, 3, 3, 3)), 1, 1), ("image",)),
        Node("prelu", F.FPReLU(np.asarray(slopes, float)), ("conv",)),
    ]
    if pool:
        nodes.append(Node("pool", F.FMaxPool2d(3, 2, 1), ("prelu",)))
    x = nodes[-1].name
    nodes += [
        Node("pw", F.FConv2d(weights, 1, 0), (x,)),
        Node("pw.scale", F.FScale(rng.uniform(0.05, 0.2, 2 * c) * rng.choice([-1, 1], 2 * c)),
             ("pw",)),
    ]
    if repeat:
        nodes += [Node("repeat", F.FRepeat(2), (x,)),
                  Node("add", F.FAdd(), ("pw.scale", "repeat"))]
    nodes += [
        Node("mean", F.FGlobalAvgPool(), (nodes[-1].name,)),
        Node("fc", F.FLinear(rng.normal(0, 0.5, (5, 2 * c)), rng.normal(0, 0.1, 5)), ("mean",)),
    ]
    images = rng.integers(0, 256, (6, SIZE, SIZE, 3), dtype=np.uint8)
    return Graph(nodes, "fc"), images


def kinds(graph):
    return {type(n.op) for n in graph}


@pytest.mark.parametrize(
    ("slopes", "asked", "found"),
    [
        ([0.25, 128.0, -2.0, 2.0**-19], "auto", I.ShiftRPReLU),
        ([0.25, 256.0], "auto", I.RPReLU),
        ([0.25, 2.0**-20], "auto", I.RPReLU),
        ([0.25, 0.0], "auto", I.RPReLU),
        ([0.25, 0.3], "auto", I.RPReLU),
        ([0.25, 2.0], "multiplier", I.RPReLU),
        ([0.25, 0.3], "shift", I.ShiftRPReLU),
    ],
)
def test_slopes_decide_unless_the_user_does(slopes, asked, found):
    graph, images = network(slopes)
    _folded, integer = lower_to_integers(graph, images, Numeric(rprelu=asked))
    assert kinds(integer) & {I.RPReLU, I.ShiftRPReLU} == {found}
    shift = found is I.ShiftRPReLU
    assert integer.meta["numeric"]["rprelu"] == ("shift" if shift else "multiplier")
    decided = [d for d in integer.decisions if d.where == "rprelu"]
    assert len(decided) == (asked == "auto")
    if asked == "auto":
        assert decided[0].chose == ("shift" if shift else "multiplier")
        wrong = sum(not (np.log2(abs(s or 3)).is_integer() and 2**-19 <= abs(s) <= 128)
                    for s in slopes)
        assert (f"{wrong} of {len(slopes)}" in decided[0].why) == bool(wrong)


def test_shifts_of_powers_of_two_lose_nothing():
    slopes = [0.25, 8.0, -2.0, 2.0**-19, 0.5]
    graph, images = network(slopes)
    _folded, integer = lower_to_integers(graph, images)
    op = integer["prelu.rprelu"].op
    assert (op.sign * 2.0**op.exponent).tolist() == slopes
    assert not any("rounded to powers" in d.chose for d in integer.decisions)
    values = golden.run_batch(integer, images)
    z = values[integer["prelu.rprelu"].inputs[0]]
    exact = np.where(z > 0, z, z * np.array(slopes)[None, :, None, None])
    assert np.abs(values["prelu.rprelu"] - exact).max() <= 0.5


@pytest.mark.parametrize("zero", [False, True])
def test_equal_magnitudes_stay_ones(zero):
    rng = np.random.default_rng(1)
    ones = rng.choice([-1.0, 1.0], (6, 3, 1, 1)) * rng.uniform(0.1, 3, (6, 1, 1, 1))
    if zero:
        ones[2] = 0
    graph, images = network([0.25, 0.5, 2.0], ones)
    folded, integer = lower_to_integers(graph, images)
    op = integer["pw"].op
    assert op.weight_bits == 2 and np.array_equal(op.weight, np.sign(ones))
    values, exact = golden.run_batch(integer, images), run_float(folded, images)
    # the sum itself adds no error to that of its input
    unit = 2.0 ** -integer.types()["pw"].frac
    real = values["pw"] * unit * np.abs(ones).max(axis=(1, 2, 3))[None, :, None, None]
    error = np.abs(values["prelu"] * unit - exact["prelu"]).max()
    assert np.abs(real - exact["pw"]).max() <= 3 * error * np.abs(ones).max() + 1e-9


def test_one_other_magnitude_takes_the_stated_bits():
    ones = np.ones((6, 3, 1, 1))
    ones[5, 2] = 0.5
    graph, images = network([0.25, 0.5, 2.0], ones)
    _folded, integer = lower_to_integers(graph, images)
    assert integer["pw"].op.weight_bits == 8 and integer["pw"].op.weight.max() == 127


def test_repeat_is_channel_modulo_and_keeps_the_position():
    graph, images = network([0.25, 2.0, 0.5], repeat=True)
    folded, integer = lower_to_integers(graph, images)
    values, types = golden.run_batch(integer, images), integer.types()
    x, twice = values[integer["repeat"].inputs[0]], values["repeat"]
    assert all(np.array_equal(twice[:, c], x[:, c % 3]) for c in range(6))
    assert types["repeat"] == TensorType((6, SIZE, SIZE), "int",
                                         types["prelu"].range, types["prelu"].frac)
    exact = run_float(folded, images)["fc"]
    real = values["fc"] * 2.0 ** -types["fc"].frac
    assert np.abs(real - exact).max() < 0.02 * np.ptp(exact)
    assert calibrate(folded, None).peak["repeat"].shape == (6,)


def test_repeat_refuses_bits_and_nonsense():
    with pytest.raises(ValueError, match="needs int input, got bit"):
        I.Repeat(2).out_type(TensorType((3, 2, 2), "bit", IntRange(0, 1)))
    for op in (I.Repeat(0), F.FRepeat(0)):
        with pytest.raises(ValueError, match="times must be positive, not 0"):
            op.out_type(TensorType((3, 2, 2), "int", IntRange(0, 1)))


def test_max_pool_goes_before_a_prelu_that_never_falls():
    graph, images = network([0.25, 0.0, 3.0], pool=True)
    folded = fold_norm(graph)
    assert folded["prelu"].inputs == ("pool",) and folded["pw"].inputs == ("prelu",)
    before, after = run_float(graph, images), run_float(folded, images)
    assert np.array_equal(after["prelu"], before["pool"])
    assert [d.chose for d in folded.decisions] == ["max-pool before PReLU"]


def test_max_pool_stays_behind_a_prelu_that_may_fall():
    graph, images = network([0.25, -0.01, 3.0], pool=True)
    folded, integer = lower_to_integers(graph, images)
    assert folded["pool"].inputs == ("prelu",) and not folded.decisions
    values, types = golden.run_batch(integer, images), integer.types()
    exact = run_float(folded, images)["fc"]
    assert np.abs(values["fc"] * 2.0 ** -types["fc"].frac - exact).max() < 0.02 * np.ptp(exact)


def test_a_network_without_normalisation_has_ranges_without_images():
    graph, images = network([128.0, 64.0, 2.0])
    folded, integer = lower_to_integers(graph, None)
    assert calibrate(folded, None).made_up == 64
    assert any("made-up images" in d.chose for d in integer.decisions)
    exact, types = run_float(folded, images)["fc"], integer.types()
    real = golden.run_batch(integer, images)["fc"] * 2.0 ** -types["fc"].frac
    assert np.abs(real - exact).max() < 0.02 * np.ptp(exact)
