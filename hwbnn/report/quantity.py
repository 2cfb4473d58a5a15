"""Numbers that say where they come from, and tables that keep the kinds apart."""

import dataclasses
from typing import Any

__all__ = ["PATHS", "STATED", "Column", "Estimate", "Measurement", "Stated", "Table", "from_json",
           "show"]

# How a number can have been obtained. An estimate was computed before anything ran.
PATHS = ("torch-float", "int-model", "rtl-sim", "post-synthesis", "post-route")
# A number that nothing has to run for: counted in a network's graph, or printed in a paper.
STATED = ("graph", "paper")


@dataclasses.dataclass(frozen=True)
class Estimate:
    """A predicted number; ``basis`` says by what."""

    value: float
    unit: str
    basis: str

    path = "estimate"

    def to_json(self) -> dict:
        return {"value": self.value, "unit": self.unit, "path": self.path, "basis": self.basis}


@dataclasses.dataclass(frozen=True)
class Measurement:
    """A number that something produced: one of `PATHS`, or two joined by " / " where it is the
    quotient of two measurements."""

    value: float
    unit: str
    path: str
    basis: str = ""

    def __post_init__(self):
        if unknown := [p for p in self.path.split(" / ") if p not in PATHS]:
            raise ValueError(f"a measurement comes from one of {', '.join(PATHS)}, "
                             f"not {unknown[0]!r}")

    def to_json(self) -> dict:
        return {"value": self.value, "unit": self.unit, "path": self.path, "basis": self.basis}


@dataclasses.dataclass(frozen=True)
class Stated:
    """An exact count (path "graph"), or what a paper prints (path "paper")."""

    value: float
    unit: str
    path: str

    def __post_init__(self):
        if self.path not in STATED:
            raise ValueError(f"path {self.path!r} is not one of {', '.join(STATED)}")


QUANTITIES = Estimate | Measurement | Stated


def from_json(entry: dict | None) -> Estimate | Measurement | None:
    """What `to_json` wrote, as its own type again."""
    if entry is None:
        return None
    if entry["path"] == Estimate.path:
        return Estimate(entry["value"], entry["unit"], entry["basis"])
    return Measurement(**entry)


@dataclasses.dataclass(frozen=True)
class Column:
    """``path`` is "estimate", one of `PATHS` (or two joined) or `STATED`, or "" for names and exact
    facts; ``right`` aligns exact numbers as columns with a path are."""

    title: str
    path: str = ""
    unit: str = ""
    right: bool = False

    @property
    def numeric(self) -> bool:
        return bool(self.path) or self.right


class Table:
    """Rows under typed columns.

    A column that has a path takes quantities of that path and no others, so an estimate can never
    stand among measurements; a column without one takes no quantities.
    """

    def __init__(self, *columns: Column, title: str = ""):
        self.columns = columns
        self.title = title
        self.rows: list[tuple[Any, ...]] = []

    def add(self, *cells: Any) -> None:
        """Append a row; None is an empty cell.

        Raises
        ------
        TypeError
            A cell does not belong into its column.
        """
        if len(cells) != len(self.columns):
            raise TypeError(f"{len(cells)} cells for {len(self.columns)} columns")
        for cell, column in zip(cells, self.columns, strict=True):
            quantity = isinstance(cell, QUANTITIES)
            if quantity and cell.path != column.path:
                raise TypeError(f"a number of path {cell.path!r} in column {column.title!r}, "
                                f"which is {column.path or 'for facts'!r}")
            if column.path and not quantity and cell is not None:
                raise TypeError(f"column {column.title!r} takes {column.path!r} quantities, "
                                f"not {cell!r}")
        self.rows.append(cells)

    def without_empty_columns(self) -> "Table":
        """The same table less the columns in which every cell is None."""
        kept = [i for i in range(len(self.columns)) if any(r[i] is not None for r in self.rows)]
        table = Table(*(self.columns[i] for i in kept), title=self.title)
        table.rows = [tuple(row[i] for i in kept) for row in self.rows]
        return table


def show(cell: Any, unit: bool = False) -> str:
    """A cell as text; ``unit`` appends a quantity's unit."""
    if cell is None:
        return ""
    if isinstance(cell, QUANTITIES):
        text = _number(cell.value, cell.unit)
        return f"{text} {cell.unit}" if unit and cell.unit not in ("", "%") else text
    if isinstance(cell, bool):
        return "yes" if cell else "no"
    if isinstance(cell, int):
        return f"{cell:,}"
    if isinstance(cell, float):
        return _number(cell, "")
    return str(cell)


def _number(value: float, unit: str) -> str:
    if unit == "%":
        # Rounding must not turn a miss into 100 %.
        if 99.995 <= value < 100:
            return "99.99 %"
        return f"{value:.2f} %" if value < 100 else "100 %"
    if isinstance(value, int) or value == int(value):
        return f"{int(value):,}"
    if abs(value) >= 1000:
        return f"{value:,.0f}"
    return f"{value:.4g}"
