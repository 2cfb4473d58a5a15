"""Two frames at once: the end of one between the depth-first beginning of the next.

The beginning waits for the stem, the end for weights from off-chip memory; together they keep the
arrays busy. Which piece runs when is decided here, once, from estimates: the program is a fixed
list, and its exact cycles follow from it (hwbnn/schedule.py).
"""

from rtl_gen.engine.config import EngineConfig
from rtl_gen.engine.stem_model import StemTimes

from .geometry import geometry
from .layers import Layer
from .order import Piece

__all__ = ["interleave", "split"]

OVERHEAD = 50  # cycles of set-up and drain of a step, about
NEVER = 1 << 60
SHARES = (None, 0.8, 0.4, 0.0, -0.4)
LIMIT = 1000  # cycles a piece may take, so that neither side waits long for the other


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
    """Both lists in one, each in its order: the sooner done of several orders (`_ordered`)."""
    orders = [_ordered(front, back, layers, config, share) for share in SHARES]
    return min(orders, key=lambda order: order[0])[1]


def _ordered(front: list[Piece], back: list[Piece], layers: list[Layer], config: EngineConfig,
             share: float | None) -> tuple[int, list[Piece]]:
    """The cycle in which an order of both lists ends, about, and that order.

    The back goes first when its weights come as fast as it uses them, so that the stream of
    weights rarely stops; but not when the stem would then wait for more than ``share`` of its
    patience (None: even then). Then the front goes, where the stem has made its row; else what can
    go soonest.
    """
    stem = StemTimes(config.stem) if config.stem is not None else None
    taken: list[int] = []
    memory = _Memory(config)
    now, result = 0, []
    front, back = list(front), list(back)
    row_at = stem.next_ready(taken) if stem and front else 0
    while front or back:
        smooth = memory.smooth(back[0], layers) if back else NEVER
        free, latest = NEVER, NEVER
        if front:
            free = row_at if layers[front[0].layer].stem else now
        if stem and front and share is not None:
            latest = row_at + share * stem.patience - _until_stem(front, layers, config)
        take_back = bool(back) and (
            (smooth <= now and now + _cycles(back[0], layers[back[0].layer], config) <= latest)
            or (free > now and smooth <= free))
        piece = back.pop(0) if take_back else front.pop(0)
        layer = layers[piece.layer]
        if take_back:
            now = memory.run(piece, layers, now)
        else:
            now = max(now, free) + _cycles(piece, layer, config)
        now += OVERHEAD
        if layer.stem:
            taken.append(now)
            if any(layers[p.layer].stem for p in front):
                row_at = stem.next_ready(taken)
        result.append(piece)
    return now, result


def _until_stem(front: list[Piece], layers: list[Layer], config: EngineConfig) -> int:
    """Cycles of the pieces before the first one that takes a row of the stem."""
    total = 0
    for piece in front:
        if layers[piece.layer].stem:
            return total
        total += _cycles(piece, layers[piece.layer], config) + OVERHEAD
    return total


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

    def _words(self, piece: Piece, layer: Layer) -> tuple[int, int]:
        """16-bit words of a piece, and of its first tile and constants."""
        config = self.config
        if not config.streams:
            return 0, 0
        parts = config.stream_parts
        tile = config.lanes * parts["weights" if layer.binary else "dense_weights"]
        constants = config.lanes * config.const_words * parts["constants"]
        groups = piece.g1 - piece.g0
        return groups * (geometry(layer, config).n_ig * tile + constants), tile + constants

    def smooth(self, piece: Piece, layers: list[Layer]) -> int:
        """First cycle in which the piece can start and not wait for weights."""
        words, first = self._words(piece, layers[piece.layer])
        return self.at + max(first, words - _cycles(piece, layers[piece.layer], self.config))

    def run(self, piece: Piece, layers: list[Layer], now: int) -> int:
        """Start the piece as soon as it can from ``now`` on; when it ends."""
        layer = layers[piece.layer]
        words, first = self._words(piece, layer)
        start = max(now, self.at + first)
        end = max(start + _cycles(piece, layer, self.config), self.at + words)
        kind = "weights" if layer.binary else "dense_weights"
        ring = self.config.rings[kind] * self.config.stream_parts[kind]
        self.at = max(self.at + words, end - ring)
        return end
