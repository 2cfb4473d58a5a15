"""Order of the stem's passes: map rows, channel groups, kernel rows; each pass a row of the map."""

from amaranth.hdl import *
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from .stem_config import KERNEL, ROW_CLASSES, StemConfig, border_class

__all__ = ["StemSequencer", "pass_layout"]


def pass_layout(config: StemConfig) -> data.StructLayout:
    """What stays the same during a pass: channel group, class of the map's row, kernel row."""
    return data.StructLayout(
        {
            "group": range(config.groups),
            "row_class": range(ROW_CLASSES),
            "odd": 1,
            "first": 1,
            "last": 1,
        }
    )


class StemSequencer(wiring.Component):
    """Starts passes back to back; a row of the map waits for its image rows and a free result row.

    A row that starts releases the image rows above its windows, so that one comparison decides.
    The pass after the current one is known in registers; its weights are read meanwhile.

    Members
    -------
    i_stored : In
        Image rows that are complete and not released.
    i_free : In(1)
        A result row may be begun (asked for odd rows of the map only).
    o_release : Out
        Image rows released with the cycle before.
    o_reserve : Out(1)
        A result row was begun in the cycle before.
    o_pass, o_run, o_column : Out
        The pass under way; whether there is one; its cycle, 0 .. pass_cycles - 1.
    o_read, o_row_addr : Out
        Image word ``o_column`` is to be read, there.
    o_weight_read, o_weight_addr : Out
        A word of the next pass's weights is to be read, from the pass's second cycle on.
    """

    def __init__(self, config: StemConfig):
        self._config = config
        memories = config.memories()
        super().__init__(
            {
                "i_stored": In(range(config.ring_rows + 1)),
                "i_free": In(1),
                "o_release": Out(3),
                "o_reserve": Out(1),
                "o_pass": Out(pass_layout(config)),
                "o_run": Out(1),
                "o_column": Out(range(config.pass_cycles)),
                "o_read": Out(1),
                "o_row_addr": Out(range(memories["stem_rows"][1])),
                "o_weight_read": Out(1),
                "o_weight_addr": Out(range(memories["stem_weights"][1])),
            }
        )

    def elaborate(self, platform):
        m = Module()
        config = self._config
        y = Signal(range(config.conv_rows))
        group = Signal(range(config.groups))
        ky = Signal(range(KERNEL), init=config.kernel_rows(0)[0])
        begins_row = Signal(init=1)
        later = Signal()  # not the first frame: the frame before has rows to release
        start = Signal()
        row = self._row(m, y, later)

        ready, clear, end = Signal(), Signal(), Signal()
        m.d.comb += ready.eq((self.i_stored >= row["need"]) & (self.i_free | ~y[0]))
        # from registers: what starts a pass goes all over the stem. No row ends within a cycle
        m.d.sync += [
            end.eq(self.o_run & (self.o_column == config.pass_cycles - 2)),
            self.o_release.eq(Mux(start & begins_row, row["release"], 0)),
            self.o_reserve.eq(start & begins_row & y[0]),
        ]
        m.d.comb += [
            start.eq((end | ~self.o_run) & clear),
            self.o_read.eq(self.o_run & (self.o_column < config.conv_width)),
        ]
        last = Signal()
        m.d.comb += last.eq(ky == row["last_ky"])
        m.d.sync += [self.o_column.eq(self.o_column + 1), self.o_row_addr.eq(self.o_row_addr + 1)]
        with m.If(start):
            m.d.sync += [
                self.o_run.eq(1),
                self.o_column.eq(0),
                self.o_pass.group.eq(group),
                self.o_pass.row_class.eq(row["class"]),
                self.o_pass.odd.eq(y[0]),
                self.o_pass.first.eq(ky == row["first_ky"]),
                self.o_pass.last.eq(last),
                begins_row.eq(0),
            ]
            with m.If(~last):
                m.d.sync += ky.eq(ky + 1)
            with m.Elif(group != config.groups - 1):
                m.d.sync += [group.eq(group + 1), ky.eq(row["first_ky"])]
            with m.Else():
                m.d.sync += [
                    group.eq(0),
                    ky.eq(row["next_ky"]),
                    y.eq(Mux(y == config.conv_rows - 1, 0, y + 1)),
                    begins_row.eq(1),
                ]
                with m.If(y == config.conv_rows - 1):
                    m.d.sync += later.eq(1)
        with m.Elif(end):
            m.d.sync += self.o_run.eq(0)
        self._rows(m, start, begins_row, y, ky, row)
        reading = self._weights(m, start, last, group, row)
        # old by a cycle after a start, when no pass can start: a pass is longer than that
        m.d.sync += clear.eq(~reading & (~begins_row | ready))
        return m

    def _row(self, m, y, later):
        """What depends on the map's row, by its class and the frame."""
        config = self._config
        height = config.conv_rows
        names = ("class", "first_ky", "last_ky", "next_ky", "need", "release")
        signals = {name: Signal(4, name=f"row_{name}") for name in names}

        def values(row, before):
            """Numbers for ``row``; ``before`` is the image row up to which rows were released."""
            kernel = config.kernel_rows(row)
            return {
                "class": border_class(row, height),
                "first_ky": kernel[0],
                "last_ky": kernel[-1],
                "next_ky": config.kernel_rows((row + 1) % height)[0],
                "need": config.last_row(row) + 1 - before,
                "release": config.first_row(row) - before,
            }

        def choose(row, before):
            m.d.comb += [signals[k].eq(v) for k, v in values(row, before).items()]

        held = config.first_row(height - 1) - config.height
        with m.If((y == 0) & later):
            choose(0, held)
        with m.Elif(y == 0):
            choose(0, 0)
        with m.Elif(y == height - 1):
            choose(height - 1, config.first_row(height - 2))
        for row in (1, 2):
            with m.Elif(y == row):
                choose(row, config.first_row(row - 1))
        with m.Else():
            choose(3, config.first_row(2))
        return signals

    def _rows(self, m, start, begins_row, y, ky, row):
        """Address of the pass's image row in the ring, from those of the rows before."""
        pitch = self._config.conv_width
        end = self._config.ring_rows * pitch
        base = Signal(range(end), init=end - pitch)
        following = Signal(range(end))
        first, second, third = (Signal(range(end), name=n) for n in ("first", "second", "third"))
        target = Signal(range(end))
        m.d.comb += following.eq(Mux(base == end - pitch, 0, base + pitch))
        m.d.comb += target.eq(following)
        with m.If(begins_row):
            # where a row's windows begin: at the row before's, or one or two image rows below
            with m.If(y == 1):
                m.d.comb += target.eq(first)
            with m.Elif(y == 2):
                m.d.comb += target.eq(second)
            with m.Elif(y != 0):
                m.d.comb += target.eq(third)
        with m.Elif(ky == row["first_ky"]):
            m.d.comb += target.eq(first)
        with m.If(start):
            m.d.sync += [base.eq(target), self.o_row_addr.eq(target)]
            with m.If(begins_row):
                m.d.sync += first.eq(target)
            with m.If(ky == row["first_ky"] + 1):
                m.d.sync += second.eq(target)
            with m.If(ky == row["first_ky"] + 2):
                m.d.sync += third.eq(target)

    def _weights(self, m, start, last, group, row):
        """Reads the words of the pass that the registers hold, once they hold a new one.

        Returns whether words will be read in the next cycle, a start apart.
        """
        config = self._config
        words = config.pass_words
        depth = config.memories()["stem_weights"][1]
        group_base = Signal(range(depth + KERNEL * words))
        base = Signal(range(depth), init=config.kernel_rows(0)[0] * words)
        started = Signal(init=1)  # the first pass's weights are read after reset
        left = Signal(range(words + 1))
        m.d.sync += started.eq(start)
        with m.If(start):
            with m.If(~last):
                m.d.sync += base.eq(base + words)
            with m.Elif(group != config.groups - 1):
                following = Signal.like(group_base)
                m.d.comb += following.eq(group_base + KERNEL * words)
                m.d.sync += [
                    group_base.eq(following),
                    base.eq(following + self._times(row["first_ky"], words)),
                ]
            with m.Else():
                m.d.sync += [group_base.eq(0), base.eq(self._times(row["next_ky"], words))]
        m.d.comb += self.o_weight_read.eq(left != 0)
        with m.If(started):
            m.d.sync += [left.eq(words), self.o_weight_addr.eq(base)]
        with m.Elif(self.o_weight_read):
            m.d.sync += [left.eq(left - 1), self.o_weight_addr.eq(self.o_weight_addr + 1)]
        return started | (left > 1)

    @staticmethod
    def _times(value, factor):
        """A kernel row that windows begin with (0, 1 or 3) times a constant."""
        return Mux(value == 3, 3 * factor, Mux(value == 1, factor, 0))
