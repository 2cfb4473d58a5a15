"""Exact cycles of a program: the state machines of the engine, tile by tile.

Three of them meet: the sequencer, the weight loader and the constant loader. Their recurrences
below are those of rtl_gen/engine; simulation must give the same numbers.
"""

import collections
import dataclasses

from rtl_gen.engine.config import STREAM_KINDS
from rtl_gen.engine.first_config import FirstConfig, FirstTimes
from rtl_gen.engine.first_conv import first_latency
from rtl_gen.engine.image_model import ImageTimes
from rtl_gen.engine.loader import WeightLoader
from rtl_gen.engine.moves import ASKS, SETTLE
from rtl_gen.engine.sequencer import PASS_SWEEP
from rtl_gen.engine.stem_model import StemTimes
from rtl_gen.engine.threshold_sequencer import entry_words
from rtl_gen.engine.timing import Timing
from rtl_gen.engine.weight_stream import WeightStream

from .external import weight_source
from .geometry import level_pass_cycles
from .ops.int_dynamic import Sigmoid
from .pack import segment_sizes
from .program import Program, Step

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


class _Stream:
    """The weight stream: when words of its rings can be read, given when earlier ones were."""

    def __init__(self, program: Program, source):
        config = program.config
        self.take = source.take
        self.parts, self.rings = config.stream_parts, config.rings
        self.source = source
        self.order = [(kind, count) for _step, kind, count in segment_sizes(program)]
        self.at, self.left = 0, 0  # segment, memory words of it still to come
        self.before: int | None = None  # 16-bit words of the next memory word but its last
        self.last = -1  # cycle in which the last 16-bit word came
        self.arrived = {kind: [] for kind in STREAM_KINDS}  # first cycle in which each is usable
        self.read = {kind: [] for kind in STREAM_KINDS}  # cycle in which each was read

    def usable(self, kind: str, count: int) -> int:
        """First cycle in which ``count`` words of ``kind`` that were not read yet can be."""
        arrived = self.arrived[kind]
        index = len(self.read[kind]) + count - 1
        while len(arrived) <= index:
            self._next_word()
        return arrived[index]

    def reads(self, kind: str, first: int, count: int) -> None:
        """``count`` words are read one a cycle from cycle ``first`` on."""
        self.read[kind].extend(range(first, first + count))

    def there(self, kind: str, count: int) -> bool:
        """Whether ``count`` words that were not read have arrived by what is known so far."""
        return len(self.arrived[kind]) >= len(self.read[kind]) + count

    def _begin(self) -> None:
        """The next memory word, if the one before is complete."""
        if self.before is not None:
            return
        header = 0
        if self.left == 0:
            self.kind, self.left = self.order[self.at]
            self.at = (self.at + 1) % len(self.order)
            header = 1
        self.before = header + self.parts[self.kind] - 1

    def _room(self) -> int | None:
        """When the last part may come: the word a ring's length earlier must have been read. None
        where it was not yet."""
        earlier = len(self.arrived[self.kind]) - self.rings[self.kind]
        if earlier >= len(self.read[self.kind]):
            return None
        return self.read[self.kind][earlier] + 2 if earlier >= 0 else 0

    def _end(self) -> None:
        self.arrived[self.kind].append(self.last + WeightStream.LATENCY)
        self.left -= 1
        self.before = None

    def _next_word(self) -> None:
        self._begin()
        kind, before, room = self.kind, self.before, self._room()
        if room is None:
            raise ValueError(f"the ring of {self.rings[kind]} {kind} words stops the weight stream")
        if room <= self.last + 1:  # it need not wait, so all come at once
            self.last = self.take(0, before + 1)
        else:
            if before:
                self.take(0, before)
            self.last = self.take(room, 1)
        self._end()

    def word_before(self, wanted: int) -> bool:
        """Take the next memory word, unless it needs a burst that a move asked for from cycle
        ``wanted`` on comes before, or a word that is read later."""
        self._begin()
        while self.before:
            if self.source.take_before(0, wanted) is None:
                return False
            self.before -= 1
        room = self._room()
        if room is None:
            return False
        at = self.source.take_before(room, wanted)
        if at is None:
            return False
        self.last = at
        self._end()
        return True


