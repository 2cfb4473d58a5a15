"""Two frames at once: the end of one between the depth-first beginning of the next.

The beginning waits for the stem, the end for weights from off-chip memory; together they keep the
arrays busy. Which piece runs when is decided here, once, from estimates: the program is a fixed
list, and its exact cycles follow from it (hwbnn/schedule.py).
"""

import dataclasses

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
    """Both lists in one, each in its order: the sooner done of several orders (`_order`)."""
    ahead, behind = ([_work(piece, layers[piece.layer], config) for piece in pieces]
                     for pieces in (front, back))
    orders = [_order(ahead, behind, config, share) for share in SHARES]
    rest = iter(front), iter(back)
    return [next(rest[take_back]) for take_back in min(orders)[1]]


@dataclasses.dataclass(frozen=True)
class _Work:
    """A piece: about its cycles; 16-bit words of weights, of which ``first`` before it can start,
    and how many of its kind fit on chip before they are used."""

    stem: bool
    cycles: int
    words: int
    first: int
    ring: int


def _work(piece: Piece, layer: Layer, config: EngineConfig) -> _Work:
    geo = geometry(layer, config)
    groups, sweep = piece.g1 - piece.g0, (piece.y1 - piece.y0) * geo.n_x
    if not layer.stem:
        sweep = max(sweep, config.lanes + 1)
    cycles = groups * geo.n_ig * sweep
    if not config.streams:
        return _Work(layer.stem, cycles, 0, 0, 0)
    kind, parts = "weights" if layer.binary else "dense_weights", config.stream_parts
    tile = config.lanes * parts[kind]
    constants = config.lanes * config.const_words * parts["constants"]
    return _Work(layer.stem, cycles, groups * (geo.n_ig * tile + constants), tile + constants,
                 config.rings[kind] * parts[kind])


def _order(front: list[_Work], back: list[_Work], config: EngineConfig,
           share: float | None) -> tuple[int, list[bool]]:
    """The cycle in which an order of both lists ends, about, and whether the back goes, each time.

    The back goes first when its weights come as fast as it uses them, so that the stream of
    weights rarely stops; but not when the stem would then wait for more than ``share`` of its
    patience (None: even then). Then the front goes, where the stem has made its row; else what can
    go soonest.
    """
    stem = StemTimes(config.stem) if config.stem is not None else None
    slack = share * stem.patience if stem and share is not None else None
    taken: list[int] = []
    arrived = 0  # cycle in which all words asked for so far have come, one a cycle
    now, result, i, j = 0, [], 0, 0
    until = _until_stem(front)
    rows = sum(piece.stem for piece in front)
    row_at = stem.next_ready(taken) if rows else 0
    while i < len(front) or j < len(back):
        smooth = free = latest = NEVER
        if j < len(back):
            smooth = arrived + max(back[j].first, back[j].words - back[j].cycles)
        if i < len(front):
            free = row_at if front[i].stem else now
            if slack is not None:
                latest = row_at + slack - until[i]
        take_back = j < len(back) and (
            (smooth <= now and now + back[j].cycles <= latest) or (free > now and smooth <= free))
        result.append(take_back)
        if take_back:
            piece, j = back[j], j + 1
            start = max(now, arrived + piece.first)
            now = max(start + piece.cycles, arrived + piece.words)
            arrived = max(arrived + piece.words, now - piece.ring)
        else:
            piece, i = front[i], i + 1
            now = max(now, free) + piece.cycles
        now += OVERHEAD
        if piece.stem:
            taken.append(now)
            if len(taken) < rows:
                row_at = stem.next_ready(taken)
    return now, result


def _until_stem(front: list[_Work]) -> list[int]:
    """Cycles from every piece to the one that takes the stem's next row."""
    result, after = [], 0
    for piece in reversed(front):
        after = 0 if piece.stem else after + piece.cycles + OVERHEAD
        result.append(after)
    return result[::-1]
