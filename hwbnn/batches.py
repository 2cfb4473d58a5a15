"""Batches: how many images each layer computes with one load of its weights, and in which order.

Layers of large maps keep the arrays busy while their weights come, and their maps fill the chip:
they run image after image. Layers of small maps wait for weights: they run for several images at
once. So the loops nest: the last layers run once for a batch, the ones before them several times,
each time for some of its images. The images of a map that is made for a batch lie below each other.
"""

import dataclasses
from collections.abc import Iterator

from .errors import DoesNotFit, UserError
from .layers import Layer

__all__ = ["Batches", "Run", "stages_of"]


@dataclasses.dataclass(frozen=True)
class Run:
    """Layers ``start`` to ``end``, less one, for ``images`` images of a batch from ``first`` on."""

    start: int
    end: int
    first: int
    images: int


@dataclasses.dataclass(frozen=True)
class Batches:
    """Images at once by layer: ``each`` never falls, and each number divides the next."""

    each: tuple[int, ...]

    @classmethod
    def of(cls, layers: list[Layer], levels, prefix: int = 0) -> "Batches":
        """From ``levels``, pairs (layer number, images at once from that layer on).

        The leading ``prefix`` layers run by bands, one image at a time, as the first one does.

        Raises
        ------
        UserError
            The pairs make no sense.
        DoesNotFit
            A layer has no step for several images.
        """
        levels = [tuple(pair) for pair in levels or ()]
        each, known = [], dict(levels)
        number = 1
        for i in range(len(layers)):
            following = known.get(i, number)
            if following < number or following % number:
                raise UserError(f"{following} images at once behind {number}", where="batch",
                                hint="every number must be a multiple of the one before it")
            number = following
            each.append(number)
        unknown = [start for start, _images in levels if not 0 <= start < len(layers)]
        if unknown or len(known) < len(levels):
            raise UserError(f"layers {[start for start, _n in levels]} are not different numbers "
                            f"below {len(layers)}", where="batch")
        late = next((layer for layer in layers if layer.map_pass or layer.weightless), None)
        if late is not None and number > 1:
            raise DoesNotFit("thresholds and gains of each image take one image at a time",
                             where=late.name, hint="leave --batch out")
        for i, layer in enumerate(layers):
            if each[i] > 1 and (i < max(1, prefix) or layer.from_image):
                raise DoesNotFit("runs one image at a time", where=layer.name,
                                 hint=f"begin a batch at layer {max(1, prefix)} or later")
            if each[i] > 1 and layer.binary and layer.conv.op.stride == 2 and layer.in_shape[1] % 2:
                raise DoesNotFit("a batch of maps of an odd height has no step of stride 2",
                                 where=layer.name, hint="begin the batch behind it")
        return cls(tuple(each))

    @property
    def images(self) -> int:
        """Images of a turn of the program."""
        return self.each[-1]

    def runs(self) -> Iterator[Run]:
        """The turn of the program, in order."""
        starts = [i for i in range(len(self.each)) if i == 0 or self.each[i] != self.each[i - 1]]
        ends = [*starts[1:], len(self.each)]
        levels = [(start, end, self.each[start]) for start, end in zip(starts, ends, strict=True)]
        yield from _nested(levels, len(levels) - 1, 0)

    def crosses(self, first: int, last: int) -> bool:
        """Whether what layer ``first`` makes waits for other images until layer ``last`` runs."""
        return self.each[last] > self.each[first]

    def tall(self, layers: list[Layer]) -> dict[str, int]:
        """Images that are kept of each stored map, bit map and dense input: all that are made or
        read at once, and as many of a map as of its residual."""
        kept: dict[str, int] = {}
        for images, layer in zip(self.each, layers, strict=True):
            for name in (layer.source, layer.residual, layer.value, layer.bits, layer.x):
                if name:
                    kept[name] = max(kept.get(name, 1), images)
        changed = True
        while changed:
            changed = False
            for layer in layers:
                if layer.stored and layer.residual:
                    pair = (layer.value, layer.residual)
                    most = max(kept[name] for name in pair)
                    changed |= any(kept[name] != most for name in pair)
                    kept |= dict.fromkeys(pair, most)
        return kept


def _nested(levels, level: int, first: int) -> Iterator[Run]:
    start, end, images = levels[level]
    if level:
        inner = levels[level - 1][2]
        for image in range(first, first + images, inner):
            yield from _nested(levels, level - 1, image)
    yield Run(start, end, first, images)


def stages_of(layers: list[Layer]) -> list[int]:
    """Numbers of the layers from which on maps are lower than all before."""
    found, height = [], None
    for i, layer in enumerate(layers):
        if height is None or layer.out_shape[1] < height:
            height = layer.out_shape[1]
            found.append(i)
    return found
