"""From a component to a bitstream, with the real tools."""

import dataclasses
import json

import pytest
from amaranth.hdl import *
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from hwbnn import build as build_module
from hwbnn.build import TimingError, board_design, build, build_part, get_board, load_result
from hwbnn.cache import Cache
from hwbnn.emit import emit
from hwbnn.errors import DoesNotFit, ToolError, UserError
from hwbnn.place import lpf, place_and_route, retune
from hwbnn.synth import synthesise
from rtl_gen.pll import fastest_setting
from rtl_gen.units.dsp import Multiplier18

CLOCK = 25_000_000
WEIGHTS = {"weights": [1, 2, 3, 4, 5]}


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return Cache(tmp_path_factory.mktemp("cache"))


def small_board_design(engine, mhz, board):
    return board_design(
        engine(n_pixels=12, n_classes=5),
        board=board,
        image=(3, 4, 3),
        n_classes=5,
        identity=b"12345678",
        setting=fastest_setting(CLOCK, mhz * 1e6),
    )


@pytest.mark.slow
def test_a_bitstream_at_the_best_clock_then_from_the_cache(sum_engine, cache, tmp_path):
    board, lines = get_board("ulx3s", "85F"), []
    setting = fastest_setting(CLOCK, 140e6)
    emitted = small_board_design(sum_engine, 140, board)
    options = {"board": board, "setting": setting, "best_clock": True, "cache": cache,
               "placements": 3}
    first = build(emitted, WEIGHTS, out_dir=tmp_path / "a", progress=lines.append, **options)
    assert (tmp_path / "a" / "design.bit").stat().st_size > 10_000
    assert load_result(tmp_path / "a") == first
    assert first.clock_mhz == fastest_setting(CLOCK, first.fmax_mhz * 1e6).out_mhz
    assert 25 < first.clock_mhz <= first.fmax_mhz <= first.cap_mhz == board.caps.dsp
    assert first.used["DP16KD"] == (1, 208) and first.used["MULT18X18D"] == (1, 156)
    assert first.cells["DP16KD"] == 1 and first.used["TRELLIS_COMB"][0] > 100
    assert all(s.seconds > 0 and s.peak_bytes > 1 << 20 for s in first.stages)
    assert [t.split()[0] for t in first.tools] == ["yosys", "nextpnr-ecp5", "ecppack"]
    assert any(line.startswith("seed 1: placing, iteration") for line in lines)
    assert any(line.startswith(f"seed {first.seed}: routing, ") for line in lines)
    expected = first.expected_mhz
    assert set(expected) == {1, 2, 3} and expected[first.seed] == max(expected.values())
    logs = {file.name for file in (tmp_path / "a").glob("pl*.log")}
    others = {1, 2, 3} - {first.seed}
    assert logs == {"place-and-route.log"} | {f"place-seed-{n}.log" for n in others}
    alone = build(emitted, WEIGHTS, out_dir=tmp_path / "d", seed=first.seed,
                  **options | {"placements": 1})
    assert not any(s.cached for s in alone.stages if s.name == "place and route")
    assert alone.fmax_mhz == first.fmax_mhz
    assert alone.expected_mhz == {first.seed: expected[first.seed]}

    again = build(emitted, WEIGHTS, out_dir=tmp_path / "b", **options)
    assert all(stage.cached for stage in again.stages if stage.name != "pack")
    bits = [(tmp_path / folder / "design.bit").read_bytes() for folder in "ab"]
    assert again.digest == first.digest and bits[0] == bits[1]

    other = build(emitted, {"weights": [9]}, out_dir=tmp_path / "c", **options)
    assert not any(s.cached for s in other.stages if s.name in ("synth sum_engine", "synth merge"))
    assert (tmp_path / "c" / "design.bit").read_bytes() != bits[0]

    faster = {**options, "best_clock": False}
    with pytest.raises(TimingError, match="140 MHz asked for, .* it would run at") as e:
        build(emitted, WEIGHTS, out_dir=tmp_path / "a", **faster)
    assert e.value.slower.out_mhz == first.clock_mhz
    assert not (tmp_path / "a" / "design.bit").exists(), "the bitstream of the last build is gone"
    assert not (tmp_path / "a" / "build.json").exists()
    with pytest.raises(UserError, match="no finished build"):
        load_result(tmp_path / "a")


