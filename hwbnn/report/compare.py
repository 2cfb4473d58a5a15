"""Several builds side by side: claimed operations against predicted and simulated cycles."""

from .multipliers import TITLES
from .quantity import Column, Estimate, Measurement, Table, from_json
from .section import Section

__all__ = ["compare"]

PATHS = ("estimate", "rtl-sim", "post-synthesis", "post-route", "post-route / rtl-sim",
         "torch-float", "int-model")


def compare(docs: dict[str, dict]) -> list[Section]:
    """Sections that compare reports.

    Parameters
    ----------
    docs : {name: report.json}
        At least two, each with a plan; the first is what ratios refer to.
    """
    return [_totals(docs), _ratios(docs), *_layers(docs)]


def _quantity(doc: dict, *keys: str):
    for key in keys:
        doc = (doc or {}).get(key)
    return from_json(doc)


def _totals(docs: dict[str, dict]) -> Section:
    section = Section("Builds")
    facts = Table(Column(""), *(Column(name) for name in docs))
    rows = {
        "network": lambda d: d["network"]["file"],
        "bits a kernel": _kernel_bits,
        "RPReLU by": lambda d: d["network"]["numeric"].get("rprelu"),
        "scales by": _scales,
        "stored": lambda d: "plain (--one-bit)" if d["network"]["one_bit"] else "as trained",
        "board": lambda d: d["board"]["name"],
        "machine": lambda d: d["machine"]["shape"],
        "binary MAC a frame": lambda d: d["network"]["binary_macs"],
        "bit operations, paper's count": lambda d: round(d["claims"]["bops"]),
        "kernel bits": lambda d: d["claims"]["weight_bits"],
    }
    for title, of in rows.items():
        facts.add(title, *(of(doc) for doc in docs.values()))
    section.tables.append(facts)
    numbers = Table(Column("build"), Column(""), *(Column(path, path) for path in PATHS))
    def add(name, title, *entries):
        """A row of the quantities among ``entries``, each in the column of its path."""
        found = {q.path: q for q in map(from_json, entries) if q is not None}
        if found:
            numbers.add(name, title, *(found.get(path) for path in PATHS))

    for name, doc in docs.items():
        perf, clock, accuracy = (doc.get(k, {}) for k in ("performance", "clock", "accuracy"))
        add(name, "latency, cycles", *perf["latency"].values())
        add(name, "initiation interval, cycles", *perf["interval"].values())
        if "batch" in perf:
            add(name, f"interval of {perf['batch']} images / {perf['batch']}, cycles",
                *perf["per_image"].values())
        for resource, row in doc["resources"].items():
            add(name, resource, row.get("estimate"), row.get("post-route"))
        for purpose, row in doc.get("multipliers", {}).get("purposes", {}).items():
            if row["estimate"]["value"]:
                add(name, f"multipliers: {TITLES[purpose]}", *row.values())
        add(name, "Fmax, MHz", clock.get("fmax"))
        assumed = perf["fps"]["estimate"]
        add(name, f"frames/s, {assumed['basis'].split(' / ')[0]}", assumed)
        add(name, "frames/s at Fmax", perf.get("fps_at_fmax"))
        for kind, entry in doc["totals"].items():
            add(name, f"{kind} array, of the frame", *entry["of_the_frame"].values())
        add(name, "top-1", accuracy.get("torch_float"), accuracy.get("int_model"))
    section.tables.append(numbers.without_empty_columns())
    return section


def _kernel_bits(doc: dict) -> str:
    return ", ".join(map(str, sorted(set(doc["network"]["kernel_bits"]))))


def _scales(doc: dict) -> str | None:
    digits = doc["network"]["numeric"].get("scale_digits")
    if digits is None:
        return None
    return f"shift-add:{digits}" if digits else "multiplier"


def _ratios(docs: dict[str, dict]) -> Section:
    """How much more each build is than the first, claimed and in cycles."""
    first_name, first = next(iter(docs.items()))
    section = Section(f"Against {first_name}")
    table = Table(Column("build"), Column("claimed (bit operations)", right=True),
                  Column("kernel bits", right=True), Column("cycles, estimate", "estimate"),
                  Column("cycles, rtl-sim", "rtl-sim"))
    for name, doc in docs.items():
        a, b = (perf.get("per_image", perf["interval"])
                for perf in (first["performance"], doc["performance"]))
        estimate = Estimate(b["estimate"]["value"] / a["estimate"]["value"], "", "schedule")
        simulated = None
        if "rtl-sim" in a and "rtl-sim" in b:
            simulated = Measurement(b["rtl-sim"]["value"] / a["rtl-sim"]["value"], "", "rtl-sim")
        table.add(name, f"{doc['claims']['bops'] / first['claims']['bops']:.3f}",
                  f"{doc['claims']['weight_bits'] / first['claims']['weight_bits']:.3f}",
                  estimate, simulated)
    section.tables.append(table.without_empty_columns())
    section.text.append(
        "The sub-bit paper claims that operations follow the first column, and reports 3.13x "
        "runtime where it claims 3.34x (ResNet-18 at 0.56 bit). The last columns are what these "
        "builds take.")
    return section


def _layers(docs: dict[str, dict]) -> list[Section]:
    names = [[row["name"] for row in doc["layers"]] for doc in docs.values()]
    if any(other != names[0] for other in names[1:]):
        return [Section("Layers", ["The builds have different steps, so no table by layer."])]
    columns = [Column("step")]
    for path in ("estimate", "rtl-sim"):
        columns += [Column(f"{name}, cycles ({path})", path) for name in docs]
    columns += [Column(f"{name}, bound") for name in docs]
    table = Table(*columns)
    for i, step in enumerate(names[0]):
        rows = [doc["layers"][i] for doc in docs.values()]
        cycles = [_quantity(row, "cycles", path) for path in ("estimate", "rtl-sim")
                  for row in rows]
        table.add(step, *cycles, *(row["bound"] for row in rows))
    section = Section("Layers", tables=[table.without_empty_columns()])
    return [section]
