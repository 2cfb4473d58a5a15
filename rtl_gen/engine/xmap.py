"""Maps for the dense array: stored as they are, pooled 2x2 or summed, P channels at a time."""

from amaranth.hdl import *
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from .common import AddressWalker, DelayLine, Ram
from .config import EngineConfig
from .gain_config import GAIN_BITS, SUM_BITS
from .lane import saturate
from .sigmoid import SigmoidUnit

__all__ = ["XMap", "XMode"]


class XMode:
    """What a step hands to the dense array."""

    NONE, MAP, POOL, SUM, SAMPLE, SIGMOID = range(6)


class XMap(wiring.Component):
    """Dense input memory with the pooling units that write it.

    With ``shared_x`` it has no memory of its own: what it would write comes out at ``o_w_en``,
    ``o_w_addr`` and ``o_w_data``, and ``i_word`` is the word read. With ``run_time`` vectors (the
    first pixel of words) have a memory of their own all the same: channel sums, sigmoids, and maps
    of one pixel.

    Members
    -------
    i_setup, i_mode, i_gsum, i_addr, i_step : In
        From a step's setup on: mode, index of the sum's shift, first word, words a plane.
    i_x : In(ArrayLayout(signed(feature_bits), P*T)), index p*T + t
    i_valid, i_inside, i_first, i_last, i_odd, i_row_odd, i_row_last, i_pixel_valid : In
        As in the issue; ``i_first`` and ``i_last`` of the output group's sums.
    i_image_first, i_image_last : In, where the configuration has a batch
        The same of each image; the channel sums of a batch lie one behind the other.
    i_vector : In, with ``run_time``;  i_table : In, without a threshold unit
        What is read, or written by MAP, is a vector; which table the sigmoid uses.
    i_pass, i_pass_addr : In, o_vector : Out(ArrayLayout(signed(feature_bits), P)), without a
        threshold unit: read a vector for a pass; the one read, READ_LATENCY cycles later.
    i_sum, i_sum_addr, i_sum_x, i_gains : In, with gains
        Channel sums of values of their own are stored beside what the mode says; constants of the
        lanes that make gains of sigmoids.
    i_sum_begins, i_sum_ends : In, where sums go on over several steps
        The step makes the first rows of the map that is summed, the last ones.
    i_level_en, i_level_addr, i_level : In, where vectors come to levels
        Write a word of the vector memory while no step does.
    o_sum_en, o_sum_addr, o_sum : Out, with a threshold unit
        A word of channel sums is written.
    i_read, i_read_addr, i_slice : In
        Dense side: read word ``i_read_addr`` of every bank.
    o_x : Out(ArrayLayout(feature_bits, T*K)), index t*K + k
        READ_LATENCY cycles after ``i_read`` (which takes the shared memory as long, too).

    Latency: stored 6 cycles after ``i_x``; a sigmoid P + 6, a gain P + 10.
    """

    WRITE_LATENCY = 6
    READ_LATENCY = 3

    def __init__(self, config: EngineConfig):
        self._config = config
        f, p, t = config.feature_bits, config.lanes, config.pixels
        address = config.step_layout["x_addr"].shape
        shared = {
            "o_w_en": Out(1),
            "o_w_addr": Out(address),
            "o_w_data": Out(p * t * f),
            "i_word": In(p * t * f),
        }
        run_time = {}
        if config.run_time is not None:
            run_time = {"i_vector": In(1)}
        if config.vectors:
            run_time |= {
                "i_table": In(config.step_layout["sigmoid"].shape),
                "i_pass": In(1),
                "i_pass_addr": In(address),
                "o_vector": Out(data.ArrayLayout(signed(config.run_time.vector_bits(f)), p)),
            }
        if config.gains is not None:
            run_time |= {
                "i_sum": In(1),
                "i_sum_addr": In(config.step_layout["sum_write"].shape),
                "i_sum_x": In(data.ArrayLayout(signed(f), p * t)),
                "i_gains": In(data.ArrayLayout(signed(GAIN_BITS), p)),
            }
        if config.sum_depth:
            run_time |= {"i_sum_begins": In(1), "i_sum_ends": In(1)}
        if config.levels:
            vector = data.ArrayLayout(signed(f), p)
            run_time |= {"i_level_en": In(1), "i_level_addr": In(address), "i_level": In(vector)}
        if config.beside:
            run_time |= {"o_sum_en": Out(1), "o_sum_addr": Out(address), "o_sum": Out(p * f)}
        super().__init__(
            (shared if config.shared_x else {})
            | run_time
            | {
                "i_setup": In(1),
                "i_mode": In(config.x_mode_bits),
                "i_gsum": In(config.step_layout["gsum"].shape),
                "i_addr": In(address),
                "i_step": In(address),
                "i_x": In(data.ArrayLayout(signed(f), p * t)),
                "i_valid": In(1),
                "i_inside": In(1),
                "i_first": In(1),
                "i_last": In(1),
                "i_odd": In(1),
                "i_row_odd": In(1),
                "i_row_last": In(1),
                "i_pixel_valid": In(t),
                "i_read": In(1),
                "i_read_addr": In(address),
                "i_slice": In(range(max(2, config.x_slices))),
                "o_x": Out(data.ArrayLayout(f, t * config.dense_inputs)),
            }
            | ({"i_image_first": In(1), "i_image_last": In(1)} if config.batch > 1 else {})
        )

    def elaborate(self, platform):
        m = Module()
        config = self._config
        word = data.ArrayLayout(config.feature_bits, config.lanes * config.pixels)
        sampling = self.i_mode == XMode.SAMPLE if config.sampled else Const(0)
        pairs = self._pairs(m, sampling)
        if config.pooled:
            pooled, pooled_valid, pooled_first = self._pool(m, word, pairs)
        sigmoid = self._sigmoid(m) if config.vectors else None
        total, total_valid, total_first = self._sum(m, word)

        valid, first = Signal(), Signal()
        value = Signal(word, reset_less=True)
        with m.Switch(self.i_mode):
            with m.Case(XMode.MAP):
                m.d.sync += [
                    valid.eq(self.i_valid & self.i_inside),
                    first.eq(self.i_first),
                    value.eq(self.i_x),
                ]
            if config.pooled:
                with m.Case(XMode.POOL):
                    m.d.sync += [
                        valid.eq(pooled_valid), first.eq(pooled_first), value.eq(pooled)
                    ]
            if config.gains is None:
                with m.Case(XMode.SUM):
                    m.d.sync += [valid.eq(total_valid), first.eq(total_first), value.eq(total)]
            if config.sampled:
                with m.Case(XMode.SAMPLE):
                    m.d.sync += [
                        valid.eq(pairs["emit"] & ~self.i_row_odd),
                        first.eq(pairs["first"]),
                    ]
                    for i in range(config.lanes * config.pixels):
                        m.d.sync += value[i].eq(pairs["columns"][i][0])
            if config.vectors:
                with m.Case(XMode.SIGMOID):
                    m.d.sync += [valid.eq(sigmoid.o_valid), first.eq(1)]
                    for lane in range(config.lanes if config.gains is None else 0):
                        m.d.sync += value[lane * config.pixels].eq(sigmoid.o_y[lane])
            with m.Default():
                m.d.sync += valid.eq(0)

        # output groups go round the banks, then to the next plane
        banks = config.x_banks
        m.submodules.walker = walker = AddressWalker(len(self.i_addr))
        bank = Signal(range(max(2, banks)))
        bank_now = Signal.like(bank)
        plane_ends = Signal()
        m.d.comb += [
            bank_now.eq(Mux(first & (bank != banks - 1), bank + 1, Mux(first, 0, bank))),
            plane_ends.eq(bank_now == banks - 1),
            walker.load.eq(self.i_setup),
            walker.base.eq(self.i_addr),
            walker.step.eq(Mux(plane_ends, self.i_step, 0)),
            walker.valid.eq(valid),
            walker.first.eq(first),
        ]
        with m.If(valid):
            m.d.sync += bank.eq(bank_now)
        with m.If(self.i_setup):
            m.d.sync += bank.eq(banks - 1)
        read = []
        read_en, read_addr = Signal(), Signal.like(self.i_read_addr)
        vector_en = Signal()  # not where a map is read: channel sums may be written meanwhile
        m.d.sync += [read_en.eq(self.i_read), read_addr.eq(self.i_read_addr)]
        if config.run_time is not None:
            m.d.sync += vector_en.eq(self.i_read & self.i_vector)
        if config.vectors:
            with m.If(self.i_pass):
                m.d.sync += [vector_en.eq(1), read_addr.eq(self.i_pass_addr)]
        vector = Const(0)
        if config.run_time is not None:
            write = self._vector_word(m, valid, walker.addr, value, sigmoid, total, total_valid)
            vector = self._vectors(m, write, vector_en, read_addr)
        if config.shared_x:
            m.d.comb += [
                self.o_w_en.eq(valid & ~vector),
                self.o_w_addr.eq(walker.addr),
                self.o_w_data.eq(value),
            ]
            read.append(self.i_word)
            banks = 0
        for b in range(banks):
            width, depth = config.memories()[f"x{b}"]
            ram = Ram(name=f"x{b}", width=width, depth=depth, registered=True)
            m.submodules[f"x{b}"] = ram
            m.d.comb += [
                ram.w_en.eq(valid & (bank_now == b)),
                ram.w_addr.eq(walker.addr),
                ram.w_data.eq(value),
                ram.r_en.eq(read_en),
                ram.r_addr.eq(read_addr),
            ]
            read.append(ram.r_data)
        self._select(m, read, word)
        return m

    def _select(self, m, read, word):
        """K channels of T pixels out of the banks' words."""
        config = self._config
        t, k = config.pixels, config.dense_inputs
        views = [word(value) for value in read]
        slice_ = DelayLine(m, self.i_slice, "slice")
        with m.Switch(slice_[self.READ_LATENCY]):
            for s in range(config.x_slices):
                with m.Case(s):
                    for pixel in range(t):
                        for c in range(k):
                            channel = s * k + c
                            bank, lane = divmod(channel, config.lanes)
                            found = views[bank][lane * t + pixel]
                            if config.run_time is not None and pixel == 0:
                                found = Mux(self.i_vector, self._vector[lane], found)
                            m.d.comb += self.o_x[pixel * k + c].eq(found)

    def _vector_word(self, m, valid, address, value, sigmoid, total, total_valid):
        """What is written to the vectors: (enable, address, word, whether it is the mode's)."""
        config, mode = self._config, self.i_mode
        ours = [value[lane * config.pixels] for lane in range(config.lanes)]
        vector = Signal()
        m.d.comb += vector.eq(Mux(mode == XMode.MAP, self.i_vector,
                                  (mode == XMode.SUM) | (mode == XMode.SIGMOID)))
        if config.gains is None:
            return valid & vector, address, Cat(ours), vector
        bits = config.run_time.vector_bits(config.feature_bits)
        gains = Signal.like(sigmoid.o_y, reset_less=True)
        sum_addr = Signal.like(self.i_sum_addr)
        word = Signal(bits * config.lanes)
        m.d.sync += gains.eq(sigmoid.o_y)
        with m.If(total_valid):
            m.d.sync += sum_addr.eq(sum_addr + 1)
        with m.If(self.i_setup):
            m.d.sync += sum_addr.eq(self.i_sum_addr)
        for lane in range(config.lanes):
            mine = word[bits * lane : bits * (lane + 1)]
            small = Mux(total_valid, total[lane * config.pixels], ours[lane]).as_signed()
            if config.levels:
                small = Mux(self.i_level_en, self.i_level[lane], small)
            m.d.comb += mine.eq(Mux(mode == XMode.SIGMOID, gains[lane], small))
        enable, place = (valid & vector) | total_valid, Mux(total_valid, sum_addr, address)
        if config.levels:
            enable |= self.i_level_en
            place = Mux(self.i_level_en, self.i_level_addr, place)
        return enable, place, word, vector

    def _vectors(self, m, write, read_en, read_addr):
        """The vector memory; returns whether what the mode writes now is a vector."""
        config = self._config
        width, depth = config.memories()["vectors"]
        m.submodules.vectors = ram = Ram(
            name="vectors", width=width, depth=depth, registered=True
        )
        enable, address, word, vector = write
        m.d.comb += [
            ram.w_en.eq(enable),
            ram.w_addr.eq(address),
            ram.w_data.eq(word),
            ram.r_en.eq(read_en),
            ram.r_addr.eq(read_addr),
        ]
        bits = config.run_time.vector_bits(config.feature_bits)
        self._vector = Signal(data.ArrayLayout(signed(bits), config.lanes))
        m.d.comb += self._vector.eq(ram.r_data)
        if config.vectors:
            m.d.comb += self.o_vector.eq(self._vector)
        if config.beside:
            m.d.comb += [
                self.o_sum_en.eq(ram.w_en & (self.i_mode == XMode.SUM)),
                self.o_sum_addr.eq(address),
                self.o_sum.eq(ram.w_data),
            ]
        return vector

    def _sigmoid(self, m):
        config = self._config
        p, t = config.lanes, config.pixels
        m.submodules.sigmoid = unit = SigmoidUnit(
            lanes=p, bits=config.feature_bits, config=config.run_time
        )
        m.d.comb += [
            unit.i_table.eq(self.i_table),
            unit.i_valid.eq(self.i_valid & self.i_inside & (self.i_mode == XMode.SIGMOID)),
            unit.i_x.eq(Cat(self.i_x[lane * t] for lane in range(p))),
        ]
        if config.gains is not None:
            m.d.comb += unit.i_gains.eq(self.i_gains)
        return unit

    def _pairs(self, m, sampling):
        """Two groups of pixels side by side: their columns in twos, and where they begin."""
        config = self._config
        p, t = config.lanes, config.pixels
        held = Signal.like(self.i_x, reset_less=True)
        active, emit, first = Signal(), Signal(), Signal()
        plane_start = Signal()  # no word of this plane yet
        m.d.comb += [
            active.eq(self.i_valid & ((self.i_mode == XMode.POOL) | sampling)),
            emit.eq(active & self.i_odd),
            first.eq(plane_start),
        ]
        with m.If(active):
            m.d.sync += held.eq(self.i_x)
        with m.If(active & self.i_first):
            m.d.sync += plane_start.eq(1)
        with m.Elif(emit & (self.i_row_odd | sampling)):
            m.d.sync += plane_start.eq(0)
        columns = []
        for lane in range(p):
            both = [held[lane * t + i] for i in range(t)] + [
                self.i_x[lane * t + i] for i in range(t)
            ]
            columns += [(both[2 * i], both[2 * i + 1]) for i in range(t)]
        return {"active": active, "emit": emit, "first": first, "columns": columns}

    def _pool(self, m, word, pairs):
        """2x2 means: pair sums of two groups are kept for a row and added to the next row's."""
        config = self._config
        f, p, t = config.feature_bits, config.lanes, config.pixels
        width, depth = config.memories()["pool"]
        m.submodules.pool = ram = Ram(name="pool", width=width, depth=depth, registered=True)
        emit, active = pairs["emit"], pairs["active"]
        index = Signal(range(depth))
        index_now = Signal.like(index)
        m.d.comb += [
            index_now.eq(Mux(self.i_first, 0, index)),
            ram.r_en.eq(emit & self.i_row_odd),
            ram.r_addr.eq(index_now),
        ]
        with m.If(active):
            m.d.sync += index.eq(index_now)
            with m.If(emit):
                m.d.sync += index.eq(index_now + 1)
            with m.If(self.i_row_last):
                m.d.sync += index.eq(0)
        sums = Signal(data.ArrayLayout(signed(f + 1), p * t), reset_less=True)
        for i, (left, right) in enumerate(pairs["columns"]):
            m.d.sync += sums[i].eq(left + right)
        emit1, odd1, first1 = Signal(), Signal(), Signal()
        addr1 = Signal.like(index)
        m.d.sync += [
            emit1.eq(emit),
            odd1.eq(self.i_row_odd),
            addr1.eq(index_now),
            first1.eq(pairs["first"]),
        ]
        m.d.comb += [
            ram.w_en.eq(emit1 & ~odd1),
            ram.w_addr.eq(addr1),
            ram.w_data.eq(sums),
        ]
        above, below = Signal.like(sums), Signal.like(sums, reset_less=True)
        m.d.comb += above.eq(ram.r_data)
        m.d.sync += below.eq(sums)
        pooled = Signal(word, reset_less=True)
        for i in range(p * t):
            four = Signal(signed(f + 2), name=f"four{i}")
            m.d.comb += four.eq(below[i] + above[i] + 2)
            m.d.sync += pooled[i].eq(four >> 2)
        ends = DelayLine(m, emit1 & odd1, "pool_ends", reset=True)
        firsts = DelayLine(m, first1, "pool_first")
        return pooled, ends[2], firsts[2]

    def _sum(self, m, word):
        """Channel sums over the map, rounded and saturated; only pixel 0 of the word is used."""
        config = self._config
        f, p, t = config.feature_bits, config.lanes, config.pixels
        valid1, first1, last1, last2, last3 = (Signal(name=n) for n in
                                               ("valid1", "first1", "last1", "last2", "last3"))
        active = Signal()
        wanted, x = self.i_mode == XMode.SUM, self.i_x
        if config.gains is not None:
            wanted, x = self.i_sum, self.i_sum_x
        m.d.comb += active.eq(self.i_valid & wanted)
        first, last = self.i_first, self.i_last
        if config.batch > 1:
            first, last = self.i_image_first, self.i_image_last
        m.d.sync += [
            valid1.eq(active),
            first1.eq(first),
            last1.eq(active & last),
            last2.eq(last1),
            last3.eq(last2),
        ]
        begins, carried = 1, None
        if config.sum_depth:
            begins = self.i_sum_begins
            carried, to_store = self._sums_between_steps(m, valid1 & first1, last2)
        # sums lie apart from what says how far they are shifted
        half = Signal(max(config.gsum_shifts) + 1, reset_less=True)
        gsum = Signal.like(self.i_gsum, reset_less=True)
        m.d.sync += gsum.eq(self.i_gsum)
        with m.Switch(self.i_gsum):
            for i, shift in enumerate(config.gsum_shifts):
                with m.Case(i):
                    m.d.sync += half.eq((1 << shift) >> 1)
        result = Signal(word, reset_less=True)
        for lane in range(p):
            parts = []
            for i in range(t):
                part = Signal(signed(f), name=f"part{lane}_{i}")
                m.d.comb += part.eq(Mux(self.i_pixel_valid[i], x[lane * t + i], 0))
                parts.append(part)
            group = Signal(signed(f + t - 1 if t > 1 else f), name=f"group{lane}",
                           reset_less=True)
            m.d.sync += group.eq(sum(parts[1:], parts[0]))
            total = Signal(signed(f + SUM_BITS), name=f"total{lane}", reset_less=True)
            before = Mux(first1, 0, total)
            if carried is not None:
                waiting = Signal(signed(f + SUM_BITS), name=f"waiting{lane}", reset_less=True)
                m.d.sync += waiting.eq(Mux(begins, 0, carried[lane]))
                m.d.comb += to_store[lane].eq(total)
                before = Mux(first1, waiting, total)
            with m.If(valid1):
                m.d.sync += total.eq(before + group)
            rounded = Signal(signed(f + SUM_BITS + 1), name=f"rounded{lane}", reset_less=True)
            m.d.sync += rounded.eq(total + half)
            shifted = Signal(signed(f + SUM_BITS + 1), name=f"shifted{lane}")
            with m.Switch(gsum):
                for i, shift in enumerate(config.gsum_shifts):
                    with m.Case(i):
                        m.d.comb += shifted.eq(rounded >> shift)
            m.d.sync += result[lane * t].eq(saturate(m, shifted, f, f"sum{lane}"))
        valid = Signal()
        m.d.sync += valid.eq(last3 & self.i_sum_ends if config.sum_depth else last3)
        if config.batch == 1:
            return result, valid, 1
        plane_start = Signal()  # no sum of this output group has been stored yet
        # the last sum of the group before may still be on its way
        starts = DelayLine(m, active & self.i_first, "sum_starts", reset=True)
        with m.If(starts[3]):
            m.d.sync += plane_start.eq(1)
        with m.Elif(valid):
            m.d.sync += plane_start.eq(0)
        return result, valid, plane_start

    def _sums_between_steps(self, m, taken, complete):
        """Channel sums that the steps of a map hand on to each other: (those before this step,
        those behind it), of the group of lanes that is summed.

        ``taken`` is a group's first cycle in the sum, ``complete`` the one in which its sum over
        the step is there. Groups follow each other 4 cycles apart at least, so that the next one's
        sum is read meanwhile.
        """
        config = self._config
        width, depth = config.memories()["sums"]
        m.submodules.sums = ram = Ram(name="sums", width=width, depth=depth, registered=True)
        group, here = Signal(range(depth)), Signal(range(depth))
        read = Signal()
        m.d.sync += read.eq(self.i_setup | taken)
        with m.If(taken):
            m.d.sync += [group.eq(group + 1), here.eq(group)]
        with m.If(self.i_setup):
            m.d.sync += group.eq(0)
        values = data.ArrayLayout(signed(config.feature_bits + SUM_BITS), config.lanes)
        before, behind = Signal(values), Signal(values)
        m.d.comb += [
            ram.r_en.eq(read),
            ram.r_addr.eq(group),
            before.eq(ram.r_data),
            ram.w_en.eq(complete),
            ram.w_addr.eq(here),
            ram.w_data.eq(behind),
        ]
        return before, behind
