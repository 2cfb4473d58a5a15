"""What a layer lacks that has nothing to do with gains of the image (see gain_layers)."""

from .ops.int_ops import GlobalSum

__all__ = ["Plain"]


class Plain:
    """Attributes of every layer, as most have them.

    ``sums`` names the channel sums stored beside its map (``sum_op``; ``sum_early``: of values
    before the activation), ``in_branch`` says that its map waits for gains, ``product`` is the
    multiplication by the residual before. ``weightless`` layers compute with stored values:
    ``gains`` names the vector that multiplies the map ``source``; ``other`` the vector that is
    mixed with ``source``. ``second`` holds lane constants for mixed vectors and for gains.
    ``levels`` is the quantiser that a pass over a map is, whose range each image decides.
    ``moves`` says that it moves rows of a map to or from off-chip memory, for another layer.
    ``remakes`` is the convolution that is computed again, by rows, for a layer that applies gains;
    ``serves`` the layer for whose sake such a one, or a move, is there.
    ``at`` is the first channel of its results in a map of ``joint`` channels.
    """

    sums = sum_op = product = gains = other = second = levels = None
    sum_early = x_early = in_branch = weightless = again = False
    moves = False
    remakes = serves = None
    at = 0

    @property
    def joint(self) -> int:
        """Channels of the map that its results are part of."""
        return self.out_shape[0]

    @property
    def summed(self) -> bool:
        """Whether it makes channel sums, and thus the whole map in one step."""
        return self.sums is not None or isinstance(self.x_op, GlobalSum)

    @property
    def made(self) -> tuple[str, ...]:
        """Names of what it stores."""
        return tuple(name for name in (self.value, self.bits, self.x, self.sums) if name)
