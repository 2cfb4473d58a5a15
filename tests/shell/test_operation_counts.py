"""Operations as the papers count them: from graphs, beside what is printed and what was built."""

from fractions import Fraction

import numpy as np
import pytest

from hwbnn import api
from hwbnn.counts import (
    EIGHT,
    FLOAT,
    FOUR,
    PAPER,
    RULES,
    Work,
    degree,
    operations,
    paper_degree,
    published_name,
    work,
)
from hwbnn.passes import lower_to_integers
from hwbnn.report import counted, operation_counts, render_text
from hwbnn.report.quantity import Column, Stated, Table
from models.api import load_network
from models.synth import hollow, networks

# Counted from the authors' definitions: binary, first, shortcuts, gates, classifier.
SIZES = {
    "bnext-t": (4_816_896_000, 10_838_016, 0, 1_482_496, 1_024_000),
    "bnext-s": (10_838_016_000, 16_257_024, 0, 3_335_616, 1_536_000),
    "bnext-m": (20_086_456_320, 16_257_024, 0, 6_469_056, 1_536_000),
    "bnext-l": (52_150_927_360, 21_676_032, 0, 15_694_848, 2_048_000),
    "bnext-18": (1_676_279_808, 118_013_952, 19_267_584, 348_160, 512_000),
    "reactnet-a": (4_816_896_000, 10_838_016, 0, 0, 1_024_000),
    "reactnet-18": (1_676_279_808, 118_013_952, 19_267_584, 0, 512_000),
}
LARGE = ("bnext-t", "bnext-s", "bnext-m", "bnext-l")  # 30 s in all


@pytest.mark.parametrize("name", [
    n if n not in LARGE else pytest.param(n, marks=pytest.mark.slow) for n in SIZES])
def test_the_graph_of_a_published_network(name):
    graph = load_network(hollow(name)).graph()
    assert work(graph) == Work(*SIZES[name])
    assert published_name(graph) == name


# The table of BNext's README: operations in G, degree of binarisation.
PRINTED = [("bnext-t", EIGHT, 0.077, 97.81), ("bnext-s", EIGHT, 0.172, 98.47),
           ("bnext-m", EIGHT, 0.317, 99.02), ("bnext-l", FOUR, 0.819, 99.49)]


@pytest.mark.parametrize(("name", "rule", "giga", "percent"), PRINTED)
def test_the_papers_table_is_reproduced(name, rule, giga, percent):
    paper, found = PAPER[name], Work(*SIZES[name])
    assert (paper.rule, paper.giga, paper.percent) == (rule, giga, percent)
    assert round(float(operations(found, rule)) / 1e9, 3) == giga
    assert round(paper_degree(found, rule), 2) == percent
    assert abs(degree(found, rule) - percent) < 0.04


def test_where_the_table_needs_a_note():
    large = Work(*SIZES["bnext-l"])
    assert round(float(operations(large, EIGHT)) / 1e9, 3) == 0.82  # 4-bit SE alone gives 0.819
    eighteen = Work(*SIZES["bnext-18"])
    assert int(100 * paper_degree(eighteen, EIGHT)) / 100 == PAPER["bnext-18"].percent  # cut
    assert round(paper_degree(Work(*SIZES["reactnet-a"]), FLOAT), 2) == 86.57
    assert round(float(operations(Work(*SIZES["reactnet-a"]), FLOAT)) / 1e9, 3) == 0.087
    react = operations(Work(*SIZES["reactnet-18"]), FLOAT)
    assert react == 26_191_872 + 137_793_536 and int(react / 10**6) / 1000 == 0.163
    assert all(PAPER[n].note for n in ("bnext-l", "bnext-18", "reactnet-a", "reactnet-18"))


def test_what_an_operation_is():
    each = [Work(*(64 * (i == k) for i in range(5))) for k in range(5)]
    counts = {rule.name: [operations(w, rule) for w in each] for rule in RULES}
    assert counts == {"8 bits": [1, 8, 8, 8, 8], "8 bits, SE 4": [1, 8, 8, 4, 8],
                      "float": [1, 64, 64, 64, 64]}
    assert isinstance(operations(Work(1, 1, 0, 0, 0), EIGHT), Fraction)
    assert degree(Work(64, 8, 0, 0, 0), EIGHT) == 50


