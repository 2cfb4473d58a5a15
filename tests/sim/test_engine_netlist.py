# amaranth: UnusedElaboratable=no
"""A small network's engine after synthesis: the netlist agrees with the design in every cycle."""

import numpy as np
import pytest

from hwbnn.cache import Cache
from hwbnn.emit import emit
from hwbnn.pack import pack
from hwbnn.passes import lower_to_integers
from hwbnn.schedule import schedule
from hwbnn.shape import Shape, derive
from hwbnn.synth import synthesise
from rtl_gen.engine.top import Engine
from sim.netlist import compare
from sim.network import simulate
from sim.random_network import random_network

pytestmark = pytest.mark.slow

SEED = 9
FRAMES = 2


def test_netlist_of_a_small_network(tmp_path):
    rng = np.random.default_rng(SEED)
    network = random_network(rng, max_channels=20, size=6, max_blocks=2, max_tau=5)
    _c, h, w = network.graph["image"].op.shape
    images = rng.integers(0, 256, (FRAMES, h, w, 3), dtype=np.uint8)
    _folded, graph = lower_to_integers(network.graph, images)
    program = derive(graph, Shape(16, 4, 1, 4))
    # the design is right ...
    run = simulate(program, graph, images)
    assert run.cycles == schedule(program, frames=FRAMES).frames
    # ... and synthesis kept it, frame after frame of random pixels
    emitted = emit(Engine(program.config), "engine")
    contents = pack(program)
    netlist = synthesise(emitted, contents, tmp_path / "synth", cache=Cache(tmp_path / "cache"))
    cycles = 200 + FRAMES * (h * w * 2 + schedule(program).interval)
    agreed = compare(
        emitted, netlist, tmp_path / "lockstep", cycles=cycles, seed=SEED, contents=contents,
        reset_chance=0.0,
    )
    assert agreed == cycles
