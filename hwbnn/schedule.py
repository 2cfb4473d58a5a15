"""Exact cycles of a program: the state machines of the engine, tile by tile.

Three of them meet: the sequencer, the weight loader and the constant loader. The sequencer's
recurrence is here, what it waits for in hwbnn/ready.py; they are those of rtl_gen/engine, and
simulation must give the same numbers.
"""

import dataclasses

from rtl_gen.engine.moves import ASKS, SETTLE
from rtl_gen.engine.sequencer import PASS_SWEEP
from rtl_gen.engine.timing import Timing

from .external import weight_source
from .geometry import level_pass_cycles
from .ops.int_dynamic import Sigmoid
from .program import Program, Step
from .ready import Constants, Image, Nothing, Stem, Steps, Stream, Unit, Weights

__all__ = ["Schedule", "StepCycles", "schedule"]


@dataclasses.dataclass(frozen=True)
class StepCycles:
    """Cycles of one step in the steady state (path: estimate until simulated).

    ``compute`` issues groups, ``wait`` waits for weights or constants, ``overhead`` is set-up and
    drain; ``cycles`` is their sum. ``utilisation`` is multiply-accumulates over array capacity in
    these cycles; ``bound`` names what limits the step.
    """

    name: str
    kind: str
    cycles: int
    compute: int
    wait: int
    overhead: int
    macs: int
    capacity: int
    bound: str

    @property
    def utilisation(self) -> float:
        return self.macs / (self.capacity * self.cycles) if self.capacity else 0.0


@dataclasses.dataclass(frozen=True)
class Schedule:
    """Predicted cycles.

    ``latency`` from the frame's start to its logits, ``starts`` the cycle each turn of the program
    begins in and the one behind the last begins in, ``interval`` between the last two of them,
    ``steps`` of the turn of the program in which the last predicted frame begins
    (a scan of logits within a turn counts to the step behind it), ``frames`` the latency of each
    predicted frame, ``result`` cycles of the scan of the logits. Of a batch of ``images`` all
    frames start together; the latency is the last one's, the interval that of batches. ``unit``
    has the cycles in which a threshold unit was done, entry after entry.
    """

    steps: list[StepCycles]
    frames: list[int]
    starts: list[int]
    result: int
    images: int = 1
    unit: list[int] = dataclasses.field(default_factory=list)

    @property
    def latency(self) -> int:
        return self.frames[-1]

    @property
    def interval(self) -> int:
        return self.starts[-1] - self.starts[-2]

    def utilisation(self, kind: str = "binary") -> float:
        """Of the array of that kind, over the whole frame."""
        steps = [s for s in self.steps if s.kind == kind]
        if not steps:
            return 0.0
        return sum(s.macs for s in steps) / (steps[0].capacity * self.interval)


