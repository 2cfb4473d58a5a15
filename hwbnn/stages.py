"""What each stage of a compile does. A stage returns the files it wrote and its facts (JSON)."""

import dataclasses
import itertools
import json
import shutil
from pathlib import Path

import numpy as np

from . import bops, golden
from .agreement import accuracy, agreement, real_logits
from .baseline import one_bit
from .errors import Mismatch, UserError
from .folder import clear, write_text
from .images import Images, Preprocess, input_shape, load_images, synthetic_images
from .ir import Graph
from .ops.int_ops import Saturate
from .passes import Numeric, lower_to_integers
from .unbuilt import refuse_unbuilt

AGREEMENT_IMAGES = 200  # images for the comparison of bits, layer by layer
DIGITS = ("1", "2", "3")  # signed powers of two that a scale by shifts is the sum of
DEFAULT_MHZ = 100.0  # what routing aims at where no clock is asked for

__all__ = ["build", "check", "evaluate", "image_graph", "lower", "plan", "report", "require", "rtl",
           "verification_images", "verify"]


def require(options, wanted: tuple[str, ...]) -> None:
    """Find what can be found missing before anything runs: board, files' existence, tools."""
    from . import tools
    from .build import get_board

    get_board(options.board, options.device)
    for option in ("checkpoint", "calib", "images", "eval", "plan"):
        path = getattr(options, option)
        if option != "checkpoint" and path is not None and not Path(path).exists():
            raise UserError("no such file or folder", where=f"--{option} {path}")
    needs = {"rtl": ("yosys",), "verify": ("yosys", "verilator"),
             "build": ("yosys", "nextpnr-ecp5", "ecppack")}
    for stage in wanted:
        for tool in needs.get(stage, ()):
            tools.find(tool)


# -- check ---------------------------------------------------------------------------------------


def lower(options) -> tuple[Graph, Graph]:
    """(folded float graph, integer graph) of the checkpoint that ``options`` name."""
    from models.api import load_network

    network = load_network(options.checkpoint, options.family, options.model)
    real = network.graph()
    calib = load_images(options.calib, real).x if options.calib else None
    folded, graph = lower_to_integers(real, calib, Numeric(
        rprelu=options.rprelu, feature_bits=options.feature_bits,
        scale_digits=scale_digits(options.scale)))
    return folded, one_bit(graph) if options.one_bit else graph


def scale_digits(text: str) -> int:
    """Digits that ``--scale`` asks for: 0 for "multiplier", N for "shift-add:N"."""
    kind, colon, number = text.partition(":")
    if text == "multiplier":
        return 0
    if kind != "shift-add" or not colon or number not in DIGITS:
        raise UserError(f"{text!r} is neither multiplier nor shift-add:N with N = 1, 2 or 3",
                        where="--scale")
    return int(number)


def image_graph(options) -> Graph:
    """What PyTorch's path needs to read pictures: a graph that has the network's image input.

    Families whose networks are large have a method ``image_input`` for that; others are lowered.
    """
    from models.api import load_network

    network = load_network(options.checkpoint, options.family, options.model)
    image_input = getattr(network.family, "image_input", None)
    if image_input is None:
        return lower(options)[1]
    return image_input(network.checkpoint, network.options)


def check(run):
    """Read the checkpoint and lower it to integers."""
    folded, graph = lower(run.options)
    for warning in graph.meta.get("warnings", ()):
        run.progress.note(f"warning: {warning}")
    folder = run.folder.root
    graph.save(folder)
    folded.save(folder, "float")
    names = [f"{stem}.{kind}" for stem in ("graph", "float") for kind in ("json", "npz")]
    return [folder / name for name in names], describe(graph)


