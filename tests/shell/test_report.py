"""From what stages leave to report.json, and from report.json to text."""

import html.parser
import json
import re
from pathlib import Path

import pytest

from hwbnn.folder import Record
from hwbnn.report import (
    assemble,
    compare,
    render_html,
    render_markdown,
    render_readme,
    render_text,
    sections,
)
from hwbnn.report.quantity import Column, Estimate, Measurement, Table, from_json, show

# Checked by hand: a network of two layers, 1,100 cycles a frame at 110 MHz.
DOC = json.loads((Path(__file__).parent / "report.json").read_text())
OPTIONS = {"checkpoint": "/home/me/net.pth", "one_bit": False}


def facts() -> dict:
    """What the stages of the build in report.json left."""
    steps = [
        {"name": "conv1", "kind": "dense", "cycles": 400, "compute": 300, "wait": 50,
         "overhead": 50, "macs": 24_000, "capacity": 80, "bound": "multipliers",
         "shape": [8, 4, 4], "memory": 12},
        {"name": "layer1", "kind": "binary", "cycles": 600, "compute": 500, "wait": 60,
         "overhead": 40, "macs": 450_000, "capacity": 1_000, "bound": "array",
         "shape": [8, 4, 4], "memory": 34},
    ]
    check = {
        "family": "snn", "checkpoint": {"epoch": 3}, "input": [3, 4, 4], "preprocess": "RGB",
        "classes": 4, "numeric": {"feature_bits": 16}, "binary_macs": 450_000,
        "binary_weights": 576, "kernel_bits": [4],
        "decisions": [{"where": "sign(0)", "chose": "+1", "why": "no | bit"}],
        "warnings": ["layer1: <b>a</b> warning"],
    }
    plan = {
        "board": {"name": "ulx3s-85f", "part": "LFE5U-85F", "baud": 3_000_000,
                  "budget": {"comb": 83_640, "ff": 83_640, "ebr": 208, "dsp": 156}},
        "machine": {"shape": "S=16 P=8 T=1 K=8", "text": "An array.", "memories": [
            {"name": "weights", "width": 64, "depth": 100,
             "ebr": Estimate(2, "", "port shapes").to_json()}]},
        "steps": steps, "latency": 1_099, "interval": 1_100, "image_bytes": 48,
        "estimate": {"comb": 9_000, "ff": 7_000, "ebr": 10, "dsp": 12}, "assumed_mhz": 100.0,
        "multipliers": {"estimate": {"array": 0, "signed": 0, "rprelu": 0, "scale": 4, "dense": 8,
                                     "other": 0},
                        "layers": {"array": ["layer1"], "signed": [], "dense": ["conv1"]}},
        "claim": {"bops": 200_000, "plain_bops": 450_000, "ratio": 2.25, "weight_bits": 256,
                  "plain_weight_bits": 576, "gathers": 1_024, "adds": 5_000, "kernel_ebr":
                  Estimate(2, "", "port shapes").to_json(),
                  "plain": {"interval": 1_210, "kernel_ebr":
                            Estimate(3, "", "port shapes").to_json()}},
    }
    verify = {"images": "test.npz", "frames": 3, "words_compared": 12_345, "tool": "verilator 5",
              "cycles": [1_099] * 3, "starts": [10, 1_110, 2_210, 3_310],
              "step_ends": [[399, 999]] * 3}
    build = {"board": "ulx3s-85f", "clock_mhz": 105.0, "fmax_mhz": 110.0, "cap_mhz": 156.0,
             "cap_by": "MULT18X18D", "target_mhz": 100.0, "seed": 2, "file": "net.bit",
             "expected_mhz": {"1": 70.5, "2": 81.25},
             "multipliers": {"array": 0, "signed": 0, "rprelu": 0, "scale": 4, "dense": 7,
                             "other": 1},
             "used": {"TRELLIS_COMB": [10_000, 83_640], "TRELLIS_FF": [7_000, 83_640],
                      "DP16KD": [10, 208], "MULT18X18D": [12, 156]},
             "stages": [{"name": "synth", "seconds": 2.0, "peak_bytes": 2**20, "cached": True}],
             "tools": ["yosys 0.60 (wasm)"]}
    evaluate = {
        "images": "test.npz",
        "agreement": {"n_images": 200, "layers": [{"name": "sign", "bits": 100_000, "differ": 1}],
                      "graph_error": 1e-6, "max_error": 0.05, "mean_error": 0.01, "spread": 2.0,
                      "same_class": 199},
        "accuracy": {"images": "test.npz", "n_images": 10_000, "torch_float": 75.0,
                     "int_model": 74.9, "same_class": 9_950, "mean_error": 0.01,
                     "saturated": {"add": [7, 1_000_000]}},
    }
    return {"check": check, "evaluate": evaluate, "plan": plan, "rtl": {"tool": "yosys 0.60"},
            "verify": verify, "build": build}


def records(*without) -> dict:
    return {
        stage: Record("key", {"checkpoint": "ab" * 32}, {}, {}, json.loads(json.dumps(fact)),
                      1.5, 2**20)
        for stage, fact in facts().items() if stage not in without
    }


