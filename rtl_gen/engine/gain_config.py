"""Parameters of what an engine has for gains that are computed for every image (BNext)."""

import dataclasses

from ..sdram.timing import BURST_ADDRESS_BITS, MOVE_BITS

__all__ = ["GAIN_BITS", "SPAN_BITS", "SUM_BITS", "GainConfig"]

GAIN_BITS = 18  # of a scaled gain: a factor of a multiplier
SUM_BITS = 20  # of a channel sum beyond a value's: maps of up to 2**20 pixels
SPAN_BITS = 16  # of the distance between the least and the largest value of a range of levels


@dataclasses.dataclass(frozen=True, kw_only=True)
class GainConfig:
    """A memory of maps that wait for their gains, steps that apply them, products of two maps.

    Parameters
    ----------
    shift : int
        Of a product of a constant and a sigmoid, which is the gain applied.
    product_shifts : tuple of int
        Shifts of an element product of two maps that a step selects from; empty where none is made.
    branch_depth : int
        Words of the memory of maps that wait, P channels of T pixels each.
    levels : tuple of int
        Bits of the levels that a step selects from, where maps and vectors are brought to levels
        between their least and largest value; empty where none is.
    sum_depth : int
        Words of the memory in which channel sums wait between the steps that make a map, a group
        of lanes each; 0 where each step makes all of its map.
    moves : bool
        Maps may lie in off-chip memory; steps of their own move rows of them.
    """

    shift: int = 16
    product_shifts: tuple[int, ...] = ()
    branch_depth: int = 64
    levels: tuple[int, ...] = ()
    sum_depth: int = 0
    moves: bool = False

    def __post_init__(self):
        if self.shift < 1 or min(self.product_shifts, default=0) < 0:
            raise ValueError("the shift of gains must be 1 or more, those of products 0 or more")
        if self.branch_depth < 2:
            raise ValueError(f"maps that wait need words, not {self.branch_depth}")
        if any(not 1 <= bits < SPAN_BITS for bits in self.levels):
            raise ValueError(f"levels of {self.levels} bits")
        if self.sum_depth < 0 or self.sum_depth == 1:
            raise ValueError(f"channel sums that wait need 2 words or more, not {self.sum_depth}")

    def fields(self, address_bits: int, lanes: int, feature_bits: int) -> dict[str, int]:
        """What a step has beside the fields of steps without gains: name -> bits.

        ``address_bits`` are those of the vector memory.
        """
        fields = {
            "from_map": 1,  # sums are stored values: of a map that waits, or of vectors to mix
            "mix": 1,  # of two vectors, else of a map; its gains are a vector
            "x_early": 1,  # the dense input is made of values before their activation
            "sum": 1,  # channel sums are stored, too
            "sum_early": 1,  # of values before their activation
            "sum_write": address_bits,
            "b_store": 1,  # results go to the memory of maps that wait
            "b_addr": max(1, (self.branch_depth - 1).bit_length()),
        }
        if self.product_shifts:
            shifts = len(self.product_shifts)
            fields |= {
                "product": 1,  # results are multiplied by the residual, not added to it
                "product_shift": max(1, (shifts - 1).bit_length()),
            }
        if self.sum_depth:
            fields |= {
                "sum_begins": 1,  # the step makes the first rows of a map that is summed
                "sum_ends": 1,  # and the last ones
            }
        if self.moves:
            fields |= {
                "move": 1,  # rows of a map move to or from off-chip memory; no array, no lane
                "move_write": 1,  # to it
                "move_branch": 1,  # of a map that waits, else of the feature memory
                "move_base": BURST_ADDRESS_BITS,  # first burst there
                "move_bursts": MOVE_BITS,
            }
        if self.levels:
            fields |= {
                "levels": 1,  # a map or vector comes to its levels; no array, no lane
                "level_bits": max(1, (len(self.levels) - 1).bit_length()),
                "level_limit": feature_bits - 1,  # what values are cut to, plus and minus
                "level_lanes": max(1, (lanes - 1).bit_length()),  # of a vector's last word, less 1
            }
        return fields
