"""The fixed-point choices of one network: widths and the shifts that hardware may offer."""

import dataclasses

__all__ = ["RPRELU", "SLOPES", "Numeric"]

RPRELU = ("auto", "multiplier", "shift")
SLOPES = (-19, 7)  # exponents that the shift-based RPReLU has: those of A&B BNN's networks


@dataclasses.dataclass(frozen=True)
class Numeric:
    """Widths and shift menus of the integer network.

    Parameters
    ----------
    feature_bits : int
        Width of stored multi-bit maps (the residual stream) and logits.
    weight_bits : int
        Width of multi-bit weights (1x1 shortcuts, small dense layers, classifier).
    classifier_weight_bits : int or None
        Width of the classifier's weights; None means ``weight_bits``.
    image_weight_bits : int or None
        Width of the first convolution's weights; None means 12, or 8 where a max-pool follows.
        Its rounding reaches every later activation bit, and a multiplier is 18 bits wide whether
        they are used or not. The stem unit, which pools, multiplies two 8-bit weights on one
        multiplier (docs/design-notes.md, benchmarks/agreement).
    input_frac : int
        Fraction bits given to a pixel, so that the mean colour is an integer to 2**-frac.
    shift_step, prescale_step : int
        Affine shifts and prescales are multiples of these, so that few distinct ones occur.
    max_shifts : int
        Distinct affine shifts that a lane multiplexes.
    slope_shift : int
        Fraction bits of RPReLU slopes; lowered for the whole network if a slope needs it.
    rprelu : str
        "multiplier", "shift" to round every slope to the nearest +-2**k (lossy, reported), or
        "auto": "shift" where every slope of the network is +-2**k with k in -19..7 (no loss),
        else "multiplier".
    scale_digits : int
        Signed powers of two that the gain of an affine is rounded to the sum of, 1 to 3 (lossy,
        reported), so that hardware shifts and adds. 0: 18-bit gains, for a multiplier.
    margin : float
        Head-room on calibrated ranges.
    tie : int
        Bit given to sign(0): 1 (+1) or 0 (-1).
    """

    feature_bits: int = 16
    weight_bits: int = 8
    classifier_weight_bits: int | None = None
    image_weight_bits: int | None = None
    input_frac: int = 6
    shift_step: int = 2
    prescale_step: int = 4
    max_shifts: int = 4
    slope_shift: int = 14
    rprelu: str = "auto"
    scale_digits: int = 0
    margin: float = 1.25
    tie: int = 1

    def __post_init__(self):
        if self.rprelu not in RPRELU:
            raise ValueError(f"rprelu must be one of {', '.join(RPRELU)}, not {self.rprelu!r}")
        if not 0 <= self.scale_digits <= 3:
            raise ValueError(f"scale_digits must be 0 to 3, not {self.scale_digits}")
        if not 8 <= self.feature_bits <= 18:
            raise ValueError(f"feature_bits must be 8 to 18, not {self.feature_bits}")
        for name in ("weight_bits", "classifier_weight_bits", "image_weight_bits"):
            if getattr(self, name) is not None and not 2 <= getattr(self, name) <= 16:
                raise ValueError(f"{name} must be 2 to 16, not {getattr(self, name)}")
