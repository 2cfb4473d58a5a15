"""One compile: stages that run in order into an output folder, each only when it has to."""

import dataclasses
import functools
import json
import time
from collections.abc import Callable
from pathlib import Path

from . import __version__, stages
from .cache import digest
from .errors import StaleError, UserError
from .folder import Folder, Record, file_digest, open_folder, plain_errors
from .memory import PeakMemory
from .progress import Quiet

__all__ = ["STOPS", "Options", "Run", "compile_network", "default_folder", "rerun"]

STOPS = ("check", "plan", "rtl", "verify", "build")
FRAMES = 20  # frames simulated of the user's images
SYNTHETIC_FRAMES = 3  # of synthetic ones: enough for a steady state


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options:
    """What a user asks of a compile; every field is an option of ``hwbnn compile``.

    ``model`` are the family's options by name (input_size, bn_eps, mean, std, ...). ``one_bit``
    stores kernels as nine plain bits, which is the one-bit baseline of a sub-bit network.
    """

    checkpoint: str
    board: str
    device: str | None = None
    family: str | None = None
    model: dict = dataclasses.field(default_factory=dict)
    rprelu: str = "auto"
    scale: str = "multiplier"
    feature_bits: int = 16
    one_bit: bool = False
    calib: str | None = None
    images: str | None = None
    eval: str | None = None
    frames: int | None = None
    freq: float | None = None
    seed: int = 1
    placements: int = 4
    plan: str | None = None
    target_fps: float | None = None
    max_luts: int | None = None
    batch: int = 1
    cache: bool = True

    def n_frames(self) -> int:
        """Frames to simulate."""
        least = 2 * self.batch if self.batch > 1 else 0  # a batch and the steady state
        return self.frames or max(least, FRAMES if self.images else SYNTHETIC_FRAMES)


# Which options, and which files given by options, decide what a stage writes.
OPTIONS = {
    "check": ("family", "model", "rprelu", "scale", "feature_bits", "one_bit"),
    "evaluate": ("frames",),
    "plan": ("board", "device", "target_fps", "max_luts", "freq", "batch"),
    "rtl": (),
    "verify": ("frames",),
    "build": ("freq", "seed", "placements"),
    "report": (),
}
INPUTS = {
    "check": ("checkpoint", "calib"),
    "evaluate": ("images", "eval"),
    "plan": ("plan",),
    "rtl": (),
    "verify": ("images", "eval"),
    "build": (),
    "report": (),
}


class Run:
    """One folder with the options it is made with, handed to every stage."""

    def __init__(self, folder: Folder, options: Options, progress: Quiet):
        self.folder = folder
        self.options = options
        self.progress = progress
        folder.options = dataclasses.asdict(options)

    def fact(self, stage: str, name: str):
        """Something that an earlier stage left for later ones."""
        return self.folder.need(stage).facts[name]

    def stage(self, name: str, *, again: bool = False) -> None:
        """Run a stage unless it finished with the same inputs; ``again`` runs it anyway."""
        options = {k: getattr(self.options, k) for k in OPTIONS[name]} | {"code": code_digest()}
        inputs = {}
        for option in INPUTS[name]:
            path = getattr(self.options, option)
            if path is not None:
                inputs[option] = input_digest(path)
        if name == "check" and str(self.options.family).endswith(".py"):
            inputs["family"] = input_digest(self.options.family)
        # an edited file is the better reason to stop than a stage that is missing because of it
        for earlier in self.folder.finished_before(name):
            self.folder.check_files(earlier)
        key = self.folder.key(name, options, inputs)
        if not again and self.folder.finished(name, key):
            self.progress.kept(name)
            return
        reads = self.folder.reads(name)
        self.folder.invalidate(name)
        start = time.monotonic()
        with self.progress.stage(name), PeakMemory() as memory:
            files, facts = getattr(stages, name)(self)
        record = Record(key, inputs, reads, self.folder.digests(*files), facts,
                        time.monotonic() - start, memory.peak_bytes)
        self.folder.finish(name, record)


