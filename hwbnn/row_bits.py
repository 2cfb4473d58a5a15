"""1x1 binary convolutions of maps that lie by rows, as those of 3x3 convolutions do.

By channel groups a map reserves six channel words a pixel, whether it has them or not: large maps
of few channels take several times their bits. By rows they take what they have; a 1x1 convolution
reads them in the middle of 3x3 windows whose other taps count nothing, a channel word at a time.

Bits that are needed only until those of a part of a map are made can lie where these will, in the
channel words whose beginning an earlier part has.
"""

import dataclasses

from .errors import DoesNotFit
from .layers import Layer

__all__ = ["by_rows"]


def by_rows(layers: list[Layer], height: int, channels_in: int) -> list[Layer]:
    """The layers with bits for 1x1 convolutions by rows, in maps of ``height`` rows or more (0: in
    none), in words of ``channels_in``. Raises DoesNotFit where there is no such map."""
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
    for part in [layer for layer in result if layer.at and layer.bits]:
        result = _in_words(result, part, channels_in)
    return result


def _in_words(layers: list[Layer], part: Layer, channels_in: int) -> list[Layer]:
    """With bits in the words of the map that ``part`` makes a part of, where they end with it: read
    by nobody but the 1x1 convolution before it."""
    first = next((i for i, x in enumerate(layers) if x.bits == part.bits and not x.at), None)
    reader = next((x for x in layers if x.value == part.source and x.centred), None)
    if first is None or reader is None or part.grouped or part.joint > channels_in:
        return layers
    maker = next(i for i, x in enumerate(layers) if x.bits == reader.source)
    alone = all(x is reader for x in layers if reader.source in x.reads)
    same = reader.in_shape[1:] == part.out_shape[1:] and layers[maker].joint == reader.in_shape[0]
    if not (alone and same and first < maker and reader.in_shape[0] <= part.out_shape[0]):
        return layers
    changed = {id(layers[maker]): {"bits_in": part.bits, "bits_at": part.at},
               id(reader): {"reads_at": part.at}}
    return [dataclasses.replace(x, **changed[id(x)]) if id(x) in changed else x for x in layers]
