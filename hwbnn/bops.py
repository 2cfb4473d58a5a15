"""Operation counts that the sub-bit paper claims (SNN, ICCV 2021), from a network's geometry.

A sub-bit layer has ``N = 2**tau`` codewords. The paper convolves every input channel once with
every codeword and then gathers by kernel ID, and it counts a gather-and-add as half an operation:
``9*Ci*N*M + Ci*Co*M/2`` with ``M`` output pixels. Where the layer has at most N output channels
nothing is shared and it costs ``9*Ci*Co*M``. The half is inferred: it is the coefficient that
reproduces the published totals. Sizes leave the codebooks out, as the paper does.
"""

import dataclasses
from collections.abc import Iterable
from fractions import Fraction

from .ir import Graph
from .ops.float_ops import FBinaryConv2d
from .ops.int_ops import BinaryConv2d

__all__ = ["PLAIN_BITS", "PAPER_RUNTIME", "BinaryLayer", "Claim", "binary_layers", "claim"]

PLAIN_BITS = 9  # stored bits of a 3x3 kernel of one-bit weights

# Runtime gain over one bit that the paper's abstract states for its own FPGA, at 0.56 bit.
PAPER_RUNTIME = {"ResNet-18": 3.13, "ResNet-34": 3.33}


@dataclasses.dataclass(frozen=True)
class BinaryLayer:
    """One binary convolution: channels, kernel edge, output pixels, stored bits per kernel."""

    name: str
    c_in: int
    c_out: int
    kernel: int
    pixels: int
    kernel_bits: int

    @property
    def macs(self) -> int:
        """Binary multiply-accumulates of one image."""
        return self.kernel**2 * self.c_in * self.c_out * self.pixels

    @property
    def shared(self) -> bool:
        """Whether the paper's method saves anything here: fewer codewords than outputs."""
        return self.kernel_bits < self.kernel**2 and 2**self.kernel_bits < self.c_out

    @property
    def gathers(self) -> int:
        """Look-ups with an addition, one per input channel, output channel and pixel."""
        return self.c_in * self.c_out * self.pixels if self.shared else 0

    @property
    def bops(self) -> Fraction:
        """Operations by the paper's count."""
        if not self.shared:
            return Fraction(self.macs)
        table = self.kernel**2 * self.c_in * 2**self.kernel_bits * self.pixels
        return table + Fraction(self.gathers, 2)

    @property
    def weight_bits(self) -> int:
        """Bits of kernel IDs, codebook excluded."""
        return self.kernel_bits * self.c_in * self.c_out

    def plain(self) -> "BinaryLayer":
        """The same layer with one-bit weights."""
        return dataclasses.replace(self, kernel_bits=self.kernel**2)


@dataclasses.dataclass(frozen=True)
class Claim:
    """What the paper counts for a network at its own bits and at one bit.

    ``adds`` are additions that the sub-bit method really does: 9 per table entry and one per
    gather; a BOP count that halves the gathers does not make them cheaper.
    """

    bops: Fraction
    plain_bops: Fraction
    weight_bits: int
    plain_weight_bits: int
    macs: int
    gathers: int
    adds: int

    @property
    def ratio(self) -> float:
        """Claimed gain: operations at one bit over operations at the network's own bits."""
        return float(self.plain_bops / self.bops)


def claim(layers: Iterable[BinaryLayer]) -> Claim:
    """Sum over the binary convolutions of a network.

    Raises
    ------
    ValueError
        There is none.
    """
    layers = list(layers)
    if not layers:
        raise ValueError("a network without binary convolutions has no BOPs")
    gathers = sum(layer.gathers for layer in layers)
    table = sum(layer.bops - Fraction(layer.gathers, 2) for layer in layers)
    return Claim(
        bops=sum(layer.bops for layer in layers),
        plain_bops=sum(layer.plain().bops for layer in layers),
        weight_bits=sum(layer.weight_bits for layer in layers),
        plain_weight_bits=sum(layer.plain().weight_bits for layer in layers),
        macs=sum(layer.macs for layer in layers),
        gathers=gathers,
        adds=int(table) + gathers,
    )


def binary_layers(graph: Graph) -> list[BinaryLayer]:
    """The binary convolutions of a float or integer graph, in order."""
    types = graph.types()
    layers = []
    for node in graph:
        if not isinstance(node.op, BinaryConv2d | FBinaryConv2d):
            continue
        c_out, c_in, kernel, _ = node.op.weight.shape
        _, h, w = types[node.name].shape
        bits = kernel**2
        if node.op.codebook is not None:
            bits = max(1, (len(node.op.codebook) - 1).bit_length())
        layers.append(BinaryLayer(node.name, c_in, c_out, kernel, h * w, bits))
    return layers
