"""Which maps lie in off-chip memory, and how many rows of each are on chip at a time."""

import dataclasses

from .errors import DoesNotFit, UserError
from .gain_layers import computed_twice
from .layers import Layer

__all__ = ["OffChip"]


@dataclasses.dataclass(frozen=True)
class OffChip:
    """Maps of ``height`` rows or more lie off chip, by bands of ``rows`` rows; 0: none do. Those
    with a number of rows in ``again`` that wait for gains do not: their convolution is computed
    twice, and bits that it reads stay until then.

    A layer's map is one that is stored, waits for its gains, or is left for the dense array or as
    a residual. Bits stay on chip.
    """

    height: int = 0
    rows: int = 0
    again: tuple[int, ...] = ()

    @classmethod
    def of(cls, layers: list[Layer], height: int, rows: int, again) -> "OffChip":
        """From a plan's keys. UserError, DoesNotFit for those that make no sense."""
        if not height:
            if rows or again:
                raise UserError("bands of rows, or layers twice, of no map", where="plan, off_rows",
                                hint="say with off_chip from how many rows on maps lie off chip")
            return cls()
        if rows < 2 or rows % 2:
            raise DoesNotFit(f"bands of {rows} rows", where="plan, off_rows",
                             hint="rows are pooled in pairs: choose an even number")
        found = cls(height, rows, tuple(again or ()))
        if not any(layer.gains for layer in layers):
            raise DoesNotFit("maps off chip are built for networks with gains of each image",
                             where="plan, off_chip", hint="plan with 0")
        made = {name: layer for layer in layers for name in found.names(layer)}
        for layer in layers:
            if layer.levels and not layer.vector and layer.source in made:
                raise DoesNotFit("a quantiser whose range each image decides reads a whole map: "
                                 "one off chip has no step", where=layer.name,
                                 hint=f"plan with off_chip above {layer.shape[1]}")
        return found

    def layers(self, layers: list[Layer]) -> list[Layer]:
        """The layers with those computed twice."""
        for height in sorted({layer.out_shape[1] for layer in layers if layer.in_branch}):
            if self.covers(height) and height in self.again:
                layers = computed_twice(layers, height)
        return layers

    def resident(self, layers: list[Layer]) -> int:
        """How many leading layers keep their weights on chip: a first convolution whose map is made
        in bands, of few weights that are wider than others."""
        return int(bool(self.height) and layers[0].from_image)

    def covers(self, height: int) -> bool:
        """Whether a map of so many rows lies off chip."""
        return bool(self.height) and height >= self.height

    def names(self, layer: Layer) -> list[str]:
        """Maps that ``layer`` makes which lie off chip."""
        found = []
        if (layer.stored or layer.in_branch) and self.covers(layer.out_shape[1]):
            found.append(layer.value)
        if layer.x and not layer.vector and not layer.levels:
            if self.covers(layer.out_shape[1] // (2 if layer.halved else 1)):
                found.append(layer.x)
        return list(dict.fromkeys(found))

    def kept(self, layers: list[Layer], features: dict[str, int], x: dict[str, int]) -> None:
        """Limit the rows kept of stored maps and of dense inputs."""
        for layer in layers:
            banded = [layer.source] if layer.remakes else []
            for name in self.names(layer) + banded:
                for where in (features, x):
                    if name in where:
                        where[name] = min(where[name], self.rows)
