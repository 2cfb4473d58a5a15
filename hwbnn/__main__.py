"""``python -m hwbnn``."""

from .cli import main

main(prog_name="hwbnn")
