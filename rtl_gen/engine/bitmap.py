"""Binary activations: two buffers of three row banks, read as words, written P channels at once."""

from amaranth.hdl import *
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from .common import DelayLine, Ram
from .config import ROW_BANKS, EngineConfig

__all__ = ["BitMap"]


class BitMap(wiring.Component):
    """Ping-pong bit maps. A word is S channels of 2*T adjacent columns of one row.

    Where thresholds come at run time there is one buffer: no step reads bits and writes others.

    Reading serves the window, from one buffer. Writing merges the P channels of a lane group into
    words of the other one: two adjacent groups of pixels are collected, then the word is read,
    changed and written back through the port that nobody else uses. A group that starts a channel
    word overwrites it whole, so that unused channels are 0; one that straddles two words is
    written as two.

    For a 1x1 convolution a map is written by channel groups: where the columns of three rows lie
    otherwise, the banks and columns hold six channel words of one pixel, which are then read at
    once. Channel word g goes to bank g % 6 // 2, column g % 2 of each pixel's two columns.

    Members
    -------
    i_source, i_row_addr, i_new : In
        Buffer, word of each bank, and whether to read.
    o_words : Out(ArrayLayout(2*T*S, 3))
        Valid two cycles after ``i_new``.
    i_setup, i_buffer, i_addr, i_start, i_row_step, i_cg_step, i_bank0 : In
        Where a step writes, from its setup on; ``i_start`` is its first channel in a word.
    i_point, i_half : In, where 1x1 convolutions are configured
        It writes by channel groups, from this column (and bank ``i_bank0``) on.
    i_valid, i_first, i_odd, i_row_last, i_bits : In
        P*T bits of one group (index p*T + t), the output group's first, second of a pair, row end.
        Of a pair of groups where a threshold unit takes two words a cycle.

    Latency: written 6 cycles after the second group of a pair, 7 where it straddles.
    """

    WRITE_LATENCY = 7
    READ_LATENCY = 2

    def __init__(self, config: EngineConfig):
        self._config = config
        ba = config.bit_addr_bits
        self._word = 2 * config.pixels * config.channels_in
        super().__init__(
            ({"i_point": In(1), "i_half": In(1)} if config.pointwise else {})
            | {
                "i_source": In(1),
                "i_row_addr": In(data.ArrayLayout(ba, ROW_BANKS)),
                "i_new": In(1),
                "o_words": Out(data.ArrayLayout(self._word, ROW_BANKS)),
                "i_setup": In(1),
                "i_buffer": In(1),
                "i_addr": In(ba),
                "i_start": In(range(config.channels_in)),
                "i_row_step": In(ba),
                "i_cg_step": In(ba),
                "i_bank0": In(2),
                "i_valid": In(1),
                "i_first": In(1),
                "i_odd": In(1),
                "i_row_last": In(1),
                "i_bits": In(config.lanes * config.pixels * config.pass_words),
            }
        )

    def elaborate(self, platform):
        m = Module()
        config = self._config
        op = self._collect(m)
        merge_valid, merge_bank, merge_addr, merge_word, merge_mask = self._place(m, op)

        # read the word (R0, two cycles), merge it (R2), write it (R3); bits and mask come at R1
        valid = DelayLine(m, merge_valid, "merge_valid", reset=True)
        to_bank = DelayLine(m, merge_bank, "merge_bank")
        to_addr = DelayLine(m, merge_addr, "merge_addr")
        new_bits = DelayLine(m, merge_word, "merge_word")
        keep = DelayLine(m, merge_mask, "merge_mask")
        merged = Signal(self._word, reset_less=True)
        old = Signal(self._word)
        m.d.sync += merged.eq((old & keep[1]) | new_bits[1])
        read = {}
        letters = config.bit_buffers
        for b, letter in enumerate(letters):
            for bank in range(ROW_BANKS):
                name = f"bits_{letter}{bank}"
                ram = Ram(
                    name=name, width=self._word, depth=config.bit_depth, registered=True
                )
                m.submodules[name] = ram
                read[b, bank] = ram.r_data
                writes = Signal(name=f"writes_{letter}{bank}")
                m.d.comb += [
                    writes.eq(self.i_buffer == b),
                    ram.w_en.eq(valid[3] & writes & (to_bank[3] == bank)),
                    ram.w_addr.eq(to_addr[3]),
                    ram.w_data.eq(merged),
                ]
                fetch = Signal(name=f"fetch_{letter}{bank}")
                m.d.comb += fetch.eq(self.i_new & (self.i_source == b))
                m.d.comb += [
                    ram.r_addr.eq(Mux(fetch, self.i_row_addr[bank], merge_addr)),
                    ram.r_en.eq(fetch | (merge_valid & writes & (merge_bank == bank))),
                ]
        with m.Switch(to_bank[2]):
            for bank in range(ROW_BANKS):
                with m.Case(bank):
                    last = read[len(letters) - 1, bank]
                    m.d.comb += old.eq(Mux(self.i_buffer, last, read[0, bank]))
        for bank in range(ROW_BANKS):
            last = read[len(letters) - 1, bank]
            m.d.comb += self.o_words[bank].eq(Mux(self.i_source, last, read[0, bank]))
        return m

    def _collect(self, m):
        """Pairs of groups become one write: bank, address, channel position, bits of both."""
        config = self._config
        n = config.lanes * config.pixels
        s, p = config.channels_in, config.lanes
        plane, row_addr, word = (Signal(config.bit_addr_bits, name=k) for k in
                                 ("plane", "row_addr", "word"))
        bank = Signal(2)
        start = Signal(range(s))
        next_start = Signal(range(s))
        held = Signal(n, reset_less=True)
        point = self.i_point if config.pointwise else Const(0)
        next_bank, next_half, half, now_half = (Signal(2), Signal(), Signal(), Signal())

        now_addr, now_bank, now_word = (Signal.like(row_addr), Signal.like(bank),
                                        Signal.like(word))
        plane_now, start_now = Signal.like(plane), Signal.like(start)
        m.d.comb += [
            plane_now.eq(plane),
            now_addr.eq(Mux(self.i_first, plane, row_addr)),
            now_bank.eq(Mux(self.i_first, Mux(point, next_bank, self.i_bank0), bank)),
            now_half.eq(Mux(self.i_first, next_half, half)),
            now_word.eq(Mux(self.i_first, 0, word)),
            start_now.eq(Mux(self.i_first, next_start, start)),
        ]
        emit = Signal()
        m.d.comb += emit.eq(self.i_valid & (self.i_odd | self.i_row_last | point))
        low, high = Mux(self.i_odd & ~point, held, self.i_bits), Mux(self.i_odd, self.i_bits, 0)
        if config.pass_words == 2:
            t = config.pixels
            m.d.comb += emit.eq(self.i_valid)
            low, high = (Cat(self.i_bits[2 * t * lane + first : 2 * t * lane + first + t]
                             for lane in range(p)) for first in (0, t))
        op = {
            "valid": Signal(),
            "bank": Signal(2),
            "addr": Signal.like(row_addr),
            "start": Signal.like(start),
            "low": Signal(n, reset_less=True),
            "high": Signal(n, reset_less=True),
            "half": Signal(),
        }
        m.d.sync += [
            op["valid"].eq(emit),
            op["bank"].eq(now_bank),
            op["addr"].eq(now_addr + now_word),
            op["start"].eq(start_now),
            op["low"].eq(low),
            op["half"].eq(now_half),
            op["high"].eq(high),
        ]
        with m.If(self.i_valid):
            m.d.sync += [
                held.eq(self.i_bits),
                row_addr.eq(now_addr),
                bank.eq(now_bank),
                half.eq(now_half),
                start.eq(start_now),
                word.eq(Mux(emit, now_word + 1, now_word)),
            ]
            with m.If(self.i_row_last):
                m.d.sync += word.eq(0)
                with m.If(point):
                    m.d.sync += row_addr.eq(now_addr + self.i_row_step)
                with m.Elif(now_bank == ROW_BANKS - 1):
                    m.d.sync += [bank.eq(0), row_addr.eq(now_addr + self.i_row_step)]
                with m.Else():
                    m.d.sync += bank.eq(now_bank + 1)
            with m.If(self.i_first):
                # where the output group after this one begins
                with m.If(next_start + p >= s):
                    m.d.sync += plane.eq(plane + self.i_cg_step)
                    m.d.sync += next_start.eq(next_start + p - s)
                    if p > s:
                        m.d.sync += plane.eq(plane + (self.i_cg_step << 1))
                        m.d.sync += next_start.eq(0)
                    with m.If(point):
                        m.d.sync += next_half.eq(~next_half)
                        last_bank = next_bank == ROW_BANKS - 1
                        with m.If(next_half):
                            m.d.sync += next_bank.eq(Mux(last_bank, 0, next_bank + 1))
                        with m.If(~(next_half & last_bank)):
                            m.d.sync += plane.eq(plane)
                with m.Else():
                    m.d.sync += next_start.eq(next_start + p)
        with m.If(self.i_setup):
            m.d.sync += [plane.eq(self.i_addr), next_start.eq(self.i_start)]
            if config.pointwise:
                m.d.sync += [next_bank.eq(self.i_bank0), next_half.eq(self.i_half)]
        return op

    def _place(self, m, op):
        """Put the lanes' bits at their channels of one or two words, and say what else to keep.

        Returns whether to write, and where; a cycle later the bits, and the mask of what stays.
        """
        config = self._config
        s, p = config.channels_in, config.lanes
        two = config.straddles or p > s
        second = Signal()  # the write of the straddled or second word
        pending = Signal()
        source = op
        if two:
            source = {k: Signal.like(v, name=f"again_{k}") for k, v in op.items()}
            spills = Signal()
            m.d.comb += spills.eq(op["start"] + p > s)
            m.d.sync += pending.eq(op["valid"] & spills)
            for key, value in op.items():
                m.d.sync += source[key].eq(value)
            m.d.comb += second.eq(pending)
        valid, bank = Signal(), Signal(2)
        addr = Signal.like(op["addr"])
        word = Signal(self._word, reset_less=True)
        mask = Signal(self._word, reset_less=True)
        current = {k: Signal.like(v, name=f"now_{k}") for k, v in op.items()}
        for key, value in op.items():
            m.d.comb += current[key].eq(Mux(second, source[key], value) if two else value)
        m.d.sync += [
            valid.eq(op["valid"] | pending),
            bank.eq(current["bank"]),
            addr.eq(current["addr"] + Mux(second, self.i_cg_step, 0)),
        ]
        # a cycle behind the address: the decode goes to every bit of a word, all over the array
        late = {k: Signal.like(v, name=f"late_{k}") for k, v in op.items()}
        late_second = Signal()
        m.d.sync += [late[key].eq(value) for key, value in current.items()]
        m.d.sync += late_second.eq(second)
        with m.Switch(Cat(late["start"], late_second)):
            for k in range(2 if two else 1):
                for start in range(0, s, config.slot_step):
                    with m.Case(start + (k << len(late["start"]))):
                        bits, keep = self._layout(late, start, k)
                        m.d.sync += [word.eq(bits), mask.eq(keep)]
                        if config.pointwise:
                            self._place_point(m, late, start, word, mask)
        return valid, bank, addr, word, mask

    def _place_point(self, m, op, start, word, mask):
        """The same by channel groups: every other column changes."""
        config = self._config
        s, p, t = config.channels_in, config.lanes, config.pixels
        with m.If(self.i_point):
            for half in range(2):
                bits, keep = [], []
                for column in range(2 * t):
                    for channel in range(s):
                        lane, mine = channel - start, column % 2 == half
                        inside = mine and 0 <= lane < p
                        bits.append(op["low"][lane * t + column // 2] if inside else Const(0))
                        keep.append(int(not inside and not (mine and start == 0)))
                with m.If(op["half"] == half):
                    m.d.sync += [
                        word.eq(Cat(bits)),
                        mask.eq(sum(k << i for i, k in enumerate(keep))),
                    ]

    def _layout(self, op, start, target):
        """Word bits (index column*S + channel) and mask of the old word's bits to keep."""
        config = self._config
        s, p, t = config.channels_in, config.lanes, config.pixels
        fresh = start == 0 or target == 1
        bits, keep = [], []
        for half in (op["low"], op["high"]):
            for pixel in range(t):
                for channel in range(s):
                    lane = channel + target * s - start
                    inside = 0 <= lane < p
                    bits.append(half[lane * t + pixel] if inside else Const(0))
                    keep.append(0 if inside or fresh else 1)
        return Cat(bits), Const(sum(k << i for i, k in enumerate(keep)), len(keep))
