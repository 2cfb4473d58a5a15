"""1x1 layers of ±1 weights by adders: taken where the machine's board has the LUTs for them."""

from .errors import DoesNotFit
from .extract import extract
from .machine import Plan, excess, make
from .shape import Shape, has_signed_sums

__all__ = ["with_signed_sums"]


def with_signed_sums(graph, board, plan: Plan, luts: int) -> Plan:
    """The same machine whose shortcuts of ±1 weights need no multiplier; as it is where they have
    other weights, or where it would exceed ``luts`` or the board."""
    if plan.config.run_time is not None or not has_signed_sums(extract(graph)):
        return plan
    c = plan.config
    shape = Shape(c.channels_in, c.lanes, c.pixels, c.dense_inputs)
    try:
        made = make(graph, shape, **plan.recipe | {"signed_sums": True})
    except DoesNotFit:
        return plan
    if excess(made.estimate, board.budget, luts):
        return plan
    return Plan(made.program, made.estimate, made.recipe, plan.tried)
