"""What the commands print on stdout."""

from pathlib import Path

import numpy as np

from .errors import UserError
from .folder import plain_errors, write_text
from .layers import EverySecond
from .ops import int_dynamic as J
from .ops import int_ops as I
from .report import render_text, sections, tables_html, tables_markdown
from .report.quantity import Column, Table, from_json, show
from .report.render import text_table

__all__ = ["board", "boards", "checked", "compared", "estimated", "families", "finished",
           "inferred", "packed", "synthetic", "unpacked", "verified"]

SHOWN_IMAGES = 20  # classes that infer prints


def _lines(*parts) -> str:
    lines = []
    for part in parts:
        lines += text_table(part) if isinstance(part, Table) else [part]
    return "\n".join(lines) + "\n"


def checked(found) -> str:
    """A row per layer: what of the checkpoint becomes which step."""
    table = Table(Column("checkpoint"), Column("runs on"), Column("input"), Column("output"),
                  Column("MAC"), Column("then"))
    for layer in found.layers:
        if layer.map_pass:
            over = "the map" if layer.shape[1:] != (1, 1) else "the vector"
            table.add(layer.node.source or layer.name, f"pass over {over}",
                      _shape(layer.in_shape), _shape(layer.out_shape), 0, _then(layer))
            continue
        if layer.weightless:
            table.add(layer.conv.source or layer.name, _of_gain(layer), _shape(layer.in_shape),
                      _shape(layer.out_shape), 0, _then(layer))
            continue
        op = layer.conv.op
        what = f"{op.weight.shape[2]}x{op.weight.shape[2]}"
        if layer.binary:
            bits = op.weight[0, 0].size
            if op.codebook is not None:
                bits = max(1, (len(op.codebook) - 1).bit_length())
            what = f"binary {what}, {bits} bit{'s' * (bits > 1)} a kernel"
        elif op.weight_bits == 2:
            what = f"±1 {what} on integers"
        else:
            what = f"{op.weight_bits}-bit {what}"
        table.add(layer.conv.source or layer.name, what, _shape(layer.in_shape),
                  _shape(layer.out_shape), layer.macs, _then(layer))
    graph = found.graph
    decisions = Table(Column("decision"), Column(""), Column(""))
    for decision in graph.decisions:
        why = decision.why if len(decision.why) < 60 else f"{decision.why[:57]}..."
        decisions.add(decision.where, decision.chose, why)
    binary = sum(layer.macs for layer in found.layers if layer.binary)
    total = f"{len(found.layers)} layers, {binary:,} binary MAC a frame: every layer is supported"
    return _lines(table, "", decisions, "", total)


def _shape(shape) -> str:
    return "x".join(map(str, shape))


def _of_gain(layer) -> str:
    """What a step without weights does."""
    if layer.again:
        return "the map again"
    return "mix of two vectors" if layer.other else "gains of the image"


def _then(layer) -> str:
    if layer.levels:
        each = "the image" if layer.vector else "each channel"
        return f"levels of {layer.levels.bits} bits in the range of {each}"
    if layer.map_pass:
        smaller = "2x2 mean" if isinstance(layer.x_op, I.AvgPool2x2) else "every 2nd pixel"
        if layer.vector:
            return "global mean"
        return "sign at run-time thresholds" + (f", {smaller}" if layer.x else "")
    parts = ["2x2 max-pool", "affine"] if layer.max_pool else ["affine"]
    if layer.pool is not None:
        parts.append(f"{layer.pool.kernel}x{layer.pool.kernel} max-pool")
    if layer.residual and not layer.product:
        parts.append("residual")
    if layer.clamp is not None:
        parts.append("clamp")
    if layer.act is not None:
        parts.append("RPReLU by shifts" if isinstance(layer.act, I.ShiftRPReLU) else "RPReLU")
    if layer.product:
        parts.append("times a map")
    if layer.bits:
        parts.append("sign")
    if isinstance(layer.x_op, I.AvgPool2x2):
        parts.append("2x2 mean")
    if isinstance(layer.x_op, EverySecond):
        parts.append("every second pixel")
    if isinstance(layer.x_op, I.GlobalSum) or layer.sums:
        parts.append("global mean")
    if isinstance(layer.x_op, J.Sigmoid):
        parts.append("sigmoid")
    if layer.is_output:
        parts.append("argmax")
    return ", ".join(parts)


def board(options):
    """The board that options name; says which one where the device was not named."""
    import click

    from .build import get_board

    chosen = get_board(options.board, options.device)
    if options.device is None and "-" not in options.board:
        click.echo(f"{options.board} is taken as {chosen.name} ({chosen.part}); "
                   "--device names another", err=True)
    return chosen


