"""Parameters of one engine and the bit layouts that its programs and tables have.

The compiler (hwbnn) derives a configuration from a network and a budget; nothing here knows
networks. Layouts are Amaranth structures, so that hardware and packer use the same object.
"""

import dataclasses
import functools
import math

from amaranth.hdl import unsigned
from amaranth.lib import data

from ..sdram.timing import BURST
from ..units.shift_add import term_layout
from .first_config import FirstConfig
from .gain_config import GAIN_BITS, GainConfig
from .run_time_config import RunTimeConfig
from .stem_config import StemConfig
from .step_fields import (
    BESIDE_FIELDS,
    COORDINATE_BITS,
    IMAGE_FIELDS,
    PASS_FIELD,
    POINT_WORDS,
    POINTWISE_FIELDS,
    ROW_BANKS,
    SIGNED_FIELD,
    VECTOR_FIELD,
    centre_fields,
)

__all__ = ["POINT_WORDS", "ROW_BANKS", "EngineConfig"]

BORDER_CLASSES = 9  # (middle, top, bottom) x (middle, left, right)
PIXEL_BITS = 24  # three 8-bit channels
STREAM_BITS = 16  # of a word of the off-chip weight stream
STREAM_KINDS = ("weights", "dense_weights", "constants")  # memories it fills, by segment kind
STEPS_KIND = "steps"  # one more, where the program is in the stream
IMAGE_TAPS = 27  # 3x3 window of three channels


def _bits(depth: int) -> int:
    """Address bits of ``depth`` entries, at least one."""
    return max(1, (depth - 1).bit_length())