def test_report_of_a_whole_build():
    assert assemble(records(), OPTIONS) == DOC


def test_frames_per_second_divide_the_routed_clock_by_simulated_cycles():
    fps = from_json(DOC["performance"]["fps_at_fmax"])
    assert fps == Measurement(110e6 / 1_100, "frames/s", "post-route / rtl-sim",
                              "post-route Fmax / simulated cycles")
    assert "the post-route clock over simulated cycles" in " ".join(sections(DOC)[0].text)


def test_no_measurement_without_its_stage():
    doc = assemble(records("verify", "build", "evaluate"), OPTIONS)
    assert paths(doc) == {"estimate"}
    assert "Not run: verify, build" in render_markdown(doc)
    doc = assemble(records("build"), OPTIONS)
    assert paths(doc) == {"estimate", "rtl-sim", "int-model", "torch-float"}
    assert "fps_at_fmax" not in doc["performance"]
    doc = assemble(records("plan", "rtl", "verify", "build", "evaluate"), OPTIONS)
    assert paths(doc) == set()
    render_html(doc)


def paths(entry) -> set[str]:
    """Every path named in a report."""
    if isinstance(entry, dict):
        own = {entry["path"]} if "path" in entry else set()
        return own.union(*(paths(v) for v in entry.values()))
    if isinstance(entry, list):
        return set().union(*(paths(v) for v in entry))
    return set()


def test_every_quantity_says_what_it_is():
    def walk(entry):
        if isinstance(entry, dict):
            if "value" in entry:
                assert {"value", "unit", "path", "basis"} == set(entry)
                from_json(entry)
            else:
                for value in entry.values():
                    walk(value)
        elif isinstance(entry, list):
            for value in entry:
                walk(value)

    walk(DOC)


def test_estimates_and_measurements_share_no_column():
    table = Table(Column("layer"), Column("predicted", "estimate"), Column("sim", "rtl-sim"))
    estimate, measured = Estimate(3, "cycles", "schedule"), Measurement(3, "cycles", "rtl-sim")
    table.add("a", estimate, measured)
    table.add("b", None, None)
    for row in (("c", measured, None), ("c", None, estimate), (estimate, None, None),
                ("c", 3, None), ("c", None)):
        with pytest.raises(TypeError):
            table.add(*row)
    routed = Measurement(3, "MHz", "post-route")
    with pytest.raises(TypeError, match="'post-route' in column 'sim', which is 'rtl-sim'"):
        table.add("c", None, routed)


def test_a_measurement_comes_from_somewhere():
    with pytest.raises(ValueError, match="not 'guess'"):
        Measurement(1, "", "guess")
    with pytest.raises(ValueError, match="not 'estimate'"):
        Measurement(1, "", "estimate")


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [(1234567, "cycles", "1,234,567"), (99.9999, "%", "99.99 %"), (100, "%", "100 %"),
     (99.5, "%", "99.50 %"), (0.012345, "", "0.01235"), (100000.4, "frames/s", "100,000")],
)
def test_numbers_as_text(value, unit, text):
    assert show(Measurement(value, unit, "rtl-sim")) == text


def test_markdown():
    text = render_markdown(DOC)
    assert text.startswith("# net.pth on ulx3s-85f\n")
    assert "| layer1 | binary | 8x4x4 | 450,000 | 600 | 600 | 60 | 75.00 % | 75.00 % |" in text
    assert "no \\| bit" in text
    assert "| top-1 | 75.00 % | 74.90 % |" in text
    tables = [block.splitlines() for block in re.findall(r"(?:^\|.*\n)+", text, re.M)]
    assert len(tables) > 8
    for lines in tables:
        assert len({line.replace("\\|", "").count("|") for line in lines}) == 1


def test_html_is_whole_and_by_itself():
    class Checker(html.parser.HTMLParser):
        open_tags: list = []

        def handle_starttag(self, tag, attrs):
            assert not {"src", "href"} & {name for name, _ in attrs}
            if tag not in ("meta",):
                self.open_tags.append(tag)

        def handle_endtag(self, tag):
            assert self.open_tags.pop() == tag

    text = render_html(DOC)
    checker = Checker()
    checker.feed(text)
    assert checker.open_tags == []
    assert "&lt;b&gt;a&lt;/b&gt; warning" in text  # a checkpoint's text is not markup
    assert "<script" not in text and "http" not in text


def test_columns_of_numbers_name_their_path():
    made = sections(DOC) + compare({"a": DOC, "b": DOC})
    columns = [column for section in made for table in section.tables for column in table.columns]
    assert {column.path for column in columns} >= {"", "estimate", "rtl-sim", "post-route"}
    assert [c.title for c in columns if c.path not in c.title] == []