def schedule(program: Program, *, frames: int | None = None, source=None) -> Schedule:
    """Predict ``frames`` frames back to back, 3 batches if not given; the last one is the steady
    state. An incomplete batch is predicted whole.

    ``source`` delivers a streaming machine's weights: its ``take(earliest, count)`` gives the cycle
    in which the last of the next ``count`` 16-bit words is taken, as ``ReadStream`` does.
    """
    config = program.config
    if config.streams and source is None:
        source = weight_source(program)
    timing = Timing(config)
    stream = Stream(program, source) if config.streams else None
    weights, constants = (kind(program, timing, stream) for kind in (Weights, Constants))
    stem = Stem(config) if config.stem is not None else None
    following = Steps(config, stream)
    cycle = following.ready()  # pixels come from reset on, and the first step is read
    image = Image(program, cycle) if stem is None else None
    unit = Unit(program) if config.beside else None
    starts, done, turns = [], [], []
    scan = _scan(program)
    lag = max(step.lag for step in program.steps)
    batch = program.batches.images
    complete = 3 if frames is None else -(-frames // batch)
    for turn in range(complete + lag + 1):
        steps = []
        for step in program.steps:
            free = taken = max(cycle, following.ready())
            if step.layer.from_image:
                taken = max(taken, image.ready(step))
            if step.fields.get("awaits"):
                taken = max(taken, unit.take())
            if step is program.steps[0]:
                starts.append(taken)
                if turn == complete + lag:
                    break
                begun = cycle if stem else taken
                free = taken if image else free
            following.begin(taken + 1)
            loader = stem if step.layer.stem else weights if step.load else Nothing
            if step.layer.moves:
                end, wait = _move(step, taken + 1, weights, stream, following), 0
            elif step.layer.levels:
                end, wait = taken + 1 + level_pass_cycles(step.layer, config), 0
            else:
                end, wait = _run_step(step, taken, loader, constants)
            finish = end + 1 + _drain(step, timing)
            free_at = finish + 1
            if step.fields.get("flows"):
                free_at = end + 2 + timing.flow_drain
            if step.layer.stem:
                stem.row_taken(finish + 1)
            if step.layer.from_image:
                image.done(step, finish)
            if step.fields.get("due"):
                unit.leave(finish + 1)
            steps.append(_account(step, config, finish + 1 - begun, wait, taken - free))
            begun, cycle = finish + 1, free_at
            if step.fields.get("result"):
                for number in range(batch):
                    cycle += scan + (number > 0)  # a cycle between two scans
                    if turn >= lag:
                        done.append(cycle - 1)
        turns.append(steps)
    latencies = [at - starts[frame // batch] for frame, at in enumerate(done)]
    return Schedule(turns[complete - 1], latencies, starts, scan, batch, unit.done if unit else [])


def _move(step: Step, start: int, weights: Weights, stream: Stream, following: Steps) -> int:
    """The cycle in which a step that moves rows is over: the unit starts in cycle ``start``. Words
    of the weight stream come first, until they fill all that waits for them."""
    wanted = start + ASKS
    while stream.word_before(wanted) or weights.load_ahead() or following.read_ahead():
        pass
    fields = step.fields
    moved = stream.source.move(wanted, fields["move_base"], fields["move_bursts"],
                               write=bool(fields["move_write"]))
    return moved + SETTLE


def _run_step(step: Step, taken: int, weights: Weights, constants: Constants):
    """(last issue, cycles waited) of a step whose descriptor is taken at ``taken``."""
    setup = taken + 1
    if not step.layer.map_pass:
        constants.setup(setup, step)
    free = setup + 1
    wait = 0
    for _og in range(step.n_og):
        for ig in range(step.n_ig):
            go = free
            if not step.layer.map_pass:
                # what is ready lets a sweep start in the next cycle
                go = max(free, weights.next_ready() + 1)
                if ig == step.n_ig - 1:
                    go = max(go, constants.ready + 1)
                    constants.taken(go)
                weights.taken(go)
            wait += go - free
            # sweeps start at least four cycles apart (partial sums)
            free = go + max(step.groups, PASS_SWEEP if step.layer.map_pass else 4)
            last = go + step.groups - 1
    return last, wait


def _drain(step: Step, timing: Timing) -> int:
    """Cycles behind a step's last issue."""
    if step.layer.levels or step.layer.moves:
        return 0
    if step.layer.map_pass:
        return timing.drains[0]
    return timing.drains[1] if isinstance(step.layer.x_op, Sigmoid) else timing.drain


def _scan(program: Program) -> int:
    """Cycles from the last step's end to the end of the scan of the logits."""
    lanes, classes = program.config.lanes, program.layers[-1].out_shape[0]
    return 4 * -(-classes // lanes) + classes + 2


def _capacity(step: Step, config) -> int:
    """Multiply-accumulates a cycle of the unit that computes ``step``."""
    if step.layer.map_pass or step.layer.weightless:
        return 0
    if step.layer.stem:
        return config.stem.macs
    return config.array_macs if step.layer.binary else config.dense_macs


def _account(step: Step, config, cycles: int, wait: int, image_wait: int) -> StepCycles:
    compute = step.groups * step.n_og * step.n_ig
    layer = step.layer
    if layer.moves:  # a word in so many cycles
        compute *= config.lanes * config.pixels
    share = step.batch * (step.y1 - step.y0) / layer.issued[0] * step.n_og / step.of_og
    if layer.moves:
        bound = "SDRAM"
    elif layer.map_pass or layer.weightless or (
            config.run_time is not None and layer.vector and layer.from_x):
        bound = "barrier"
    elif wait * 10 > cycles:
        per_group = step.n_ig * step.groups
        bound = "constants" if per_group < config.lanes * config.const_words else "weights"
        if step.groups < config.lanes:
            bound = "weights"
        if layer.stem:
            bound = "stem"
    elif image_wait * 10 > cycles:
        bound = "barrier" if step.fields.get("awaits") else "image"
    else:
        bound = {"binary": "array", "dense": "multipliers", "signed": "adders",
                 "stem": "lanes"}[step.kind]
        if layer.by_groups:
            bound = "lanes" if step.n_ig == 1 else "bit memory"
    return StepCycles(
        step.name,
        step.kind,
        cycles,
        compute,
        wait + image_wait,
        cycles - compute - wait - image_wait,
        round(layer.macs * share),
        _capacity(step, config),
        bound,
    )
