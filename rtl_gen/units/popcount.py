"""Where each bit of a long binary dot product is added: the plan of a counting tree."""

import dataclasses
import functools

__all__ = ["Sum", "plan_popcount", "postorder"]


@dataclasses.dataclass(frozen=True, eq=False)
class Sum:
    """One addition of a counting tree: ``x + y + carry`` over ``n`` products.

    ``x`` and ``y`` are sums or the index of one product; ``y`` and ``carry`` may be absent.
    ``stage`` is the clock cycle in which it adds, the first one being 0. Products are
    multiplied in the same cycle, so a product that a late stage takes must come late too.
    """

    n: int
    stage: int
    x: "Sum | int"
    y: "Sum | int | None"
    carry: int | None

    @property
    def width(self) -> int:
        """Positions of the addition without its carry out."""
        return _width(self.x)

    @property
    def out_width(self) -> int:
        """Bits of the result."""
        return self.n.bit_length()


def _width(operand) -> int:
    if operand is None:
        return 0
    return 1 if isinstance(operand, int) else operand.out_width


@functools.cache
def _best_splits(n_max: int) -> tuple[tuple[int, int, int], ...]:
    """For each n: how many of n products x, y and carry take, for the fewest chain positions.

    A sum costs its width and a guard. Among equals the shallowest tree is taken, then the one
    whose halves differ most (its leaves are the full ones, 2**k - 1).
    """
    cost, depth, split = [0, 0], [0, 0], [(0, 0, 0), (1, 0, 0)]
    for n in range(2, n_max + 1):
        best = None
        for carry in (1, 0):
            for y in range((n - carry) // 2 + 1):
                x = n - carry - y
                if x == n:
                    continue
                key = (
                    cost[x] + cost[y] + x.bit_length() + 1,
                    1 + max(depth[x], depth[y]),
                    y,
                )
                if best is None or key < best[0]:
                    best = (key, (x, y, carry))
        cost.append(best[0][0])
        depth.append(best[0][1])
        split.append(best[1])
    return tuple(split)


def plan_popcount(n: int) -> Sum:
    """The cheapest counting tree over products 0 to n-1.

    Every product is used once: two by each first adder and one as the carry of nearly every
    adder, which makes the cost about 1.5 positions a product where n is 2**k - 1.
    Raises ValueError if n is less than 2.
    """
    if n < 2:
        raise ValueError(f"A counting tree needs at least 2 products, not {n!r}")
    splits = _best_splits(n)

    @functools.cache
    def depth(n):
        x, y, _ = splits[n]
        return 0 if n < 2 else 1 + max(depth(x), depth(y))

    def build(n, first, stage):
        if n == 0:
            return None
        if n == 1:
            return first
        n_x, n_y, n_carry = splits[n]
        return Sum(
            n,
            stage,
            build(n_x, first, stage - 1),
            build(n_y, first + n_x, stage - 1),
            first + n_x + n_y if n_carry else None,
        )

    return build(n, 0, depth(n) - 1)


def postorder(root: Sum) -> list[Sum]:
    """Every sum of the tree, operands before the sum that takes them."""
    operands = [o for o in (root.x, root.y) if isinstance(o, Sum)]
    return [s for operand in operands for s in postorder(operand)] + [root]