def test_integers_are_counted_alike(network):
    real = load_network(network).graph()
    _folded, integer = lower_to_integers(real)
    assert work(integer) == work(real) and work(real).classifier == 4 * 16
    assert published_name(real) is None


def test_other_sizes_are_not_the_papers():
    small = load_network(hollow("bnext-18"), options={"input_size": 64}).graph()
    assert work(small).gates == SIZES["bnext-18"][3]  # dense layers do not depend on the size
    assert work(small).binary * 49 == SIZES["bnext-18"][0] * 4
    assert published_name(small) is None


def test_networks_that_sizes_alone_tell():
    names = {n.name for n in networks().values() if n.shapes}
    assert {"bnext-l-quant", "reactnet-34", *SIZES} <= names
    assert not any(n.startswith("snn") for n in names)  # codebooks decide what they compute
    checkpoint = hollow("bnext-l")
    assert sum(v.untyped_storage().nbytes() for v in checkpoint.tensors.values()) < 1e5


def test_compare_names_and_files(hwbnn, network, save, tmp_path):
    result = hwbnn("compare", "bnext-18", "reactnet-18", network)
    assert result.exit_code == 0
    rows = [line.split() for line in result.stdout.splitlines()]
    (own,) = [r for r in rows if r[:2] == ["bnext-18", "8"] and "97" not in r and "SE" not in r]
    assert own[3:] == ["0.04346", "60.27", "%", "61.05", "%", "61.04", "%"]
    (built,) = [r for r in rows if r and r[0] == "bnext-18" and "built" in r]
    assert built[1:] == ["1,676,279,808", "118,013,952", "19,267,584", "348,160", "512,000",
                         "not", "built"]
    assert any(r and r[0] == "net.pth" for r in rows)
    assert hwbnn("compare", "reactnet-18").exit_code == 0
    result = hwbnn("compare", "snn-r18-tau5", "reactnet-18")
    assert result.exit_code == 2
    assert "no network is known by its sizes as 'snn-r18-tau5'; known: bnext-18," in result.stderr
    result = hwbnn("compare", "nowhere", "reactnet-18")
    assert result.exit_code == 3 and "nowhere: no such file" in result.stderr
    result = hwbnn("compare", "bnext-18-quant", "reactnet-18")
    assert result.exit_code == 0 and "348,160" in result.stdout


def test_compare_builds_and_networks(hwbnn, network, tmp_path):
    for stop in ("check", "plan"):
        assert hwbnn("compile", network, "--stop-after", stop, "-o",
                     tmp_path / stop).exit_code == 0
    doc = api.read_report(tmp_path / "plan")
    cycles = f"{doc['performance']['interval']['estimate']['value']:,}"
    (section,) = api.compare([tmp_path / "check", tmp_path / "plan"])
    counts, claims = section.tables
    checked, planned = counts.rows
    assert checked[0] == "check" and checked[6:] == ("not built", None, None)
    assert planned[6] == doc["machine"]["shape"] and planned[8] is None
    assert checked[1:6] == planned[1:6]
    assert planned[1].value == doc["network"]["binary_macs"]
    result = hwbnn("compare", tmp_path / "plan", "reactnet-18")
    assert cycles in result.stdout and "not built" in result.stdout
    assert len(api.compare([tmp_path / "plan", tmp_path / "plan", "reactnet-18"])) > 1


def test_stated_numbers_have_columns_of_their_own():
    table = Table(Column("", "graph"), Column("", "estimate"), Column("", "paper"), Column(""))
    table.add(Stated(1, "G", "graph"), None, Stated(2, "G", "paper"), "x")
    for cells in ((Stated(1, "G", "paper"), None, None, ""),
                  (None, Stated(1, "", "graph"), None, ""), (1, None, None, ""),
                  (None, None, None, Stated(1, "", "graph"))):
        with pytest.raises(TypeError):
            table.add(*cells)
    with pytest.raises(ValueError, match="'rtl-sim' is not one of graph, paper"):
        Stated(1, "", "rtl-sim")


def test_notes_are_printed_beside_the_numbers_that_need_them():
    graph = load_network(hollow("reactnet-18")).graph()
    text = render_text([operation_counts({"mine": counted(graph)})])
    assert "mine: OPs cut and not rounded" in text
    assert np.isclose(counted(graph).work.others, 137_793_536)
