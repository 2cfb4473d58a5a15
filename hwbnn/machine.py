"""A machine for a network: shape, recipe, program, resources, and what of a board it exceeds."""

import dataclasses

from rtl_gen.engine.config import EngineConfig

from .errors import UserError
from .estimate import Resources, estimate
from .ir import Graph
from .program import Program
from .shape import Shape, derive

__all__ = ["RECIPE", "Plan", "excess", "excess_text", "make"]

# how a machine is derived from its shape (hwbnn.shape.derive), with what a plan may leave out
RECIPE = {"psum_depth": 512, "const_words": 4, "band": 0, "halvings": 1, "resident": None,
          "deep": 0, "logic_pairs": 0, "stream": False, "overlap": None, "batch": None,
          "beside": None, "ahead": False, "wide": False, "signed_sums": False,
          "off_chip": 0, "off_rows": 0, "off_again": None, "row_bits": 0,
          "stream_steps": False, "sdram_mb": 32}
PLAN_KEYS = {"shape", *RECIPE}


@dataclasses.dataclass(frozen=True, eq=False)
class Plan:
    """A machine for a network.

    ``program`` holds configuration, placement and steps; ``estimate`` its resources (path:
    estimate); ``recipe`` the keywords of `derive` that made it; ``tried`` the shapes compared.
    """

    program: Program
    estimate: Resources
    recipe: dict
    tried: list[dict] = dataclasses.field(default_factory=list)

    @property
    def config(self) -> EngineConfig:
        return self.program.config

    @property
    def steps(self):
        return self.program.steps

    def to_json(self) -> dict:
        """What --plan reads: edit ``shape`` by hand (S, P, T, K)."""
        c = self.config
        return {
            "shape": {"S": c.channels_in, "P": c.lanes, "T": c.pixels, "K": c.dense_inputs},
            **self.recipe,
        }

    @classmethod
    def from_json(cls, doc: dict, graph: Graph) -> "Plan":
        """The plan that ``doc`` describes. UserError names an unknown key or a bad shape."""
        unknown = set(doc) - PLAN_KEYS
        if unknown:
            raise UserError(f"unknown key {sorted(unknown)[0]!r}", where="plan",
                            hint=f"known are {', '.join(sorted(PLAN_KEYS))}")
        given = doc.get("shape", {})
        if set(given) != {"S", "P", "T", "K"}:
            raise UserError("shape needs exactly S, P, T and K", where="plan")
        shape = Shape(given["S"], given["P"], given["T"], given["K"])
        return make(graph, shape, **{k: v for k, v in doc.items() if k != "shape"})


def make(graph: Graph, shape: Shape, **recipe) -> Plan:
    """The machine of ``shape`` by ``recipe``. UserError for a recipe that makes no sense."""
    recipe = RECIPE | recipe
    try:
        program = derive(graph, shape, **recipe)
    except (TypeError, ValueError) as error:
        raise UserError(str(error), where="plan") from error
    return Plan(program, estimate(program.config), recipe)


def excess(r: Resources, budget, luts: int) -> dict[str, int]:
    """What exceeds the budget, by how much."""
    limits = {"comb": luts, "ff": budget.ff, "ebr": budget.ebr, "dsp": budget.dsp}
    return {k: getattr(r, k) - v for k, v in limits.items() if getattr(r, k) > v}


def excess_text(over: dict[str, int], board) -> tuple[str]:
    names = {"comb": "LUTs", "ff": "flip-flops", "ebr": "block RAMs", "dsp": "multipliers"}
    text = ", ".join(f"{v:,} {names[k]} too many" for k, v in over.items())
    return (f"{board.name}: no machine shape fits; the nearest takes {text}",)
