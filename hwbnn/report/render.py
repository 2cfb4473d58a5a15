"""Markdown, HTML, terminal text and README.txt from sections of typed tables."""

import functools

from .quantity import Table, show
from .section import Section
from .view import sections

__all__ = ["render_html", "render_markdown", "render_readme", "render_text", "tables_html",
           "tables_markdown"]


@functools.cache
def _environment():
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("hwbnn.report", "templates"),
        autoescape=jinja2.select_autoescape(["html.j2"]),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters["show"] = show
    environment.filters["md"] = _markdown_cell
    return environment


def _markdown_cell(cell) -> str:
    return show(cell).replace("|", "\\|").replace("\n", " ")


def _title(doc: dict) -> str:
    board = doc.get("board")
    return f"{doc['network']['file']}" + (f" on {board['name']}" if board else "")


def render_markdown(doc: dict) -> str:
    """report.md."""
    return tables_markdown(_title(doc), sections(doc))


def render_html(doc: dict) -> str:
    """report.html: one file, no scripts, nothing loaded from elsewhere."""
    return tables_html(_title(doc), sections(doc))


def render_readme(doc: dict) -> str:
    """README.txt of an output folder."""
    return _environment().get_template("readme.txt.j2").render(doc=doc, title=_title(doc))


def tables_markdown(title: str, content: list[Section]) -> str:
    """Any sections as Markdown."""
    return _environment().get_template("report.md.j2").render(title=title, sections=content)


def tables_html(title: str, content: list[Section]) -> str:
    """Any sections as HTML."""
    return _environment().get_template("report.html.j2").render(title=title, sections=content)


def render_text(content: list[Section], width: int = 100) -> str:
    """Any sections for a terminal."""
    import textwrap

    lines = []
    for section in content:
        lines += [section.title, "-" * len(section.title)]
        for table in section.tables:
            lines += [*text_table(table), ""]
        for paragraph in section.text:
            lines += [*textwrap.wrap(paragraph, width, break_on_hyphens=False), ""]
    return "\n".join(lines).rstrip() + "\n"


def text_table(table: Table) -> list[str]:
    """A table in columns of spaces; numbers to the right."""
    heads = [column.title for column in table.columns]
    rows = [[show(cell) for cell in row] for row in table.rows]
    body = [heads, *rows] if any(heads) else rows
    widths = [max(len(row[i]) for row in body) for i in range(len(heads))]
    right = [
        column.numeric or all(isinstance(row[i], int | float | None) for row in table.rows)
        for i, column in enumerate(table.columns)
    ]
    lines = []
    for row in body:
        cells = [c.rjust(w) if r else c.ljust(w)
                 for c, w, r in zip(row, widths, right, strict=True)]
        lines.append("  ".join(cells).rstrip())
    return ([table.title] if table.title else []) + lines
