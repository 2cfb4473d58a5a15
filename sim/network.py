"""Whole networks in simulation: one Verilator build per machine, any program and images on it."""

import dataclasses
import hashlib
import json
import shutil
import tempfile
from pathlib import Path

import numpy as np
from cocotb_tools.runner import get_results

from hwbnn import golden, tools
from hwbnn.cache import default_folder
from hwbnn.emit import emit, verilog_for_sim
from hwbnn.errors import Mismatch, ToolError, UserError
from hwbnn.ir import Graph
from hwbnn.layout import entry_words_expected, expected_words, locate, pass_step
from hwbnn.memory_files import hex_text
from hwbnn.pack import pack, stream_words
from hwbnn.program import Program
from rtl_gen.engine.config import EngineConfig
from rtl_gen.engine.top import Engine

from .accelerator import accelerator_sources
from .verilator import Runner, environment

__all__ = ["NetworkRun", "build_simulator", "simulate", "whole_batches",
           "write_vectors"]

# where each memory sits in the engine's hierarchy
MEMORY_PATHS = {"logits": "result.logits", "branch": "branch.branch"}


@dataclasses.dataclass(frozen=True)
class NetworkRun:
    """What a simulation of N images gave (path: rtl-sim), all of it equal to the golden executor.

    ``logits`` (N, classes) int64, ``classes`` (N,), ``cycles`` per frame from start to logits,
    ``starts`` the cycle each turn of the program begins in (a frame's start, or a batch's) and the
    one behind the last begins in, ``steps`` (N, steps) the cycle of the frame in which each step's
    results are stored, ``words_compared`` memory words compared, ``unit_ends`` the cycles, from
    the first start on, in which a threshold unit's entries were done.
    """

    logits: np.ndarray
    classes: np.ndarray
    cycles: list[int]
    starts: list[int]
    steps: list[list[int]]
    words_compared: int
    unit_ends: list[int]


def memory_path(name: str, config: EngineConfig) -> str:
    """Hierarchical name of a memory's words below the simulated top."""
    if name.startswith("bits"):
        block = f"bitmap.{name}"
    elif name.startswith("unit"):
        block = f"threshold_unit.dense.{name.removeprefix('unit_')}"
    elif name.startswith("x") or name == "vectors":
        block = f"xmap.{name}"
    else:
        block = MEMORY_PATHS.get(name, name)
    return f"{'accelerator.engine.' if config.streams else ''}{block}.mem.mem"


def build_simulator(config: EngineConfig, *, folder: Path | None = None, verbose=False,
                    quick=False) -> Path:
    """Verilate the engine of ``config``, or find the build of the same sources. Returns its folder.

    ``quick`` is for short runs: it builds in less than half of the time, and runs slower.

    Raises ToolError when Verilator or its C++ compiler is missing or fails.
    """
    tool = tools.find("verilator")
    cache = (folder or default_folder()) / "simulators"
    cache.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=cache) as scratch:
        if config.streams:
            sources = accelerator_sources(config, Path(scratch))
        else:
            sources = verilog_for_sim(emit(Engine(config), "engine"), Path(scratch))
        arguments = BUILD_ARGS if quick else BUILD_ARGS + OPTIMISED
        h = hashlib.sha256(str(tool).encode() + " ".join(arguments).encode() + VISIBLE.encode())
        for source in sources:
            h.update(Path(source).read_bytes())
        target = cache / h.hexdigest()[:32]
        if (target / "done").exists():
            return target
        work = Path(scratch) / "build"
        with environment(tool):
            runner = Runner(tool, folder=folder, quick=quick)
            visible = Path(scratch) / "visible.vlt"
            visible.write_text(VISIBLE)
            try:
                runner.build(
                    sources=[visible, *sources],
                    hdl_toplevel="engine",
                    build_dir=work,
                    build_args=list(arguments),
                    always=True,
                    log_file=None if verbose else Path(scratch) / "build.log",
                )
            except (SystemExit, Exception) as error:
                log = Path(scratch) / "build.log"
                lines = log.read_text().splitlines() if log.exists() else []
                first = next((line for line in lines if "rror" in line), str(error))
                raise ToolError(
                    f"the simulator did not build: {first}", where="verilator"
                ) from error
        (work / "done").write_text("")
        try:
            work.rename(target)
        except OSError:  # another process was faster
            if not (target / "done").exists():
                raise
    return target


