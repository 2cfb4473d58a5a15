"""What a value is: integer ranges, tensor types."""

import dataclasses

from . import ints

__all__ = ["IntRange", "TensorType", "need_same_shape"]


@dataclasses.dataclass(frozen=True)
class IntRange:
    """Inclusive interval of integers. Widths are derived from it, never typed."""

    lo: int
    hi: int

    def __post_init__(self):
        if self.lo > self.hi:
            raise ValueError(f"an interval needs lo <= hi, not {self.lo}..{self.hi}")

    @property
    def width(self) -> int:
        """Two's complement bits that hold the interval."""
        return ints.signed_width(self.lo, self.hi)

    @classmethod
    def of_bits(cls, bits: int) -> "IntRange":
        return cls(*ints.signed_range(bits))

    def __add__(self, other: "IntRange") -> "IntRange":
        return IntRange(self.lo + other.lo, self.hi + other.hi)

    def __str__(self) -> str:
        return f"{self.lo}..{self.hi}"


@dataclasses.dataclass(frozen=True)
class TensorType:
    """Type of one image's tensor.

    Parameters
    ----------
    shape : (int, int, int)
        Channels, height, width.
    kind : str
        ``"float"``, ``"int"`` (integers, real = integer * 2**-frac), ``"bit"`` (0/1 meaning
        -1/+1) or ``"pixel"`` (uint8, given as N,H,W,C).
    range : IntRange or None
        Reachable integers; None for floats.
    frac : int
        Fixed-point position; 0 for bits and floats.
    """

    shape: tuple[int, int, int]
    kind: str
    range: IntRange | None = None
    frac: int = 0

    def __str__(self) -> str:
        c, h, w = self.shape
        tail = "" if self.range is None else f" {self.range} ({self.range.width} bit) f={self.frac}"
        return f"{self.kind} {c}x{h}x{w}{tail}"


def need_same_shape(a: TensorType, b: TensorType) -> None:
    """Raises ValueError unless ``a`` and ``b`` have one shape."""
    if a.shape != b.shape:
        raise ValueError(f"shapes {a.shape} and {b.shape} differ")
