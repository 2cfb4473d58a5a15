"""Parameters of what an engine has for thresholds or gains that are computed for every image."""

import dataclasses

from .gain_config import GAIN_BITS, SUM_BITS, GainConfig

__all__ = ["RunTimeConfig", "ThresholdConfig"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class ThresholdConfig:
    """A threshold unit, which makes one frame's bits while the array works on another's.

    Parameters
    ----------
    inputs : int
        M: products a cycle of its dense layers, a divisor of the lanes.
    feature_depth : int
        Words of the feature memory of the frames' second half.
    sum_depth, hidden_depth, weight_depth, const_depth, step_depth : int
        Words of channel sums (P values each), of one vector of hidden values (M each), of weights
        (M each), of constants (an output each), and of the unit's program.
    planes : int
        Words of thresholds of one map (P each).
    words : int
        1, or 2: words of a map that a pass takes a cycle. Even and odd words of a feature memory
        lie in blocks of their own then.
    """

    inputs: int = 4
    feature_depth: int = 512
    sum_depth: int = 64
    hidden_depth: int = 16
    weight_depth: int = 512
    const_depth: int = 512
    step_depth: int = 512
    planes: int = 16
    words: int = 1

    def memories(self, lanes: int, feature_bits: int, weight_bits: int,
                 bias_bits: int) -> dict[str, tuple[int, int]]:
        """Width and depth of each memory by its name."""
        return {
            "unit_sums": (lanes * feature_bits, self.sum_depth),
            "unit_hidden": (self.inputs * feature_bits, self.hidden_depth),
            "unit_thresholds": (lanes * feature_bits, self.planes),
            "unit_weights": (self.inputs * weight_bits, self.weight_depth),
            "unit_constants": (18 + bias_bits, self.const_depth),
            "unit_steps": (36, self.step_depth),
        }


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
    unit : ThresholdConfig, optional
        Two frames are in the machine, and a unit beside the array makes their bits. Without it
        the dense layers and passes are steps of the one program.
    """

    tie: int = 1
    vector_depth: int = 64
    entries: int = 1024
    shift: int = 0
    fracs: tuple[int, ...] = (14,)
    gains: GainConfig | None = None
    unit: ThresholdConfig | None = None

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
            if self.gains.sum_depth:
                result["sums"] = (lanes * (feature_bits + SUM_BITS), self.gains.sum_depth)
        return result
