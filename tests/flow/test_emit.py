"""What ``emit`` produces: leaves once, memories and multipliers as primitives."""

import pytest

from hwbnn.emit import emit


def test_leaves_are_converted_once_and_stand_before_their_users(design):
    emitted = emit(design(), "design")
    assert list(emitted.modules) == ["scaler_5", "scaler_m7", "inverter", "design"]
    assert emitted.synth == {"scaler_5": "-noccu2", "scaler_m7": "-noccu2", "inverter": ""}
    assert emitted.modules["design"].count("cell \\scaler_5 ") == 2
    assert "\\clk" not in emitted.modules["inverter"]
    cell = emitted.modules["design"].split("cell \\scaler_5 \\scaler2")[1].split("\n  end")[0]
    assert [port in cell for port in ("\\clk", "\\rst", "\\i", "\\o")] == [True] * 4


def test_a_marked_memory_becomes_an_instance_and_is_recorded(design):
    emitted = emit(design(), "design")
    assert emitted.memories == {"weights": (18, 40)}
    assert emitted.owners == {"weights": "design"}
    assert emitted.contents == {}
    text = emitted.modules["design"]
    assert text.count("cell \\hwbnn_ram \\weights") == 1
    assert text.count("memory width 18") == 1, "the memory without a mark stays as it was"


def test_an_init_becomes_default_contents(design):
    emitted = emit(design(shape=18, init=[1, 0, 2]), "design")
    assert emitted.contents == {"weights": [1, 0, 2] + [0] * 37}


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"ports": {"domain": "comb"}}, "synchronous read port"),
        ({"attrs": {"hwbnn_name": "a b"}}, "letters, digits"),
        ({"attrs": {"hwbnn_name": "a", "hwbnn_collision": "new"}}, "unknown hwbnn_collision"),
        ({"depth": 1}, "no words to choose from"),
    ],
)
def test_a_memory_that_cannot_be_one_is_refused(design, options, text):
    with pytest.raises(ValueError, match=text):
        emit(design(**options), "design")
