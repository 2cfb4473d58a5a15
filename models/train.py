"""Command line of training: `python -m models.train FAMILY ...`."""

import sys

import click

from hwbnn.errors import HwbnnError
from models.ab.train import command as ab
from models.sd.train import command as sd
from models.snn.train import command as snn


@click.group()
def main() -> None:
    """Train a small network of one family and write it as its authors would."""


main.add_command(ab)
main.add_command(sd)
main.add_command(snn)

if __name__ == "__main__":
    try:
        main()
    except HwbnnError as error:
        click.echo(f"error: {error}", err=True)
        sys.exit(error.exit_code)
