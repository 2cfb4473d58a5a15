"""The sequencer: reads the program and visits every tile, row and pixel group of each step."""

from amaranth.hdl import *
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from .common import DelayLine, Ram
from .config import COORDINATE_BITS, ROW_BANKS, EngineConfig
from .loader import connect_stream, stream_members
from .xmap import XMode

__all__ = ["PASS_SWEEP", "Sequencer", "issue_layout"]

PASS_SWEEP = 6  # least cycles between the sweeps of a pass


def issue_layout(config: EngineConfig) -> data.StructLayout:
    """What accompanies one group of T output pixels down the pipeline."""
    t = config.pixels
    return data.StructLayout(
        {
            "valid": 1,
            "inside": 1,  # the group holds at least one pixel of the map
            "tile_first": 1,  # first group of a sweep: weights swap here
            "first": 1,  # first input group: partial sums start
            "last": 1,  # last input group: sums are complete
            "og_first": 1,  # first group of an output group's last sweep
            "og_last": 1,
            "row_last": 1,
            "odd": 1,  # second group of a pair in its row
            "row_odd": 1,
            "row_class": 2,  # 0 inside, 1 top, 2 bottom
            "left": 1,  # the first pixel touches the left border
            "right": t,  # each pixel touches the right border
            "pixel_valid": t,
        }
        # first and last group of an image of a batch, in an output group's last sweep
        | ({"image_first": 1, "image_last": 1} if config.batch > 1 else {})
        # "valid" of a pass over a map, which goes another way
        | ({"passing": 1} if config.passes else {})
    )


