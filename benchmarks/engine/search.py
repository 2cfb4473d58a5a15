"""Every machine of a board for a network: cycles and utilisation by the schedule, no simulation."""

import itertools
from pathlib import Path

from boards import get_board
from hwbnn.errors import DoesNotFit, UserError
from hwbnn.machine import Plan
from hwbnn.passes import lower_to_integers
from hwbnn.plan import CHANNELS, CONST_WORDS, DENSE, LANES, LUT_SHARE, PIXELS
from hwbnn.report.quantity import Estimate
from hwbnn.schedule import schedule
from models.api import load_network

__all__ = ["search"]


def search(checkpoint: Path, board: str, aim: float) -> dict:
    """Machines within the board's budget.

    Parameters
    ----------
    aim : percent of the binary array that a machine must reach over the whole frame

    Returns
    -------
    dict
        ``tried`` machines, ``fit`` of them, ``reach`` of these with ``aim``; ``fastest``,
        ``fastest_with_aim`` and ``best_used``: a row each (path of its numbers: estimate);
        ``limit``: most multiply-accumulates of a machine that reaches the aim.
    """
    _folded, graph = lower_to_integers(load_network(checkpoint).graph())
    budget = get_board(board).budget
    tried, rows = 0, []
    for s, p, t, k in itertools.product(CHANNELS, LANES, PIXELS, DENSE):
        if p > s or s % p or (k % p and p % k) or p * t * k > budget.dsp:
            continue
        for const_words in CONST_WORDS:
            tried += 1
            doc = {"shape": {"S": s, "P": p, "T": t, "K": k}, "const_words": const_words}
            try:
                plan = Plan.from_json(doc, graph)
            except (DoesNotFit, UserError):
                continue
            r = plan.estimate
            if (r.comb <= LUT_SHARE * budget.comb and r.ff <= budget.ff and r.ebr <= budget.ebr
                    and r.dsp <= budget.dsp):
                rows.append(_row(doc, plan))
    reach = [row for row in rows if row["used"]["value"] >= aim]

    def speed(row):
        return row["cycles"]["value"], row["comb"]["value"]

    return {
        "tried": tried, "fit": len(rows), "reach": len(reach), "aim": aim,
        "fastest": min(rows, key=speed),
        "fastest_with_aim": min(reach, key=speed),
        "best_used": max(rows, key=lambda row: (row["used"]["value"], -row["cycles"]["value"])),
        "limit": max(row["binary_macs"] for row in reach),
    }


def _row(doc: dict, plan: Plan) -> dict:
    predicted, config = schedule(plan.program), plan.config

    def spent(kind: str) -> dict:
        cycles = sum(step.cycles for step in predicted.steps if step.kind == kind)
        return Estimate(cycles, "cycles", "schedule").to_json()

    numbers = {"cycles": (predicted.interval, "cycles", "schedule"),
               "used": (100 * predicted.utilisation(), "%", "schedule"),
               **{name: (getattr(plan.estimate, name), "", "planner") for name in
                  ("comb", "ebr", "dsp")}}
    shape = doc["shape"]
    return {
        "plan": doc,
        "machine": " ".join(f"{name}={value}" for name, value in shape.items()),
        "binary_macs": config.array_macs, "dense_macs": config.dense_macs,
        "binary_cycles": spent("binary"), "dense_cycles": spent("dense"),
        **{name: Estimate(*value).to_json() for name, value in numbers.items()},
    }
