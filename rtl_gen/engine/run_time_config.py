"""Parameters of what an engine has for thresholds or gains that are computed for every image."""

import dataclasses

from .gain_config import GAIN_BITS, GainConfig

__all__ = ["RunTimeConfig"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class RunTimeConfig:
    """A memory of channel vectors, a sigmoid, and what takes the vectors it makes: passes that
    compare stored maps with them, or steps that multiply maps by them.

    Parameters
    ----------
    tie : int
        Bit of a sum of exactly 0.
    vector_depth : int
        Words of the vector memory, one value a lane each.
    entries, shift : int
        Entries of the sigmoid's table, and the shift from its argument to an entry's index.
    fracs : tuple of int
        Fixed-point positions of the sigmoid's result that a step selects from; a table each.
    gains : GainConfig, optional
        Sigmoids are gains of maps; without, they are thresholds, and all activation bits are made
        by passes.
    """

    tie: int = 1
    vector_depth: int = 64
    entries: int = 1024
    shift: int = 0
    fracs: tuple[int, ...] = (14,)
    gains: GainConfig | None = None

    def __post_init__(self):
        if self.tie not in (0, 1):
            raise ValueError(f"tie must be 0 or 1, not {self.tie}")
        if self.vector_depth < 2 or self.entries < 2 or self.shift < 0:
            raise ValueError("vectors and table must have words, the shift must be 0 or more")
        if not self.fracs or min(self.fracs) < 1:
            raise ValueError(f"positions of the sigmoid must be 1 or more, not {self.fracs}")

    def vector_bits(self, feature_bits: int) -> int:
        """Width of a value of the vector memory."""
        return feature_bits if self.gains is None else max(feature_bits, GAIN_BITS)

    def memories(self, lanes: int, pixels: int, feature_bits: int) -> dict[str, tuple[int, int]]:
        """Width and depth of each memory by its name."""
        result = {
            "vectors": (lanes * self.vector_bits(feature_bits), self.vector_depth),
            "sigmoid": (max(self.fracs), self.entries * len(self.fracs)),
        }
        if self.gains is not None:
            result["branch"] = (lanes * pixels * feature_bits, self.gains.branch_depth)
        return result
