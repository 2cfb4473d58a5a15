"""What steps wait for, and the cycles in which it is there: weights, constants, rows, bits.

Each class is the recurrence of a part of rtl_gen/engine; `hwbnn.schedule` lets them meet.
"""

import collections

from rtl_gen.engine.first_config import FirstConfig, FirstTimes
from rtl_gen.engine.first_conv import first_latency
from rtl_gen.engine.image_model import ImageTimes
from rtl_gen.engine.loader import WeightLoader
from rtl_gen.engine.stem_model import StemTimes
from rtl_gen.engine.threshold_sequencer import entry_words
from rtl_gen.engine.timing import Timing
from rtl_gen.engine.weight_stream import WeightStream

from .pack import segment_sizes
from .program import Program, Step

__all__ = ["Constants", "Image", "Nothing", "Stem", "Steps", "Stream", "Unit", "Weights"]


class Stream:
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
        kinds = config.stream_kinds
        self.arrived = {kind: [] for kind in kinds}  # first cycle in which each is usable
        self.read = {kind: [] for kind in kinds}  # cycle in which each was read

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


class Weights:
    """The weight loader: when each tile may be taken."""

    def __init__(self, program: Program, timing: Timing, stream: Stream | None):
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


class Stem:
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


class Nothing:
    """In the place of weights, for steps that compute with stored values."""

    @staticmethod
    def next_ready() -> int:
        return 0

    @staticmethod
    def taken(at: int) -> None:
        """Nothing was."""


class Steps:
    """The sequencer's reading of the step behind the one that it runs: a word a cycle, or as they
    come where the program is in the weight stream."""

    def __init__(self, config, stream: Stream | None):
        self.words = config.step_words
        self.stream = stream if config.streamed_steps else None
        self.begin(0)

    def begin(self, at: int) -> None:
        """The next step is read, from cycle ``at`` on."""
        self.at, self.left = at, self.words

    def read_ahead(self) -> bool:
        """Read the next word if the step has one more that has come by what is known so far."""
        if self.stream is None or not self.left or not self.stream.there("steps", 1):
            return False
        self._read()
        return True

    def ready(self) -> int:
        """First cycle in which the step is there."""
        while self.left:
            self._read()
        return self.at + 2

    def _read(self) -> None:
        if self.stream is not None:
            self.at = max(self.at, self.stream.usable("steps", 1))
            self.stream.reads("steps", self.at, 1)
        self.at, self.left = self.at + 1, self.left - 1


class Image:
    """Rows of the image memory; the program's first step is ``known`` in a cycle."""

    def __init__(self, program: Program, known: int):
        kept = program.placement.rows.image
        _c, height, width = program.input_op.shape
        self.times = ImageTimes(height, width, kept, known + 2)
        self.gone = 0  # rows released, over all frames

    def ready(self, step: Step) -> int:
        """First cycle in which all rows that ``step`` reads are there."""
        return self.times.ready(self.gone + step.fields["image_need"] - 1)

    def done(self, step: Step, at: int) -> None:
        """``step`` ended in cycle ``at``."""
        if step.fields["image_release"]:
            self.gone += step.fields["image_release"]
            self.times.release(self.gone, at)


class Constants:
    """The constant loader: when each output group's constants may be taken."""

    def __init__(self, program: Program, timing: Timing, stream: Stream | None):
        config = program.config
        self.stream, self.streamed = stream, False
        self.words = config.lanes * config.const_words
        self.lead = max(0, min(timing.const_lead - 3, self.words - 1))
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


class Unit:
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
