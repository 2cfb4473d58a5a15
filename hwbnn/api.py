"""The commands as Python functions; `hwbnn.cli` is a thin shell around them.

>>> from hwbnn import api
>>> options = api.Options(checkpoint="examples/snn_cifar10.pth", board="ulx3s")
>>> folder = api.compile(options, "build/mine", stop_after="plan")
>>> api.read_report(folder)["performance"]["interval"]["estimate"]["value"]

Every function raises a subclass of `hwbnn.errors.HwbnnError` for what a user can cause.
"""

import dataclasses
from pathlib import Path

import numpy as np

from . import golden, stages
from .errors import UserError
from .extract import extract
from .folder import open_folder, plain_errors
from .images import load_images
from .ir import Graph
from .layers import Layer
from .pipeline import (
    Options,
    Run,
    checkpoint_of,
    compile_network,
    read_json,
    rerun,
    stored_options,
)
from .progress import Quiet
from .report.section import Section
from .unbuilt import refuse_unbuilt

__all__ = ["PATHS", "Checked", "Inference", "Options", "boards", "check", "compare", "compile",
           "estimate", "infer", "models", "pack", "read_report", "report", "synthesise",
           "synthetic_networks", "unpack", "verify"]

PATHS = ("torch-float", "int-model", "rtl-sim")

compile = compile_network


@dataclasses.dataclass(frozen=True)
class Checked:
    """A checkpoint that can be compiled: the integer graph and the steps it becomes."""

    graph: Graph
    layers: list[Layer]


def check(options: Options) -> Checked:
    """Read, recognise and lower a checkpoint; nothing is written.

    Raises
    ------
    CheckpointError, UnsupportedError, UserError
        What is wrong with it, naming the layer where one has no hardware.
    """
    _folded, graph = stages.lower(options)
    refuse_unbuilt(graph)
    return Checked(graph, extract(graph))


def estimate(options: Options, progress: Quiet | None = None) -> dict:
    """The report that needs no tools: a plan and its predicted cycles. Nothing is kept."""
    import tempfile

    with tempfile.TemporaryDirectory() as scratch:
        compile_network(options, Path(scratch) / "out", stop_after="plan", progress=progress)
        return read_report(Path(scratch) / "out")


def verify(folder: str | Path, images: str | None = None, frames: int | None = None,
           progress: Quiet | None = None) -> dict:
    """Simulate an existing build again, on ``images`` if given; returns its report.

    Raises
    ------
    Mismatch
        Hardware and integer network differ: layer, channel, pixel, expected, got.
    StaleError
        The folder's files do not belong together.
    """
    def change(options: Options) -> Options:
        return dataclasses.replace(
            options,
            images=_absolute(images) or options.images,
            frames=frames or options.frames,
        )

    return read_report(rerun(folder, "verify", change, progress=progress))


def report(folder: str | Path, progress: Quiet | None = None) -> dict:
    """Write a build's report again from what its stages left; returns it."""
    return read_report(rerun(folder, "report", progress=progress))


def read_report(folder: str | Path) -> dict:
    """report.json of a build.

    Raises
    ------
    UserError
        There is none, so the build did not finish.
    """
    path = Path(folder) / "report.json"
    if not path.is_file():
        raise UserError("no finished build", where=str(folder),
                        hint="run 'hwbnn compile' with this folder as -o")
    try:
        return read_json(path)
    except (OSError, ValueError) as error:
        raise UserError("is not readable", where=str(path),
                        hint=f"run: hwbnn report {folder}") from error


