"""What multipliers are for, in configurations and netlists, and scales that need none."""

import dataclasses
import json

import numpy as np
import pytest

from hwbnn import ints
from hwbnn.errors import UnsupportedError, UserError
from hwbnn.estimate import estimate
from hwbnn.multipliers import PURPOSES, multipliers, of_netlist
from hwbnn.ops import int_ops as I
from hwbnn.passes import Numeric, calibrate, fold_norm, lower_to_integers, quantize
from hwbnn.shape import Shape, general_purpose
from hwbnn.stages import scale_digits
from sim.random_network import random_network
from sim.random_run_time import random_run_time

CONFIG = general_purpose(Shape(16, 4, 2, 4))
WORST = {1: 1 / 3, 2: 1 / 11, 3: 1 / 43}  # of a gain, by its digits


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


@pytest.mark.parametrize("digits", [1, 2, 3])
def test_gains_become_sums_of_few_powers_of_two(digits):
    """No gain but by more than the rounding of so many digits, and its code is the gain again."""
    for seed in range(6):
        network = random_network(np.random.default_rng(seed))
        folded = fold_norm(network.graph)
        calibration = calibrate(folded, None)
        plain, made = (quantize(folded, calibration, Numeric(scale_digits=n))
                       for n in (0, digits))
        assert any(d.where == "scale" and d.chose.startswith(f"gains rounded to {digits}")
                   for d in made.decisions)
        for node in made:
            if not isinstance(node.op, I.Affine):
                continue
            exact = plain[node.name].op
            gain, wanted = node.op.gain, exact.gain * 2.0 ** (node.op.shift - exact.shift)
            assert all(sum(s << e for s, e in ints.signed_digits(g, digits)) == g for g in gain)
            # half a unit of rounding on either side
            assert (np.abs(gain - wanted) <= np.abs(wanted) * WORST[digits] + 2).all(), seed


def test_networks_with_thresholds_of_the_image_refuse_them():
    network = random_run_time(np.random.default_rng(1))
    with pytest.raises(UnsupportedError, match="without thresholds or gains of each image"):
        lower_to_integers(network.graph, None, Numeric(scale_digits=2))


def test_the_option():
    assert [scale_digits(t) for t in ("multiplier", "shift-add:1", "shift-add:3")] == [0, 1, 3]
    for text in ("shift-add", "shift-add:0", "shift-add:4", "shift", "multiplier:2"):
        with pytest.raises(UserError, match="neither multiplier nor shift-add:N"):
            scale_digits(text)