BUILD_ARGS = (
    "-O3", "--x-assign", "fast", "--x-initial", "fast", "--noassert",
    "-Wno-WIDTHEXPAND", "-Wno-WIDTHTRUNC", "-Wno-CASEINCOMPLETE", "-Wno-ASCRANGE",
)
OPTIMISED = ("-CFLAGS", "-O1")
# the bench sees the top's ports and, by their own pragma, the memories; with everything visible
# compiling takes minutes and running ten times as long
VISIBLE = "`verilator_config\n" + "".join(
    f'public_flat_rw -module "engine" -var "{name}"\n' for name in ("clk", "rst", "i_*", "o_*")
)


def write_vectors(program: Program, graph: Graph, images: np.ndarray, folder: Path, *,
                  stall: float, seed: int) -> tuple[golden.GoldenResult, int]:
    """Fill ``folder`` with what the bench needs: memory images, run.json, vectors.npz.

    Returns what the golden executor says of the images, and how many memory words the bench must
    compare. Raises Mismatch for a step that leaves nothing to compare.
    """
    folder.mkdir(parents=True, exist_ok=True)
    memories = folder / "memories"
    memories.mkdir(exist_ok=True)
    for name, words in pack(program).items():
        (memories / f"{name}.hex").write_text(hex_text(words))
    if program.config.streams:
        (folder / "sdram.hex").write_text(hex_text(stream_words(program).tolist()))
    arrays: dict[str, np.ndarray] = {"images": images}
    names: set[str] = set()
    results, n_words = [], 0
    batch = program.batches.images
    if len(images) % batch:
        raise UserError(f"{len(images)} images are no whole batches of {batch}", where="simulation")
    for frame in range(len(images)):  # one at a time: all values of a large one take 600 MB
        values, result = golden.run_one(graph, images[frame])
        results.append(result)
        image = frame % batch
        left = {f"entry{n}": entry_words_expected(program, entry, values)
                for n, entry in enumerate(program.entries)}
        for number, step in enumerate(program.steps):
            if not step.image <= image < step.image + step.batch:
                continue
            left[number] = expected_words(program, step, values, image)
            on_the_way = step.layer.sums and step.y1 < step.layer.out_shape[1]
            if not (any(left[number].values()) or step.fields.get("result") or on_the_way):
                raise Mismatch("the step leaves nothing to compare", where=step.layer.name)
        for number, found in left.items():
            for memory, words in ((k, v) for k, v in found.items() if v):
                names.add(memory)
                n_words += len(words)
                n_bytes = -(-program.config.memories()[memory][0] // 8)
                key = f"{frame}/{number}/{memory}"
                arrays[f"{key}/address"] = np.array(list(words), dtype=np.int64)
                for part, index in (("word", 0), ("mask", 1)):
                    data = b"".join(w[index].to_bytes(n_bytes, "little") for w in words.values())
                    arrays[f"{key}/{part}"] = np.frombuffer(data, np.uint8).reshape(-1, n_bytes)
    np.savez(folder / "vectors.npz", **arrays)
    (folder / "run.json").write_text(
        json.dumps(
            {
                "lags": [step.lag for step in program.steps],
                "entries": [entry.lag for entry in program.entries],
                "batch": batch,
                "images": [[step.image, step.batch] for step in program.steps],
                "result": next(i for i, s in enumerate(program.steps) if s.fields.get("result")),
                "classes": program.layers[-1].out_shape[0],
                "memories": {name: memory_path(name, program.config) for name in sorted(names)},
                "logits": memory_path("logits", program.config),
                "weight_words": len(stream_words(program)) if program.config.streams else 0,
                "stall": stall,
                "seed": seed,
            },
            indent=1,
        )
    )
    return golden.joined(results), n_words


def whole_batches(images: np.ndarray, program: Program) -> np.ndarray:
    """The images, and the first ones again where the last batch has too few."""
    batch = program.batches.images
    return images[np.arange(-(-len(images) // batch) * batch) % len(images)]


def simulate(
    program: Program,
    graph: Graph,
    images: np.ndarray,
    *,
    simulator: Path | None = None,
    folder: Path | None = None,
    stall: float = 0.0,
    seed: int = 0,
) -> NetworkRun:
    """Run uint8 images (N,H,W,3) through the engine; every step and the logits are compared.

    Raises Mismatch, naming layer, channel and pixel, where hardware and golden executor differ,
    and when not every word that they share was compared.
    """
    simulator = simulator or build_simulator(program.config)
    with tempfile.TemporaryDirectory() as scratch:
        work = Path(folder or scratch)
        wanted, n_words = write_vectors(program, graph, images, work, stall=stall, seed=seed)
        result = _run(simulator, work)
    for problem in result["problems"]:
        step = _step_of(program, problem["step"])
        expected, got = int(problem["expected"], 16), int(problem["got"], 16)
        bit = (expected ^ got) & -(expected ^ got)
        place = locate(program, step, problem["memory"], problem["address"],
                       bit.bit_length() - 1)
        raise Mismatch(
            f"expected {problem['expected']}, got {problem['got']} in {problem['memory']}"
            f"[{problem['address']}], image {problem['frame']}",
            where=place,
        )
    frames = result["frames"]
    run = NetworkRun(
        np.array([f["logits"] for f in frames], dtype=np.int64),
        np.array([f["class"] for f in frames]),
        [f["cycles"] for f in frames],
        result["starts"],
        [f["steps"] for f in frames],
        result["words_compared"],
        result["unit_ends"],
    )
    if len(run.logits) != len(images) or run.words_compared != n_words:
        raise Mismatch(f"{run.words_compared:,} words compared of {n_words:,}, "
                       f"{len(run.logits)} frames of {len(images)}", where="simulation")
    if not np.array_equal(run.logits, wanted.logits):
        n, c = np.argwhere(run.logits != wanted.logits)[0]
        raise Mismatch(f"expected {wanted.logits[n, c]}, got {run.logits[n, c]}",
                       where=f"logit {c} of image {n}")
    if not np.array_equal(run.classes, wanted.classes):
        raise Mismatch(f"classes {run.classes} are not {wanted.classes}", where="argmax")
    return run


def _step_of(program: Program, key):
    """The step, or the pass of the threshold unit's entry, that a mismatch was found behind."""
    if isinstance(key, int):
        return program.steps[key]
    return pass_step(program.entries[int(key.removeprefix("entry"))], program.config)


def _run(simulator: Path, work: Path) -> dict:
    (work / "result.json").unlink(missing_ok=True)
    tool = tools.find("verilator")
    with environment(tool):
        runner = Runner(tool)
        try:
            results = runner.test(
                test_module="sim.bench",
                hdl_toplevel="engine",
                hdl_toplevel_lang="verilog",
                build_dir=simulator,
                test_dir=work,
                plusargs=[f"+IMAGES={work.resolve() / 'memories'}",
                          f"+SDRAM={work.resolve() / 'sdram.hex'}"],
                extra_env={"HWBNN_RUN": str(work.resolve()), "COCOTB_LOG_LEVEL": "WARNING",
                           "PYTHONWARNINGS": "error"},
                log_file=work / "simulation.log",
                results_xml=str(work.resolve() / "results.xml"),
            )
        except RuntimeError as error:  # the simulator stopped itself
            raise _early_end(work) from error
        except SystemExit:  # the runner's way of a failed bench below pytest
            results = work / "results.xml"
    n_tests, n_failed = get_results(results)
    result = work / "result.json"
    if n_tests != 1 or not result.exists():
        raise _early_end(work)
    parsed = json.loads(result.read_text())
    if n_failed and not parsed["problems"]:
        raise ToolError("the bench failed without a mismatch", where="sim.bench")
    return parsed


def _early_end(work: Path) -> ToolError:
    """Why a simulation did not come to its end; its log is kept."""
    log = (work / "simulation.log").read_text().splitlines()
    reason = next((x for x in log if "fatal" in x.lower() or "Error" in x), "see the log")
    kept = Path(tempfile.gettempdir()) / "hwbnn-simulation.log"
    shutil.copy(work / "simulation.log", kept)
    return ToolError(f"the simulation ended early: {reason.strip()} ({kept})", where="verilator")
