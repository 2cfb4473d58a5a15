"""Between the planner and the stages: options in, facts for the report out."""

import dataclasses
import json
from pathlib import Path

from rtl_gen.engine.first_config import FirstConfig

from . import bops
from .baseline import one_bit
from .ebr import ebr_blocks
from .errors import DoesNotFit, HwbnnError, SdramTooSmall, StaleError, UserError
from .external import memory_words, too_small
from .ir import Graph
from .multipliers import multipliers, uses
from .plan_off_chip import off_chip_text
from .program import Program

__all__ = ["choose", "claims", "describe", "load"]

KERNEL_MEMORIES = ("weights", "codebooks")


def choose(graph: Graph, options, board, progress=lambda line: None):
    """The plan that the user's options ask for: an edited plan.json, or a search."""
    from .plan import plan

    if options.plan:
        if options.batch > 1:
            raise UserError("a plan has its own batch", where=f"--batch {options.batch}",
                            hint=f"change 'batch' in {options.plan}")
        return _held(_given(Path(options.plan), graph, board), board)
    limits = {"target_fps": options.target_fps, "max_luts": options.max_luts,
              "freq_mhz": options.freq, "batch": options.batch}
    try:
        return _held(plan(graph, board, **limits, progress=progress), board)
    except DoesNotFit as error:
        raise type(error)(error.what, where=error.where,
                          hint=_elsewhere(graph, board, limits, error) or error.hint) from error


def _held(chosen, board):
    """The plan, whose weights and maps the board's SDRAM holds; SdramTooSmall otherwise."""
    if chosen.config.streams and board.sdram_bytes:
        words = memory_words(chosen.program)
        if 2 * words > board.sdram_bytes:
            raise too_small(words, board)
    return chosen


def _given(path: Path, graph: Graph, board):
    """The machine of a plan.json that a user names, with the SDRAM of ``board``."""
    from .machine import Plan

    try:
        doc = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(f"is not readable ({error})", where=str(path),
                        hint="give the plan.json of an earlier compile") from error
    if not isinstance(doc, dict):
        raise UserError("is not a plan", where=str(path),
                        hint="give the plan.json of an earlier compile")
    if doc.get("stream") and board.sdram_bytes:
        doc["sdram_mb"] = board.sdram_bytes >> 20
    return Plan.from_json(doc, graph)


def _elsewhere(graph: Graph, board, limits: dict, error: DoesNotFit) -> str:
    """Names the smallest other board on which the network fits; empty if there is none."""
    import boards

    from .plan import plan

    others = [boards.get_board(name) for name in boards.board_names()]
    # more SDRAM helps where that alone was short
    short = {board.part} if isinstance(error, SdramTooSmall) else set()
    for other in sorted(others, key=lambda b: (b.budget.comb, b.sdram_bytes)):
        more = other.sdram_bytes - board.sdram_bytes
        if more < 0 or (more and other.part not in short):
            continue
        if other.budget.comb < board.budget.comb or (not more and other.part == board.part):
            continue
        try:
            _held(plan(graph, other, **limits), other)
        except SdramTooSmall:
            short.add(other.part)
        except DoesNotFit:
            continue
        else:
            return f"it fits {other.name}"
    return ""


def load(path: Path, graph: Graph):
    """The plan that stage plan wrote for ``graph``."""
    from .machine import Plan

    try:
        return Plan.from_json(json.loads(path.read_text(encoding="utf-8")), graph)
    except (OSError, ValueError, HwbnnError) as error:
        raise StaleError(f"is not a plan for this network ({error})", where=str(path),
                         hint="run 'hwbnn compile' with the same -o") from error


def describe(chosen, predicted, board, assumed_mhz: float, layers) -> dict:
    """Facts of the stage: board, machine, steps with their predicted cycles, estimates. ``layers``
    are the network's as extracted."""
    config, program = chosen.config, chosen.program
    words = _step_words(program)
    steps = []
    for step, cycles in zip(program.steps, predicted.steps, strict=True):
        entry = dataclasses.asdict(cycles)
        channels, _h, w = step.layer.out_shape
        entry["shape"] = [channels, min(step.y1 - step.y0, step.layer.out_shape[1]), w]
        layer = step.layer.serves or step.layer
        entry["index"] = program.layers.index(layer)
        entry["layer"], entry["layer_shape"] = step.layer.name, list(step.layer.out_shape)
        entry["memory"] = words[step.name]
        steps.append(entry)
    first = program.layers[0].in_shape
    return {
        "board": {"name": board.name, "part": board.part, "baud": board.baud,
                  "budget": dataclasses.asdict(board.budget)},
        "machine": {
            "shape": (f"S={config.channels_in} P={config.lanes} T={config.pixels} "
                      f"K={config.dense_inputs}"),
            "text": (_machine_text(config) + _batch_text(program)
                     + off_chip_text(program, chosen.recipe, layers)),
            "memories": [
                {"name": name, "width": width, "depth": depth, "ebr": _blocks(width, depth)}
                for name, (width, depth) in config.memories().items()
            ],
        },
        "steps": steps,
        "batch": predicted.images,
        "latency": predicted.latency,
        "interval": predicted.interval,
        "image_bytes": first[0] * first[1] * first[2],
        "estimate": dataclasses.asdict(chosen.estimate),
        "multipliers": {"estimate": multipliers(config), "layers": uses(program)},
        "assumed_mhz": assumed_mhz,
    }