class _Weights:
    """The weight loader: when each tile may be taken."""

    def __init__(self, program: Program, timing: Timing, stream: _Stream | None):
        config = program.config
        self.stream = stream
        unit = WeightLoader(
            config, swap_x=timing.swap_x, swap_d=timing.swap_d,
            guard_x=timing.guard_x, guard_d=timing.guard_d,
        )
        unit._MustUse__used = True
        self.wait, self.lead = unit.wait, unit.lead
        self.lanes = config.lanes
        self.codes = (1 << config.id_bits) if config.has_codebook else 0
        self.empty = {"x": 0, "d": 0}
        self.steps = [step for step in program.steps if step.load is not None]
        self.entry = 0  # step being loaded
        self.left = 0  # its tiles still to load
        self.state_at = 0  # cycle in which FETCH (left == 0) or EMPTY begins
        self.code_at = 0
        self.loaded = collections.deque()  # (kind, from when on it may be taken) of tiles ahead

    def next_ready(self) -> int:
        """Load the next tile; the cycle from which the sequencer may take it."""
        if self.loaded:
            self.taking, ready = self.loaded.popleft()
            return ready
        self._fetch()
        self.taking = self.kind
        return self._tile()

    def load_ahead(self) -> bool:
        """Load the next tile if its words are there and its shadow registers are free."""
        self._fetch()
        memory = "weights" if self.kind == "x" else "dense_weights"
        if any(kind == self.kind for kind, _ready in self.loaded) or (
                self.streamed and not self.stream.there(memory, self.lanes)):
            return False
        self.loaded.append((self.kind, self._tile()))
        return True

    def _fetch(self) -> None:
        """The entry of the next tile, if it is a step's first."""
        if self.left == 0:
            step = self.steps[self.entry]
            self.kind = "d" if step.load["dense"] else "x"
            self.streamed = step.streamed
            self.left = step.load["n_tiles"] + 1
            self.state_at += 3
            self.code_at = self.state_at + (self.codes + 1 if step.load["codebook"] else 0)
            self.entry = (self.entry + 1) % len(self.steps)

    def _tile(self) -> int:
        first = max(self.state_at, self.code_at, self.empty[self.kind])
        if self.streamed:
            memory = "weights" if self.kind == "x" else "dense_weights"
            first = max(first, self.stream.usable(memory, self.lanes))
            self.stream.reads(memory, first, self.lanes)
        self.left -= 1
        self.state_at = first + self.lanes + 1
        return first + self.lanes - self.lead[self.kind]

    def taken(self, at: int) -> None:
        self.empty[self.taking] = at + self.wait[self.taking] + 1


class _Stem:
    """What a unit for the first layer has ready, in the place of weights: it serves all tiles of
    its step. A row of the 7x7 stem, an image of the 3x3 one."""

    def __init__(self, config):
        if isinstance(config.stem, FirstConfig):
            self.times = FirstTimes(config.stem, first_latency(config.stem))
        else:
            self.times = StemTimes(config.stem)
        self.takes = []
        self.ready = None

    def next_ready(self) -> int:
        if self.ready is None:
            self.ready = self.times.next_ready(self.takes)
        return self.ready

    def taken(self, at: int) -> None:
        """A tile was taken; the row stays."""

    def row_taken(self, at: int) -> None:
        self.takes.append(at)
        self.ready = None


class _Nothing:
    """In the place of weights, for steps that compute with stored values."""

    @staticmethod
    def next_ready() -> int:
        return 0

    @staticmethod
    def taken(at: int) -> None:
        """Nothing was."""


def _first_step(config) -> int:
    """Cycle in which the program's first step has been read."""
    return config.step_words + 2


class _Image:
    """Rows of the image memory."""

    def __init__(self, program: Program):
        config, kept = program.config, program.placement.rows.image
        _c, height, width = program.input_op.shape
        self.times = ImageTimes(height, width, kept, _first_step(config) + 2)
        self.gone = 0  # rows released, over all frames

    def ready(self, step: Step) -> int:
        """First cycle in which all rows that ``step`` reads are there."""
        return self.times.ready(self.gone + step.fields["image_need"] - 1)

    def done(self, step: Step, at: int) -> None:
        """``step`` ended in cycle ``at``."""
        if step.fields["image_release"]:
            self.gone += step.fields["image_release"]
            self.times.release(self.gone, at)