def compile_network(
    options: Options,
    out: str | Path,
    *,
    stop_after: str | None = None,
    progress: Quiet | None = None,
) -> Path:
    """Compile into the folder ``out``; what is there already and still holds is kept.

    Parameters
    ----------
    stop_after : "check", "plan", "rtl", "verify", "build" or None
        The last stage; the report is written when there is a plan to report.
    progress : Quiet
        Told what happens.

    Returns
    -------
    Path
        The folder. Its report is complete if the last stage was reached.
    """
    wanted = STOPS[: STOPS.index(stop_after) + 1] if stop_after else STOPS
    stages.require(options, wanted)
    with open_folder(Path(out), create=True) as folder, plain_errors(Path(out)):
        run = Run(folder, options, progress or Quiet())
        folder.invalidate("report")
        run.stage("check")
        if options.eval or options.images or "verify" in wanted:
            run.stage("evaluate")
        for name in wanted[1:]:
            run.stage(name)
        run.stage("report")
    return Path(out)


def rerun(
    out: str | Path,
    stage: str,
    change: Callable[[Options], Options] = lambda options: options,
    *,
    progress: Quiet | None = None,
) -> Path:
    """Run one stage of an existing folder again, alone, and then its report.

    Raises
    ------
    StaleError
        A file that the stage reads is missing, changed, or made from something else.
    """
    with open_folder(Path(out), create=False) as folder, plain_errors(Path(out)):
        run = Run(folder, change(stored_options(folder)), progress or Quiet())
        if stage == "report":
            for name in folder.reads("report"):
                folder.check_files(name)
        else:
            run.stage(stage, again=True)
        run.stage("report", again=True)
    return Path(out)


def stored_options(folder: Folder) -> Options:
    """The options a folder was compiled with."""
    folder.need("check")
    return Options(**folder.options)


def checkpoint_of(folder: Folder) -> str:
    """Path of the checkpoint a folder was made from, which must not have changed since."""
    record = folder.need("check")
    path = stored_options(folder).checkpoint
    if not Path(path).is_file():
        raise StaleError("is gone, and this folder was made from it", where=path,
                         hint="put it back, or name the checkpoint instead of the folder")
    if file_digest(Path(path)) != record.inputs["checkpoint"]:
        raise StaleError(f"was changed after {folder.root} was made from it", where=path,
                         hint="run 'hwbnn compile' again")
    return path


def default_folder(options: Options, board_name: str) -> Path:
    """``build/CHECKPOINT-BOARD``, below the current folder."""
    return Path("build") / f"{Path(options.checkpoint).stem}-{board_name}"


def input_digest(path: str) -> str:
    """Digest of a file, or of a folder's files by name."""
    where = Path(path)
    if where.is_dir():
        names = sorted(p for p in where.iterdir() if p.is_file())
        return digest(*(part for p in names for part in (p.name, file_digest(p))))
    try:
        return file_digest(where)
    except FileNotFoundError:
        raise UserError("no such file or folder", where=path) from None
    except PermissionError:
        raise UserError("permission denied", where=path) from None


@functools.cache
def code_digest() -> str:
    """Digest of this program: a stage's files are kept only for the code that made them."""
    here = Path(__file__).parent
    files = [here.parent / p for p in ("hwbnn", "rtl_gen", "boards", "models", "sim")]
    sources = sorted(p for folder in files for p in folder.rglob("*")
                     if p.suffix in (".py", ".v", ".cpp", ".j2"))
    parts = [part for p in sources for part in (p.relative_to(here.parent).as_posix(),
                                                p.read_bytes())]
    return digest(__version__, *parts)


def read_json(path: Path) -> dict:
    """A JSON file of the folder's own."""
    return json.loads(path.read_text(encoding="utf-8"))