def _blocks(width: int, depth: int) -> dict:
    return {"value": ebr_blocks(width, depth), "unit": "", "path": "estimate",
            "basis": "port shapes"}


def _machine_text(config) -> str:
    more = ""
    if isinstance(config.stem, FirstConfig):
        more += (f" The first convolution has a unit of its own: {config.stem.macs} multiplications"
                 " a cycle, an image ahead.")
    elif config.stem is not None:
        more += f" Stem: {config.stem.macs} multiplications a cycle, two on each multiplier."
    if config.gains is not None:
        more += " Maps wait in a memory of their own for gains of the image."
    if config.signed_sums:
        more += " 1x1 layers of ±1 weights are summed by adders, beside the multipliers."
    if config.streams:
        more += " Weights are streamed from SDRAM."
    if config.beside:
        more += (" Two frames at once: thresholds and bits of one are made while the array works on"
                 " the other.")
    elif config.overlap:
        more += " The end of a frame runs between the beginning of the next."
    return (
        f"S = {config.channels_in} input channels, P = {config.lanes} lanes, T = {config.pixels} "
        f"pixels: {config.array_macs:,} binary MAC a cycle. K = {config.dense_inputs} multi-bit "
        f"inputs a lane: {config.dense_macs:,} multiplications a cycle. Kernels of "
        f"{config.id_bits} bits, maps of {config.feature_bits} bits, weights of "
        f"{config.weight_bits} bits, RPReLU by {config.rprelu}, scales by {_scales(config)}.{more}"
    )


def _scales(config) -> str:
    n = config.scale_digits
    return f"{n} shift{'s' * (n > 1)} and additions" if n else "multiplier"


def _batch_text(program: Program) -> str:
    """From which layers on a load of weights serves how many images."""
    each, names = program.batches.each, [layer.name for layer in program.layers]
    levels = [f"from {name} on {images}" for name, images, before
              in zip(names[1:], each[1:], each, strict=False) if images != before]
    if not levels:
        return ""
    return f" A load of weights serves one image, {', '.join(levels)} images."


def _step_words(program: Program) -> dict[str, int]:
    """Words of weight memory that each step's layer takes."""
    lanes = program.config.lanes
    return {step.name: step.of_og * step.n_ig * lanes if step.load is not None or step.layer.stem
            else 0 for step in program.steps}


def claims(graph: Graph, chosen) -> dict:
    """The paper's count, and the same machine with one-bit kernels where it exists."""
    total = bops.claim(bops.binary_layers(graph))
    memories = chosen.config.memories()
    found = {
        "bops": float(total.bops),
        "plain_bops": float(total.plain_bops),
        "ratio": total.ratio,
        "weight_bits": total.weight_bits,
        "plain_weight_bits": total.plain_weight_bits,
        "gathers": total.gathers,
        "adds": total.adds,
        "kernel_ebr": _kernel_blocks(memories),
    }
    if total.weight_bits < total.plain_weight_bits:
        found["plain"] = _one_bit_machine(graph, chosen)
    return found


def _kernel_blocks(memories: dict) -> dict:
    total = sum(ebr_blocks(*memories[name]) for name in KERNEL_MEMORIES if name in memories)
    return {"value": total, "unit": "", "path": "estimate", "basis": "port shapes"}


def _one_bit_machine(graph: Graph, chosen) -> dict:
    """Predicted cycles of the same array with plain kernels; says why where it cannot exist."""
    from .schedule import schedule
    from .shape import Shape, derive

    config = chosen.config
    shape = Shape(config.channels_in, config.lanes, config.pixels, config.dense_inputs)
    try:
        program = derive(one_bit(graph), shape, **chosen.recipe)
    except DoesNotFit as error:
        return {"why_not": str(error)}
    return {"interval": schedule(program).interval,
            "kernel_ebr": _kernel_blocks(program.config.memories())}
