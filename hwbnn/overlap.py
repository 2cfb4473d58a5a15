"""Two frames at once: the end of one between the depth-first beginning of the next.

The beginning waits for the stem, the end for weights from off-chip memory; together they keep the
arrays busy. Which piece runs when is decided here, once, from estimates: the program is a fixed
list, and its exact cycles follow from it (hwbnn/schedule.py).
"""

from rtl_gen.engine.config import STREAM_BITS, EngineConfig
from rtl_gen.engine.stem_model import StemTimes

from .geometry import geometry
from .layers import Layer
from .order import Piece

__all__ = ["interleave", "split"]

OVERHEAD = 50  # cycles of set-up and drain of a step, about
LIMIT = 2000  # cycles a piece may take, so that neither side waits long for the other


def split(piece: Piece, layer: Layer, config: EngineConfig, limit: int = LIMIT) -> list[Piece]:
    """A piece by output groups, each part about ``limit`` cycles at most."""
    geo = geometry(layer, config)
    if layer.stem:
        return [piece]
    per_group = geo.n_ig * max((piece.y1 - piece.y0) * geo.n_x, config.lanes + 1)
    step = max(1, limit // per_group)
    step = max(config.x_banks, step - step % config.x_banks)
    return [
        Piece(piece.layer, piece.y0, piece.y1, g, min(g + step, piece.g1))
        for g in range(piece.g0, piece.g1, step)
    ]


def interleave(front: list[Piece], back: list[Piece], layers: list[Layer],
               config: EngineConfig) -> list[Piece]:
    """Both lists in one, each in its order: what can run goes first, the front before the back."""
    stem = StemTimes(config.stem) if config.stem is not None else None
    taken: list[int] = []
    memory = _Memory(config)
    now, result = 0, []
    front, back = list(front), list(back)
    row_at = stem.next_ready(taken) if stem and front else 0
    while front or back:
        first = front[0] if front else None
        ready_front = row_at if first and layers[first.layer].stem else now
        take_front = first is not None and (
            not back or ready_front <= now or ready_front <= memory.ready(back[0], layers, now)
        )
        piece = front.pop(0) if take_front else back.pop(0)
        layer = layers[piece.layer]
        start = ready_front if take_front else now
        now = max(now, start) + _cycles(piece, layer, config) + OVERHEAD
        if not take_front and config.streams:
            now = max(now, memory.taken(piece, layers, now))
        if layer.stem:
            taken.append(now)
            if any(layers[p.layer].stem for p in front):
                row_at = stem.next_ready(taken)
        result.append(piece)
    return result


def _cycles(piece: Piece, layer: Layer, config: EngineConfig) -> int:
    geo = geometry(layer, config)
    sweep = (piece.y1 - piece.y0) * geo.n_x
    if not layer.stem:
        sweep = max(sweep, config.lanes + 1)
    return (piece.g1 - piece.g0) * geo.n_ig * sweep


class _Memory:
    """About when weights are on chip: a word a cycle, a ring ahead of their use."""

    def __init__(self, config: EngineConfig):
        self.config = config
        self.at = 0  # cycle in which all words asked for so far have come

    def _words(self, piece: Piece, layers: list[Layer]) -> int:
        config, layer = self.config, layers[piece.layer]
        geo = geometry(layer, config)
        memories = config.memories()
        kind = "weights" if layer.binary else "dense_weights"
        groups = (piece.g1 - piece.g0) * config.lanes
        bits = groups * geo.n_ig * memories[kind][0]
        bits += groups * config.const_words * memories["constants"][0]
        return -(-bits // STREAM_BITS)

    def ready(self, piece: Piece, layers: list[Layer], now: int) -> int:
        """When half of the piece's weights, or what a ring holds of them, are there."""
        return self.at + min(self._words(piece, layers), 2000) // 2

    def taken(self, piece: Piece, layers: list[Layer], now: int) -> int:
        self.at = max(self.at + self._words(piece, layers), now - 2500)
        return self.at
