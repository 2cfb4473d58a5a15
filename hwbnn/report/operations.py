"""What papers of binary networks count, from the graphs, beside what they print and cycles."""

import dataclasses

from ..counts import (
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
from ..ir import Graph
from .quantity import Column, Stated, Table, from_json
from .section import Section

__all__ = ["Counted", "counted", "operation_counts"]


@dataclasses.dataclass(frozen=True)
class Counted:
    """A network's work, the key of `counts.PAPER` that it has, and its report where it was built.
    """

    work: Work
    paper: str | None
    doc: dict | None = None


def counted(graph: Graph, doc: dict | None = None) -> Counted:
    """Count a float or integer graph; ``doc`` is report.json of its build."""
    return Counted(work(graph), published_name(graph), doc)


def operation_counts(networks: dict[str, Counted]) -> Section:
    """Tables of counts, with the papers' beside them, and of the cycles of what was built."""
    section = Section("Operations as the papers count them")
    section.tables += [_counts(networks), _claims(networks)]
    section.text.append(
        "graph: counted in the network's graph; paper: printed by BNext and ReActNet. An operation "
        "is a multiply-accumulate: a binary one counts 1/64, one of 8 bits 1/8, of 4 bits 1/16, of "
        "floats 1. The degree of binarisation is the binary share; the papers compute it from "
        "binary MACs rounded to 0.01 G and operations rounded to 0.001 G.")
    notes = [f"{name}: {PAPER[c.paper].note}." for name, c in networks.items()
             if c.paper and PAPER[c.paper].note]
    if notes:
        section.text.append(" ".join(notes))
    return section


def _counts(networks: dict[str, Counted]) -> Table:
    kinds = [f.name for f in dataclasses.fields(Work)]
    titles = {"binary": "binary MAC", "first": "first convolution",
              "gates": "gates (SE, thresholds)"}
    table = Table(Column("network"),
                  *(Column(f"{titles.get(k, k)}, graph", "graph", "MAC") for k in kinds),
                  Column("machine"), Column("cycles, estimate", "estimate", "cycles"),
                  Column("cycles, rtl-sim", "rtl-sim", "cycles"))
    for name, c in networks.items():
        doc = c.doc or {}
        interval = doc.get("performance", {}).get("interval", {})
        machine = doc["machine"]["shape"] if "machine" in doc else "not built"
        table.add(name, *(Stated(getattr(c.work, k), "MAC", "graph") for k in kinds), machine,
                  from_json(interval.get("estimate")), from_json(interval.get("rtl-sim")))
    return table


def _claims(networks: dict[str, Counted]) -> Table:
    table = Table(Column("network"), Column("multi-bit products in"),
                  Column("operations in G, graph", "graph"), Column("in G, paper", "paper"),
                  Column("degree, exact, graph", "graph", "%"),
                  Column("degree, of rounded numbers, graph", "graph", "%"),
                  Column("degree, paper", "paper", "%"))
    for name, c in networks.items():
        paper = PAPER.get(c.paper)
        for rule in RULES:
            if rule is FOUR and not c.work.gates:
                continue
            printed = paper if paper and paper.rule is rule else None
            label = f"{rule.name} throughout" if rule is FLOAT else rule.name
            table.add(name, label, Stated(float(operations(c.work, rule)) / 1e9, "G", "graph"),
                      _printed(printed, "giga", "G"),
                      Stated(degree(c.work, rule), "%", "graph"),
                      Stated(paper_degree(c.work, rule), "%", "graph"),
                      _printed(printed, "percent", "%"))
    return table


def _printed(paper, field: str, unit: str) -> Stated | None:
    value = getattr(paper, field) if paper else None
    return None if value is None else Stated(value, unit, "paper")
