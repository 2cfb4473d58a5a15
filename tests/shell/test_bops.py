"""The paper's totals from geometry alone."""

import math

import numpy as np
import pytest

from hwbnn.bops import BinaryLayer, binary_layers, claim
from hwbnn.ir import Graph, Node
from hwbnn.ops import float_ops as F


def resnet18(bits: int) -> list[BinaryLayer]:
    """The sixteen binary convolutions of SNN's ResNet-18 at 224x224."""
    layers, c_in = [], 64
    for width, size in ((64, 56), (128, 28), (256, 14), (512, 7)):
        for block in range(4):
            name = f"layer{len(layers) // 4 + 1}.{block}"
            layers.append(BinaryLayer(name, c_in, width, 3, size * size, bits))
            c_in = width
    return layers


@pytest.mark.parametrize(
    ("tau", "bops", "gathers", "weight_bits", "published_g", "published_mbit"),
    [
        (6, 883_900_416, 134_873_088, 7_323_648, 0.883, 7.324),
        (5, 501_358_592, 186_253_312, 6_103_040, 0.501, 6.103),
        (4, 297_242_624, 186_253_312, 4_882_432, 0.297, 4.882),
    ],
)
def test_sub_bit_resnet18(tau, bops, gathers, weight_bits, published_g, published_mbit):
    total = claim(resnet18(tau))
    assert total.bops == bops
    assert total.gathers == gathers
    assert total.weight_bits == weight_bits
    assert math.floor(total.bops / 10**6) / 1000 == published_g  # the paper's table truncates
    assert round(total.weight_bits / 1e6, 3) == published_mbit


def test_one_bit_resnet18():
    total = claim(resnet18(9))
    assert total.bops == total.plain_bops == total.macs == 1_676_279_808
    assert total.weight_bits == 10_985_472
    assert total.gathers == 0
    assert total.ratio == 1


def test_ratio_at_five_bits():
    assert claim(resnet18(5)).ratio == pytest.approx(3.3435, abs=1e-4)


def test_nothing_is_shared_where_codewords_outnumber_outputs():
    layer = BinaryLayer("layer1.0", 64, 64, 3, 56 * 56, 6)
    assert not layer.shared
    assert layer.bops == layer.macs


def test_layers_of_a_graph():
    rng = np.random.default_rng(1)
    codebook = np.unique(rng.choice([-1, 1], (5, 9)), axis=0).astype(np.int8)
    ids = rng.integers(0, len(codebook), (20, 6))
    weight = codebook[ids].reshape(20, 6, 3, 3)
    plain = rng.choice([-1, 1], (4, 20, 3, 3)).astype(np.int8)
    nodes = [
        Node("input", F.FInput((6, 8, 8), np.zeros(6), np.ones(6))),
        Node("sign", F.FSign(), ("input",)),
        Node("sub", F.FBinaryConv2d(weight, 2, 1, 0, codebook, ids), ("sign",)),
        Node("sign2", F.FSign(), ("sub",)),
        Node("one", F.FBinaryConv2d(plain, 1, 1), ("sign2",)),
    ]
    layers = binary_layers(Graph(nodes, "one"))
    assert layers == [
        BinaryLayer("sub", 6, 20, 3, 16, 3),
        BinaryLayer("one", 20, 4, 3, 16, 9),
    ]
    assert layers[0].bops == 9 * 6 * 8 * 16 + 6 * 20 * 16 / 2


def test_a_network_without_binary_convolutions_is_refused():
    with pytest.raises(ValueError, match="without binary convolutions has no BOPs"):
        claim([])
