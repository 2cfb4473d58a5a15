"""Parameters of the stem, the shapes of its memories, and which rows its windows reach."""

import dataclasses

__all__ = ["COLOURS", "KERNEL", "POOL_ROWS", "ROW_CLASSES", "StemConfig", "border_class"]

KERNEL = 7
COLOURS = 3
TAPS = KERNEL * COLOURS  # of one window row
REACH = 3  # rows and columns above and left of a window's centre
POOL_ROWS = 2  # convolution rows a pooled row adds
ROW_CLASSES = 4  # first, second, inner, last row or column of a stride-2 map
PIXEL_BITS = 8


def border_class(index: int, size: int) -> int:
    """Class of an output row or column: 0 first, 1 second, 3 last, 2 any other."""
    return 3 if index == size - 1 else min(index, 2)


def _bits(depth: int) -> int:
    return max(1, (depth - 1).bit_length())


@dataclasses.dataclass(frozen=True, kw_only=True)
class StemConfig:
    """Everything that shapes a stem's hardware: 7x7 stride 2 pad 3, then 3x3 stride 2 pad 1 max.

    Parameters
    ----------
    lanes : int
        C, output channels computed at once; even.
    out_channels : int
        A multiple of C.
    height, width : int
        Of the image in pixels; multiples of 4, at least 16.
    weight_bits : int
        2 to 8.
    acc_bits : int
        Width of the integer sum of weight times pixel (odd channels: pixel - 128); 24 bits hold
        any 8-bit weights.
    image_frac : int
        The result counts in 2**-image_frac of a pixel step.
    logic_pairs : int
        Of the 21*C/2 multipliers, how many are made of LUTs; a multiple of C/2, as lanes are alike.
    ring_rows : int
        Image rows on chip, at least 9: the seven of a window and the two that arrive meanwhile.
    out_rows : int
        Finished pooled rows that may wait for their reader.

    ValueError names the parameter that does not fit.
    """

    lanes: int = 8
    out_channels: int = 64
    height: int = 224
    width: int = 224
    weight_bits: int = 8
    acc_bits: int = 24
    image_frac: int = 6
    logic_pairs: int = 0
    ring_rows: int = 9
    out_rows: int = 2
    pixels = 1  # of a word of the result

    def __post_init__(self):
        faults = {
            "lanes": self.lanes < 2 or self.lanes % 2,
            "out_channels": self.out_channels < 1 or self.out_channels % self.lanes,
            "height": self.height < 16 or self.height % 4,
            "width": self.width < 16 or self.width % 4,
            "weight_bits": not 2 <= self.weight_bits <= 8,
            "logic_pairs": not 0 <= self.logic_pairs <= TAPS * self.pairs
            or self.logic_pairs % max(1, self.pairs),
            "ring_rows": self.ring_rows < 9,
            "out_rows": self.out_rows < 1,
            "image_frac": self.image_frac < 0,
        }
        for name, fault in faults.items():
            if fault:
                raise ValueError(f"a stem cannot have {name} {getattr(self, name)}")

    @property
    def pairs(self) -> int:
        """Lanes of the multiplier array; each makes two channels."""
        return self.lanes // 2

    @property
    def macs(self) -> int:
        """Multiply-accumulates a cycle."""
        return TAPS * self.lanes

    @property
    def logic_taps(self) -> int:
        """Taps of each lane that multiply in LUTs."""
        return self.logic_pairs // self.pairs

    @property
    def groups(self) -> int:
        """G, channel groups."""
        return self.out_channels // self.lanes

    @property
    def conv_rows(self) -> int:
        """Rows of the convolution's map."""
        return self.height // 2

    @property
    def conv_width(self) -> int:
        """Columns of the convolution's map; also 2-pixel words of an image row."""
        return self.width // 2

    @property
    def pooled_width(self) -> int:
        """Columns of the result."""
        return self.width // 4

    @property
    def result_bits(self) -> int:
        """Width of one channel's result."""
        return self.acc_bits + self.image_frac

    @property
    def pass_cycles(self) -> int:
        """Cycles of a pass: one window row, C channels, a row of the map."""
        return max(self.conv_width + 1, self.lanes + 2)

    @property
    def pass_words(self) -> int:
        """Words of weights of a pass: two a lane."""
        return self.lanes

    @property
    def weight_word(self) -> int:
        """Width of a word of weights: half of a lane's."""
        return (2 * TAPS * self.weight_bits + self.const_bits + 1) // 2

    @property
    def const_bits(self) -> int:
        """Width of a lane's constant, see ``PackedMac.i_const``."""
        top = 1 << (self.weight_bits - 1)
        return (TAPS * (2 * top - 1) * top).bit_length() + 1

    @property
    def border_base(self) -> int:
        """Where border constants begin in ``stem_psum``: a power of two."""
        return 1 << max(_bits(self.conv_width), _bits(16 * self.groups))

    @property
    def row_words(self) -> int:
        """Words of one result row, C channels each; word g*W/4 + px."""
        return self.groups * self.pooled_width

    @property
    def out_slot(self) -> int:
        """Distance of two result rows in ``stem_out``: a power of two."""
        return 1 << _bits(self.row_words)

    def kernel_rows(self, y: int) -> range:
        """Kernel rows ky whose image row 2*y - 3 + ky exists, for a row of the map."""
        return range(max(0, REACH - 2 * y), min(KERNEL, self.height + REACH - 2 * y))

    def first_row(self, y: int) -> int:
        """First image row that map row ``y`` reads."""
        return max(0, 2 * y - REACH)

    def last_row(self, y: int) -> int:
        """Last image row that map row ``y`` reads."""
        return min(self.height - 1, 2 * y + REACH)

    def memories(self) -> dict[str, tuple[int, int]]:
        """Memories by name: (width, depth)."""
        word = self.lanes * self.result_bits
        return {
            "stem_rows": (2 * COLOURS * PIXEL_BITS, self.ring_rows * self.conv_width),
            "stem_weights": (self.weight_word, self.groups * KERNEL * self.pass_words),
            "stem_psum": (word, self.border_base + 16 * self.groups),
            "stem_pool": (word, self.row_words),
            "stem_out": (word, self.out_rows * self.out_slot),
        }