class _Constants:
    """The constant loader: when each output group's constants may be taken."""

    def __init__(self, program: Program, timing: Timing, stream: _Stream | None):
        config = program.config
        self.stream, self.streamed = stream, False
        self.words = config.lanes * config.const_words
        self.lead = max(0, min(timing.const_lead - 4, self.words - 1))
        self.hold = timing.const_hold

    def setup(self, cycle: int, step: Step) -> None:
        self.streamed, self.groups = step.streamed, step.n_og
        self._load(cycle + 1)

    def _load(self, first: int) -> None:
        if self.groups == 0:
            return
        self.groups -= 1
        if self.streamed:
            first = max(first, self.stream.usable("constants", self.words))
            self.stream.reads("constants", first, self.words)
        self.ready = first + self.words - self.lead
        self.full = first + self.words

    def taken(self, at: int) -> None:
        leave = max(max(self.full, at + 1) + 1, at + 1 + self.hold)
        self._load(leave + 1)


class _Unit:
    """The threshold unit: when the bits of each map are stored."""

    def __init__(self, program: Program):
        self.entries = program.entries
        self.words = entry_words(program.config)
        self.due = [0]  # one map is when reset ends
        self.free, self.read = 0, self.words + 2
        self.done: list[int] = []
        self.taken = 0

    def leave(self, at: int) -> None:
        """A map is there in cycle ``at``."""
        self.due.append(at)

    def take(self) -> int:
        """First cycle in which a step may take the next map's bits."""
        while self.taken >= len(self.done):
            number = len(self.done)
            at = max(self.due[number], self.free, self.read)
            self.read = at + 3 + self.words
            self.done.append(at + self.entries[number % len(self.entries)].cycles)
            self.free = self.done[-1] + 1
        self.taken += 1
        return self.done[self.taken - 1] + 1


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
    stream = _Stream(program, source) if config.streams else None
    weights, constants = (kind(program, timing, stream) for kind in (_Weights, _Constants))
    stem = _Stem(config) if config.stem is not None else None
    image = _Image(program) if stem is None else None
    unit = _Unit(program) if config.beside else None
    cycle = _first_step(config)  # pixels come from reset on, and the first step is read
    starts, done, turns = [], [], []
    scan = _scan(program)
    lag = max(step.lag for step in program.steps)
    following_ready = 0
    batch = program.batches.images
    complete = 3 if frames is None else -(-frames // batch)
    for turn in range(complete + lag + 1):
        steps = []
        for step in program.steps:
            free = taken = max(cycle, following_ready)
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
            following_ready = taken + 3 + config.step_words
            loader = stem if step.layer.stem else weights if step.load else _Nothing
            if step.layer.moves:
                end, wait = _move(step, taken + 1, weights, stream), 0
            elif step.layer.levels:
                end, wait = taken + 1 + level_pass_cycles(step.layer, config), 0
            else:
                end, wait = _run_step(step, taken, loader, constants)
            finish = end + 1 + _drain(step, timing)
            free_at = finish + 1
            if step.fields.get("flows"):
                free_at = end + 2 + timing.flow_drain
            if step.layer.stem:
                stem.row_taken(finish)
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


def _move(step: Step, start: int, weights: _Weights, stream: _Stream) -> int:
    """The cycle in which a step that moves rows is over: the unit starts in cycle ``start``. Words
    of the weight stream come first, until they fill all that waits for them."""
    wanted = start + ASKS
    while stream.word_before(wanted) or weights.load_ahead():
        pass
    fields = step.fields
    moved = stream.source.move(wanted, fields["move_base"], fields["move_bursts"],
                               write=bool(fields["move_write"]))
    return moved + SETTLE


def _run_step(step: Step, taken: int, weights: _Weights, constants: _Constants):
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
                go = max(free, weights.next_ready())
                if ig == step.n_ig - 1:
                    go = max(go, constants.ready)
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
    return 4 * -(-classes // lanes) + classes + 1


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
        if layer.pointwise:
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
