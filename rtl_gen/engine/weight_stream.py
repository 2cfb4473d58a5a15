"""Weights from off-chip memory: 16-bit words are put together to words of several memories."""

from amaranth.hdl import *
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from .config import STREAM_BITS, EngineConfig

__all__ = ["WeightStream"]


class WeightStream(wiring.Component):
    """Fills rings at the ends of the weight, dense weight and constant memories, and the memory of
    steps where they are streamed, too.

    The stream is made of segments: a header word (kind in bits 1:0, index into the configuration's
    ``stream_kinds``, and memory words less one in the rest), then that many memory words, each in
    so many 16-bit words, low bits first. Multi-bit weights may be narrower there than in their
    memory. A segment waits, and all behind it, while its ring is full.

    Members
    -------
    i_word : In(stream of 16 bits)
    o_en_K, o_addr_K, o_data_K : Out
        Write port of memory K, one of ``stream_kinds``.
    i_read_K : In(1)
        The oldest word of ring K is being read.
    o_enough_K : Out(1)
        Ring K holds as many words as its reader takes at once, beside those read until now.

    Latency: a memory word counts three cycles after its last 16 bits were accepted.
    Throughput: 16 bits a cycle.
    """

    LATENCY = 3

    def __init__(self, config: EngineConfig):
        self._config = config
        members = {"i_word": In(stream.Signature(STREAM_BITS))}
        for kind in config.stream_kinds:
            width, depth = config.memories()[kind]
            members |= {
                f"o_en_{kind}": Out(1),
                f"o_addr_{kind}": Out(range(depth)),
                f"o_data_{kind}": Out(width),
                f"i_read_{kind}": In(1),
                f"o_enough_{kind}": Out(1),
            }
        super().__init__(members)

    def elaborate(self, platform):
        m = Module()
        config = self._config
        parts = config.stream_parts
        buffer = Signal(STREAM_BITS * max(parts.values()), reset_less=True)
        # one for each kind, and whether the next word is a memory word's last: ready goes as far as
        # the memory's FIFO, so that little may stand before it
        mine = {name: Signal(name=f"is_{name}") for name in config.stream_kinds}
        left = Signal(STREAM_BITS - 2, reset_less=True)  # memory words after this one
        part = Signal(range(max(parts.values())))
        body = Signal()
        accept, last, room = Signal(), Signal(), Signal()
        alone = Cat(of for name, of in mine.items() if parts[name] == 1).any()
        before_last = Cat(of & (part == parts[name] - 2)
                          for name, of in mine.items() if parts[name] > 1).any()  # fmt: skip
        arriving = self.i_word.payload[:2]
        m.d.comb += [
            self.i_word.ready.eq(~body | ~last | room),
            accept.eq(self.i_word.valid & self.i_word.ready),
        ]
        # a cycle later: what moves hundreds of bits comes from a register
        shift, word = Signal(), Signal(STREAM_BITS, reset_less=True)
        m.d.sync += [shift.eq(accept), word.eq(self.i_word.payload)]
        with m.If(shift):
            m.d.sync += buffer.eq(Cat(buffer[STREAM_BITS:], word))
        with m.If(accept):
            with m.If(~body):
                m.d.sync += [
                    left.eq(self.i_word.payload[2:]),
                    part.eq(0),
                    body.eq(1),
                    last.eq(Cat(arriving == index for index, name in enumerate(config.stream_kinds)
                                if parts[name] == 1).any()),
                    *(mine[name].eq(arriving == index)
                      for index, name in enumerate(config.stream_kinds)),
                ]  # fmt: skip
            with m.Elif(last):
                m.d.sync += [part.eq(0), left.eq(left - 1), body.eq(left != 0), last.eq(alone)]
            with m.Else():
                m.d.sync += [part.eq(part + 1), last.eq(before_last)]

        rooms = []
        for name in config.stream_kinds:
            width, depth = config.memories()[name]
            ring, count = config.rings[name], parts[name]
            commit = Signal(name=f"commit_{name}")
            # from a register: ready goes as far as the memory's FIFO
            free, entering = Signal(name=f"free_{name}"), Signal(name=f"entering_{name}")
            entered = Signal(name=f"entered_{name}")
            address = Signal(range(depth), init=depth - ring, name=f"address_{name}")
            used = Signal(range(ring + 1), name=f"used_{name}")
            # whether a word is read depends on whether there are enough: it chooses, at the end
            kept = Signal(signed(len(used) + 2), name=f"kept_{name}")
            less = Signal(signed(len(used) + 2), name=f"less_{name}")
            read, need = getattr(self, f"i_read_{name}"), config.read_at_once[name]
            rooms.append(mine[name] & free)
            m.d.comb += entering.eq(accept & body & last & mine[name])
            # words of several parts come too seldom for the one that enters now to matter
            m.d.sync += [
                free.eq(used + commit + entered + (entering if count == 1 else 0) < ring),
                entered.eq(entering),
                commit.eq(entered),
                used.eq(Mux(read, less, kept)),
                getattr(self, f"o_enough_{name}").eq(Mux(read, less >= need, kept >= need)),
            ]
            m.d.comb += [kept.eq(used + commit), less.eq(used + commit - 1)]
            with m.If(commit):
                m.d.sync += address.eq(Mux(address == depth - 1, depth - ring, address + 1))
            low = len(buffer) - STREAM_BITS * count
            data = buffer[low : low + config.stream_widths[name]]
            if len(data) < width:
                data = self._widened(data)
            m.d.comb += [
                getattr(self, f"o_en_{name}").eq(commit),
                getattr(self, f"o_addr_{name}").eq(address),
                getattr(self, f"o_data_{name}").eq(data),
            ]
        m.d.comb += room.eq(Cat(rooms).any())
        return m

    def _widened(self, data):
        """Multi-bit weights with their signs extended to the memory's width."""
        bits = self._config.stream_weight_bits
        more = self._config.weight_bits - bits
        weights = [data[i : i + bits] for i in range(0, len(data), bits)]
        return Cat(*(Cat(weight, weight[-1].replicate(more)) for weight in weights))