@dataclasses.dataclass(frozen=True, kw_only=True)
class EngineConfig:
    """Everything that shapes an engine's hardware.

    Parameters
    ----------
    channels_in : int
        S: input channels that a window carries.
    lanes : int
        P: output channels computed at once. At most S, or exactly 2*S.
    pixels : int
        T: adjacent output pixels computed at once, a power of two.
    dense_inputs : int
        K: multi-bit inputs per lane and cycle of the dense array; a multiple or divisor of P.
    id_bits : int
        Width of a kernel ID; below 9 a codebook expands it, 9 stores kernels themselves.
    feature_bits, weight_bits, acc_bits, z_bits, bias_bits, border_bits : int
        Widths of stored maps, multi-bit weights, accumulators, the value before saturation, the
        affine's bias, and the border constant of a popcount.
    affine_shifts, prescales, gsum_shifts : tuple of int
        Shifts that a step selects from, by index.
    slope_shift : int
        Fraction bits of RPReLU slopes.
    rprelu : str
        "multiplier", "shift" or "none".
    scale_digits : int
        Signed powers of two that a lane's gain is the sum of, 1 to 3: shifts and adders take the
        place of the lane's multiplier. 0: any gain of 18 bits, by a multiplier.
    const_words : int
        R: words in which one lane's constants are stored.
    shared_x : bool
        Dense inputs lie in the feature memory; it takes one word a cycle, so no map may be stored
        both as it is and pooled. ``dense_inputs`` must divide ``lanes``.
    pointwise : bool
        1x1 binary convolutions: bit maps may be written by channel groups (see BitMap). P must
        divide S.
    centred : bool
        1x1 binary convolutions of maps that lie by rows, as the middle of 3x3 windows, or of the
        last groups of lanes of its channel word.
    sampled : bool
        Maps may be handed to the dense array with every second row and column.
    pooled : bool
        Maps may be handed to the dense array pooled 2x2.
    max_pool : bool
        Results may be max-pooled 2x2.
    clamps : tuple of (int, int)
        Limits that a step may clamp its results to, beside those of ``feature_bits``.
    run_time : RunTimeConfig, optional
        All activation bits are made by passes over stored maps, at thresholds of each image; or
        maps get gains of each image. There is one bit buffer. Dense inputs that are maps lie in the
        feature memory (``shared_x``), vectors in a memory of their own.
    stem : StemConfig or FirstConfig, optional
        A unit beside the engine computes the first layer; its ``lanes`` are this engine's.
    dense_maps : bool
        The dense array computes the first layer, or reads maps; else vectors alone, of one pixel.
    ring_words : tuple of int
        Words at the end of each memory of STREAM_KINDS that the weight stream fills; empty where
        all weights are on chip.
    stream_weight_bits : int
        Width of multi-bit weights in the weight stream; 0 is ``weight_bits``.
    sdram_mb : int
        Size of the memory that the weight stream comes from (rtl_gen.sdram.timing.PARTS); cycles
        depend on it, the engine does not.
    streamed_steps : bool
        The program comes with the weights: the step memory is a ring that the stream fills.
    overlap : bool
        A turn of the program ends one frame and begins the next: the first result is none.
    batch : int
        Most images that a step computes with one load of weights; so many a turn of the program.
    bit_depth, image_depth, feature_depth, x_depth, psum_depth, weight_depth,
    dense_weight_depth, const_depth, codebook_depth, step_depth, load_depth, pool_depth,
    logit_depth : int
        Depths of the memories, in their own words (bit_depth and image_depth per row bank).
    """

    channels_in: int
    lanes: int
    pixels: int = 1
    dense_inputs: int = 8
    id_bits: int = 9
    feature_bits: int = 16
    weight_bits: int = 8
    acc_bits: int = 36
    z_bits: int = 24
    bias_bits: int = 36
    border_bits: int = 15
    affine_shifts: tuple[int, ...] = (0,)
    prescales: tuple[int, ...] = (0,)
    gsum_shifts: tuple[int, ...] = (0,)
    slope_shift: int = 14
    rprelu: str = "multiplier"
    scale_digits: int = 0
    image_frac: int = 6
    shared_x: bool = False
    pointwise: bool = False
    centred: bool = False
    sampled: bool = False
    pooled: bool = True
    max_pool: bool = False
    clamps: tuple[tuple[int, int], ...] = ()
    run_time: RunTimeConfig | None = None
    stem: StemConfig | FirstConfig | None = None
    signed_sums: bool = False
    dense_maps: bool = True
    ring_words: tuple[int, ...] = ()
    stream_weight_bits: int = 0
    sdram_mb: int = 32
    streamed_steps: bool = False
    overlap: bool = False
    batch: int = 1
    const_words: int = 4
    bit_depth: int = 512
    image_depth: int = 512
    feature_depth: int = 512
    x_depth: int = 512
    psum_depth: int = 512
    weight_depth: int = 512
    dense_weight_depth: int = 512
    const_depth: int = 512
    codebook_depth: int = 512
    step_depth: int = 512
    load_depth: int = 512
    pool_depth: int = 32
    logit_depth: int = 1024

    def __post_init__(self):
        s, p, t, k = self.channels_in, self.lanes, self.pixels, self.dense_inputs
        if min(s, p, t, k) < 1:
            raise ValueError("channels_in, lanes, pixels and dense_inputs must be positive")
        if p > s and p != 2 * s:
            raise ValueError(f"lanes must be at most channels_in ({s}) or {2 * s}, not {p}")
        if t & (t - 1):
            raise ValueError(f"pixels must be a power of two, not {t}")
        if k % p and p % k:
            raise ValueError(f"dense_inputs must divide or be a multiple of lanes, not {k} and {p}")
        if self.rprelu not in ("multiplier", "shift", "none"):
            raise ValueError(f"rprelu must be multiplier, shift or none, not {self.rprelu!r}")
        if self.shared_x and p % k:
            raise ValueError(f"dense inputs in the feature memory: {k} must divide {p} lanes")
        if self.thresholds and (not self.shared_x or self.pointwise):
            raise ValueError("run-time thresholds need shared_x and no 1x1 binary convolutions")
        if self.gains is not None and (not self.shared_x or self.max_pool or self.batch > 1):
            raise ValueError("run-time gains need shared_x, no max-pools and no batches")
        if self.beside and self.pass_words == 2 and (self.straddles or p > s):
            raise ValueError("a pass of two words a cycle needs lanes that divide the channels of "
                             f"a word, not {p} and {s}")
        if self.moves and (not self.streams or p * t % BURST or self.feature_bits > STREAM_BITS):
            raise ValueError(f"maps in off-chip memory need weights from there, {BURST} lanes or "
                             f"pixels and maps of {STREAM_BITS} bits or fewer")
        if not self.dense_maps and not isinstance(self.stem, FirstConfig):
            raise ValueError("a dense array for vectors alone needs a unit for the first layer")
        if not 0 <= self.scale_digits <= 3:
            raise ValueError(f"scale_digits must be 0 to 3, not {self.scale_digits}")
        if self.scale_digits and self.run_time is not None:
            raise ValueError("scales by shifts are for machines without thresholds or gains of "
                             "each image")
        if self.signed_sums and self.run_time is not None:
            raise ValueError("sums of ±1 weights are for machines without thresholds or gains of "
                             "each image")
        pooled_stem = isinstance(self.stem, StemConfig)
        if self.beside and (p % self.run_time.unit.inputs or pooled_stem or self.ring_words):
            raise ValueError("a threshold unit needs inputs that divide the lanes, no 7x7 stem, "
                             "and weights on chip")
        if any(lo > hi for lo, hi in self.clamps):
            raise ValueError(f"clamps {self.clamps}")
        if self.pointwise and s % p:
            raise ValueError(f"1x1 convolutions need lanes that divide the {s} channels, not {p}")
        if self.stem is not None and (self.stem.lanes, self.stem.pixels) != (p, t):
            raise ValueError(f"a stem of {self.stem.lanes} lanes beside {p} lanes of {t} pixels")
        if self.batch < 1 or (self.batch > 1 and self.overlap):
            raise ValueError(f"a batch of {self.batch} images"
                             + " and frames that overlap" * self.overlap)
        if len(self.ring_words) not in (0, len(STREAM_KINDS)):
            raise ValueError(f"ring_words are {len(STREAM_KINDS)} numbers or none")
        if not 0 <= self.stream_weight_bits <= self.weight_bits:
            raise ValueError(f"stream_weight_bits must be 0 to {self.weight_bits}, not "
                             f"{self.stream_weight_bits}")
        if self.streamed_steps and not self.ring_words:
            raise ValueError("a program in the weight stream needs weights from off-chip memory")
        if not 1 <= self.id_bits <= 9:
            raise ValueError(f"id_bits must be 1 to 9, not {self.id_bits}")

    # -- derived sizes -----------------------------------------------------------------------

    @property
    def straddles(self) -> bool:
        """Whether a lane group can touch two channel words, which costs a second write."""
        return self.channels_in % self.lanes != 0

    @property
    def gains(self) -> GainConfig | None:
        """What gains of each image need, where maps have them."""
        return self.run_time.gains if self.run_time is not None else None

    @property
    def levels(self) -> tuple[int, ...]:
        """Bits of levels that maps and vectors come to, between values that each image decides."""
        return self.gains.levels if self.gains is not None else ()

    @property
    def sum_depth(self) -> int:
        """Words of channel sums that wait between the steps of a map; 0 where none do."""
        return self.gains.sum_depth if self.gains is not None else 0

    @property
    def moves(self) -> bool:
        """Whether maps may lie in off-chip memory."""
        return self.gains is not None and self.gains.moves

    @property
    def move_addr_bits(self) -> int:
        """Address bits of the larger one of the memories that rows move to and from."""
        return _bits(max(self.feature_depth, self.gains.branch_depth))

    @property
    def thresholds(self) -> bool:
        """Whether activation bits are made at thresholds of each image, from stored maps."""
        return self.run_time is not None and self.run_time.gains is None

    @property
    def beside(self) -> bool:
        """Whether a threshold unit works beside the array, on another frame."""
        return self.run_time is not None and self.run_time.unit is not None

    @property
    def vectors(self) -> bool:
        """Whether steps of the program work on channel vectors: dense layers, sigmoids."""
        return self.run_time is not None and not self.beside

    @property
    def passes(self) -> bool:
        """Whether passes over maps are steps of the program."""
        return self.thresholds and self.vectors

    @property
    def pass_words(self) -> int:
        """Words of a map that a threshold unit takes a cycle."""
        return self.run_time.unit.words if self.beside else 1

    @property
    def second_field(self) -> str:
        """Name of a lane constant that steps of gains use as a second gain."""
        return "slope" if self.rprelu == "multiplier" else "second"

    @property
    def bit_buffers(self) -> str:
        """Names of the bit buffers: one where no layer writes bits while it reads others."""
        return "a" if self.vectors else "ab"

    @property
    def x_mode_bits(self) -> int:
        """Width of a step's ``x_mode`` (see XMode)."""
        return 2 + (self.sampled or self.run_time is not None)

    @property
    def x_banks(self) -> int:
        """Banks of the dense input memory: channels read at once over channels written at once."""
        return max(1, self.dense_inputs // self.lanes)

    @property
    def x_slices(self) -> int:
        """Dense reads that one stored word serves."""
        return max(1, self.lanes // self.dense_inputs)

    @property
    def window_bits(self) -> int:
        return 9 * self.channels_in

    @property
    def array_macs(self) -> int:
        """Binary multiply-accumulates per cycle."""
        return self.window_bits * self.lanes * self.pixels

    @property
    def dense_pixels(self) -> int:
        """Pixels at once of the dense array."""
        return self.pixels if self.dense_maps else 1

    @property
    def dense_macs(self) -> int:
        """Multi-bit multiply-accumulates per cycle."""
        return self.dense_inputs * self.lanes * self.dense_pixels

    @property
    def has_codebook(self) -> bool:
        return self.id_bits < 9

    @property
    def slot_step(self) -> int:
        """Granularity of a lane group's position in a channel word."""
        return math.gcd(self.lanes, self.channels_in)

    @property
    def streams(self) -> bool:
        """Whether weights come from off-chip memory."""
        return bool(self.ring_words)

    @property
    def stream_kinds(self) -> tuple[str, ...]:
        """Memories that the weight stream fills, by the kind of a segment."""
        return (*STREAM_KINDS, STEPS_KIND) if self.streamed_steps else STREAM_KINDS

    @property
    def rings(self) -> dict[str, int]:
        """Words of each memory's ring."""
        rings = dict(zip(STREAM_KINDS, self.ring_words or (0,) * len(STREAM_KINDS), strict=True))
        return rings | ({STEPS_KIND: self.step_depth} if self.streamed_steps else {})

    @functools.cached_property
    def stream_widths(self) -> dict[str, int]:
        """Bits that a word of each memory has in the stream."""
        memories = self.memories()
        dense = self.dense_inputs * (self.stream_weight_bits or self.weight_bits)
        return {kind: memories[kind][0] for kind in self.stream_kinds} | {"dense_weights": dense}

    @property
    def read_at_once(self) -> dict[str, int]:
        """Words of each streamed memory that its reader waits for: a tile, a group's constants, a
        step's next word."""
        return dict.fromkeys(STREAM_KINDS, self.lanes) | {
            "constants": self.lanes * self.const_words, STEPS_KIND: 1}

    @functools.cached_property
    def stream_parts(self) -> dict[str, int]:
        """16-bit words that a word of each memory takes in the stream."""
        return {kind: -(-bits // STREAM_BITS) for kind, bits in self.stream_widths.items()}

    # -- memories: name -> (width, depth) ----------------------------------------------------

    def memories(self) -> dict[str, tuple[int, int]]:
        """Width and depth of every block-RAM memory by its name."""
        return dict(self._memories)

    @functools.cached_property
    def _memories(self) -> dict[str, tuple[int, int]]:
        p, t, f = self.lanes, self.pixels, self.feature_bits
        result = {}
        for bank in range(ROW_BANKS):
            for buffer in self.bit_buffers:
                result[f"bits_{buffer}{bank}"] = (2 * t * self.channels_in, self.bit_depth)
            if self.stem is None:
                result[f"image{bank}"] = (2 * t * PIXEL_BITS, self.image_depth)
        if self.stem is not None:
            result |= self.stem.memories()
        result["features"] = (p * t * f, self.feature_depth)
        for bank in range(0 if self.shared_x else self.x_banks):
            result[f"x{bank}"] = (p * t * f, self.x_depth)
        if self.run_time is not None:
            result |= self.run_time.memories(p, t, f)
        if self.beside:
            unit = self.run_time.unit
            result["features1"] = (p * t * f, unit.feature_depth)
            for name in ("features", "features1") if unit.words == 2 else ():
                width, depth = result[name]
                result[name] = result[f"{name}_odd"] = (width, max(2, -(-depth // 2)))
            result |= unit.memories(p, f, self.weight_bits, self.bias_bits)
        result["psum"] = (p * t * self.acc_bits, self.psum_depth)
        result["weights"] = (self.id_bits * self.channels_in, self.weight_depth)
        result["dense_weights"] = (self.weight_bits * self.dense_inputs, self.dense_weight_depth)
        result["constants"] = (self.const_width, self.const_depth)
        if self.has_codebook:
            result["codebooks"] = (9, self.codebook_depth)
        result["steps"] = (self.step_word_bits, self.step_depth)
        result["loads"] = (self.load_layout.size, self.load_depth)
        if self.max_pool:
            result["max_pool"] = (p * t * f, self.pool_depth)
        if self.pooled:
            result["pool"] = (p * t * (f + 1), self.pool_depth)
        result["logits"] = (f, self.logit_depth)
        return result

    # -- layouts -----------------------------------------------------------------------------

    @property
    def slope_layout(self):
        """What a lane's slope is made of."""
        if self.rprelu == "shift":
            # shift = 7 - exponent, 0..26
            return data.StructLayout({"negative": unsigned(1), "shift": unsigned(5)})
        return data.StructLayout({"value": unsigned(18)})

    @functools.cached_property
    def const_layout(self) -> data.StructLayout:
        """One lane's constants; signed fields are stored as two's complement."""
        gain = self.scale_digits * term_layout().size or 18
        fields = {"gain": unsigned(gain), "bias": unsigned(self.bias_bits)}
        if self.rprelu != "none":
            fields["slope"] = unsigned(self.slope_layout.size)
            fields["act_bias"] = unsigned(self.feature_bits)
        if not self.thresholds:
            fields["threshold"] = unsigned(self.feature_bits + 1)
        if self.gains is not None and self.second_field not in fields:
            fields[self.second_field] = unsigned(GAIN_BITS)
        if self.max_pool:
            fields["falls"] = unsigned(1)  # the gain is negative
        for i in range(BORDER_CLASSES):
            fields[f"border{i}"] = unsigned(self.border_bits)
        return data.StructLayout(fields)

    @property
    def const_width(self) -> int:
        """Width of a word of the constant memory."""
        return -(-self.const_layout.size // self.const_words)

    @property
    def bit_addr_bits(self) -> int:
        return _bits(self.bit_depth if self.stem else max(self.bit_depth, self.image_depth))

    @property
    def feature_addr_bits(self) -> int:
        second = self.run_time.unit.feature_depth if self.beside else 0
        return _bits(max(self.feature_depth, second))

    @functools.cached_property
    def step_layout(self) -> data.StructLayout:
        """One compute step: a convolution over a row range, and what becomes of its results."""
        ba, fa = self.bit_addr_bits, self.feature_addr_bits
        xa = fa if self.shared_x else _bits(self.x_depth)
        if self.run_time is not None:
            xa = max(xa, _bits(self.run_time.vector_depth))
        return data.StructLayout(
            {
                "dense": 1,  # dense array, else XNOR array
                "from_x": 1,  # dense input is the X memory, else the image
                "stem": 1,  # sums come from the stem (and "dense" is set)
                "source": 1,  # bit buffer read
                "last": 1,  # the program's last step
                "result": 1,  # the frame's logits are stored when it ends
                "n_og": 10,  # output channel groups of P, less one
                # input groups (S channels, K inputs), less one
                "n_ig": 10 if self.run_time is None else 12,
                "n_y": COORDINATE_BITS,  # rows of the range, less one
                # images per weight load, less one
                "batch": 3 if self.batch == 1 else _bits(self.batch),
                "n_x": COORDINATE_BITS,  # groups of T pixels issued per row, less one
                "h_in": COORDINATE_BITS,
                "w_in": COORDINATE_BITS,
                "w_out": COORDINATE_BITS,
                "stride2": 1,
                "row0": COORDINATE_BITS,  # centre row of the first window
                "top0": 2,  # row bank of its top row
                "plane": ba,  # first word of the map read
                "row0_off": ba,  # where each row bank starts in a plane
                "row1_off": ba,
                "row2_off": ba,
                "row_step": ba,
                "row_last": ba,  # last row of a bank; its first one follows
                "cg_step": ba,
                "x_addr": xa,
                "x_step": xa,
                "const_addr": _bits(self.const_depth),
                "const_streamed": 1,
                "prescale": _bits(len(self.prescales)),
                "shift": _bits(len(self.affine_shifts)),
                "residual": 1,
                "f_read": fa,
                "f_write": fa,
                "f_step": fa,
                "f_store": 1,
                "bits_store": 1,
                "bits_buffer": 1,
                "bits_addr": ba,
                "bits_start": _bits(self.channels_in),  # channel of a word written first
                "bits_row_step": ba,
                "bits_cg_step": ba,
                "bits_bank0": 2,
                # 0 none, 1 map, 2 pooled 2x2, 3 channel sums, 4 every second row and column,
                # 5 sigmoid of a vector
                "x_mode": self.x_mode_bits,
                "x_write": xa,
                "x_write_step": xa,
                "gsum": _bits(len(self.gsum_shifts)),
                "n_classes": _bits(self.logit_depth),  # of a result, less one
            }
            | ({} if self.stem else IMAGE_FIELDS)
            | (POINTWISE_FIELDS if self.pointwise else {})
            | (centre_fields(self.channels_in // self.lanes) if self.centred else {})
            | ({"clamp": _bits(1 + len(self.clamps))} if self.clamps else {})
            | ({"max_pool": 1} if self.max_pool else {})
            | (SIGNED_FIELD if self.signed_sums else {})
            | self._run_time_fields()
        )

    def _run_time_fields(self) -> dict[str, int]:
        if self.run_time is None:
            return {}
        if self.beside:
            return VECTOR_FIELD | BESIDE_FIELDS
        # which position a sigmoid has
        fields = VECTOR_FIELD | {"sigmoid": _bits(len(self.run_time.fracs))}
        if self.gains is not None:
            depth = self.run_time.vector_depth
            return fields | self.gains.fields(_bits(depth), self.lanes, self.feature_bits)
        # lanes of a pass' last group, less one
        return PASS_FIELD | fields | {"pass_lanes": _bits(self.lanes)}

    @property
    def step_word_bits(self) -> int:
        return 36

    @property
    def step_words(self) -> int:
        """Words of the step memory per step."""
        return -(-self.step_layout.size // self.step_word_bits)

    @functools.cached_property
    def load_layout(self) -> data.StructLayout:
        """What the weight loader does for one step."""
        return data.StructLayout(
            {
                "dense": 1,
                "last": 1,
                "n_tiles": 18,  # less one
                "streamed": 1,
                "address": _bits(max(self.weight_depth, self.dense_weight_depth)),
                "codebook": 1,
                "code_address": _bits(self.codebook_depth),
            }
        )
