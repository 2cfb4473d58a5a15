"""Per-channel constants: loaded behind the computation, swapped stage by stage with the data."""

from amaranth.hdl import *
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from ..leaf import leaf
from ..units.dsp import Multiplier18
from .common import DelayLine, Ram
from .config import BORDER_CLASSES, EngineConfig
from .gain_config import GAIN_BITS
from .lane import LATENCY, STAGE
from .loader import connect_stream, stream_members

__all__ = ["ConstantLoader", "LaneConstants"]

LANE_STAGES = 18  # swap pulses provided: one a lane stage


class LaneConstants(wiring.Component):
    """One lane's constants: a shadow record that shifts in word by word, and the active one.

    Members
    -------
    i_shift, i_word, o_word : In, In, Out
        Shift a word in, a cycle after i_shift; the word that leaves goes to the next lane.
    i_swap : In(LANE_STAGES)
        Bit n is a pulse n cycles after the output group's first group reaches lane stage -2: fields
        used at stage n change a cycle later.
    i_vector, i_gain : In(signed(18)), In(1), where the configuration has gains
        In a step with ``i_gain`` the word that the gain becomes, when it is swapped.
    i_other, i_mix : In(signed(18)), In(1), likewise
        In a step with ``i_mix`` this times the lane's second gain is added to the bias; it stands
        from 4 cycles before the bias is swapped on.
    o_active : Out(const_layout)
    """

    def __init__(self, config: EngineConfig):
        self._config = config
        self.leaf_name = (
            f"lane_constants_{config.const_layout.size}_{config.const_words}_"
            f"{config.feature_bits}_{config.bias_bits}_{config.border_bits}_{config.rprelu}"
            + "_nothr" * config.thresholds + "_falls" * config.max_pool
            + "_gains" * (config.gains is not None)
        )
        gains = {}
        if config.gains is not None:
            value = In(signed(GAIN_BITS))
            gains = {"i_vector": value, "i_other": value, "i_gain": In(1), "i_mix": In(1)}
        super().__init__(
            gains
            | {
                "i_shift": In(1),
                "i_word": In(config.const_width),
                "o_word": Out(config.const_width),
                "i_swap": In(LANE_STAGES),
                "o_active": Out(config.const_layout),
            }
        )

    def elaborate(self, platform):
        m = Module()
        config = self._config
        width = config.const_width
        # enables of a lane's own: one of all lanes would cross the device and then some LUTs
        shift, swap = Signal(reset_less=True), Signal(LANE_STAGES, reset_less=True)
        m.d.sync += [shift.eq(self.i_shift), swap.eq(self.i_swap)]
        shadow = Signal(width * config.const_words, reset_less=True)
        with m.If(shift):
            m.d.sync += shadow.eq(Cat(shadow[width:], self.i_word))
        m.d.comb += self.o_word.eq(shadow[:width])
        loaded = Signal(config.const_layout)
        m.d.comb += loaded.eq(shadow[: config.const_layout.size])
        used_at = {
            "gain": STAGE["gain"],
            "bias": STAGE["bias"],
            "slope": STAGE["slope"],
            "act_bias": STAGE["act_bias"],
            "threshold": STAGE["threshold"],
            "falls": LATENCY,
            "second": STAGE["slope"],
        } | {f"border{i}": STAGE["border"] for i in range(BORDER_CLASSES)}
        following = {name: loaded[name] for name, _field in config.const_layout}
        if config.gains is not None:
            m.submodules.mix = mul = Multiplier18()
            m.d.comb += [
                mul.a.eq(self.i_other),
                mul.b.eq(loaded[config.second_field].as_signed()),
            ]
            following["gain"] = Mux(self.i_gain, self.i_vector, loaded.gain.as_signed())
            following["bias"] = loaded.bias.as_signed() + Mux(self.i_mix, mul.o, 0)
        for name, _field in config.const_layout:
            active = Signal.like(Value.cast(loaded[name]), name=f"active_{name}", reset_less=True)
            with m.If(swap[used_at[name]]):
                m.d.sync += active.eq(following[name])
            m.d.comb += Value.cast(self.o_active[name]).eq(active)
        return m


