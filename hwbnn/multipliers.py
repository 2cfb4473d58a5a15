"""What the multipliers of a machine are for: counted from its configuration, and in a netlist."""

import json
from collections import Counter
from pathlib import Path

from rtl_gen.engine.config import EngineConfig
from rtl_gen.engine.first_config import FirstConfig

from .program import Program

__all__ = ["PURPOSES", "multipliers", "of_netlist", "uses"]

STEM_CORRECTIONS = 6  # of four pairs of channels in the 7x7 stem: for the pixels alone
# binary convolutions, 1x1 layers of ±1 weights by adders, RPReLU, the scale of each output channel,
# the dense array, a first convolution's own unit, gains and thresholds of each image
PURPOSES = ("array", "signed", "rprelu", "scale", "dense", "first", "gains", "thresholds", "other")
PRIMITIVE = "MULT18X18D"
# names in an instance's path that say the purpose, the most telling first
NAMES = {"threshold_unit": "thresholds", "xnor": "array", "signed": "signed", "stem": "first",
         "dense": "dense", "mix": "gains", "products": "gains", "sigmoid": "gains",
         "levels": "gains", "gain": "scale", "slope": "rprelu"}


def multipliers(config: EngineConfig) -> dict[str, int]:
    """How many MULT18X18D each of `PURPOSES` takes in the engine of ``config`` (path: estimate)."""
    lanes = config.lanes * config.pixels
    scale, slope = int(not config.scale_digits), int(config.rprelu == "multiplier")
    found = dict.fromkeys(PURPOSES, 0)
    found |= {"dense": config.dense_macs, "scale": scale * lanes, "rprelu": slope * lanes}
    if isinstance(config.stem, FirstConfig):
        found["first"] = config.stem.macs
    elif config.stem is not None:
        stem = config.stem
        found["first"] = (stem.macs // 2 - stem.logic_pairs
                          + STEM_CORRECTIONS * stem.pairs // 4)
    if config.gains is not None:  # second gains, products of maps, gains of sigmoids
        found["gains"] = config.lanes + lanes * bool(config.gains.product_shifts) + 1
    if config.levels:  # reciprocal and step
        found["gains"] += 2
    if config.beside:  # its products and its lane
        found["thresholds"] = config.run_time.unit.inputs + scale + slope
    return found


def uses(program: Program) -> dict[str, list[str]]:
    """Names of the layers that units for one purpose compute."""
    kinds = {"binary": "array", "signed": "signed", "dense": "dense", "stem": "first"}
    found: dict[str, list[str]] = {purpose: [] for purpose in kinds.values()}
    for step in program.steps:
        names = found.get(kinds.get(step.kind, ""))
        if names is not None and step.layer.name not in names:
            names.append(step.layer.name)
    return found


def of_netlist(path: Path) -> dict[str, int]:
    """The same of a mapped netlist, yosys's JSON file, by the paths of its cells (path:
    post-synthesis)."""
    found: Counter[str] = Counter(dict.fromkeys(PURPOSES, 0))
    for module in json.loads(path.read_text())["modules"].values():
        for name, cell in module.get("cells", {}).items():
            if cell["type"] == PRIMITIVE:
                found[_purpose(name)] += 1
    return dict(found)


def _purpose(cell: str) -> str:
    """What the multiplier of that hierarchical name is for."""
    parts = cell.split(".")
    return next((purpose for name, purpose in NAMES.items() if name in parts), "other")