def compare(sources: list[str | Path]) -> list[Section]:
    """Sections that put builds and networks side by side; see `hwbnn.report.render_text`.

    Parameters
    ----------
    sources : folders of builds, checkpoints, or names of published networks, whose operations
        follow from their sizes alone. Two at least, unless the one is no build.

    Raises
    ------
    UserError, CheckpointError, UnsupportedError
        A build that did not finish, or what reading a network may raise.
    """
    from .report import compare as sections
    from .report import counted, operation_counts

    folders = [source for source in sources if Path(source).is_dir()]
    if len(sources) == len(folders) < 2:
        raise UserError("needs at least two builds", hint="hwbnn compare build/a build/b")
    found, docs = {}, {}
    for source in sources:
        doc = graph = None
        name = Path(source).resolve().name
        name = name if name not in found else str(source)
        if source in folders:
            doc = read_report(source)
            graph = Graph.load(Path(source))
            if "performance" in doc:
                docs[name] = doc
        found[name] = counted(graph or _float_graph(str(source)), doc)
    return [*(sections(docs) if len(docs) > 1 else ()), operation_counts(found)]


def _float_graph(source: str) -> Graph:
    """Of a checkpoint, or of a published network by name where there is no such file."""
    from models.api import load_network
    from models.synth import hollow, networks

    known = not Path(source).exists() and source in networks()
    return load_network(hollow(source) if known else source).graph()


@dataclasses.dataclass(frozen=True)
class Inference:
    """What `infer` found.

    ``logits`` (N, classes): float32 of PyTorch, else int64 with ``real = logits * 2**-frac``;
    ``classes`` (N,) int64; ``cycles`` (N,) int64 from image to logits where simulated, else None.
    """

    path: str
    logits: np.ndarray
    classes: np.ndarray
    frac: int
    cycles: np.ndarray | None = None
    names: tuple[str, ...] = ()
    y: np.ndarray | None = None

    def save(self, path: str | Path) -> None:
        """Write an .npz with the arrays, ``path`` and, for a folder of pictures, ``names``."""
        arrays = {"logits": self.logits, "classes": self.classes, "frac": np.array(self.frac),
                  "path": np.array(self.path)}
        if self.cycles is not None:
            arrays["cycles"] = self.cycles
        if self.names:
            arrays["names"] = np.array(self.names)
        target = Path(path)
        part = target.with_name(f".{target.name}.part")
        with plain_errors(target):
            try:
                with part.open("wb") as file:
                    np.savez(file, **arrays)
                part.replace(target)
            finally:
                part.unlink(missing_ok=True)


def infer(source: str | Path, images: str | Path, path: str, options: Options | None = None,
          progress: Quiet | None = None) -> Inference:
    """Classify images.

    Parameters
    ----------
    source : checkpoint, or output folder of a compile
    images : .npz with ``x`` uint8 (N,H,W,3), or a folder of pictures
    path : "torch-float", "int-model" or "rtl-sim"
    options : for a checkpoint; a folder has its own
    """
    if path not in PATHS:
        raise UserError(f"unknown path {path!r}", hint=f"one of {', '.join(PATHS)}")
    progress = progress or Quiet()
    if not Path(source).is_dir():
        options = options or Options(checkpoint=str(source), board="ulx3s")
        if path == "rtl-sim":
            import tempfile

            with tempfile.TemporaryDirectory() as scratch:
                out = Path(scratch) / "out"
                compile_network(options, out, stop_after="plan", progress=progress)
                return infer(out, images, path, progress=progress)
        graph = stages.image_graph(options) if path == "torch-float" else stages.lower(options)[1]
        return _infer(options, graph, images, path, progress)
    with open_folder(Path(source), create=False) as folder:
        folder.check_files("check")
        graph = Graph.load(folder.root)
        options = stored_options(folder)
        if path == "torch-float":
            checkpoint_of(folder)
        if path == "rtl-sim":
            folder.check_files("plan")
            program = stages.load_plan(Run(folder, options, progress)).program
            return _simulate(graph, program, images, progress)
        return _infer(options, graph, images, path, progress)


