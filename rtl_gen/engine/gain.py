"""Steps that apply gains of the image: the maps that wait for them, products, vectors to mix.

Such a step has no weights. Its sums are stored values: of a map that waits, whose gains are read
beside, or the first of two vectors to mix, the second of which becomes part of the lanes' bias.
"""

from amaranth.hdl import *
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from ..units.dsp import Multiplier18
from .common import AddressWalker, DelayLine, Ram
from .config import EngineConfig
from .gain_config import GAIN_BITS
from .lane import LATENCY, STAGE, saturate
from .xmap import XMap

__all__ = ["Branch", "Products", "join_branch", "join_vectors", "map_sums"]


class Products(wiring.Component):
    """Products of two maps, element by element: ``ints.product``, saturated.

    Members
    -------
    i_shift : In
        Index of the shift, static during a step.
    i_x, i_r : In(ArrayLayout(signed(feature_bits), n))
    o_x : Out(ArrayLayout(signed(feature_bits), n))

    Latency: 5 cycles. Throughput: n products a cycle.
    """

    LATENCY = Multiplier18.LATENCY + 2

    def __init__(self, *, count: int, bits: int, shifts: tuple[int, ...]):
        self._count, self._bits, self._shifts = count, bits, shifts
        values = data.ArrayLayout(signed(bits), count)
        super().__init__(
            {
                "i_shift": In(range(max(2, len(shifts)))),
                "i_x": In(values),
                "i_r": In(values),
                "o_x": Out(values),
            }
        )

    def elaborate(self, platform):
        m = Module()
        half = Signal(max(self._shifts) + 1)
        with m.Switch(self.i_shift):
            for index, shift in enumerate(self._shifts):
                with m.Case(index):
                    m.d.comb += half.eq((1 << shift) >> 1)
        for i in range(self._count):
            m.submodules[f"product{i}"] = mul = Multiplier18()
            rounded = Signal(signed(2 * self._bits + 1), name=f"rounded{i}", reset_less=True)
            shifted = Signal.like(rounded, name=f"shifted{i}")
            result = Signal(signed(self._bits), name=f"result{i}", reset_less=True)
            m.d.comb += [
                mul.a.eq(self.i_x[i]), mul.b.eq(self.i_r[i]), self.o_x[i].eq(result),
            ]
            with m.Switch(self.i_shift):
                for index, shift in enumerate(self._shifts):
                    with m.Case(index):
                        m.d.comb += shifted.eq(rounded >> shift)
            m.d.sync += rounded.eq(mul.o + half)
            m.d.sync += result.eq(saturate(m, shifted, self._bits, f"saturated{i}"))
        return m


class Branch(wiring.Component):
    """The memory of maps that wait for their gains; a step either writes one or reads one.

    Members
    -------
    i_setup, i_addr, i_step : In
        A step begins: first word of its map, words a plane.
    i_read, i_write : In(1)
        A group of pixels.
    i_read_first, i_write_first : In(1)
        It is its plane's first.
    i_word : In(P*T*feature_bits)
        With ``i_write``.
    o_word : Out(P*T*feature_bits)
        READ_LATENCY cycles after ``i_read``.
    i_moves, i_move_read, i_move_write, i_move_addr, i_move_word : In, with ``moves``
        A MoveUnit has the memory, and its accesses.
    """

    READ_LATENCY = 3
    WRITE_LATENCY = 2  # from ``i_write`` until it is stored

    def __init__(self, config: EngineConfig):
        self._shape = config.memories()["branch"]
        width, _depth = self._shape
        super().__init__(
            {
                "i_setup": In(1),
                "i_addr": In(config.step_layout["b_addr"].shape),
                "i_step": In(config.step_layout["f_step"].shape),
                "i_read": In(1),
                "i_write": In(1),
                "i_read_first": In(1),
                "i_write_first": In(1),
                "i_word": In(width),
                "o_word": Out(width),
            }
            | ({"i_moves": In(1), "i_move_read": In(1), "i_move_write": In(1),
                "i_move_addr": In(config.move_addr_bits),
                "i_move_word": In(width)} if config.moves else {})
        )
        self._moves = config.moves

    def elaborate(self, platform):
        m = Module()
        width, depth = self._shape
        m.submodules.branch = ram = Ram(name="branch", width=width, depth=depth, registered=True)
        m.submodules.walker = walker = AddressWalker(len(self.i_addr))
        m.d.comb += [
            walker.load.eq(self.i_setup),
            walker.base.eq(self.i_addr),
            walker.step.eq(self.i_step),
            walker.valid.eq(self.i_read | self.i_write),
            walker.first.eq(Mux(self.i_read, self.i_read_first, self.i_write_first)),
            self.o_word.eq(ram.r_data),
        ]
        ports = ((ram.r_en, self.i_read), (ram.r_addr, walker.addr), (ram.w_en, self.i_write),
                 (ram.w_addr, walker.addr), (ram.w_data, self.i_word))
        if self._moves:
            moved = (self.i_move_read, self.i_move_addr, self.i_move_write, self.i_move_addr,
                     self.i_move_word)
            ports = [(port, Mux(self.i_moves, its, value))
                     for (port, value), its in zip(ports, moved, strict=True)]
        for port, value in ports:
            register = Signal.like(port, name=f"{port.name}_r", reset_less=True)
            m.d.sync += register.eq(value)
            m.d.comb += port.eq(register)
        return m


