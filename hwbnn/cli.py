"""The command `hwbnn`: arguments in, one-line errors out. Work is done in `hwbnn.api`."""

import os
import signal
import sys
import threading
from pathlib import Path

import click

from . import __version__
from .errors import HwbnnError

__all__ = ["main"]

STOPS = ("check", "plan", "rtl", "verify", "build")


class _Group(click.Group):
    """Turns every failure that a user can cause into one line on stderr and an exit status."""

    def main(self, *args, standalone_mode=True, **extra):
        extra.setdefault("prog_name", "hwbnn")
        if not standalone_mode:
            return super().main(*args, standalone_mode=False, **extra)
        # Ending as by ctrl-c stops the tools that run, too.
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, signal.default_int_handler)
        try:
            status = super().main(*args, standalone_mode=False, **extra)
        except HwbnnError as error:
            _fail(str(error), error.exit_code)
        except click.UsageError as error:
            command = error.ctx.command_path if error.ctx else "hwbnn"
            _fail(f"{error.format_message()} See '{command} --help'.", 2)
        except (KeyboardInterrupt, click.Abort):
            _fail("interrupted", 130)
        except BrokenPipeError:  # hwbnn ... | head
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            sys.exit(0)
        sys.exit(status if isinstance(status, int) else 0)

    def list_commands(self, context):
        return list(self.commands)  # in the order a user meets them


def _fail(text: str, status: int):
    click.echo(f"error: {' '.join(text.split())}", err=True)
    sys.exit(status)


