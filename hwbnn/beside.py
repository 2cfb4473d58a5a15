"""Two frames at once for run-time thresholds: their dense layers and passes beside the array.

Layers are cut into a front and a back. A turn of the program computes the front of one frame and
the back of the one before, a layer of one after a layer of the other. Whatever lies between two
layers of a frame (two dense layers and a pass over the map: an entry of the threshold unit's own
program) then has the time of a layer of the other frame. Each half has a feature memory and a bit
buffer of its own, so that unit and array never want the same one; the front's last layer, at the
end of the turn, writes its map into the back's memory.
"""

import dataclasses

from .errors import DoesNotFit
from .layers import Layer
from .map_pass import MapPass
from .ops.int_dynamic import Sigmoid
from .ops.int_ops import AvgPool2x2, GlobalSum

__all__ = ["Barrier", "Halves", "halves"]


@dataclasses.dataclass(frozen=True, eq=False)
class Barrier:
    """Between the layers number ``maker`` and ``consumer``: ``hidden`` and ``out`` are the dense
    layers, ``over`` the pass that makes the bits; ``half`` the consumer's, 0 front or 1 back."""

    maker: int
    consumer: int
    hidden: Layer
    out: Layer
    over: MapPass
    half: int


@dataclasses.dataclass(frozen=True, eq=False)
class Halves:
    """Numbers of the layers that are steps, ``front`` and ``back``, each in its order; ``order`` is
    that of the turn; ``barriers`` in the order in which maps are due, from the turn's beginning.

    ``memory`` says in which half's feature memory a map lies, by name.
    """

    front: list[int]
    back: list[int]
    order: list[int]
    barriers: list[Barrier]
    memory: dict[str, int]

    def half(self, number: int) -> int:
        return int(number in self.back)

    def time(self, number: int) -> int:
        """Place of a step among those of its half."""
        return (self.back if number in self.back else self.front).index(number)


def halves(layers: list[Layer | MapPass], cut: int) -> Halves:
    """The front of ``cut`` steps, and the back. DoesNotFit where they cannot run at once."""
    found = _barriers(layers)
    parts = {id(part) for _maker, *dense in found for part in dense}
    steps = [i for i, layer in enumerate(layers) if id(layer) not in parts]
    if not 2 <= cut < len(steps):
        raise DoesNotFit(f"a front of {cut} of {len(steps)} layers", where="plan",
                         hint=f"choose 2 to {len(steps) - 1}")
    front, back = steps[:cut], steps[cut:]
    barriers = []
    for maker, hidden, out, over in found:
        made = {over.bits, over.x} - {None}
        consumer = next(i for i in steps if made & set(layers[i].reads))
        barriers.append(Barrier(maker, consumer, hidden, out, over, int(consumer in back)))
    memory = _memories(layers, front, back, barriers)
    _check_neighbours(layers, front, back, barriers)
    order = [i for pair in zip(front[:-1], back, strict=False) for i in pair]
    least = min(len(front) - 1, len(back))
    order += [*front[least:-1], *back[least:], front[-1]]
    return Halves(front, back, order, _in_order(layers, order, barriers), memory)


def _barriers(layers) -> list[tuple[int, Layer, Layer, MapPass]]:
    """(number of the map's layer, dense layers, pass) of every map that is binarised."""
    by_x = {layer.x: i for i, layer in enumerate(layers) if layer.x}
    found = []
    for over in layers:
        if not over.map_pass:
            continue
        if not over.thresholds or isinstance(over.x_op, AvgPool2x2):
            raise DoesNotFit("a pass for sums or for a pooled map has no place beside the array",
                             where=over.name, hint="plan without 'beside'")
        out = layers[by_x[over.thresholds]]
        hidden = layers[by_x[out.source]] if out.source in by_x else None
        maker = by_x.get(hidden.source) if hidden is not None else None
        fits = (
            maker is not None and isinstance(out.x_op, Sigmoid) and hidden.x_op is None
            and isinstance(layers[maker].x_op, GlobalSum) and layers[maker].value == over.source
            and not (hidden.stored or out.stored or hidden.act or out.act)
        )
        if not fits:
            raise DoesNotFit("thresholds that are not two dense layers of the map's own channel "
                             "sums have no place beside the array", where=over.name,
                             hint="plan without 'beside'")
        found.append((maker, hidden, out, over))
    return found


def _memories(layers, front, back, barriers) -> dict[str, int]:
    """Which half's memory each map goes to: its readers'."""
    readers: dict[str, set[int]] = {}
    for i in (*front, *back):
        for name in layers[i].reads:
            readers.setdefault(name, set()).add(int(i in back))
    for barrier in barriers:
        readers.setdefault(barrier.over.source, set()).add(barrier.half)
    memory = {}
    made = [(layers[i], int(i in back), i == front[-1]) for i in (*front, *back)]
    made += [(b.over, b.half, False) for b in barriers]
    for layer, half, hands_over in made:
        for name in {layer.value, layer.x, layer.bits} - {None}:
            where = readers.get(name, {half})
            if len(where) > 1 or (where != {half} and not hands_over):
                raise DoesNotFit("a map that both halves of a frame read", where=layer.name,
                                 hint="cut the layers elsewhere")
            memory[name] = min(where)
    return memory


def _check_neighbours(layers, front, back, barriers) -> None:
    """Between a map and the step that reads its bits nothing else of that half may run: the unit
    has the half's memories then."""
    for barrier in barriers:
        half = back if barrier.half else front
        place = half.index(barrier.consumer)
        before = half[place - 1] if place else front[-1]
        if before != barrier.maker:
            raise DoesNotFit(f"{layers[before].name} stands between a map and its thresholds",
                             where=barrier.over.name, hint="plan without 'beside'")


def _in_order(layers, order, barriers) -> list[Barrier]:
    """As maps become due; steps must ask for them in the same order."""
    place = {number: n for n, number in enumerate(order)}
    asked = sorted(barriers, key=lambda b: place[b.consumer])
    # the last step's is due when the turn begins
    due = sorted(barriers, key=lambda b: (place[b.maker] + 1) % len(order))
    if asked != due or [b for b in barriers if b.maker == order[-1]] != due[:1]:
        raise DoesNotFit("maps are not due in the order in which their bits are used",
                         where=layers[order[-1]].name, hint="cut the layers elsewhere")
    return due