@pytest.mark.slow
def test_a_retuned_configuration_is_the_one_of_the_other_clock(sum_engine, cache, tmp_path):
    board = get_board("ulx3s", "12F")
    words = {}
    for mhz in (60, 100):
        folder = tmp_path / str(mhz)
        netlist = synthesise(small_board_design(sum_engine, mhz, board), {}, folder, cache=cache)
        config = place_and_route(netlist, board, folder, cache=cache).config.read_text()
        words[mhz] = [line for line in config.splitlines() if "word: CLK" in line]
        assert config.startswith(".device LFE5U-12F")
        settings = {m: fastest_setting(CLOCK, m * 1e6) for m in (60, 100)}
        tuned = {m: retune(config, s).splitlines() for m, s in settings.items()}
        assert "\n".join(tuned[mhz]) + "\n" == config, "its own setting changes nothing"
        words[mhz, "tuned"] = [line for line in tuned[160 - mhz] if "word: CLK" in line]
    assert words[60] != words[100] and len(words[60]) >= 6
    assert words[60, "tuned"] == words[100] and words[100, "tuned"] == words[60]
    with pytest.raises(ValueError, match="0 words CLKI_DIV"):
        retune("", fastest_setting(CLOCK, 1e8))


@pytest.mark.slow
def test_a_part_out_of_context(design, cache, tmp_path):
    board = get_board("ulx3s", "25F")
    result = build_part(
        emit(design(), "part"), {}, board=board, out_dir=tmp_path, freq_mhz=100, cache=cache
    )
    assert result.bitstream is None and result.used["MULT18X18D"] == (3, 28)
    assert 50 < result.fmax_mhz <= result.cap_mhz
    assert json.loads((tmp_path / "build.json").read_text())["part"] == "LFE5U-25F"


def test_ports_without_a_pin_are_refused():
    board = get_board("ulx3s")
    text = lpf(board, ["clk25", "led0"])
    assert 'LOCATE COMP "led0" SITE "B2";' in text
    assert 'FREQUENCY PORT "clk25" 25000000 HZ;' in text
    with pytest.raises(UserError, match="no port 'led9'"):
        lpf(board, ["led9"])


def test_wrong_contents_are_refused_before_any_tool_runs(design, cache, tmp_path):
    emitted = emit(design(), "design")
    for contents, text in (
        ({"weight": []}, "weight: no such memory; the design has: weights"),
        ({"weights": [0] * 41}, "weights: 41 words for a memory of 40"),
        ({"weights": [1 << 18]}, "weights: word 0x40000 at address 0 has more than 18 bits"),
        ({"weights": [0, -1]}, "weights: word -0x1 at address 1"),
    ):
        with pytest.raises(UserError, match=text):
            synthesise(emitted, contents, tmp_path, cache=cache)


def test_a_failing_tool_is_named_with_its_first_error(design, cache, tmp_path):
    emitted = emit(design(), "design")
    with pytest.raises(ToolError, match=r"yosys .*: ERROR: .*Unknown option.*; see .*\.log"):
        synthesise(emitted, {}, tmp_path, cache=cache, options="-nonsense")
    assert not (tmp_path / "design.json").exists()
    assert not list(tmp_path.glob(".synth-*"))


class Multipliers(wiring.Component):
    """One more than a 25F has."""

    a: In(signed(18))
    b: In(signed(18))
    o: Out(36)

    def elaborate(self, platform):
        m = Module()
        total = Const(0, 36)
        for n in range(29):
            m.submodules[f"mult{n}"] = mult = Multiplier18()
            m.d.comb += [mult.a.eq(self.a + n), mult.b.eq(self.b)]
            total = total ^ mult.o
        m.d.comb += self.o.eq(total)
        return m


def test_a_design_that_does_not_fit_says_what_is_short(cache, tmp_path):
    netlist = synthesise(emit(Multipliers(), "multipliers"), {}, tmp_path, cache=cache)
    board = get_board("ulx3s", "25F")
    options = {"cache": cache, "out_of_context": True}
    with pytest.raises(DoesNotFit, match="ulx3s-25f: 29 MULT18X18D of 28; take a smaller plan"):
        place_and_route(netlist, board, tmp_path, **options)
    wrong = dataclasses.replace(board, budget=dataclasses.replace(board.budget, dsp=29))
    with pytest.raises(DoesNotFit, match="ulx3s-25f: ERROR: .*no BELs remaining .*MULT18X18D"):
        place_and_route(netlist, wrong, tmp_path, **options)


def test_an_unknown_board_is_a_user_error():
    with pytest.raises(UserError, match="there are ulx3s-12f"):
        build_module.get_board("icebreaker")
    assert dataclasses.is_dataclass(get_board("ulx3s"))