def map_sums(m, config: EngineConfig, seq, issue, issue_to_d: int, xmap, branch, constants,
             levels=None):
    """What steps without weights have in the place of the dense array's sums (index p*T + t).

    Also hands the lanes' constants the gains of a map, or the second of two vectors, and ``levels``
    (the LevelsUnit, where there is one) the vectors that it reads.
    """
    step, t = seq.o_step, config.pixels
    read = issue[issue_to_d - Branch.READ_LATENCY]
    m.d.comb += [
        branch.i_read.eq(read.valid & read.inside & step.from_map & ~step.mix),
        branch.i_read_first.eq(read.og_first),
    ]

    # one word of each vector an output group; constants take longer than both
    first = issue[issue_to_d - XMap.READ_LATENCY]
    wanted = Signal()
    m.d.comb += wanted.eq(first.valid & first.og_first & step.from_map)
    turn = DelayLine(m, wanted, "wanted", reset=True)
    group = Signal.like(step.n_og)
    other_now = Signal()
    asks, place = wanted | other_now, Mux(other_now, step.x_step, step.x_addr) + group
    if levels is not None:
        asks |= levels.o_read & step.x_vector
        place = Mux(levels.o_busy, levels.o_addr, place)
    m.d.comb += [
        other_now.eq(turn[1] & step.mix),
        xmap.i_pass.eq(asks),
        xmap.i_pass_addr.eq(place),
        constants.i_vector.eq(xmap.o_vector),
        constants.i_gain.eq(step.from_map & ~step.mix),
        constants.i_mix.eq(step.mix),
    ]
    with m.If(turn[1]):
        m.d.sync += group.eq(group + 1)
    with m.If(seq.o_setup):
        m.d.sync += group.eq(0)
    other = Signal(data.ArrayLayout(signed(GAIN_BITS), config.lanes), reset_less=True)
    with m.If(turn[1 + XMap.READ_LATENCY]):
        m.d.sync += other.eq(xmap.o_vector)
    m.d.comb += constants.i_other.eq(other)

    stored = data.ArrayLayout(signed(config.feature_bits), config.lanes * t)(branch.o_word)
    sums = []
    for i in range(config.lanes * t):
        vector = xmap.o_vector[i // t] if i % t == 0 else Const(0, 1)
        sums.append(Mux(step.mix, vector, stored[i]))
    return sums


def join_branch(m, config: EngineConfig, seq, branch, stored, residual, stage):
    """Results that go to the maps that wait, times the residual where the step says so.

    ``stage(n)`` are the controls beside lane stage n. Returns a function of n that gives those
    with which a residual is read that the lanes would need so much later.
    """
    step, n = seq.o_step, config.lanes * config.pixels
    written, word = stage(LATENCY), stored.as_value()
    residual_at = stage
    if config.gains.product_shifts:
        m.submodules.products = unit = Products(
            count=n, bits=config.feature_bits, shifts=config.gains.product_shifts)
        late = LATENCY - STAGE["residual"]
        m.d.comb += [unit.i_x.eq(stored), unit.i_r.eq(residual),
                     unit.i_shift.eq(step.product_shift)]
        after = stage(LATENCY + Products.LATENCY)
        control = Signal.like(written, name="product_control")
        m.d.comb += control.eq(Mux(step.product, after, written))
        written, word = control, Mux(step.product, unit.o_x.as_value(), word)

        def residual_at(at):
            control = Signal.like(after, name="residual_control")
            m.d.comb += control.eq(Mux(step.product, stage(at + late), stage(at)))
            return control

    m.d.comb += [
        branch.i_setup.eq(seq.o_setup),
        branch.i_addr.eq(step.b_addr),
        branch.i_step.eq(step.f_step),
        branch.i_write.eq(written.valid & written.last & written.inside & step.b_store),
        branch.i_write_first.eq(written.og_first),
        branch.i_word.eq(word),
    ]
    return residual_at


def join_vectors(m, config: EngineConfig, step, stored, early, constants, xmap):
    """Channel sums, and the constants that make a gain of a sigmoid; returns the dense input.

    ``early`` holds the results before their activation.
    """
    made = Signal.like(stored, name="made")
    m.d.comb += [
        made.eq(Mux(step.x_early, early, stored)),
        xmap.i_vector.eq(step.x_vector),
        xmap.i_table.eq(step.sigmoid),
        xmap.i_sum.eq(step.sum),
        xmap.i_sum_addr.eq(step.sum_write),
        xmap.i_sum_x.eq(Mux(step.sum_early, early, stored)),
    ]
    if config.sum_depth:
        m.d.comb += [xmap.i_sum_begins.eq(step.sum_begins), xmap.i_sum_ends.eq(step.sum_ends)]
    for lane in range(config.lanes):
        constant = constants.o_active[lane][config.second_field]
        m.d.comb += xmap.i_gains[lane].eq(Value.cast(constant))
    return made
