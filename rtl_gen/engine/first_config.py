"""Parameters of a unit that computes the first convolution beside the engine, and its cycles."""

import dataclasses

__all__ = ["COLOURS", "PAIR", "TAPS", "FirstConfig", "FirstTimes"]

COLOURS = 3
TAPS = 9 * COLOURS
PAIR = 2  # channels computed at once
IDLE = 4  # cycles of a step that computes nothing
# from the cycle after the last step of an image to the first in which ``o_ready`` shows, beyond
# the latency of the products
READY = 5


@dataclasses.dataclass(frozen=True, kw_only=True)
class FirstConfig:
    """A 3x3 convolution of stride 1 and padding 1 on 8-bit RGB images.

    Parameters
    ----------
    lanes, pixels : int
        P and T of the engine that takes the result in words of P channels of T pixels.
    channels : int
        Output channels, a multiple of P.
    height, width : int
        Of the image.
    weight_bits : int
    acc_bits : int
        Width of a result.
    image_frac : int
        A pixel counts in 2**-image_frac of its step.
    offset : tuple of int
        What is subtracted from a pixel by colour, in these units.

    ValueError names the parameter that does not fit.
    """

    lanes: int
    pixels: int
    channels: int
    height: int
    width: int
    weight_bits: int
    acc_bits: int
    image_frac: int
    offset: tuple[int, int, int]

    def __post_init__(self):
        faults = {
            "lanes": self.lanes % PAIR,
            "channels": self.channels < 1 or self.channels % self.lanes
            or self.channels < IDLE * PAIR,
            "height": self.height < 2,
            "width": self.width < 2,
        }
        for name, fault in faults.items():
            if fault:
                raise ValueError(f"a first convolution cannot have {name} {getattr(self, name)}")

    @property
    def pairs(self) -> int:
        """Cycles of a pixel."""
        return self.channels // PAIR

    @property
    def macs(self) -> int:
        """Multiply-accumulates a cycle."""
        return PAIR * TAPS

    @property
    def groups(self) -> int:
        """Words of P channels."""
        return self.channels // self.lanes

    @property
    def row_words(self) -> int:
        """Words of a row of a group."""
        return -(-self.width // self.pixels)

    @property
    def plane(self) -> int:
        """Words of a group."""
        return self.height * self.row_words

    @property
    def result_bits(self) -> int:
        return self.acc_bits

    @property
    def image_cycles(self) -> int:
        """Cycles of an image whose pixels do not let it wait."""
        row = IDLE + self.width * self.pairs
        return (self.width + 1) * IDLE + self.height * row

    def memories(self) -> dict[str, tuple[int, int]]:
        """Memories by name: (width, depth)."""
        result = {
            "first_rows": (2 * COLOURS * 8, max(2, self.width)),
            "first_weights": (PAIR * TAPS * self.weight_bits, self.pairs),
        }
        for t in range(self.pixels):
            result[f"first_out{t}"] = (self.lanes * self.acc_bits, self.groups * self.plane)
        return result


class FirstTimes:
    """Cycles of one run, image after image; cycle 0 is the first one out of reset.

    A source that always has a pixel is assumed.
    """

    def __init__(self, config: FirstConfig, latency: int):
        self._cycles = config.image_cycles + READY + latency
        self._images = 0

    def next_ready(self, taken: list[int]) -> int:
        """First cycle in which ``o_ready`` can show the next image; ``taken[k]`` is the cycle in
        which image k was taken, and all before the next one must be."""
        free = taken[self._images - 1] + 1 if self._images else 0
        self._images += 1
        return free + self._cycles
