"""report.json from what the stages left, and report.md and report.html from report.json."""

from .assemble import assemble
from .compare import compare
from .operations import counted, operation_counts
from .render import (
    render_html,
    render_markdown,
    render_readme,
    render_text,
    tables_html,
    tables_markdown,
)
from .view import sections

__all__ = ["assemble", "compare", "counted", "operation_counts", "render_html",
           "render_markdown", "render_readme", "render_text", "sections", "tables_html",
           "tables_markdown"]