@click.group(
    "hwbnn",
    cls=_Group,
    invoke_without_command=True,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.version_option(__version__, prog_name="hwbnn")
@click.pass_context
def main(context):
    """Compile a trained binary or sub-bit neural network (a PyTorch checkpoint) to an FPGA.

    \b
    hwbnn check    net.pth                        can it be compiled? seconds
    hwbnn estimate net.pth --board ulx3s          size and cycles, without any tools
    hwbnn compile  net.pth --board ulx3s          everything: bitstream and report
    hwbnn infer    build/net-ulx3s-85f photos/ --path int-model -o out.npz

    Exit status: 0 success, 2 bad option, file or folder, 3 bad checkpoint, 4 unsupported
    layer, 5 does not fit the board, 6 a tool is missing or failed, 7 hardware and integer network
    disagree, 8 a build folder's files do not belong together.
    """
    if context.invoked_subcommand is None:
        click.echo(context.get_help())


def _option(*names, **kwargs):
    return click.option(*names, show_default=kwargs.get("default") is not None, **kwargs)


NETWORK = (
    _option("--family", metavar="NAME|FILE.py",
            help="Kind of network, or a Python file that registers one (it is run). "
                 "[default: recognised]"),
    _option("--input-size", metavar="PIXELS", help="Edge of the square image; a file cannot tell. "
                                                   "[default: the family's]"),
    _option("--bn-eps", metavar="EPS", help="Epsilon of batch normalisation. [default: 1e-5]"),
    _option("--mean", metavar="R,G,B", help="Mean of each colour, of 1. [default: ImageNet's]"),
    _option("--std", metavar="R,G,B", help="Deviation of each colour. [default: ImageNet's]"),
    _option("--option", "extra", metavar="NAME=VALUE", multiple=True,
            help="Another option of the family; see 'hwbnn models'. Can be repeated."),
    _option("--calib", metavar="IMAGES", help="Images that set the fixed-point ranges: an .npz "
            "with x, or a folder. [default: the checkpoint's statistics]"),
    _option("--rprelu", type=click.Choice(("auto", "multiplier", "shift")), default="auto",
            help="Slopes by a multiplier, or rounded to powers of two (lossy, reported). auto: "
                 "shifts where every slope is a power of two, else a multiplier."),
    _option("--scale", default="multiplier", metavar="multiplier|shift-add:N",
            help="Scale of each output channel by a multiplier in the lanes, or rounded to N = 1, "
                 "2 or 3 signed powers of two (lossy, reported) and made by shifts and additions."),
    _option("--feature-bits", type=click.IntRange(8, 18), default=16, metavar="N",
            help="Width of multi-bit maps between layers. Fewer take fewer block RAMs and may cost "
                 "agreement with PyTorch, which the report shows."),
    _option("--one-bit", is_flag=True, help="Store kernels as plain bits: the one-bit baseline "
                                            "of a sub-bit network."),
)
BOARD = (
    _option("--board", default="ulx3s", metavar="NAME", help="See 'hwbnn boards'."),
    _option("--device", metavar="12F|25F|45F|85F", help="Device on the board; with more "
            "SDRAM 85F-64MB and so on. [default: 85F]"),
    _option("--plan", "plan_file", metavar="plan.json", help="Build this machine, an edited "
            "plan.json of an earlier compile; unknown keys are errors."),
    _option("--target-fps", type=click.FloatRange(min=0, min_open=True), metavar="N",
            help="Take the smallest machine that reaches this. [default: the fastest that fits]"),
    _option("--max-luts", type=click.IntRange(min=1), metavar="N",
            help="Bound the machine by LUTs (TRELLIS_COMB)."),
    _option("--batch", type=click.IntRange(1, 64), default=1, metavar="B",
            help="Images that a load of weights may serve: more images a second, each later. The "
                 "host sends as many at once."),
)
IMAGES = (
    _option("--images", metavar="IMAGES", help="Images to verify with: an .npz with x (uint8 "
            "N,H,W,3), or a folder. [default: synthetic colour fields]"),
    _option("--frames", type=click.IntRange(min=1), metavar="N",
            help="Frames to simulate back to back. [default: 20 of --images, 3 synthetic, at "
                 "least two batches]"),
)


def _all(*options):
    def decorate(function):
        for option in reversed(options):
            function = option(function)
        return function

    return decorate


def _options(checkpoint, board="ulx3s", device=None, plan_file=None, **given):
    """Click's values as `api.Options`."""
    from .errors import UserError
    from .pipeline import Options

    model = {k: given.pop(k) for k in ("input_size", "bn_eps", "mean", "std")}
    model = {k: v for k, v in model.items() if v is not None}
    for text in given.pop("extra"):
        name, equals, value = text.partition("=")
        if not equals:
            raise UserError(f"{text!r} is not NAME=VALUE", where="--option")
        model[name.strip()] = value
    family = given.pop("family")
    if family and family.endswith(".py"):
        family = _absolute(family)
    paths = {k: _absolute(given.pop(k, None)) for k in ("calib", "images", "eval")}
    return Options(checkpoint=_absolute(checkpoint), board=board, device=device, family=family,
                   model=model, plan=_absolute(plan_file), **paths, **given)


def _absolute(path):
    """Absolute, so that a build can be verified from another folder."""
    return str(Path(path).absolute()) if path else None


def _progress():
    from .progress import Progress

    return Progress()


@main.command()
@click.argument("checkpoint")
@_all(*NETWORK)
@click.option("--graph", "show_graph", is_flag=True, help="Print the integer graph.")
def check(checkpoint, show_graph, **given):
    """Can CHECKPOINT be compiled, and how?

    Lists what every layer becomes, or names the first one that cannot be compiled and why.

    \b
    hwbnn check net.pth
    hwbnn check net.pth --input-size 224 --bn-eps 1e-4
    hwbnn check net.pth --family my_net.py
    """
    from . import api, show

    checked = api.check(_options(checkpoint, **given))
    for warning in checked.graph.meta.get("warnings", ()):
        click.echo(f"warning: {warning}", err=True)
    click.echo(checked.graph.dump() if show_graph else show.checked(checked), nl=show_graph)


@main.command()
@click.argument("checkpoint")
@_all(*BOARD, *NETWORK)
@click.option("--json", "as_json", is_flag=True, help="Print report.json instead of a table.")
def estimate(checkpoint, as_json, **given):
    """Predict size and speed without tools.

    Plans a machine for CHECKPOINT and predicts its resources and its cycles, step by step.

    \b
    hwbnn estimate net.pth --board ulx3s
    hwbnn estimate net.pth --device 45F --target-fps 500
    """
    import json

    from . import api, show

    doc = api.estimate(_options(checkpoint, **given), _progress())
    click.echo(json.dumps(doc, indent=1) if as_json else show.estimated(doc), nl=as_json)


@main.command("compile")
@click.argument("checkpoint")
@_all(*BOARD)
@click.option("-o", "out", metavar="DIR", help="Output folder. [default: build/NETWORK-BOARD]")
@click.option("--stop-after", type=click.Choice(STOPS), help="Last stage to run.")
@_all(*NETWORK, *IMAGES)
@click.option("--eval", "eval", metavar="LABELLED.npz", help="Measure accuracy on all of these "
              "images (x, y) as torch-float and int-model.")
@click.option("--freq", type=click.FloatRange(10, 400), metavar="MHZ", help="Clock that must be "
              "met. [default: the fastest that the routed design meets]")
@_option("--seed", type=int, default=1, help="Seed of the placer.")
@_option("--placements", type=click.IntRange(1, 64), default=4, help="Seeds to place with, from "
         "--seed on, two at a time; the placement that promises the fastest clock is routed.")
@click.option("--no-cache", is_flag=True, help="Run synthesis and routing even if kept.")
def compile_(checkpoint, out, stop_after, no_cache, **given):
    """Make Verilog, proof, bitstream, report.

    Compiles CHECKPOINT into one folder.

    Stages run in order: check, evaluate, plan, rtl, verify, build, report. A second run keeps what
    still holds.

    \b
    hwbnn compile examples/snn_cifar10.pth --board ulx3s
    hwbnn compile net.pth --board ulx3s --calib train.npz --images test.npz --eval test.npz
    hwbnn compile net.pth --device 25F --stop-after rtl -o build/small
    hwbnn compile net.pth --freq 120 --seed 7 --placements 8
    """
    from . import api, show
    from .pipeline import default_folder

    options = _options(checkpoint, cache=not no_cache, **given)
    board = show.board(options)
    folder = api.compile(options, out or default_folder(options, board.name),
                         stop_after=stop_after, progress=_progress())
    click.echo(show.finished(folder, api.read_report(folder)), nl=False)


@main.command()
@click.argument("build")
@_all(*IMAGES)
def verify(build, images, frames):
    """Prove a build on images of your own.

    Simulates the hardware of BUILD and compares every value with the integer network.

    \b
    hwbnn verify build/net-ulx3s-85f --images test.npz --frames 50
    """
    from . import api, show

    doc = api.verify(build, images, frames, _progress())
    click.echo(show.verified(doc), nl=False)


@main.command()
@click.argument("source", metavar="CHECKPOINT|BUILD")
@click.argument("images")
@click.option("--path", "path", type=click.Choice(("torch-float", "int-model", "rtl-sim")),
              default="int-model", show_default=True, help="What computes.")
@click.option("-o", "out", metavar="OUT.npz", help="Write logits, classes, and cycles where "
              "simulated.")
@_all(*NETWORK)
@_all(*BOARD)
def infer(source, images, path, out, **given):
    """Classify images.

    IMAGES is an .npz with x (uint8 N,H,W,3), or a folder of pictures, which are resized and
    cropped as the network's family states.

    \b
    hwbnn infer net.pth photos/ --path torch-float
    hwbnn infer build/net-ulx3s-85f test.npz --path rtl-sim -o out.npz
    """
    from . import api, show

    folder = Path(source).is_dir()
    options = None if folder else _options(source, **given)
    found = api.infer(source, images, path, options, _progress())
    if out:
        found.save(out)
    click.echo(show.inferred(found, out), nl=False)


@main.command()
@click.argument("build")
@click.option("-o", "out", metavar="FILE.bin", help="File to write. [default: BUILD/weights.bin]")
def pack(build, out):
    """Write the weights that a host sends to the board.

    A machine that streams its weights from SDRAM gets them from the host, after every power-up:
    they are not in the bitstream. BUILD is a folder compiled at least with --stop-after plan; a
    full compile writes the same file. docs/host-protocol.md says how it is sent and checked.

    \b
    hwbnn pack build/net-ulx3s-85f
    hwbnn pack build/net-ulx3s-85f -o /media/card/weights.bin
    """
    from . import api, show

    click.echo(show.packed(*api.pack(build, out)), nl=False)


@main.command()
@click.argument("build")
@click.argument("file", metavar="[FILE.bin]", required=False)
def unpack(build, file):
    """Check a weights.bin and list it by step.

    Checks the whole file (length, checksums), takes the stream apart as the hardware does, and
    compares every word with the weights of BUILD. FILE.bin is BUILD/weights.bin unless given.

    \b
    hwbnn unpack build/net-ulx3s-85f
    hwbnn unpack build/net-ulx3s-85f /media/card/weights.bin
    """
    from . import api, show

    click.echo(show.unpacked(*api.unpack(build, file)), nl=False)


@main.command()
@click.argument("build")
def report(build):
    """Write and print a build's report again.

    \b
    hwbnn report build/net-ulx3s-85f
    """
    from . import api
    from .report import render_text, sections

    click.echo(render_text(sections(api.report(build, _progress()))), nl=False)


@main.command()
@click.argument("sources", nargs=-1, required=True, metavar="BUILD|CHECKPOINT|NAME...")
@click.option("-o", "out", metavar="FILE.md|FILE.html", help="Write it instead of printing it.")
def compare(sources, out):
    """Put builds and networks side by side.

    Claimed bit operations against predicted and simulated cycles, and what each build takes.
    Operations as the papers of binary networks count them, also of networks that were not built:
    a checkpoint, or a published network by its name ('hwbnn models synth' lists them).

    \b
    hwbnn compile net.pth -o build/sub-bit
    hwbnn compile net.pth --one-bit -o build/one-bit
    hwbnn compare build/sub-bit build/one-bit
    hwbnn compare bnext-t bnext-18 reactnet-a
    """
    from . import api, show

    text = show.compared(api.compare(list(sources)), out)
    if not out:
        click.echo(text, nl=False)


@main.command()
def boards():
    """List boards and what their devices have."""
    from . import api, show

    click.echo(show.boards(api.boards()), nl=False)


@main.group(invoke_without_command=True)
@click.option("--family", metavar="FILE.py", help="Also load families from this file (it is run).")
@click.pass_context
def models(context, family):
    """List kinds of networks and their options.

    \b
    hwbnn models
    hwbnn models synth snn-r18-tau5 -o x.pth     a published network with made-up weights
    """
    from . import api, show

    if family:
        from models.registry import load_family_file

        load_family_file(family)
    if context.invoked_subcommand is None:
        click.echo(show.families(api.models()), nl=False)


@models.command()
@click.argument("name", required=False)
@click.option("-o", "out", metavar="FILE.pth", help="File to write. [default: NAME.pth]")
@_option("--seed", type=click.IntRange(min=0), default=1, help="Another seed, other parameters.")
@click.option("--force", is_flag=True, help="Write over a file that exists.")
def synth(name, out, seed, force):
    """Make a checkpoint of a published network with made-up weights.

    The file has the authors' format: every tensor with its name, shape and type. Its parameters
    are random, in the ranges that training leaves, and each layer is normalised on synthetic
    scenes, so that none saturates or dies: speed, size, verification and agreement with PyTorch
    can be tried at full size. Its classes mean nothing.

    Without NAME, lists the networks.

    \b
    hwbnn models synth
    hwbnn models synth snn-r18-tau5 -o x.pth
    hwbnn check x.pth
    """
    from . import api, show

    if name is None:
        if out or force:
            raise click.UsageError("NAME is missing.")
        click.echo(show.synthetic(api.synthetic_networks()), nl=False)
        return
    path = api.synthesise(name, out or f"{name}.pth", seed, force=force, progress=_progress())
    click.echo(f"wrote {path} ({path.stat().st_size / 1e6:.1f} MB)")
