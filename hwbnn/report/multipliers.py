"""Where a machine multiplies, beside a paper that says its network needs none."""

from .quantity import Column, Table, from_json
from .section import Section

__all__ = ["multiplier_section"]

TITLES = {
    "array": "binary convolutions, XNOR array",
    "signed": "1x1 layers of ±1 weights, by adders",
    "rprelu": "RPReLU, in the lanes",
    "scale": "scale of each output channel (S_c), in the lanes",
    "dense": "dense array",
    "first": "first convolution, unit of its own",
    "gains": "gains of each image",
    "thresholds": "thresholds of each image",
    "other": "elsewhere",
}
SHOWN = 4  # layers named in a row
ALWAYS = ("array", "rprelu", "scale", "dense")  # rows that say 0, too
CLAIM = (
    "The A&B BNN paper counts no multiplication in its networks (add and bit operations only). "
    "Its count leaves out the first convolution, the classifier, and S_c, the constant of every "
    "binary convolution's output; what multiplies here is for these.")


def multiplier_section(doc: dict) -> Section | None:
    """How many multipliers each purpose takes."""
    found = doc.get("multipliers")
    if found is None:
        return None
    section = Section("Multipliers")
    table = Table(Column("what for (MULT18X18D)"), Column("layers"), Column("estimate", "estimate"),
                  Column("post-synthesis", "post-synthesis"))
    for purpose, row in found["purposes"].items():
        layers = found["layers"].get(purpose, [])
        numbers = [from_json(row.get(path)) for path in ("estimate", "post-synthesis")]
        if purpose in ALWAYS or layers or any(n is not None and n.value for n in numbers):
            table.add(TITLES[purpose], _named(layers), *numbers)
    section.tables.append(table.without_empty_columns())
    if doc["network"]["family"] == "ab":
        section.text.append(CLAIM)
    return section


def _named(layers: list[str]) -> str:
    """The layers, or how many they are."""
    return ", ".join(layers) if len(layers) <= SHOWN else f"{len(layers)} layers"
