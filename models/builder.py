"""Helps a family lower a checkpoint: adds nodes, reads their facts from keys, keeps decisions."""

import dataclasses
from pathlib import PurePath
from typing import Any

import numpy as np

from hwbnn.errors import CheckpointError
from hwbnn.ir import Decision, Graph, Node, Op
from hwbnn.ops import float_ops as F

from .checkpoint import Checkpoint

__all__ = ["GraphBuilder"]


@dataclasses.dataclass
class GraphBuilder:
    """Node names are the checkpoint's module names. Each method returns the new node's name.

    Parameters
    ----------
    checkpoint : where the tensors are read from; a missing key is a CheckpointError.
    bn_eps : eps of every batch normalisation.
    """

    checkpoint: Checkpoint
    bn_eps: float = 1e-5
    nodes: list[Node] = dataclasses.field(default_factory=list)
    decisions: list[Decision] = dataclasses.field(default_factory=list)
    warnings: list[str] = dataclasses.field(default_factory=list)

    def array(self, key: str) -> np.ndarray:
        """The tensor at `key`, float64."""
        if key not in self.checkpoint.tensors:
            raise CheckpointError(f"has no tensor {key}", where=self.checkpoint.origin)
        return self.checkpoint.array(key)

    def add(self, name: str, op: Op, *inputs: str, source: str = "") -> str:
        """Any op."""
        self.nodes.append(Node(name, op, inputs, source or name))
        return name

    def decide(self, where: str, chose: str, why: str, warn: bool = False) -> None:
        """Record a choice; `warn` also puts it among the warnings that the user is shown."""
        decision = Decision(where, chose, why)
        self.decisions.append(decision)
        if warn:
            self.warnings.append(str(decision))

    def input(self, size: int, mean, std) -> str:
        """RGB images of size x size pixels, normalised."""
        op = F.FInput((3, size, size), np.array(mean, float), np.array(std, float))
        return self.add("input", op)

    def conv(self, module: str, x: str, stride: int = 1, padding: int = 0) -> str:
        """Real convolution without bias at `module`.weight."""
        return self.add(module, F.FConv2d(self.array(f"{module}.weight"), stride, padding), x)

    def batch_norm(self, module: str, x: str) -> str:
        """Batch normalisation in evaluation."""
        parts = (self.array(f"{module}.{p}")
                 for p in ("weight", "bias", "running_mean", "running_var"))
        return self.add(module, F.FBatchNorm(*parts, self.bn_eps), x)

    def bias(self, module: str, x: str) -> str:
        """LearnableBias: `module`.bias of any shape with C elements."""
        return self.add(module, F.FBias(self.array(f"{module}.bias").reshape(-1)), x)

    def prelu(self, module: str, x: str) -> str:
        """Per-channel PReLU."""
        return self.add(module, F.FPReLU(self.array(f"{module}.weight")), x)

    def sign(self, name: str, x: str) -> str:
        """Activation bits."""
        return self.add(name, F.FSign(), x)

    def linear(self, module: str, x: str) -> str:
        """Classifier with bias."""
        op = F.FLinear(self.array(f"{module}.weight"), self.array(f"{module}.bias"))
        return self.add(module, op, x)

    def graph(self, output: str, meta: dict[str, Any]) -> Graph:
        """The checked graph; raises HwbnnError at a node that is not legal."""
        # The name without its folder: the graph's digest must not depend on where the file lies.
        origin = PurePath(self.checkpoint.origin).name
        meta = {**meta, "checkpoint": {"file": origin, **self.checkpoint.facts},
                "warnings": list(self.warnings)}
        graph = Graph(self.nodes, output, self.decisions, meta)
        graph.types()
        return graph
