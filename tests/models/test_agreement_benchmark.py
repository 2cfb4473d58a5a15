"""benchmarks/agreement counts what hwbnn.agreement counts."""

import importlib.util
import sys
from pathlib import Path

import numpy as np
import pytest

from hwbnn.agreement import agreement
from hwbnn.passes import Numeric, calibrate, fold_norm, quantize
from models.api import load_network

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "agreement" / "run.py"


@pytest.fixture
def benchmark_module(monkeypatch):
    spec = importlib.util.spec_from_file_location("agreement_benchmark", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "agreement_benchmark", module)
    spec.loader.exec_module(module)
    return module


def test_counts_are_those_of_the_library(benchmark_module, make_net, save):
    network = load_network(save(make_net(4, seed=3)), options={"input_size": 16})
    images = np.random.default_rng(1).integers(0, 256, (40, 16, 16, 3), dtype=np.uint8)
    folded = fold_norm(network.graph())
    graph = quantize(folded, calibrate(folded, images), Numeric(image_weight_bits=4))
    wanted = network.logits(images).astype(np.float64)
    found = agreement(folded, graph, images, wanted)
    exact, bits, step = benchmark_module.reference(folded, images)
    logits, off, _clamped = benchmark_module.measure(graph, images, bits, step)
    assert off == pytest.approx([100 * layer.differ / layer.bits for layer in found.layers])
    assert max(off) > 0
    row = benchmark_module.Row.of("x", logits, wanted)
    assert row.same_class == found.same_class
    assert row.mean_error * wanted.std() == pytest.approx(found.mean_error)
    assert row.max_error * wanted.std() == pytest.approx(found.max_error)
    assert np.abs(exact - wanted).max() == pytest.approx(found.graph_error)


def test_every_variant_is_legal_and_named(benchmark_module):
    for variant in benchmark_module.VARIANTS:
        assert benchmark_module.describe(variant, Numeric(**variant))
