"""The program in the weight stream: where steps lie there, what of them is on chip, and cycles."""

import numpy as np
import pytest

from hwbnn.errors import UserError
from hwbnn.external import stream_length
from hwbnn.machine import make
from hwbnn.pack import pack, segment_sizes, segments, stream_words
from hwbnn.passes import Numeric, lower_to_integers
from hwbnn.schedule import schedule
from hwbnn.shape import Shape, derive
from hwbnn.weight_image import image_of, parts, split
from sim.random_gains import random_gains

SHAPE = Shape(8, 8, 1, 8)


@pytest.fixture(scope="module")
def graph():
    rng = np.random.default_rng(1)
    network = random_gains(rng, size=16, pointwise=True, step=8, max_channels=24)
    _c, h, w = network.graph["image"].op.shape
    images = rng.integers(0, 256, (1, h, w, 3), dtype=np.uint8)
    return lower_to_integers(network.graph, images, Numeric())[1]


def test_steps_come_before_their_weights(graph):
    program = derive(graph, SHAPE, stream=True, off_chip=4, off_rows=2, stream_steps=True)
    kinds = [(step, kind) for step, kind, _count in segment_sizes(program)]
    at = [i for i, (_step, kind) in enumerate(kinds) if kind == "steps"]
    assert [kinds[i][0] for i in at] == program.steps
    assert all(kinds[i][0] is kinds[j][0] for i, end in zip(at, [*at[1:], None], strict=True)
               for j in range(i, end or len(kinds)))
    words = stream_words(program)
    assert len(words) == stream_length(program)
    assert split(words, program.config) == segments(program)
    found = parts(program, image_of(program, bytes(8)))
    assert [part.step for part in found] == [step.name for step in program.steps]
    assert all(part.memory_words["steps"] == program.config.step_words for part in found)


def test_steps_are_what_the_memory_would_hold(graph):
    recipe = {"stream": True, "off_chip": 4, "off_rows": 2}
    whole, streamed = (derive(graph, SHAPE, **recipe, stream_steps=s) for s in (False, True))
    assert "steps" not in pack(streamed) and streamed.config.step_depth == 512
    assert whole.config.step_depth == len(whole.steps) * whole.config.step_words
    words = [w for s in segments(streamed) if s.kind == "steps" for w in s.words]
    again = pack(derive(graph, SHAPE, **recipe))["steps"]
    assert len(words) == len(again)
    # but for where maps lie behind the longer stream
    assert sum(a == b for a, b in zip(words, again, strict=True)) > len(words) // 2
    slow, fast = (schedule(p).interval for p in (streamed, whole))
    more = stream_length(streamed) - stream_length(whole)
    assert fast <= slow <= fast + 2 * more


def test_steps_come_only_where_weights_do(graph):
    with pytest.raises(UserError, match="a program in the weight stream needs weights from"):
        make(graph, SHAPE, stream_steps=True)
