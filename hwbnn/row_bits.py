"""1x1 binary convolutions of maps that lie by rows, as those of 3x3 convolutions do.

By channel groups a map reserves six channel words a pixel, whether it has them or not: large maps
of few channels take several times their bits. By rows they take what they have; a 1x1 convolution
reads them in the middle of 3x3 windows whose other taps count nothing, a channel word at a time.
"""

import dataclasses

from .errors import DoesNotFit
from .layers import Layer

__all__ = ["by_rows"]


def by_rows(layers: list[Layer], height: int) -> list[Layer]:
    """The layers with bits for 1x1 convolutions by rows, in maps of ``height`` rows or more (0: in
    none). Raises DoesNotFit where there is no such map."""
    if not height:
        return layers
    result = []
    for layer in layers:
        if layer.grouped and layer.out_shape[1] >= height:
            layer = dataclasses.replace(layer, grouped=False)
        if layer.pointwise and layer.in_shape[1] >= height:
            layer = dataclasses.replace(layer, centred=True)
        result.append(layer)
    if not any(layer.centred for layer in result):
        raise DoesNotFit(f"no 1x1 binary convolution reads a map of {height} rows or more",
                         where="plan, row_bits", hint="plan with 0")
    return result