def estimated(doc: dict) -> str:
    """Summary, layers and resources of a report without measurements."""
    wanted = ("Summary", "Layers", "Resources", "Multipliers",
              "What bit operations claim, and cycles")
    return render_text([s for s in sections(doc) if s.title in wanted])


def finished(folder: Path, doc: dict) -> str:
    """The summary of a report, and where the rest lies."""
    text = render_text(sections(doc)[:1])
    return f"{text}\n{Path(folder) / 'report.html'}\n"


def verified(doc: dict) -> str:
    """What a simulation compared."""
    sim, perf = doc["simulation"], doc["performance"]
    cycles = from_json(perf["latency"]["rtl-sim"])
    frames = "1 frame" if sim["frames"] == 1 else f"{sim['frames']} frames"
    what = f"batch of {perf['batch']}" if "batch" in perf else "frame"
    return (f"{frames} ({sim['images']}): {sim['words_compared']:,} memory words and "
            f"every logit equal; {show(cycles)} cycles a {what}, as predicted\n")


def inferred(found, out: str | None) -> str:
    """Classes of the first images, and accuracy where labels came along."""
    lines = []
    for n, label in enumerate(found.classes[:SHOWN_IMAGES]):
        name = found.names[n] if found.names else f"image {n}"
        cycles = f"  {found.cycles[n]:,} cycles" if found.cycles is not None else ""
        lines.append(f"{name}  class {label}{cycles}")
    if len(found.classes) > SHOWN_IMAGES:
        lines.append(f"... {len(found.classes):,} images in all")
    if found.y is not None:
        share = 100 * float(np.mean(found.classes == found.y))
        lines.append(f"top-1 {share:.2f} % of {len(found.y):,} ({found.path})")
    if out:
        lines.append(f"wrote {out}")
    return "\n".join(lines) + "\n"


def compared(content, out: str | None) -> str:
    """A comparison as text, or written to a file by its suffix."""
    if not out:
        return render_text(content)
    path = Path(out)
    renderers = {".md": tables_markdown, ".html": tables_html}
    if path.suffix not in renderers:
        raise UserError(f"unknown kind of file {path.suffix!r}", where=out,
                        hint="give a name that ends in .md or .html")
    with plain_errors(path):
        write_text(path, renderers[path.suffix]("Builds compared", content))
    return ""


def boards(found) -> str:
    """A row per device."""
    table = Table(Column("board"), Column("part"), Column("LUTs"), Column("flip-flops"),
                  Column("block RAMs"), Column("multipliers"), Column("SDRAM"), Column("clock in"))
    for b in found:
        table.add(b.name, b.part, b.budget.comb, b.budget.ff, b.budget.ebr, b.budget.dsp,
                  f"{b.sdram_bytes >> 20} MB", f"{b.clock_hz / 1e6:g} MHz")
    return _lines(table, "", "--board ulx3s alone means ulx3s-85f; --device names another.")


def packed(path: Path, image) -> str:
    """What was written."""
    return f"wrote {path} ({_image(image)})\n"


def unpacked(path: Path, image, parts: list) -> str:
    """A row per step."""
    table = Table(Column("step"), Column("from word"), Column("words"), Column("segments"),
                  Column("weights"), Column("dense weights"), Column("constants"))
    for part in parts:
        table.add(part.step, part.start, part.words, part.segments,
                  *(part.memory_words[k] for k in ("weights", "dense_weights", "constants")))
    total = f"{path}: {_image(image)}, all of it as the network says"
    return _lines(table, "", "weights, dense weights, constants: words of the engine's memories",
                  total)


def _image(image) -> str:
    size = 2 * len(image.words)
    return f"{len(image.words):,} words, {size:,} bytes, CRC-32 {image.crc32:08x}"


def families(found: dict) -> str:
    """Each family with its options."""
    lines = []
    for name, family in found.items():
        lines += [f"{name}: {family.describe}"]
        table = Table(Column("  option"), Column("default"), Column(""))
        for option in family.options:
            default = "inferred" if option.default is None else option.default
            if isinstance(default, tuple):
                default = ",".join(map(str, default))
            table.add(f"  {option.name}", str(default), option.help)
        lines += [*text_table(table), ""]
    lines.append("--input-size, --bn-eps, --mean and --std are options of their own; others are")
    lines.append("given as --option NAME=VALUE. Your own kind of network: docs/families.md.")
    lines.append("No trained file at hand? 'hwbnn models synth' makes up weights for one.")
    return "\n".join(lines) + "\n"


def synthetic(found: dict) -> str:
    """A row per network that can be made up."""
    table = Table(Column("name"), Column("input"), Column(""))
    for name, network in found.items():
        table.add(name, f"{network.input_size}x{network.input_size}", network.describe)
    return _lines(table, "", "hwbnn models synth NAME -o x.pth")