def test_html_aligns_headings_as_their_cells():
    text = render_html(DOC)
    tables = [t for t in re.findall(r"<table>.*?</table>", text, re.S) if "<thead>" in t]
    assert any('<th class="n estimate">' in table for table in tables)
    for table in tables:
        heads, *rows = re.findall(r"<tr>(.*?)</tr>", table)
        kinds = re.findall(r"<th(.*?)>", heads)
        assert rows and all(re.findall(r"<td(.*?)>", row) == kinds for row in rows)


def test_a_table_without_rows_is_left_out():
    doc = json.loads(json.dumps(DOC))
    doc["saturation"]["layers"] = []
    assert "clamped" in render_markdown(DOC)
    assert "clamped" not in render_markdown(doc)


def test_stem_has_its_total():
    made = records()
    for step in made["plan"].facts["steps"][:1]:
        step["kind"] = "stem"
    totals = assemble(made, OPTIONS)["totals"]
    assert set(totals) == {"binary", "stem"}
    assert totals["stem"]["in_its_steps"]["estimate"]["value"] == 100 * 24_000 / (80 * 400)


def test_a_unit_that_works_beside_other_steps_has_no_share_of_its_own():
    made = records()
    step = made["plan"].facts["steps"][0]
    step |= {"kind": "stem", "capacity": 10}  # 24,000 MAC in 400 cycles of its own
    doc = assemble(made, OPTIONS)
    assert doc["layers"][0]["utilisation"] == {} == doc["totals"]["stem"]["in_its_steps"]
    assert "100 %" not in render_text(sections(doc))


def test_one_frame_of_overlapping_frames_measures_no_interval():
    made = records()
    made["plan"].facts.update({"interval": 700})
    made["verify"].facts.update({"frames": 1, "cycles": [1_099], "starts": [10, 720, 1_420],
                                 "step_ends": [[399, 999]]})
    doc = assemble(made, OPTIONS)
    perf = doc["performance"]
    assert set(perf["interval"]) == {"estimate"} and "fps_at_fmax" not in perf
    assert "rtl-sim" not in doc["totals"]["binary"]["of_the_frame"]
    text = render_text(sections(doc))
    assert "latency at Fmax" in text and "frames per second at Fmax" not in text


def test_text_for_a_terminal():
    text = render_text(sections(DOC))
    assert "top-1" in text and "\t" not in text
    assert max(len(line) for line in text.splitlines()) < 200


def test_readme_names_the_files_that_are_there():
    text = render_readme(DOC)
    assert "net.bit" in text and "sim/" in text
    text = render_readme(assemble(records("verify", "build"), OPTIONS))
    assert "net.bit" not in text and "sim/" not in text and "plan.json" in text


def test_comparison():
    other = json.loads(json.dumps(DOC))
    other["network"]["one_bit"] = True
    other["claims"]["bops"] = 450_000
    other["performance"]["interval"]["rtl-sim"]["value"] = 1_210
    other["performance"]["interval"]["estimate"]["value"] = 1_210
    text = render_text(compare({"sub": DOC, "one": other}))
    assert re.search(r"^one +2\.250 +1\.000 +1\.1 +1\.1$", text, re.M)
    assert re.search(r"^sub +multipliers: dense array +8 +7$", text, re.M)
    assert re.search(r"^layer1 +600 +600 +600 +600 +array +array$", text, re.M)
    other["layers"][0]["name"] = "conv9"
    assert "different steps" in render_text(compare({"sub": DOC, "one": other}))


def test_weights_in_sdram_are_named_with_their_margin():
    assert "SDRAM" not in render_text(sections(DOC)) and "weights.bin" not in render_readme(DOC)
    margins = {"command_setup": 3.0, "command_hold": 3.7, "read_setup": 4.3, "read_hold": -0.4,
               "read_delay": 0}
    doc = DOC | {"weights": {"file": "weights.bin", "words": 12_345, "crc32": 0xAB,
                             "sdram": "ulx3s-32mb", "phase_degrees": 258.75,
                             "margins_ns": margins}}
    text = render_text(sections(doc))
    assert "weights.bin, 12,345 words of 16 bits, CRC-32 000000ab" in text
    assert "-0.40 ns, clock 258.75 degrees late, by data-sheet arithmetic, not measured" in text
    assert "hwbnn unpack THIS_FOLDER" in render_readme(doc)


def test_where_it_multiplies():
    """Purposes that are always named say 0; the paper's claim stands in reports of its family."""
    doc = json.loads(json.dumps(DOC))
    section = next(s for s in sections(doc) if s.title == "Multipliers")
    rows = {row[0]: [getattr(cell, "value", cell) for cell in row[1:]]
            for row in section.tables[0].rows}
    assert rows == {
        "binary convolutions, XNOR array": ["layer1", 0, 0],
        "RPReLU, in the lanes": ["", 0, 0],
        "scale of each output channel (S_c), in the lanes": ["", 4, 4],
        "dense array": ["conv1", 8, 7], "elsewhere": ["", 0, 1],
    }
    assert not section.text
    doc["network"]["family"] = "ab"
    section = next(s for s in sections(doc) if s.title == "Multipliers")
    assert "add and bit operations only" in section.text[0]
