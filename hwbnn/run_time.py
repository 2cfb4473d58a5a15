"""What a machine has for run-time thresholds or gains, and what its sigmoid tables hold."""

import numpy as np

from rtl_gen.engine.config import EngineConfig
from rtl_gen.engine.gain_config import GainConfig
from rtl_gen.engine.run_time_config import RunTimeConfig

from .errors import UnsupportedError
from .geometry import geometry
from .layers import Layer
from .map_pass import MapPass
from .ops.int_dynamic import Sigmoid

__all__ = ["run_time_config", "sigmoid_words", "whole_sums"]


def run_time_config(layers: list[Layer | MapPass], *, moves: bool = False) -> RunTimeConfig | None:
    """Widest parameters that the network needs; None where all thresholds are constants. With
    ``moves`` maps lie off chip."""
    passes = [layer for layer in layers if layer.map_pass and layer.thresholds]
    gains = [layer for layer in layers if layer.gains]
    if not passes and not gains:
        return None
    ties = {layer.node.op.tie for layer in passes} or {1}
    tables = _tables(layers)
    if len(ties) > 1:
        raise UnsupportedError("run-time thresholds with two rules for a tie have no step",
                               where=passes[0].name)
    if not tables:
        raise UnsupportedError("gains that are no sigmoid of a dense layer have no step",
                               where=gains[0].name)
    first = next(iter(tables.values()))
    for name, op in tables.items():
        if (op.shift, len(op.table)) != (first.shift, len(first.table)):
            raise UnsupportedError("sigmoids of two input ranges have no step", where=name)
    fracs = tuple(sorted({op.frac for op in tables.values()}))
    return RunTimeConfig(tie=ties.pop(), vector_depth=1 << 12, entries=len(first.table),
                         shift=first.shift, fracs=fracs,
                         gains=_gains(layers, fracs, moves) if gains else None)


def _gains(layers, fracs: tuple[int, ...], moves: bool) -> GainConfig:
    if len(fracs) > 1:
        raise UnsupportedError("gains at two positions have no step",
                               where=next(layer.name for layer in layers if layer.gains))
    shifts = {layer.product.shift for layer in layers if layer.product}
    levels = {layer.levels.bits for layer in layers if layer.levels}
    # the steps of a 7x7 first convolution make a row each, those of a map off chip some rows
    rows = moves or any(layer.stem for layer in layers)
    return GainConfig(shift=fracs[0], product_shifts=tuple(sorted(shifts)), branch_depth=1 << 16,
                      levels=tuple(sorted(levels)), sum_depth=1 << 10 if rows else 0,
                      moves=moves)


def whole_sums(layers: list[Layer | MapPass], config: EngineConfig) -> int:
    """Words of partial sums of the largest map that one step must make whole."""
    whole = [layer for layer in layers if layer.max_pool or not config.sum_depth and (
        layer.in_branch or layer.summed and not layer.map_pass)]
    sizes = [geo.height * geo.n_x for layer in whole
             for geo in [geometry(layer, config)] if geo.n_ig > 1]
    return max(sizes, default=0)


def _tables(layers) -> dict[str, Sigmoid]:
    found = {layer.x: layer.x_op for layer in layers if isinstance(layer.x_op, Sigmoid)}
    for layer in layers:
        if layer.map_pass and layer.thresholds and layer.thresholds not in found:
            raise UnsupportedError("run-time thresholds that are no sigmoid of a dense layer have "
                                   "no step", where=layer.name)
    return found


def sigmoid_words(layers: list[Layer | MapPass], config: EngineConfig) -> list[int]:
    """The tables, one position after another."""
    by_frac: dict[int, np.ndarray] = {}
    for name, op in _tables(layers).items():
        other = by_frac.setdefault(op.frac, op.table)
        if not np.array_equal(other, op.table):
            raise UnsupportedError("two sigmoid tables of one position have no step", where=name)
    none = np.zeros(config.run_time.entries, dtype=np.int64)
    return [int(v) for frac in config.run_time.fracs for v in by_frac.get(frac, none)]