class ConstantLoader(wiring.Component):
    """Reads the constants of the next output group while the current one is computed.

    Parameters
    ----------
    config : EngineConfig
    hold : int
        Cycles from a take until the last field has been swapped.
    lead : int
        Cycles from a take until the first field is swapped: a group may be announced that early.

    Members
    -------
    i_setup, i_address, i_streamed, i_groups : In
        A step begins: where its constants lie (in the ring if streamed), and its output groups
        less one.
    i_take : In(1);  o_ready : Out(1)
        Handshake with the sequencer, which takes a cycle after a group got ready or later. Ready
        falls two cycles after a take.
    i_swap : In(LANE_STAGES)
    i_vector, i_other, i_gain, i_mix : In, where the configuration has gains
        As of `LaneConstants`, the first two arrays of P.
    o_active : Out(ArrayLayout(const_layout, P))

    A group's constants take P*R cycles; groups follow at least P*R + hold - lead + 4 apart.
    """

    def __init__(self, config: EngineConfig, *, hold: int, lead: int):
        self._config, self._hold = config, hold
        n_words = config.lanes * config.const_words
        # the last word arrives four cycles after its read is decided, a group is taken a cycle
        # after it got ready or later
        self._lead = max(0, min(lead - 3, n_words - 1))
        gains = {}
        if config.gains is not None:
            values = In(data.ArrayLayout(signed(GAIN_BITS), config.lanes))
            gains = {"i_vector": values, "i_other": values, "i_gain": In(1), "i_mix": In(1)}
        super().__init__(
            gains
            | {
                "i_setup": In(1),
                "i_address": In(range(config.const_depth)),
                "i_streamed": In(1),
                "i_groups": In(12),
                "i_take": In(1),
                "o_ready": Out(1),
                "i_swap": In(LANE_STAGES),
                "o_active": Out(data.ArrayLayout(config.const_layout, config.lanes)),
            }
            | stream_members(config, "constants")
        )

    def elaborate(self, platform):
        m = Module()
        config = self._config
        width, depth = config.memories()["constants"]
        m.submodules.constants = ram = Ram(
            name="constants", width=width, depth=depth, registered=True
        )
        n_words = config.lanes * config.const_words
        count = Signal(range(n_words))
        groups = Signal(12)
        hold = Signal(range(self._hold + 1))
        address = Signal(range(depth))
        reading = Signal()
        m.d.sync += [ram.r_addr.eq(address), ram.r_en.eq(reading)]
        arriving = DelayLine(m, reading, "arriving", reset=True)
        following, there, first_address = Signal.like(address), Signal(init=1), self.i_address
        m.d.comb += following.eq(address + 1)
        if config.streams:
            first_address = self._stream(m, ram, address, following, reading, there)
        with m.If(reading):
            m.d.sync += [address.eq(following), count.eq(count + 1)]
            with m.If(count == n_words - 1 - self._lead):
                m.d.sync += self.o_ready.eq(1)
        # a take comes from far: from a register
        took = Signal()
        m.d.sync += took.eq(self.i_take)
        with m.If(took):
            m.d.sync += self.o_ready.eq(0)
        with m.FSM():
            with m.State("IDLE"):
                with m.If(self.i_setup):
                    m.d.sync += [
                        address.eq(first_address),
                        groups.eq(self.i_groups),
                        count.eq(0),
                    ]
                    m.next = "LOAD"
            with m.State("LOAD"):
                m.d.comb += reading.eq((count != 0) | there)
                with m.If(count == n_words - 1):
                    m.next = "FULL"
            with m.State("FULL"):
                m.d.sync += count.eq(0)
                with m.If(~self.o_ready):
                    m.next = "HOLD"
            with m.State("HOLD"):
                with m.If(hold == 0):
                    m.d.sync += groups.eq(groups - 1)
                    m.next = "LOAD"
                    with m.If(groups == 0):
                        m.next = "IDLE"
        with m.If(took):
            m.d.sync += hold.eq(self._hold - 1)
        with m.Elif(hold != 0):
            m.d.sync += hold.eq(hold - 1)
        word = ram.r_data
        shift = arriving[2]
        for p in range(config.lanes):
            bank = LaneConstants(config)
            m.d.comb += [
                bank.i_shift.eq(shift),
                bank.i_word.eq(word),
                bank.i_swap.eq(self.i_swap),
                self.o_active[p].eq(bank.o_active),
            ]
            if config.gains is not None:
                m.d.comb += [
                    bank.i_vector.eq(self.i_vector[p]),
                    bank.i_other.eq(self.i_other[p]),
                    bank.i_gain.eq(self.i_gain),
                    bank.i_mix.eq(self.i_mix),
                ]
            m.submodules[f"lane{p}"] = leaf(bank, platform)
            word = bank.o_word
        return m

    def _stream(self, m, ram, address, following, reading, there):
        """The ring: where the next group lies, whether it is there; returns a step's address."""
        config = self._config
        connect_stream(m, self, ram, "constants")
        depth, ring = config.memories()["constants"][1], config.rings["constants"]
        point = Signal(range(depth), init=depth - ring)
        streamed = Signal()
        with m.If(self.i_setup):
            m.d.sync += streamed.eq(self.i_streamed)
        m.d.comb += [
            there.eq(~streamed | self.i_enough_constants),
            self.o_read_constants.eq(reading & streamed),
        ]
        with m.If(streamed & (address == depth - 1)):
            m.d.comb += following.eq(depth - ring)
        with m.If(reading & streamed):
            m.d.sync += point.eq(following)
        return Mux(self.i_streamed, point, self.i_address)