def _infer(options: Options, graph: Graph, source, path: str, progress: Quiet) -> Inference:
    images = load_images(source, graph)
    if path == "torch-float":
        with progress.stage(path):
            logits = stages.torch_logits(options, images.x)
        return Inference(path, logits, logits.argmax(1).astype(np.int64), 0, None, images.names,
                         images.y)
    with progress.stage(path):
        result = golden.run(graph, images.x, progress=progress.count)
    frac = graph.types()[graph.output].frac
    return Inference(path, result.logits, result.classes.astype(np.int64), frac, None,
                     images.names, images.y)


def _simulate(graph: Graph, program, source, progress: Quiet) -> Inference:
    from sim import network

    images = load_images(source, graph)
    with progress.stage("rtl-sim"):
        progress.line(f"simulating {len(images)} frames")
        result = network.simulate(program, graph, network.whole_batches(images.x, program))
    frac = graph.types()[graph.output].frac
    n = len(images)
    return Inference("rtl-sim", result.logits[:n], np.asarray(result.classes, np.int64)[:n], frac,
                     np.array(result.cycles, np.int64)[:n], images.names, images.y)


def pack(folder: str | Path, out: str | Path | None = None) -> tuple:
    """Write a build's weight image to ``out``, ``weights.bin`` in the folder unless given.

    Returns its path and the ``weight_image.WeightImage``.

    Raises
    ------
    UserError
        The machine has all of its weights on chip, or the file cannot be written.
    StaleError
        The folder has no plan, or its files do not belong together.
    """
    from . import weight_image

    with open_folder(Path(folder), create=False) as build:
        program, digest = _planned(build)
        image = weight_image.image_of(program, digest)
        path = Path(out) if out else build / weight_image.FILE
        if not path.parent.is_dir():
            raise UserError("no such folder", where=str(path.parent), hint="give another -o")
        with plain_errors(path):
            weight_image.write(path, image)
    return path, image


def unpack(folder: str | Path, file: str | Path | None = None) -> tuple:
    """Read a weight image, check it against a build, and take it apart.

    Returns its path, the ``weight_image.WeightImage`` and a list of ``weight_image.Part``.

    Raises
    ------
    UserError
        The file is missing, damaged, or of other weights or another machine.
    StaleError
        The folder has no plan, or its files do not belong together.
    """
    from . import weight_image

    with open_folder(Path(folder), create=False) as build:
        program, digest = _planned(build)
        weight_image.image_of(program, digest)
        path = Path(file) if file else build / weight_image.FILE
        with plain_errors(path):
            image = weight_image.read(path)
    if image.digest != digest:
        raise UserError("belongs to another network or machine", where=str(path),
                        hint="give the file that was made from this build")
    return path, image, weight_image.parts(program, image)


def _planned(build):
    """(program, digest of its weight image) of a folder."""
    from .weight_image import identity

    for stage in ("check", "plan"):
        build.check_files(stage)
    chosen = stages.load_plan(Run(build, stored_options(build), Quiet()))
    digest = Graph.load(build.root).digest()
    return chosen.program, identity(digest, chosen.to_json())


def boards() -> list:
    """Every board with every device."""
    from boards import board_names, get_board

    return [get_board(name) for name in board_names()]


def models() -> dict:
    """Network families by name, each with ``describe`` and ``options``."""
    from models.registry import families

    return families()


def synthetic_networks() -> dict:
    """Networks that `synthesise` can make, by name, each with ``describe`` and ``input_size``."""
    from models.synth import networks

    return networks()


def synthesise(name: str, out: str | Path, seed: int = 1, *, force: bool = False,
               progress: Quiet | None = None) -> Path:
    """Write a checkpoint of a published network with made-up parameters; returns its path.

    Raises
    ------
    UserError
        Unknown name, a file that exists (without ``force``), a folder that does not.
    """
    from models.synth import write

    progress = progress or Quiet()
    with progress.stage("synth"):
        return write(name, out, seed, force=force, progress=progress.count)


def _absolute(path: str | None) -> str | None:
    return str(Path(path).resolve()) if path else None
