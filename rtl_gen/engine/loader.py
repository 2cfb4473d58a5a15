"""Weight loading: a tile's weights go into the arrays one tile ahead of the sequencer."""

from amaranth.hdl import *
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from .codebook import KERNEL, KernelCodebook
from .common import DelayLine, Ram
from .config import EngineConfig

__all__ = ["WeightLoader"]


def stream_members(config: EngineConfig, *kinds: str) -> dict:
    """Members of a reader of streamed memories: what WeightStream gives, what it wants."""
    members = {}
    for kind in kinds if config.streams else ():
        width, depth = config.memories()[kind]
        members |= {
            f"i_en_{kind}": In(1),
            f"i_addr_{kind}": In(range(depth)),
            f"i_data_{kind}": In(width),
            f"i_enough_{kind}": In(1),
            f"o_read_{kind}": Out(1),
        }
    return members


def connect_stream(m, reader, ram: Ram, kind: str) -> None:
    """The write port of a streamed memory."""
    m.d.comb += [
        ram.w_en.eq(getattr(reader, f"i_en_{kind}")),
        ram.w_addr.eq(getattr(reader, f"i_addr_{kind}")),
        ram.w_data.eq(getattr(reader, f"i_data_{kind}")),
    ]


class WeightLoader(wiring.Component):
    """Fills the shadow weights of both arrays one tile ahead of the sequencer.

    Follows its own program (one entry a step, the last one wraps), so that the first tile of a
    step loads while the step before it runs.

    Parameters
    ----------
    config : EngineConfig
    swap_x, swap_d : int
        Cycles from a tile's ``take`` until the array swaps its weights in.
    guard_x, guard_d : int
        Cycles, the swap's included, during which no load may arrive there.

    Members
    -------
    i_take_x, i_take_d : In(1);  o_ready_x, o_ready_d : Out(1)
        Handshake with the sequencer: a ready tile is taken when its first group issues, a cycle
        after it got ready or later. Ready falls two cycles later, when none is taken.
    o_load_x, o_weights_x, o_load_d, o_weights_d : Out
        Load ports of the arrays.
    i_stream_K, o_read_K : see WeightStream, K of "weights" and "dense_weights"
        Write port, words that can be read, and the word being read, where weights are streamed.

    Latency: a tile takes P cycles; the next may be taken P + ``guard`` cycles after the last one,
    where the guard is the array's. Reads reach the arrays LATENCY cycles after they are issued.
    """

    LATENCY = 4

    def __init__(self, config: EngineConfig, *, swap_x, swap_d, guard_x, guard_d):
        self._config = config
        # first read of a tile after the take of the one before it, which comes from far: a register
        self.wait = {
            "x": max(1, swap_x + guard_x - self.LATENCY - 1),
            "d": max(1, swap_d + guard_d - self.LATENCY - 1),
        }
        # reads that may still be to come when a tile is announced: it is taken a cycle later or
        # more, and its swap is that far off
        self.lead = {
            "x": max(0, min(config.lanes - 1, swap_x + 1 - self.LATENCY)),
            "d": max(0, min(config.lanes - 1, swap_d + 1 - self.LATENCY)),
        }
        super().__init__(
            {
                "i_take_x": In(1),
                "i_take_d": In(1),
                "o_ready_x": Out(1),
                "o_ready_d": Out(1),
                "o_load_x": Out(1),
                "o_weights_x": Out(9 * config.channels_in),
                "o_load_d": Out(1),
                "o_weights_d": Out(config.weight_bits * config.dense_inputs),
            }
            | stream_members(config, "weights", "dense_weights")
        )

    def elaborate(self, platform):
        m = Module()
        config = self._config
        memories = config.memories()

        def ram(name):
            width, depth = memories[name]
            m.submodules[name] = block = Ram(
                name=name, width=width, depth=depth, registered=True
            )
            return block

        loads, weights, dense = ram("loads"), ram("weights"), ram("dense_weights")
        loaded = Signal(config.load_layout)
        entry = Signal(config.load_layout)
        m.d.comb += loaded.eq(loads.r_data)
        address = Signal.like(entry.address)
        tiles = Signal.like(entry.n_tiles)
        lane = Signal(range(max(2, config.lanes)))
        entry_addr = Signal(range(config.load_depth))
        reading = Signal()

        empty, lead = {}, self.lead
        for kind in "xd":
            take = Signal(name=f"took_{kind}")
            m.d.sync += take.eq(getattr(self, f"i_take_{kind}"))
            empty[kind] = self._shadow_empty(m, kind, take, self.wait[kind] - 1)
            with m.If(take):
                m.d.sync += getattr(self, f"o_ready_{kind}").eq(0)

        m.d.comb += [
            loads.r_addr.eq(entry_addr),
        ]
        read_address = Signal.like(address, reset_less=True)
        m.d.sync += read_address.eq(address)
        for block, is_kind in ((weights, ~entry.dense), (dense, entry.dense)):
            m.d.sync += block.r_en.eq(reading & is_kind)
            m.d.comb += block.r_addr.eq(read_address)
        code_done = Signal(init=1)
        if config.has_codebook:
            self._codebook(m, ram("codebooks"), weights.r_data, entry, code_done)
        else:
            m.submodules.codebook = book = KernelCodebook(
                channels=config.channels_in, id_bits=KERNEL
            )
            m.d.comb += book.i_ids.eq(weights.r_data)
            m.d.sync += self.o_weights_x.eq(book.o_kernels)
        m.d.sync += self.o_weights_d.eq(dense.r_data)
        arrives_x = DelayLine(m, reading & ~entry.dense, "arrives_x", reset=True)
        arrives_d = DelayLine(m, reading & entry.dense, "arrives_d", reset=True)
        m.d.comb += [
            self.o_load_x.eq(arrives_x[self.LATENCY]),
            self.o_load_d.eq(arrives_d[self.LATENCY]),
        ]

        start, there = Signal(), Signal(init=1)
        m.d.comb += start.eq(Mux(entry.dense, empty["d"], empty["x"]) & there)
        following = Signal.like(address)
        m.d.comb += following.eq(address + 1)
        first_address = loaded.address
        if config.streams:
            first_address = self._stream(m, entry, loaded, there, weights, dense, address,
                                         following, reading)
        with m.FSM():
            with m.State("FETCH"):
                m.d.comb += loads.r_en.eq(1)
                m.next = "ARRIVE"
            with m.State("ARRIVE"):
                m.next = "ENTRY"
            with m.State("ENTRY"):
                m.d.sync += [
                    entry.eq(loaded),
                    address.eq(first_address),
                    tiles.eq(loaded.n_tiles),
                    entry_addr.eq(Mux(loaded.last, 0, entry_addr + 1)),
                    code_done.eq(~loaded.codebook),
                ]
                m.next = "EMPTY"
            with m.State("EMPTY"):
                # the tables may be filled before, but the tile waits for its shadow registers
                with m.If(start & code_done):
                    m.d.comb += reading.eq(1)
                    m.next = "LOAD"
            with m.State("LOAD"):
                m.d.comb += reading.eq(lane != 0)
                with m.If(lane == 0):
                    m.d.sync += tiles.eq(tiles - 1)
                    m.next = "EMPTY"
                    with m.If(tiles == 0):
                        m.next = "FETCH"
        with m.If(reading):
            m.d.sync += [
                address.eq(following),
                lane.eq(Mux(lane == config.lanes - 1, 0, lane + 1)),
            ]
            for kind, is_kind in (("x", ~entry.dense), ("d", entry.dense)):
                with m.If(is_kind & (lane == config.lanes - 1 - lead[kind])):
                    m.d.sync += getattr(self, f"o_ready_{kind}").eq(1)
                with m.If(is_kind & (lane == 0)):
                    m.d.sync += empty[kind].eq(0)
        return m

    def _stream(self, m, entry, loaded, there, weights, dense, address, following, reading):
        """Rings: where the next tile lies, and whether it is there; returns an entry's address."""
        config = self._config
        points = {}
        for kind, ram in (("weights", weights), ("dense_weights", dense)):
            connect_stream(m, self, ram, kind)
            depth, ring = config.memories()[kind][1], config.rings[kind]
            point = Signal(range(depth), init=depth - ring, name=f"point_{kind}")
            mine = Signal(name=f"streamed_{kind}")
            last = Signal(name=f"ring_ends_{kind}")
            m.d.comb += [
                mine.eq(entry.streamed & (entry.dense == (kind == "dense_weights"))),
                last.eq(address == depth - 1),
                getattr(self, f"o_read_{kind}").eq(reading & mine),
            ]
            with m.If(mine & last):
                m.d.comb += following.eq(depth - ring)
            with m.If(reading & mine):
                m.d.sync += point.eq(following)
            points[kind] = point
        m.d.comb += there.eq(
            ~entry.streamed
            | Mux(entry.dense, self.i_enough_dense_weights, self.i_enough_weights)
        )
        point = Mux(loaded.dense, points["dense_weights"], points["weights"])
        return Mux(loaded.streamed, point, loaded.address)

    @staticmethod
    def _shadow_empty(m, kind, take, wait):
        """Set ``wait`` cycles after a take."""
        empty = Signal(init=1, name=f"empty_{kind}")
        count = Signal(range(wait + 2), name=f"swap_{kind}")
        with m.If(count != 0):
            m.d.sync += count.eq(count - 1)
            with m.If(count == 1):
                m.d.sync += empty.eq(1)
        with m.If(take):
            if wait:
                m.d.sync += count.eq(wait)
            else:
                m.d.sync += empty.eq(1)
        return empty

    def _codebook(self, m, codes, ids, entry, code_done):
        config = self._config
        m.submodules.codebook = book = KernelCodebook(
            channels=config.channels_in, id_bits=config.id_bits
        )
        m.d.comb += book.i_ids.eq(ids)
        m.d.sync += self.o_weights_x.eq(book.o_kernels)
        index = Signal(config.id_bits + 1)
        filling = Signal()
        writes = DelayLine(m, filling, "writes", reset=True)
        entries = DelayLine(m, index[:-1], "entries")
        m.d.comb += [
            filling.eq(~code_done & ~index[-1]),
            codes.r_addr.eq(entry.code_address + index[:-1]),
            codes.r_en.eq(1),
            book.i_write.eq(writes[2]),
            book.i_addr.eq(entries[2]),
            book.i_code.eq(codes.r_data),
        ]
        with m.If(filling):
            m.d.sync += index.eq(index + 1)
        with m.If(~code_done & index[-1]):
            m.d.sync += [code_done.eq(1), index.eq(0)]
