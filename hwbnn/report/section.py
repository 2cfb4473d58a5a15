"""A section of a report."""

import dataclasses

from .quantity import Table

__all__ = ["Section"]


@dataclasses.dataclass
class Section:
    """A heading, sentences, tables."""

    title: str
    text: list[str] = dataclasses.field(default_factory=list)
    tables: list[Table] = dataclasses.field(default_factory=list)
