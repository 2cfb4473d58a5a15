"""What multipliers are for: counted in configurations and, by cell names, in netlists."""

import dataclasses
import json

from hwbnn.estimate import estimate
from hwbnn.multipliers import PURPOSES, multipliers, of_netlist
from hwbnn.shape import Shape, general_purpose

CONFIG = general_purpose(Shape(16, 4, 2, 4))


def test_purposes_of_a_machine():
    counted = multipliers(CONFIG)
    assert tuple(counted) == PURPOSES
    assert {k: v for k, v in counted.items() if v} == {"rprelu": 8, "scale": 8, "dense": 32}
    without = dataclasses.replace(CONFIG, rprelu="shift", scale_digits=2, signed_sums=True)
    assert {k: v for k, v in multipliers(without).items() if v} == {"dense": 32}
    assert estimate(CONFIG).dsp - estimate(without).dsp == 16
    assert estimate(without).comb > estimate(CONFIG).comb


def test_cells_of_a_netlist(tmp_path):
    names = {
        "engine.dense.lane0.mul0_3.mult": "dense", "engine.lane0_1.gain.mult": "scale",
        "engine.lane0_1.slope.mult": "rprelu", "engine.stem.products0.mul2_0.mult": "first",
        "engine.threshold_unit.dense.lane.gain.mult": "thresholds",
        "accelerator.engine.constants.lane1.mix.mult": "gains",
        "engine.dense.signed.lane0.x": "signed", "engine.xnor.lane3.x": "array",
        "somewhere.else": "other",
    }
    cells = {name: {"type": "MULT18X18D"} for name in names} | {"a.dense.b": {"type": "LUT4"}}
    path = tmp_path / "design.json"
    path.write_text(json.dumps({"modules": {"top": {"cells": cells}, "LUT4": {}}}))
    assert of_netlist(path) == dict.fromkeys(PURPOSES, 1)