def describe(graph: Graph) -> dict:
    """The network in facts for the report."""
    layers = bops.binary_layers(graph)
    return {
        "family": graph.meta.get("family", "?"),
        "checkpoint": graph.meta.get("checkpoint", {}),
        "input": list(input_shape(graph)),
        "preprocess": str(Preprocess.of(graph)),
        "classes": graph.types()[graph.output].shape[0],
        "numeric": graph.meta.get("numeric", {}),
        "binary_macs": sum(layer.macs for layer in layers),
        "binary_weights": sum(layer.c_in * layer.c_out * layer.kernel**2 for layer in layers),
        "kernel_bits": [layer.kernel_bits for layer in layers],
        "decisions": [dataclasses.asdict(d) for d in graph.decisions],
        "warnings": list(graph.meta.get("warnings", ())),
    }


def graphs(run) -> tuple[Graph, Graph]:
    """(folded float graph, integer graph) that stage check saved."""
    return Graph.load(run.folder.root, "float"), Graph.load(run.folder.root)


# -- evaluate ------------------------------------------------------------------------------------


def verification_images(options, graph: Graph) -> Images:
    """The user's images, else the labelled ones, else synthetic ones."""
    given = options.images or options.eval
    if given:
        return load_images(given, graph)
    return synthetic_images(graph, max(16, options.n_frames()))


def evaluate(run):
    """Compare the integer network with PyTorch: bits, logits, classes, accuracy."""
    options, progress = run.options, run.progress
    folded, graph = graphs(run)
    images = verification_images(options, graph).first(AGREEMENT_IMAGES)
    progress.line("PyTorch")
    reference = torch_logits(options, images.x)
    found = agreement(folded, graph, images.x, reference, progress=progress.count)
    facts = {"images": images.source, "agreement": dataclasses.asdict(found)}
    if options.eval:
        facts["accuracy"] = _accuracies(run, graph, load_images(options.eval, graph, labelled=True))
    path = run.folder / "agreement.json"
    write_text(path, json.dumps(facts, indent=1) + "\n")
    return [path], facts


def torch_logits(options, images: np.ndarray) -> np.ndarray:
    """PyTorch's logits for uint8 images."""
    from models.api import load_network

    return load_network(options.checkpoint, options.family, options.model).logits(images)


def _accuracies(run, graph: Graph, images: Images) -> dict:
    classes = graph.types()[graph.output].shape[0]
    if images.y.min() < 0 or images.y.max() >= classes:
        raise UserError(f"labels reach {images.y.max()}, the network has {classes} classes",
                        where=run.options.eval)
    run.progress.line("PyTorch on all labelled images")
    real = torch_logits(run.options, images.x)
    result = golden.run(graph, images.x, progress=run.progress.count)
    saturable = {n.name: n.op for n in graph if isinstance(n.op, Saturate)}
    types = graph.types()
    return {
        "images": images.source,
        "n_images": len(images),
        "torch_float": accuracy(real, images.y),
        "int_model": 100 * float((result.classes == images.y).mean()),
        "same_class": int((result.classes == real.argmax(1)).sum()),
        "mean_error": float(np.abs(real_logits(graph, result.logits) - real).mean()),
        "saturated": {
            name: [result.saturated[name], int(np.prod(types[name].shape)) * len(images)]
            for name in saturable
        },
    }


# -- plan ----------------------------------------------------------------------------------------


def plan(run):
    """Choose the machine, place everything in it, predict every cycle."""
    from . import planning
    from .build import get_board
    from .extract import extract
    from .pack import program_text
    from .schedule import schedule

    folder, graph = run.folder.root, Graph.load(run.folder.root)
    refuse_unbuilt(graph)
    board = get_board(run.options.board, run.options.device)
    chosen = planning.choose(graph, run.options, board, progress=run.progress.line)
    predicted = schedule(chosen.program)
    write_text(folder / "plan.json", json.dumps(chosen.to_json(), indent=1) + "\n")
    write_text(folder / "program.txt", program_text(chosen.program))
    facts = planning.describe(chosen, predicted, board, run.options.freq or DEFAULT_MHZ,
                              extract(graph))
    facts["claim"] = planning.claims(graph, chosen)
    return [folder / "plan.json", folder / "program.txt"], facts


