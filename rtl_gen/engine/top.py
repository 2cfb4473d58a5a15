"""The engine: sequencer, memories, arrays and lanes, wired into one pipeline."""

from amaranth.hdl import *
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from ..leaf import leaf
from . import lane as lane_module
from .bitmap import BitMap
from .common import AddressWalker, DelayLine
from .config import PIXEL_BITS, STREAM_BITS, EngineConfig
from .constants import LANE_STAGES, ConstantLoader
from .features import FEATURE_LATENCY, join_features
from .first_config import FirstConfig
from .first_conv import FirstConv
from .gain import Branch, join_branch, join_vectors, map_sums
from .image import ImageMemory
from .image_taps import image_taps
from .lane import STAGE, Lane
from .levels import join_levels, levels_word
from .loader import WeightLoader
from .map_pass import clamp_limits, join_pass
from .max_pool import join_pool
from .moves import join_moves, move_members, move_word
from .partial_sums import partial_sums
from .result import ResultScan
from .sequencer import Sequencer
from .stem import Stem
from .threshold_unit import ThresholdUnit
from .timing import Timing, arrays
from .weight_stream import WeightStream
from .window import Window
from .xmap import XMap

__all__ = ["Engine"]

STEM_LATENCY = 2  # of a read of the stem's rows


