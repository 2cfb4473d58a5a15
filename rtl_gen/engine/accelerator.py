"""An engine with its off-chip memory: SDRAM controller and engine start together."""

from amaranth.hdl import *
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from ..sdram.controller import SdramController
from ..sdram.read_check import ReadCheck
from ..sdram.schedule import Schedule
from ..sdram.timing import SdramPart
from .config import EngineConfig
from .moves import move_members
from .top import Engine

__all__ = ["FASTEST_HZ", "FIFO_DEPTH", "SLOWEST_HZ", "START_DELAY", "Accelerator",
           "memory_schedule"]

# the clock is chosen after routing: the memory's cycle counts hold over this range, and so do ours
SLOWEST_HZ, FASTEST_HZ = 60_000_000, 133_000_000

FIFO_DEPTH = 1024  # words between the SDRAM and the engine
START_DELAY = 2  # the engine's first cycle after the one that starts the stream


def memory_schedule(part: SdramPart, read_delay: int = 0) -> Schedule:
    """The controller's intervals, good from SLOWEST_HZ to FASTEST_HZ."""
    return Schedule(part.cycles_between(SLOWEST_HZ, FASTEST_HZ), read_delay)


def _other_way(name: str) -> str:
    """What a port of the engine is at the controller."""
    return ("i" if name.startswith("o") else "o") + name[1:]


class Accelerator(wiring.Component):
    """Engine and SDRAM controller in one clock domain, from SLOWEST_HZ to FASTEST_HZ.

    The engine is held in reset until the memory is ready and ``i_go`` is high; its first cycle
    follows the start of the weight stream, so that cycle counts repeat exactly.

    Members
    -------
    i_go : In(1)
        The weight image is in memory. Low again: the engine is reset.
    i_words : In
        16-bit words of the weight stream, from ``i_base`` on.
    i_write_start, i_write_base, i_write : In
        Write port of the memory, while ``i_go`` is low.
    i_check : In(1)
        While ``i_go`` is low: read ``i_words`` words from ``i_base`` on. A start like that of a
        write: the controller's distance between starts holds.
    o_checked : Out(1);  o_crc : Out(32)
        High for a cycle when all were read; their CRC-32 (see ``Crc32``), until the next check.
    o_ready : Out(1)
        The memory's power-up is over.
    o_running : Out(1)
    All members of Engine but the weight stream, and the controller's pins (``o_cke`` to ``i_dq``).
    """

    def __init__(self, config: EngineConfig, part: SdramPart, *, read_delay: int = 0):
        self._engine = Engine(config)
        self._memory = SdramController(part, FASTEST_HZ, fifo_depth=FIFO_DEPTH,
                                       schedule=memory_schedule(part, read_delay),
                                       moves=config.moves)
        members = {"i_go": In(1), "i_check": In(1), "o_checked": Out(1), "o_crc": Out(32),
                   "o_ready": Out(1), "o_running": Out(1)}
        self._moves = list(move_members(config))
        self._outer = [n for n in self._engine.signature.members
                       if n not in ("i_weights", *self._moves)]
        inner = ("i_start", "i_base", "i_words", "o", "o_ready", *map(_other_way, self._moves))
        self._pins = [n for n in self._memory.signature.members if n not in inner]
        for unit, names in ((self._engine, self._outer), (self._memory, self._pins)):
            members |= {name: unit.signature.members[name] for name in names}
        self._check = ReadCheck(len(self._memory.i_words))
        for name in ("i_base", "i_words"):
            members[name] = self._memory.signature.members[name]
        super().__init__(members)

    def elaborate(self, platform):
        m = Module()
        engine, memory = self._engine, self._memory
        held = Signal(init=1)
        # the engine's reset goes to thousands of registers: from one of its own, no logic behind it
        reset = Signal(init=1)
        # what it holds back beside the engine: from another one, which may be near that logic
        running = Signal()
        m.d.sync += [reset.eq(held), running.eq(~held)]
        m.domains.engine = ClockDomain("engine", local=True)
        m.d.comb += [ClockSignal("engine").eq(ClockSignal()), ResetSignal("engine").eq(reset)]
        m.submodules.engine = DomainRenamer("engine")(engine)
        m.submodules.memory = memory
        m.submodules.check = check = self._check
        start = Signal()
        for unit, names in ((engine, self._outer), (memory, self._pins)):
            for name in names:
                if name != "i_pixel":
                    self._join(m, unit, name)
        m.d.comb += [
            memory.i_base.eq(self.i_base),
            memory.i_words.eq(self.i_words),
            start.eq(held & self.i_go & memory.o_ready),
            memory.i_start.eq(start | self.i_check),
            check.i_start.eq(self.i_check),
            check.i_words.eq(self.i_words),
            check.i.valid.eq(memory.o.valid & held),
            check.i.payload.eq(memory.o.payload),
            self.o_checked.eq(check.o_done),
            self.o_crc.eq(check.o_crc),
            self.o_ready.eq(memory.o_ready),
            engine.i_pixel.valid.eq(self.i_pixel.valid & running),
            engine.i_pixel.payload.eq(self.i_pixel.payload),
            self.i_pixel.ready.eq(engine.i_pixel.ready & running),
            engine.i_weights.valid.eq(memory.o.valid & running),
            engine.i_weights.payload.eq(memory.o.payload),
            memory.o.ready.eq(Mux(held, check.i.ready, engine.i_weights.ready & running)),
            self.o_running.eq(running),
        ]
        for name in self._moves:
            inside, outside = getattr(engine, name), getattr(memory, _other_way(name))
            m.d.comb += outside.eq(inside) if name.startswith("o") else inside.eq(outside)
        with m.If(start):
            m.d.sync += held.eq(0)
        with m.Elif(~self.i_go):
            m.d.sync += held.eq(1)
        return m

    def _join(self, m, unit, name):
        outer, inner = getattr(self, name), getattr(unit, name)
        member = unit.signature.members[name]
        if member.is_signature:
            wiring.connect(m, wiring.flipped(outer), inner)
        elif member.flow is wiring.In:
            m.d.comb += inner.eq(outer)
        else:
            m.d.comb += outer.eq(inner)