def load_plan(run):
    """The plan that stage plan wrote."""
    from . import planning

    return planning.load(run.folder / "plan.json", Graph.load(run.folder.root))


# -- rtl -----------------------------------------------------------------------------------------


def rtl(run):
    """Generate the engine as Verilog, and the contents of its memories."""
    from rtl_gen.engine.accelerator import Accelerator
    from rtl_gen.engine.top import Engine
    from rtl_gen.sdram.timing import part_of

    from . import tools
    from .emit import emit, verilog_for_sim
    from .memory_files import write_images
    from .pack import pack

    chosen = load_plan(run)
    folder = clear(run.folder / "rtl")
    if chosen.config.streams:
        emitted = emit(Accelerator(chosen.config, part_of(chosen.config.sdram_mb)), "accelerator")
    else:
        emitted = emit(Engine(chosen.config), "engine")
    verilog = verilog_for_sim(emitted, folder)
    images = write_images(emitted, pack(chosen.program), folder / "memories")
    (folder / "write_verilog.log").unlink(missing_ok=True)
    lines = sum(len(p.read_text().splitlines()) for p in verilog)
    facts = {"tool": str(tools.find("yosys")), "lines": lines,
             "modules": sorted(emitted.modules)}
    return [*verilog, *images], facts


# -- verify --------------------------------------------------------------------------------------


def verify(run):
    """Simulate the generated hardware and compare it with the integer network, value by value."""
    from sim import network, standalone

    from . import tools
    from .schedule import schedule

    options = run.options
    graph, chosen = Graph.load(run.folder.root), load_plan(run)
    images = verification_images(options, graph).first(options.n_frames())
    folder = clear(run.folder / "sim")
    run.progress.line("building the simulator")
    simulator = network.build_simulator(chosen.config)
    x = network.whole_batches(images.x, chosen.program)
    run.progress.line(f"simulating {len(x)} frames")
    result = network.simulate(chosen.program, graph, x, simulator=simulator, folder=folder)
    predicted = schedule(chosen.program, frames=len(x))
    compare_cycles(predicted, result)
    files = standalone.write(folder, chosen.config)
    facts = {
        "images": images.source,
        "frames": len(x),
        "batch": predicted.images,
        "cycles": list(map(int, result.cycles)),
        "starts": list(map(int, result.starts)),
        "step_ends": [list(map(int, steps)) for steps in result.steps],
        "words_compared": int(result.words_compared),
        "classes": result.classes.tolist(),
        "logits": result.logits.tolist(),
        "tool": str(tools.find("verilator")),
    }
    path = folder / "verify.json"
    write_text(path, json.dumps(facts, indent=1) + "\n")
    return [*files, path], facts


def compare_cycles(predicted, result) -> None:
    """Raise Mismatch unless every frame, every distance between starts, every step of the last
    frame, and every entry of a threshold unit took the cycles that the schedule says."""
    from .report.assemble import step_cycles

    pairs = [(f"frame {n}", wanted, got) for n, (wanted, got)
             in enumerate(zip(predicted.frames, result.cycles, strict=True))]
    pairs += [(f"start {n + 1} behind start {n}", b - a, d - c) for n, ((a, b), (c, d)) in
              enumerate(zip(itertools.pairwise(predicted.starts), itertools.pairwise(result.starts),
                            strict=True))]
    pairs += [(step.name, step.cycles, got) for step, got
              in zip(predicted.steps, step_cycles(result.steps[-1]), strict=True)]
    pairs += [(f"threshold unit, pulse {n}", wanted - predicted.starts[0], got) for n, (wanted, got)
              in enumerate(zip(predicted.unit, result.unit_ends, strict=True))]
    for where, wanted, got in pairs:
        if wanted != got:
            raise Mismatch(f"{wanted} cycles predicted, {got} simulated", where=where,
                           hint="please report it: the cycle model is wrong for this network")


# -- build ---------------------------------------------------------------------------------------