class Engine(wiring.Component):
    """A layer-sequential accelerator: image in, logits out, one frame after another.

    A frame starts when the rows that its first step reads are there and the frame before is done.

    Members
    -------
    i_pixel : In(stream of 24 bits)
        Pixels in raster order, red in the low byte. Accepted while the image memory is free,
        that is also while the layers behind the first one run.
    i_weights : In(stream of 16 bits), where the configuration streams weights
        The program's weight stream (see WeightStream), again for every frame.
    o_frame, o_step_done, o_done : Out(1)
        Pulses: frame started, a step's results are stored, logits and class are valid.
    o_unit_done : Out(1), where a threshold unit works beside the array
        Pulse: the bits of a map are stored.
    o_class : Out(16), o_cycles : Out(32)
        Class of the last frame and its cycles from ``o_frame`` to ``o_done``.
    i_logit_addr : In, o_logit : Out(signed(feature_bits))
        Logits of the last frame, two cycles latency; they stay until the next frame ends.

    With a batch ``o_frame`` pulses once for each, when its first image starts, and ``o_done`` for
    every image; the logit memory has their logits one after another, until the next batch ends.
    """

    def __init__(self, config: EngineConfig):
        self.config = config
        self.timing = Timing(config)
        weights = {"i_weights": In(stream.Signature(STREAM_BITS))} if config.streams else {}
        unit = {"o_unit_done": Out(1)} if config.beside else {}
        super().__init__(
            weights
            | unit
            | move_members(config)
            | {
                "i_pixel": In(stream.Signature(PIXEL_BITS)),
                "o_frame": Out(1),
                "o_step_done": Out(1),
                "o_done": Out(1),
                "o_class": Out(16),
                "o_cycles": Out(32),
                "i_logit_addr": In(range(config.logit_depth)),
                "o_logit": Out(signed(config.feature_bits)),
            }
        )

    def elaborate(self, platform):
        m = Module()
        config, timing = self.config, self.timing
        m.submodules.sequencer = seq = Sequencer(
            config, drain=timing.drain, drains=timing.drains, flow_drain=timing.flow_drain
        )
        m.submodules.bitmap = bitmap = BitMap(config)
        m.submodules.xmap = xmap = XMap(config)
        m.submodules.loader = loader = WeightLoader(
            config,
            swap_x=timing.swap_x,
            swap_d=timing.swap_d,
            guard_x=timing.guard_x,
            guard_d=timing.guard_d,
        )
        m.submodules.constants = constants = ConstantLoader(
            config, hold=timing.const_hold, lead=timing.const_lead
        )
        m.submodules.result = result = ResultScan(config)
        # fields of the step for everything behind the issues, which come two cycles after them or
        # later: what decides that a step begins is far from most of it
        self.step = step = Signal.like(seq.o_step, name="step", reset_less=True)
        self.setup = Signal(name="setup")
        m.d.sync += [step.eq(seq.o_step), self.setup.eq(seq.o_setup)]
        issue = DelayLine(m, seq.o_issue, "issue", reset=True)

        image = self._image(m, seq) if config.stem is None else None
        m.d.comb += [
            seq.i_ready_x.eq(loader.o_ready_x),
            seq.i_ready_d.eq(loader.o_ready_d),
            seq.i_ready_c.eq(constants.o_ready),
            loader.i_take_x.eq(seq.o_take_x),
            loader.i_take_d.eq(seq.o_take_d),
            constants.i_take.eq(seq.o_take_c),
            constants.i_setup.eq(self._with_constants(seq)),
            constants.i_address.eq(seq.o_step.const_addr),
            constants.i_streamed.eq(seq.o_step.const_streamed),
            constants.i_groups.eq(seq.o_step.n_og),
        ]
        if config.streams:
            self._weight_stream(m, seq, loader, constants)

        sums = self._arrays(m, platform, seq, issue, image, bitmap, xmap, loader)
        others, branch = [], None  # sums that come in the place of the dense array's, and when
        if config.signed_sums:
            others.append((step.signed_sums, m.submodules.dense.o_signed))
        if config.stem is not None:
            others.append((step.stem, self._stem(m, seq, issue)))
        levels = join_levels(m, config, seq, xmap) if config.levels else None
        if config.gains is not None:
            m.submodules.branch = branch = Branch(config)
            words = map_sums(m, config, seq, issue, timing.issue_to_d, xmap, branch, constants,
                             levels)
            others.append((step.from_map, words))
        moves = join_moves(m, config, self, seq, branch) if config.moves else None
        acc, at = partial_sums(m, config, timing, step, issue, sums, others)
        self._lanes(m, platform, seq, issue, at, acc, constants, bitmap, xmap, result, branch,
                    levels, moves)
        self._frame(m, step, seq, result)
        return m

    def _with_constants(self, seq):
        """A step begins that has constants."""
        config, begins = self.config, seq.o_setup
        for name, there in (("levels", config.levels), ("move", config.moves),
                            ("map_pass", config.passes)):
            if there:
                begins &= ~seq.o_step[name]
        return begins

    def _weight_stream(self, m, seq, loader, constants):
        """Weights from outside, and the program where it comes with them, cut into the rings of
        their memories."""
        m.submodules.weight_stream = source = WeightStream(self.config)
        m.d.comb += [
            source.i_word.valid.eq(self.i_weights.valid),
            source.i_word.payload.eq(self.i_weights.payload),
            self.i_weights.ready.eq(source.i_word.ready),
        ]
        readers = {"constants": constants, "steps": seq}
        for kind in self.config.stream_kinds:
            reader = readers.get(kind, loader)
            m.d.comb += getattr(source, f"i_read_{kind}").eq(getattr(reader, f"o_read_{kind}"))
            for name in ("en", "addr", "data", "enough"):
                m.d.comb += getattr(reader, f"i_{name}_{kind}").eq(
                    getattr(source, f"o_{name}_{kind}")
                )

    def _image(self, m, seq):
        """The image memory, for a first layer of windows on the dense array."""
        m.submodules.image = image = ImageMemory(self.config)
        m.d.comb += [
            image.i_known.eq(seq.o_known),
            image.i_height.eq(seq.o_image_h),
            image.i_width.eq(seq.o_image_w),
            image.i_pixel.valid.eq(self.i_pixel.valid),
            image.i_pixel.payload.eq(self.i_pixel.payload),
            self.i_pixel.ready.eq(image.i_pixel.ready),
            image.i_slots.eq(seq.o_image_slots),
            image.i_free.eq(seq.o_image_free),
            image.i_release.eq(seq.o_step.image_release),
            seq.i_rows.eq(image.o_rows),
        ]
        return image

    def _stem(self, m, seq, issue):
        """The stem and its results in the order of the issues, beside the dense array's sums."""
        config, step = self.config, seq.o_step
        unit = FirstConv if isinstance(config.stem, FirstConfig) else Stem
        m.submodules.stem = stem = unit(config.stem)
        read = issue[self.timing.issue_to_d - STEM_LATENCY]
        address, take = Signal.like(stem.i_addr), Signal(name="take_row")
        m.d.sync += take.eq(seq.o_step_done & step.stem)
        m.d.comb += [
            stem.i_pixel.valid.eq(self.i_pixel.valid),
            stem.i_pixel.payload.eq(self.i_pixel.payload),
            self.i_pixel.ready.eq(stem.i_pixel.ready),
            seq.i_ready_s.eq(stem.o_ready),
            stem.i_take.eq(take),
            stem.i_read.eq(read.valid & step.stem),
            stem.i_addr.eq(address),
        ]
        with m.If(seq.o_setup):
            m.d.sync += address.eq(0)
        with m.Elif(stem.i_read):
            m.d.sync += address.eq(address + 1)
        n = config.lanes * config.pixels
        layout = data.ArrayLayout(signed(config.stem.result_bits), n)
        words = Signal(layout)
        m.d.comb += words.eq(stem.o_word)
        return words

    def _arrays(self, m, platform, seq, issue, image, bitmap, xmap, loader):
        """Fetch windows and dense inputs, feed both arrays; returns [xnor sums, dense sums]."""
        config, timing, step = self.config, self.timing, self.step
        t, k = config.pixels, config.dense_inputs
        new = DelayLine(m, seq.o_new, "new", reset=True)
        top = DelayLine(m, seq.o_top, "top")
        phase = DelayLine(m, seq.o_phase, "phase")
        m.d.comb += [
            bitmap.i_source.eq(step.source),
            bitmap.i_row_addr.eq(seq.o_row_addr),
            bitmap.i_new.eq(seq.o_new & ~step.dense),
        ]
        sources = [("bit_window", config.channels_in, bitmap)]
        if image is not None:
            m.d.comb += [
                image.i_row_addr.eq(seq.o_row_addr),
                image.i_new.eq(seq.o_image_new),
            ]
            sources.append(("image_window", PIXEL_BITS, image))
        read = BitMap.READ_LATENCY
        windows = []
        for name, depth, source in sources:
            pointwise = config.pointwise and source is bitmap
            groups = config.channels_in // config.lanes
            centred = groups if config.centred and source is bitmap else 0
            window = Window(depth=depth, pixels=t, pointwise=pointwise, centred=centred)
            if centred:
                m.d.comb += [window.i_centre.eq(step.centre), window.i_from.eq(step.centre_from)]
            if pointwise:
                m.d.comb += [
                    window.i_point.eq(step.point),
                    window.i_last.eq(issue[read].last),
                    window.i_point_words.eq(step.point_words),
                ]
            m.submodules[name] = window
            m.d.comb += [
                window.i_words.eq(source.o_words),
                window.i_new.eq(new[read]),
                window.i_top.eq(top[read]),
                window.i_phase.eq(phase[read]),
                window.i_stride2.eq(step.stride2),
                window.i_row_class.eq(issue[read].row_class),
                window.i_left.eq(issue[read].left),
                window.i_right.eq(issue[read].right),
            ]
            windows.append(window)

        xnor, dense = arrays(config)
        m.submodules.xnor = xnor
        m.submodules.dense = dense
        # swaps and reads go to far ends of the device: from registers, asked for a cycle before
        swap_x, swap_d, read_x = (Signal(name=n) for n in ("swap_x", "swap_d", "read_x"))
        line = issue[timing.window - 1]
        m.d.sync += swap_x.eq(line.valid & line.tile_first & ~step.dense)
        m.d.comb += [
            xnor.i_swap.eq(swap_x),
            xnor.i_load.eq(loader.o_load_x),
            xnor.i_wgt.eq(loader.o_weights_x),
        ]
        for pixel in range(t):
            m.d.comb += xnor.i_act[pixel].eq(windows[0].o_window[pixel])

        selected = None
        if image is not None:
            ig = DelayLine(m, seq.o_ig, "ig")
            selected = image_taps(m, config, step, windows[1], ig[timing.dense_in - 1])
        x_addr = DelayLine(m, seq.o_x_addr, "x_addr")
        slice_ = DelayLine(m, seq.o_slice, "slice")
        early = timing.dense_in - 1 - XMap.READ_LATENCY
        m.d.sync += read_x.eq(issue[early - 1].valid & step.dense & step.from_x)
        m.d.comb += [
            xmap.i_read.eq(read_x),
            xmap.i_read_addr.eq(x_addr[early]),
            xmap.i_slice.eq(slice_[early]),
        ]
        dense_x = Signal(data.ArrayLayout(18, config.dense_pixels * k), reset_less=True)
        for i in range(config.dense_pixels * k):
            stored = xmap.o_x[i].as_signed()
            chosen = stored if selected is None else Mux(step.from_x, stored, selected[i])
            m.d.sync += dense_x[i].eq(chosen)
        line, unweighted = issue[timing.dense_in - 1], step.stem
        if config.gains is not None:
            unweighted |= step.from_map
        m.d.sync += swap_d.eq(line.valid & line.tile_first & step.dense & ~unweighted)
        m.d.comb += [
            dense.i_x.eq(dense_x),
            dense.i_swap.eq(swap_d),
            dense.i_load.eq(loader.o_load_d),
            dense.i_weights.eq(loader.o_weights_d),
        ]
        if config.dense_pixels == t:
            return [xnor.o_sum, dense.o_sum]
        first = Signal(data.ArrayLayout(signed(config.acc_bits), config.lanes * t))
        for lane in range(config.lanes):  # other pixels of vectors count nothing
            m.d.comb += first[lane * t].eq(dense.o_sum[lane])
        return [xnor.o_sum, first]

    def _lanes(self, m, platform, seq, issue, at, acc, constants, bitmap, xmap, result, branch,
               levels, moves):
        config, step = self.config, self.step
        p, t, f = config.lanes, config.pixels, config.feature_bits
        swap = Signal()
        m.d.comb += swap.eq(at[0].valid & at[0].og_first)
        swaps = DelayLine(m, swap, "swap", reset=True)
        m.d.comb += constants.i_swap.eq(Cat(swaps[n] for n in range(LANE_STAGES)))

        stored = Signal(data.ArrayLayout(signed(f), p * t))
        if config.gains is not None:
            before = Signal.like(stored)  # before the activation
        # lanes lie all over the device, the memory's columns too: a register halfway
        residual = Signal(data.ArrayLayout(signed(f), p * t), reset_less=True)
        bits = Signal(p * t)
        (early, early_setup), (late, late_setup) = self._stages(m, seq)
        limits = clamp_limits(m, config, early.clamp) if config.clamps else None
        for lane in range(p):
            for pixel in range(t):
                i = lane * t + pixel
                unit = Lane(config)
                left = at[2].left if pixel == 0 else Const(0)
                m.d.comb += [
                    unit.i_acc.eq(acc[i]),
                    unit.i_dense.eq(step.dense),
                    unit.i_prescale.eq(step.prescale),
                    unit.i_shift.eq(early.shift),
                    unit.i_residual_on.eq(early.residual),
                    unit.i_row_class.eq(at[2].row_class),
                    unit.i_col_class.eq(Mux(left, 1, Mux(at[2].right[pixel], 2, 0))),
                    unit.i_residual.eq(residual[i]),
                    unit.i_constants.eq(constants.o_active[lane]),
                    stored[i].eq(unit.o_x),
                ]
                if not config.thresholds:
                    m.d.comb += bits[i].eq(unit.o_bit)
                if config.gains is not None:
                    m.d.comb += before[i].eq(unit.o_early)
                if limits:
                    m.d.comb += [unit.i_lo.eq(limits[0]), unit.i_hi.eq(limits[1])]
                m.submodules[f"lane{lane}_{pixel}"] = leaf(unit, platform)

        # residuals are read two cycles ahead of their use
        def stage(n):
            return at[2 + n]

        def walker(name, control, fields, setup, base):
            walk = AddressWalker(len(base))
            m.submodules[name] = walk
            m.d.comb += [
                walk.load.eq(setup),
                walk.base.eq(base),
                walk.step.eq(fields.f_step),
                walk.valid.eq(control.valid & control.last & control.inside),
                walk.first.eq(control.og_first),
            ]
            return walk

        read_at, write_at = STAGE["residual"] - 1 - FEATURE_LATENCY, lane_module.LATENCY
        s, after = stage(write_at), stage(write_at + 1)
        if config.max_pool:
            falls = Cat(constants.o_active[lane].falls for lane in range(p))
            stored, s = join_pool(m, config, step, stored, s, falls)
        made, residual_at, wanted = stored, stage, early.residual
        if branch is not None:
            residual_at = join_branch(m, config, seq, branch, stored, residual, stage)
            wanted = early.residual | (early.product if config.gains.product_shifts else 0)
            made = join_vectors(m, config, step, stored, before, constants, xmap)
        reader = walker("reader", residual_at(read_at), early, early_setup, early.f_read)
        writer = walker("writer", s, late, late_setup, late.f_write)
        reads = (reader.valid & wanted, reader.addr)
        if config.passes:
            unit, reads, made, s, after = join_pass(
                m, config, seq, issue, xmap, residual, (reads, stored, s, after)
            )
            m.d.comb += bits.eq(unit.o_bits)
        unit = self._threshold_unit(m, seq, xmap, late) if config.beside else None
        word = join_features(m, config, (step, early, late), reads, writer, stored, xmap, result,
                             unit, levels, moves)
        if moves is not None:
            move_word(m, step, moves, branch, word)
        if levels is not None:
            levels_word(m, config, step, levels, xmap, word)
        m.d.sync += residual.eq(word)
        m.d.comb += [
            xmap.i_setup.eq(late_setup),
            xmap.i_mode.eq(late.x_mode),
            xmap.i_gsum.eq(late.gsum),
            xmap.i_addr.eq(late.x_write),
            xmap.i_step.eq(late.x_write_step),
            xmap.i_x.eq(made),
            xmap.i_valid.eq(s.valid & s.last),
            xmap.i_inside.eq(s.inside),
            xmap.i_first.eq(s.og_first),
            xmap.i_last.eq(s.og_last),
            xmap.i_odd.eq(s.odd),
            xmap.i_row_odd.eq(s.row_odd),
            xmap.i_row_last.eq(s.row_last),
            xmap.i_pixel_valid.eq(s.pixel_valid),
            *(
                (xmap.i_image_first.eq(s.image_first), xmap.i_image_last.eq(s.image_last))
                if config.batch > 1
                else ()
            ),
        ]
        if config.beside:
            m.d.comb += xmap.i_vector.eq(step.x_vector)
            self._unit_bits(m, unit, bitmap)
            return
        s = after
        m.d.comb += [
            bitmap.i_setup.eq(self.setup),
            bitmap.i_buffer.eq(step.bits_buffer),
            bitmap.i_addr.eq(step.bits_addr),
            bitmap.i_start.eq(step.bits_start),
            bitmap.i_row_step.eq(step.bits_row_step),
            bitmap.i_cg_step.eq(step.bits_cg_step),
            bitmap.i_bank0.eq(step.bits_bank0),
            *(
                (bitmap.i_point.eq(step.bits_point), bitmap.i_half.eq(step.bits_half))
                if config.pointwise
                else ()
            ),
            bitmap.i_valid.eq(s.valid & s.last & step.bits_store),
            bitmap.i_first.eq(s.og_first),
            bitmap.i_odd.eq(s.odd),
            bitmap.i_row_last.eq(s.row_last),
            bitmap.i_bits.eq(bits),
        ]

    def _stages(self, m, seq):
        """The step's fields and set-up pulse for the lanes, and for what stores their results.

        Where a step may begin while results of the one before are on their way, these change as
        its first results come by.
        """
        if not self.config.beside:
            return (self.step, self.setup), (self.step, self.setup)
        step = seq.o_step
        setup = DelayLine(m, seq.o_setup, "stage_setup", reset=True)
        found = []
        for name, at in (("early", self.timing.early), ("late", self.timing.late)):
            fields = Signal.like(step, name=f"step_{name}", reset_less=True)
            with m.If(setup[at]):
                m.d.sync += fields.eq(step)
            found.append((fields, setup[at + 1]))
        return found

    def _threshold_unit(self, m, seq, xmap, late):
        m.submodules.threshold_unit = unit = ThresholdUnit(self.config)
        m.d.comb += [
            unit.i_due.eq(seq.o_due),
            seq.i_made.eq(unit.o_done),
            self.o_unit_done.eq(unit.o_done),
            unit.i_sum_en.eq(xmap.o_sum_en & late.sums),
            unit.i_sum_addr.eq(xmap.o_sum_addr),
            unit.i_sum.eq(xmap.o_sum),
        ]
        return unit

    @staticmethod
    def _unit_bits(m, unit, bitmap):
        """All bits come from the threshold unit, into the buffer that no step reads meanwhile."""
        entry = unit.o_entry
        m.d.comb += [
            bitmap.i_setup.eq(unit.o_setup),
            bitmap.i_buffer.eq(entry.bits_buffer),
            bitmap.i_addr.eq(entry.bits_addr),
            bitmap.i_start.eq(0),
            bitmap.i_row_step.eq(entry.bits_row_step),
            bitmap.i_cg_step.eq(entry.bits_cg_step),
            bitmap.i_bank0.eq(0),
            bitmap.i_valid.eq(unit.o_valid),
            bitmap.i_first.eq(unit.o_first),
            bitmap.i_odd.eq(unit.o_odd),
            bitmap.i_row_last.eq(unit.o_row_last),
            bitmap.i_bits.eq(unit.o_bits),
        ]

    def _frame(self, m, step, seq, result):
        # what decides that a frame starts comes late: it counts a cycle later, so one is missing
        started, count, before = Signal(), Signal(32), Signal(32)
        m.d.sync += [started.eq(seq.o_frame), count.eq(Mux(started, 1, count + 1))]
        if self.config.overlap:  # the frame started a turn of the program ago
            with m.If(started):
                m.d.sync += before.eq(count)
        m.d.comb += [
            result.i_start.eq(seq.o_result),
            result.i_address.eq(step.f_read),
            result.i_last.eq(step.n_classes),
            result.i_logit_addr.eq(self.i_logit_addr),
            seq.i_result_done.eq(result.o_done),
            self.o_logit.eq(result.o_logit),
            self.o_frame.eq(seq.o_frame),
            self.o_step_done.eq(seq.o_step_done),
        ]
        if self.config.batch > 1:
            m.d.comb += [result.i_next.eq(seq.o_result_next), result.i_step.eq(step.f_step)]
        done = Signal()  # the missing cycle has come by then
        m.d.sync += [done.eq(seq.o_done), self.o_done.eq(done)]
        with m.If(done):
            m.d.sync += [self.o_cycles.eq(count + before), self.o_class.eq(result.o_class)]
