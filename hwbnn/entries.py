"""The threshold unit's program: an entry a map, its fields, weights, constants and cycles."""

import dataclasses

import numpy as np

from rtl_gen.engine.config import EngineConfig
from rtl_gen.engine.sequencer import PASS_SWEEP
from rtl_gen.engine.threshold_sequencer import WORD_BITS, entry_layout, entry_words, gaps
from rtl_gen.engine.threshold_unit import unit_drain

from .beside import Barrier, Halves
from .errors import DoesNotFit
from .geometry import bit_plane, ceil_div, geometry, x_row_words
from .layers import Layer
from .placement import Placement

__all__ = ["Entry", "entries", "entry_images"]


@dataclasses.dataclass(frozen=True, eq=False)
class Entry:
    """What the threshold unit does for one map: two dense layers and a pass.

    ``fields`` fills `entry_layout`; ``lag`` says how many frames it is behind the frame that begins
    in the same turn of the program.
    """

    barrier: Barrier
    fields: dict[str, int]
    groups: int  # words of a plane of the map, or pairs of them
    lag: int

    @property
    def name(self) -> str:
        return self.barrier.over.name

    @property
    def cycles(self) -> int:
        """From the cycle in which it is taken until its bits are stored."""
        f = self.fields
        hidden = (f["n_in"] + 1) * (f["n_hidden"] + 1)
        out = (f["n_out"] + 1) * (f["n_words"] + 1)
        sweeps = f["n_og"] * max(self.groups, PASS_SWEEP) + self.groups
        return hidden + self.fixed + out + sweeps

    fixed: int = 0  # gaps and drain


def entries(layers, config: EngineConfig, placement: Placement,
            halves: Halves) -> tuple[list[Entry], dict[str, int]]:
    """All entries in their order, and the words that they need of the unit's memories."""
    unit = config.run_time.unit
    m, p = unit.inputs, config.lanes
    needed = {"sums": 0, "hidden": 2, "planes": 2, "weights": 0, "constants": 0}
    found = []
    for number, barrier in enumerate(halves.barriers):
        over, hidden, out = barrier.over, barrier.hidden, barrier.out
        channels, n_hidden = over.shape[0], hidden.out_shape[0]
        geo = geometry(over, config)
        n_in, n_words = ceil_div(channels, m), ceil_div(n_hidden, m)
        row, slots, _planes = bit_plane(over, placement.rows.bits[over.bits], config)
        buffer, address = placement.bits[over.bits]
        kept = placement.rows
        fields = {
            "last": int(number == len(halves.barriers) - 1),
            "sums": placement.x[hidden.source],
            "n_in": n_in - 1,
            "n_hidden": n_hidden - 1,
            "n_words": n_words - 1,
            "n_out": channels - 1,
            "weights": needed["weights"],
            "constants": needed["constants"],
            "sigmoid": config.run_time.fracs.index(out.x_op.frac),
            "bank": barrier.half,
            "f_read": placement.features[over.source],
            "f_step": kept.features[over.source] * geo.n_x_map,
            "n_og": geo.n_og - 1,
            "pass_lanes": (channels - 1) % p,
            "n_y": geo.height - 1,
            "n_x": geo.n_x - 1,
            "n_inside": geo.n_x_map - 1,
            "bits_buffer": buffer,
            "bits_addr": address,
            "bits_row_step": row,
            "bits_cg_step": slots * row,
        }
        for n, layer in ((1, hidden), (2, out)):
            fields[f"prescale{n}"] = config.prescales.index(layer.affine.pre)
            fields[f"shift{n}"] = config.affine_shifts.index(layer.affine.shift)
            if layer.clamp:
                limits = (layer.clamp.lo, layer.clamp.hi)
                fields[f"clamp{n}"] = 1 + config.clamps.index(limits)
        words = unit.words
        if words == 2 and (geo.n_x % 2 or geo.n_x != geo.n_x_map
                           or fields["f_read"] % 2 or fields["f_step"] % 2):
            raise DoesNotFit(f"rows of {geo.n_x} words have no pass of two words a cycle",
                             where=over.name, hint="plan without 'wide'")
        for name in ("f_read", "f_step"):
            fields[name] //= words
        for name in ("n_x", "n_inside"):
            fields[name] = (fields[name] + 1) // words - 1
        if over.x:
            plane = kept.x[over.x] * x_row_words(over, config)
            fields |= {"sample": 1, "s_write": placement.x[over.x], "s_step": plane}
        fixed = sum(gaps(unit)) + 2 + unit_drain() + 1
        found.append(Entry(barrier, fields, geo.height * geo.n_x // words, barrier.half, fixed))
        needed["sums"] = max(needed["sums"], fields["sums"] + geo.n_og)
        needed["hidden"] = max(needed["hidden"], n_words)
        needed["planes"] = max(needed["planes"], geo.n_og)
        needed["weights"] += n_in * n_hidden + n_words * channels
        needed["constants"] += n_hidden + channels
    needed["steps"] = len(found) * entry_words(config)
    return found, {f"unit_{k}": v for k, v in needed.items()}


def entry_images(found: list[Entry], config: EngineConfig) -> dict[str, list[int]]:
    """Words of the unit's memories that have contents."""
    weights, constants, words = [], [], []
    for entry in found:
        for layer in (entry.barrier.hidden, entry.barrier.out):
            weights += _weight_words(layer, config)
            constants += _constant_words(layer, config)
        words += _entry_words(entry, config)
    return {"unit_weights": weights, "unit_constants": constants, "unit_steps": words}


def _weight_words(layer: Layer, config: EngineConfig) -> list[int]:
    """M weights a word, outputs one after another."""
    m, bits = config.run_time.unit.inputs, config.weight_bits
    weight = layer.conv.op.weight[:, :, 0, 0]
    padded = np.zeros((len(weight), ceil_div(weight.shape[1], m) * m), dtype=object)
    padded[:, : weight.shape[1]] = weight % (1 << bits)
    at = np.array([1 << (bits * i) for i in range(m)], dtype=object)
    return [int(w) for w in (padded.reshape(len(weight), -1, m) * at).sum(axis=-1).ravel()]


def _constant_words(layer: Layer, config: EngineConfig) -> list[int]:
    bias = 1 << config.bias_bits
    return [int(g) % (1 << 18) | (int(b) % bias) << 18
            for g, b in zip(layer.affine.gain, layer.affine.bias, strict=True)]


def _entry_words(entry: Entry, config: EngineConfig) -> list[int]:
    layout = entry_layout(config)
    fields = entry.fields
    for name, field in layout:
        if name.endswith("_step") and fields.get(name) == 1 << field.width:
            fields = fields | {name: 0}  # one plane fills the memory: there is no next one
        if not 0 <= fields.get(name, 0) < 1 << field.width:
            raise DoesNotFit(f"{name} = {fields[name]} exceeds {field.width} bits of an entry",
                             where=entry.name)
    value = layout.const(fields).as_bits()
    return [(value >> (WORD_BITS * i)) % (1 << WORD_BITS) for i in range(entry_words(config))]