def build(run):
    """Synthesise, place and route; the bitstream's clock is one that the routed design meets."""
    from rtl_gen.engine.top import Engine
    from rtl_gen.pll import fastest_setting

    from . import build as flow
    from .cache import Cache
    from .multipliers import of_netlist
    from .pack import pack

    options = run.options
    graph, chosen = Graph.load(run.folder.root), load_plan(run)
    board = flow.get_board(options.board, options.device)
    c, h, w = input_shape(graph)
    setting = fastest_setting(board.clock_hz, (options.freq or DEFAULT_MHZ) * 1e6)
    streamed, files, more = None, [], {}
    if chosen.config.streams:
        streamed = _Streamed(run, graph, chosen, board, setting)
        files, more = [streamed.path], {"clock_range": streamed.clock_range,
                                        "tune": streamed.memory.tuned}
        setting = streamed.memory.tuned(setting)
    emitted = flow.board_design(
        streamed.engine if streamed else Engine(chosen.config),
        board=board,
        image=(h, w, c),
        n_classes=graph.types()[graph.output].shape[0],
        identity=streamed.digest if streamed else bytes.fromhex(graph.digest())[:8],
        setting=setting,
        weight_words=len(streamed.image.words) if streamed else 0,
        overlap=chosen.config.overlap,
        batch=chosen.config.batch,
    )
    folder = clear(run.folder / "build")
    result = flow.build(
        emitted,
        pack(chosen.program),
        board=board,
        out_dir=folder,
        setting=setting,
        best_clock=options.freq is None,
        seed=options.seed,
        placements=options.placements,
        cache=Cache(enabled=options.cache),
        progress=run.progress.line,
        **more,
    )
    bit = run.folder / f"{Path(options.checkpoint).stem}-{board.name}.bit"
    shutil.copyfile(folder / flow.BITSTREAM, bit)
    facts = dataclasses.asdict(result) | {"target_mhz": setting.out_mhz, "file": bit.name,
                                          "multipliers": of_netlist(folder / flow.NETLIST)}
    if streamed:
        facts["weights"] = streamed.facts(result.pll)
    return [folder, bit, *files], json.loads(json.dumps(facts))


class _Streamed:
    """What the board of a machine with streamed weights has besides: memory, weights.bin."""

    def __init__(self, run, graph: Graph, chosen, board, setting):
        from rtl_gen.engine.accelerator import FASTEST_HZ, SLOWEST_HZ

        from . import weight_image
        from .external import board_memory

        self.clock_range = (SLOWEST_HZ / 1e6, FASTEST_HZ / 1e6)
        if not SLOWEST_HZ <= setting.out_hz <= FASTEST_HZ:
            low, high = self.clock_range
            raise UserError(f"streamed weights work from {low:g} to {high:g} MHz",
                            where=f"--freq {setting.out_mhz:g}")
        self.digest = weight_image.identity(graph.digest(), chosen.to_json())
        self.image = weight_image.image_of(chosen.program, self.digest)
        self.memory = board_memory(board, max(len(self.image.words),
                                              chosen.program.off_chip_words))
        self.engine = self.memory.accelerator(chosen.config)
        self.path = run.folder / weight_image.FILE
        weight_image.write(self.path, self.image)

    def facts(self, setting) -> dict:
        margins = self.memory.margins(setting)
        return {"file": self.path.name, "words": len(self.image.words),
                "crc32": self.image.crc32, "sdram": self.memory.part.name,
                "phase_degrees": setting.late_degrees,
                "margins_ns": dataclasses.asdict(margins)}


# -- report --------------------------------------------------------------------------------------


def report(run):
    """Write report.json, report.md, report.html and README.txt."""
    from . import report as reports

    folder = run.folder.root
    doc = reports.assemble(run.folder.records, run.folder.options)
    texts = {
        "README.txt": reports.render_readme(doc),
        "report.md": reports.render_markdown(doc),
        "report.html": reports.render_html(doc),
        "report.json": json.dumps(doc, indent=1) + "\n",
    }
    for name, text in texts.items():
        write_text(folder / name, text)
    return [folder / name for name in texts], {}