class Sequencer(wiring.Component):
    """Runs the program once per frame, or once per batch of images.

    Steps are read ahead of time. Within a step the loops are: output group, input group, image,
    row, pixel group, one group a cycle. The images of a batch lie below each other, as one tall
    map; only its borders are each image's own. A sweep waits for its weights and, if it is an
    output group's last, for that group's constants. After a step the pipeline drains.

    Parameters
    ----------
    config : EngineConfig
    drain : int
        Cycles from the last issue of a step until everything it stores is stored.
    drains : tuple of int, where thresholds come at run time
        The same of a pass over a map, and of a step that ends with sigmoids.
    flow_drain : int, where a threshold unit works beside the array
        The same until a step may follow one that ``flows``, while that one's results are stored.

    Members
    -------
    i_rows : In
        Complete rows of the image memory; a step waits for those it reads (none with a stem).
    i_ready_x, i_ready_d, i_ready_c, i_ready_s : In(1)
        Weights of the XNOR array, of the dense array, constants, and a row of the stem are at hand:
        a sweep that waits for them starts a cycle later.
    o_take_x, o_take_d, o_take_c : Out(1)
        They are used from here on.
    o_step : Out(step_layout), o_setup : Out(1)
        The step in progress; a pulse one cycle before its first issue.
    o_issue : Out(issue_layout), o_new, o_row_addr, o_top, o_phase, o_x_addr, o_ig, o_slice : Out
        A registered issue and where its inputs lie.
    o_image_new : Out(3)
        With it: which banks of the image to read; none past a row's end or above or below.
    o_image_free : Out(1)
        Pulse: the step's ``image_release`` rows have been consumed.
    o_image_h, o_image_w, o_image_slots : Out
        Size of the images the program takes and rows kept in a bank, once ``o_known``.
    o_frame, o_step_done, o_done : Out(1)
        Pulses: a frame starts, a step is stored, a frame's logits are stored.
    o_result : Out(1), i_result_done : In(1)
        Ask for the scan of the logits, image by image; it is over.
    o_result_next : Out(1), where the configuration has a batch
        With ``o_result``: the next image's.
    i_made : In(1), where a threshold unit works beside the array
        Pulse: bits are stored; a step with ``awaits`` takes them.
    o_due : Out(1), likewise
        With ``o_step_done``: that step's map is due.
    o_levels : Out(1), i_levels_done : In(1), where maps come to levels
        A step that brings one there begins; it is over.
    o_move : Out(1), i_move_done : In(1), where maps lie in off-chip memory
        A step that moves rows of one begins; it is over.
    i_stream_steps, o_read_steps : see WeightStream
        Where the program comes with the weights.
    """

    def __init__(self, config: EngineConfig, *, drain: int, drains: tuple[int, int] = (0, 0),
                 flow_drain: int = 0):
        self._config, self._drain, self._drains = config, drain, drains
        self._flow_drain = flow_drain
        ba = config.bit_addr_bits
        layout = config.step_layout
        super().__init__(
            {
                "i_rows": In(COORDINATE_BITS + 1),
                "i_ready_x": In(1),
                "i_ready_d": In(1),
                "i_ready_c": In(1),
                "i_ready_s": In(1),
                "o_take_x": Out(1),
                "o_take_d": Out(1),
                "o_take_c": Out(1),
                "o_step": Out(layout),
                "o_setup": Out(1),
                "o_issue": Out(issue_layout(config)),
                "o_new": Out(1),
                "o_row_addr": Out(data.ArrayLayout(ba, ROW_BANKS)),
                "o_top": Out(2),
                "o_phase": Out(1),
                "o_x_addr": Out(layout["x_addr"].shape),
                "o_ig": Out(12),
                "o_slice": Out(range(max(2, config.x_slices))),
                "o_image_free": Out(1),
                "o_known": Out(1),
                "o_image_h": Out(10),
                "o_image_w": Out(10),
                "o_image_new": Out(ROW_BANKS),
                "o_image_slots": Out(COORDINATE_BITS),
                "o_frame": Out(1),
                "o_step_done": Out(1),
                "o_done": Out(1),
                "o_result": Out(1),
                "i_result_done": In(1),
            }
            | ({"o_result_next": Out(1)} if config.batch > 1 else {})
            | ({"i_made": In(1), "o_due": Out(1)} if config.beside else {})
            | ({"o_levels": Out(1), "i_levels_done": In(1)} if config.levels else {})
            | ({"o_move": Out(1), "i_move_done": In(1)} if config.moves else {})
            | (stream_members(config, "steps") if config.streamed_steps else {})
        )

    def elaborate(self, platform):
        m = Module()
        config = self._config
        step = self.o_step
        following, following_ready, take_step = self._prefetch(m)

        # -- loop counters -------------------------------------------------------------------
        t = config.pixels
        ba = config.bit_addr_bits
        j, y = Signal(10), Signal(10)
        ig, og = Signal(12), Signal(12)
        word, col = Signal(ba), Signal(12)
        out_col = Signal(12)
        row = Signal(10)
        top = Signal(2)
        plane = Signal(ba)
        row_off = [Signal(ba, name=f"row_off{b}") for b in range(ROW_BANKS)]
        x_pixel, x_plane = Signal.like(self.o_x_addr), Signal.like(self.o_x_addr)
        slice_ = Signal.like(self.o_slice)

        j_last, rows_last, y_last, ig_last, og_last = (
            Signal(name=n) for n in ("j_last", "rows_last", "y_last", "ig_last", "og_last"))
        image, image_last = Const(0), Const(1)
        if config.batch > 1:
            image, image_last = Signal.like(step.batch), Signal()
            m.d.comb += image_last.eq(image == step.batch)
        m.d.comb += [
            j_last.eq(j == step.n_x),
            rows_last.eq(y == step.n_y),
            y_last.eq(rows_last & image_last),
            ig_last.eq(ig == step.n_ig),
            og_last.eq(og == step.n_og),
        ]
        point = step.point if config.pointwise else Const(0)
        map_pass = step.map_pass if config.passes else Const(0)
        # steps that do not read the image
        not_image = step.from_x
        if config.gains is not None:
            not_image = step.from_x | step.from_map
        # which weights a step takes, from registers beside this: a step's own are everywhere
        of_stem, of_dense, of_none, of_pass, takes_x, takes_d = (
            Signal(name=n)
            for n in ("of_stem", "of_dense", "of_none", "of_pass", "takes_x", "takes_d"))
        tile_first = Signal(init=1)
        running, go = Signal(), Signal()
        weights_ok, sweep_ok = Signal(), Signal()
        # partial sums are written three cycles after they are read: sweeps start 4 cycles apart
        gap = Signal(3 if config.passes else 2)
        with m.If(gap != 0):
            m.d.sync += gap.eq(gap - 1)
        with m.If(go & tile_first):
            m.d.sync += gap.eq(3)
            if config.passes:
                # bits that straddle two words are written a cycle later than others: a pass, which
                # waits for no constants, starts its sweeps PASS_SWEEP cycles apart
                with m.If(of_pass):
                    m.d.sync += gap.eq(PASS_SWEEP - 1)
        # Whether the next sweep may start is decided a cycle before, from what comes from far. It
        # is the one that waits, or the one behind the sweep in progress, which began long enough
        # ago for everything that it took to be gone.
        ahead_last, sweep_last = Signal(), Signal()
        m.d.sync += ahead_last.eq(Mux(ig_last, step.n_ig == 0, ig + 1 == step.n_ig))
        m.d.comb += [
            weights_ok.eq(
                Mux(of_stem, self.i_ready_s, Mux(of_dense, self.i_ready_d, self.i_ready_x))
                | of_none
            ),
            sweep_last.eq(Mux(tile_first, ig_last, ahead_last)),
            go.eq(running & (~tile_first | sweep_ok)),
            self.o_take_x.eq(go & tile_first & takes_x),
            self.o_take_d.eq(go & tile_first & takes_d),
            self.o_take_c.eq(go & tile_first & ig_last & ~of_pass),
        ]
        m.d.sync += sweep_ok.eq(weights_ok & (~sweep_last | self.i_ready_c | of_pass)
                                & (gap <= 1) & ~(go & tile_first))

        # -- this issue ----------------------------------------------------------------------
        new, word_now = Signal(), Signal(ba)
        m.d.comb += [
            new.eq((j == 0) | j[0] | step.stride2),
            word_now.eq(Mux(j == 0, 0, Mux(new, word + 1, word))),
        ]
        if config.stem is None:
            # the last of an even number of issues needs no word: it would lie past the row's end
            past = j_last & j[0] & ~step.stride2
            reads = go & new & ~past & step.dense & ~not_image
            above, below = row == 0, row + 1 >= step.h_in
            for bank in range(ROW_BANKS):
                lowest = top == (bank + 1) % ROW_BANKS
                outside = (above & (top == bank)) | (below & lowest)
                m.d.sync += self.o_image_new[bank].eq(reads & ~outside)
        col_r, out_col_r, valid_r = Signal(12), Signal(12), Signal()
        issue = Signal(issue_layout(config))
        m.d.sync += [
            issue.valid.eq(go & ~map_pass),
            issue.tile_first.eq(tile_first),
            issue.first.eq(ig == 0),
            issue.last.eq(ig_last),
            issue.og_first.eq(tile_first & ig_last),
            issue.og_last.eq(j_last & y_last & ig_last),
            issue.row_last.eq(j_last),
            issue.odd.eq(j[0]),
            issue.row_odd.eq(y[0]),
            issue.row_class.eq(Mux(row == 0, 1, Mux(row + 1 >= step.h_in, 2, 0))),
            issue.left.eq((j == 0) | point),
            self.o_new.eq(go & new & ~map_pass),
            self.o_top.eq(top),
            self.o_phase.eq(j[0] & ~step.stride2),
            self.o_x_addr.eq(x_plane + x_pixel),
            self.o_ig.eq(ig),
            self.o_slice.eq(slice_),
            col_r.eq(col),
            out_col_r.eq(out_col),
            valid_r.eq(go),
        ]
        if config.batch > 1:
            m.d.sync += [
                issue.image_first.eq((j == 0) & (y == 0) & ig_last),
                issue.image_last.eq(j_last & rows_last & ig_last),
            ]
        if config.passes:
            m.d.sync += issue.passing.eq(go & map_pass)
        for bank in range(ROW_BANKS):
            m.d.sync += self.o_row_addr[bank].eq(plane + row_off[bank] + word_now)
        m.d.comb += self.o_issue.eq(issue)
        for p in range(t):
            centre = Signal(12, name=f"centre{p}")
            m.d.comb += [
                centre.eq(col_r + Mux(step.stride2, 2 * p + 1, p + 1)),
                self.o_issue.right[p].eq(centre >= step.w_in),
                self.o_issue.pixel_valid[p].eq(out_col_r + p < step.w_out),
            ]
        m.d.comb += self.o_issue.inside.eq(out_col_r < step.w_out)

        # -- next issue ----------------------------------------------------------------------
        with m.If(go):
            m.d.sync += [
                tile_first.eq(0),
                word.eq(word_now),
                x_pixel.eq(x_pixel + 1),
                j.eq(j + 1),
                col.eq(col + Mux(step.stride2, 2 * t, t)),
                out_col.eq(out_col + t),
            ]
            with m.If(j_last):
                m.d.sync += [
                    j.eq(0),
                    col.eq(0),
                    out_col.eq(0),
                    y.eq(y + 1),
                    row.eq(row + Mux(step.stride2, 2, 1)),
                ]
                self._next_row(m, step, top, row_off, point)
                if config.batch > 1:
                    with m.If(rows_last):
                        m.d.sync += [y.eq(0), row.eq(step.row0), image.eq(image + 1)]
                        with m.If(image_last):
                            m.d.sync += image.eq(0)
                with m.If(y_last):
                    self._next_tile(
                        m, step, row, top, plane, row_off, x_pixel, x_plane, slice_, ig_last
                    )
                    m.d.sync += [y.eq(0), tile_first.eq(1), ig.eq(ig + 1)]
                    with m.If(ig_last):
                        m.d.sync += [ig.eq(0), og.eq(og + 1)]

        # -- steps ---------------------------------------------------------------------------
        bits_ok = Const(1)
        if config.beside:
            made = Signal(2)  # maps of bits that no step has taken
            m.d.sync += made.eq(made + self.i_made - (take_step & following.awaits))
            bits_ok = ~following.awaits | (made != 0)
        drain = Signal(range(max(self._drain, *self._drains) + 1))
        ended = Signal()
        self._done(m, ended)
        units = []  # beside the array: (state, whether a step is theirs, it begins, it is over)
        if config.levels:
            units.append(("LEVELS", step.levels, self.o_levels, self.i_levels_done))
        if config.moves:
            units.append(("MOVE", step.move, self.o_move, self.i_move_done))
        first_step = Signal(init=1)
        whole = Signal(init=not config.overlap)  # a result is one: its frame has begun
        with m.FSM():
            with m.State("WAIT"):
                rows_ok = Const(1)
                if config.stem is None:
                    rows_ok = self.i_rows >= following.image_need
                with m.If(following_ready & rows_ok & bits_ok):
                    m.d.comb += [take_step.eq(1), self.o_frame.eq(first_step)]
                    m.d.sync += [step.eq(following), first_step.eq(0)]
                    passes = following.map_pass if config.passes else Const(0)
                    of_map = following.from_map if config.gains is not None else Const(0)
                    m.d.sync += [
                        of_stem.eq(following.stem),
                        of_dense.eq(following.dense),
                        of_none.eq(passes | of_map),
                        of_pass.eq(passes),
                        takes_x.eq(~following.dense & ~passes),
                        takes_d.eq(following.dense & ~following.stem & ~of_map),
                    ]
                    m.next = "SETUP"
            with m.State("SETUP"):
                m.d.comb += self.o_setup.eq(1)
                m.d.sync += [
                    j.eq(0),
                    y.eq(0),
                    ig.eq(0),
                    og.eq(0),
                    col.eq(0),
                    out_col.eq(0),
                    row.eq(step.row0),
                    top.eq(step.top0),
                    plane.eq(step.plane),
                    x_pixel.eq(0),
                    x_plane.eq(step.x_addr),
                    slice_.eq(0),
                    tile_first.eq(1),
                ]
                if config.batch > 1:
                    m.d.sync += image.eq(0)
                for b in range(ROW_BANKS):
                    m.d.sync += row_off[b].eq(step[f"row{b}_off"])
                m.next = "RUN"
                for state, mine, begins, _over in units:
                    m.d.comb += begins.eq(mine)
                    with m.If(mine):
                        m.next = state
            for state, _mine, _begins, over in units:
                with m.State(state):
                    m.d.sync += drain.eq(0)
                    with m.If(over):
                        m.next = "DRAIN"
            with m.State("RUN"):
                m.d.comb += running.eq(1)
                with m.If(go & j_last & y_last & ig_last & og_last):
                    m.d.sync += drain.eq(self._drain)
                    if config.beside:
                        with m.If(step.flows):
                            m.d.sync += drain.eq(self._flow_drain)
                    if config.vectors:
                        of_pass, of_sigmoid = self._drains
                        with m.If(map_pass):
                            m.d.sync += drain.eq(of_pass)
                        with m.If(step.x_mode == XMode.SIGMOID):
                            m.d.sync += drain.eq(of_sigmoid)
                    m.next = "DRAIN"
            with m.State("DRAIN"):
                m.d.sync += drain.eq(drain - 1)
                with m.If(drain == 0):
                    m.d.comb += [
                        ended.eq(1),
                        self.o_image_free.eq(config.stem is None),
                    ]
                    m.d.sync += first_step.eq(step.last)
                    with m.If(step.last):
                        m.d.sync += whole.eq(1)
                    m.next = "WAIT"
                    with m.If(step.result):
                        m.d.comb += self.o_result.eq(1)
                        m.next = "RESULT"
            with m.State("RESULT"):
                with m.If(self.i_result_done):
                    m.d.comb += self.o_done.eq(whole)
                    m.next = "WAIT"
                    if config.batch > 1:
                        m.d.sync += image.eq(image + 1)
                        with m.If(~image_last):
                            m.next = "RESULT NEXT"
            if config.batch > 1:
                with m.State("RESULT NEXT"):
                    m.d.comb += [self.o_result.eq(1), self.o_result_next.eq(1)]
                    m.next = "RESULT"
        return m

    def _done(self, m, ended):
        """A step is stored when it has ended, or flows on and its last results are stored."""
        if not self._config.beside:
            m.d.comb += self.o_step_done.eq(ended)
            return
        step = self.o_step
        flows = DelayLine(m, ended & step.flows, "flows", reset=True)
        due = DelayLine(m, ended & step.flows & step.due, "flow_due", reset=True)
        late = self._drain - self._flow_drain
        now = ended & ~step.flows
        m.d.comb += [
            self.o_step_done.eq(now | flows[late]),
            self.o_due.eq((now & step.due) | due[late]),
        ]

    def _prefetch(self, m):
        """Read the next step into a register while the current one runs."""
        config = self._config
        width, n_words = config.step_word_bits, config.step_words
        m.submodules.steps = ram = Ram(
            name="steps", width=width, depth=config.step_depth, registered=True
        )
        bits = Signal(width * n_words)
        address = Signal(range(config.step_depth))
        count = Signal(range(n_words + 1))
        ready = Signal()
        following = Signal(config.step_layout)
        take = Signal()
        at_first = Signal(init=1)  # the step being read is the program's first
        reads = count != n_words
        if config.streamed_steps:  # as words come; the ring goes round
            reads &= self.i_enough_steps
        m.d.comb += [
            following.eq(bits[: config.step_layout.size]),
            ram.r_addr.eq(address),
            ram.r_en.eq(reads),
        ]
        if config.streamed_steps:
            connect_stream(m, self, ram, "steps")
            m.d.comb += self.o_read_steps.eq(ram.r_en)
        arriving = DelayLine(m, ram.r_en, "arriving", reset=True)
        m.d.comb += ready.eq((count == n_words) & ~arriving[1] & ~arriving[2])
        with m.If(ram.r_en):
            m.d.sync += [count.eq(count + 1), address.eq(address + 1)]
            if config.streamed_steps:
                with m.If(address == config.step_depth - 1):
                    m.d.sync += address.eq(0)
        with m.If(arriving[2]):
            m.d.sync += bits.eq(Cat(bits[width:], ram.r_data))
        with m.If(ready & at_first):
            m.d.sync += [
                self.o_known.eq(1),
                self.o_image_h.eq(following.h_in),
                self.o_image_w.eq(following.w_in),
            ]
            if config.stem is None:
                m.d.sync += self.o_image_slots.eq(following.image_slots)
        with m.If(take):
            m.d.sync += [count.eq(0), at_first.eq(following.last)]
            if not config.streamed_steps:
                with m.If(following.last):
                    m.d.sync += address.eq(0)
        return following, ready, take

    @staticmethod
    def _next_row(m, step, top, row_off, point):
        """Banks whose row leaves the window move on to their next row, round the ring.

        Of a map by channel groups all banks hold the same row, and leave it together.
        """
        following = []
        for b in range(ROW_BANKS):
            following.append(Signal.like(row_off[b], name=f"following{b}"))
            ends = row_off[b] == step.row_last
            m.d.comb += following[b].eq(Mux(ends, 0, row_off[b] + step.row_step))
        with m.Switch(top):
            for t in range(ROW_BANKS):
                with m.Case(t):
                    second = (t + 1) % ROW_BANKS
                    m.d.sync += [
                        row_off[t].eq(following[t]),
                        top.eq(Mux(step.stride2, (t + 2) % ROW_BANKS, second)),
                    ]
                    with m.If(step.stride2):
                        m.d.sync += row_off[second].eq(following[second])
        with m.If(point):
            m.d.sync += top.eq(top)
            for b in range(ROW_BANKS):
                m.d.sync += row_off[b].eq(following[b])

    def _next_tile(
        self, m, step, row, top, plane, row_off, x_pixel, x_plane, slice_, ig_last
    ):
        """Back to the first row, in the next input group's plane or the first one again."""
        m.d.sync += [
            row.eq(step.row0),
            top.eq(step.top0),
            x_pixel.eq(0),
            plane.eq(Mux(ig_last, step.plane, plane + step.cg_step)),
        ]
        for b in range(ROW_BANKS):
            m.d.sync += row_off[b].eq(step[f"row{b}_off"])
        with m.If(ig_last):
            m.d.sync += [x_plane.eq(step.x_addr), slice_.eq(0)]
        with m.Elif(slice_ == self._config.x_slices - 1):
            m.d.sync += [x_plane.eq(x_plane + step.x_step), slice_.eq(0)]
        with m.Else():
            m.d.sync += slice_.eq(slice_ + 1)
