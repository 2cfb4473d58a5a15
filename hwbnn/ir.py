"""The network as a graph: nodes, recorded decisions, legality, printing, saving and loading."""

import dataclasses
import hashlib
import json
from pathlib import Path

import numpy as np

from .errors import HwbnnError, UserError
from .types import TensorType

__all__ = ["Decision", "Graph", "Node", "Op", "register_op"]

OPS: dict[str, type] = {}


def register_op(cls):
    """Class decorator: make an op known by its class name, so that graphs can be loaded."""
    if cls.__name__ in OPS:
        raise ValueError(f"two ops are named {cls.__name__}")
    OPS[cls.__name__] = cls
    return cls


class Op:
    """Base of every op: a frozen dataclass whose fields are its facts.

    ``out_type(*types)`` checks the inputs and gives the result's type; ``run(*arrays)`` is its
    meaning on a batch (leading axis N).
    """

    def out_type(self, *types: TensorType) -> TensorType:
        raise NotImplementedError

    def run(self, *arrays: np.ndarray) -> np.ndarray:
        raise NotImplementedError

    def summary(self) -> str:
        """Facts in short, arrays as shapes."""
        parts = []
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if value is None:
                continue
            if isinstance(value, np.ndarray):
                value = "x".join(map(str, value.shape)) or "scalar"
            parts.append(f"{field.name}={value}")
        return f"{type(self).__name__}({', '.join(parts)})"


@dataclasses.dataclass(frozen=True)
class Decision:
    """A choice that an importer or pass made where the file or the paper leaves one."""

    where: str
    chose: str
    why: str

    def __str__(self) -> str:
        return f"{self.where}: {self.chose} ({self.why})"


@dataclasses.dataclass(frozen=True, eq=False)
class Node:
    """One op applied to named inputs. ``source`` is the checkpoint key or module it came from."""

    name: str
    op: Op
    inputs: tuple[str, ...] = ()
    source: str = ""


class Graph:
    """Nodes in topological order, one input node, one output, and the decisions behind them.

    Parameters
    ----------
    nodes : iterable of Node
    output : str
        Name of the node whose value is the logits.
    decisions : iterable of Decision
    meta : dict
        JSON-able facts that are not arithmetic: family, options, claims of the paper.
    """

    def __init__(self, nodes, output: str, decisions=(), meta: dict | None = None):
        self.nodes: dict[str, Node] = {}
        for node in nodes:
            if node.name in self.nodes:
                raise HwbnnError("two nodes have this name", where=node.name)
            missing = [i for i in node.inputs if i not in self.nodes]
            if missing:
                raise HwbnnError(f"input {missing[0]} is not defined before it", where=node.name)
            self.nodes[node.name] = node
        if output not in self.nodes:
            raise HwbnnError(f"output {output} is not a node")
        self.output = output
        self.decisions = list(decisions)
        self.meta = dict(meta or {})

    def __iter__(self):
        return iter(self.nodes.values())

    def __getitem__(self, name: str) -> Node:
        return self.nodes[name]

    def __len__(self) -> int:
        return len(self.nodes)

    def consumers(self) -> dict[str, list[Node]]:
        """Node name -> the nodes that read it, in order."""
        result: dict[str, list[Node]] = {name: [] for name in self.nodes}
        for node in self:
            for name in dict.fromkeys(node.inputs):
                result[name].append(node)
        return result

    def types(self) -> dict[str, TensorType]:
        """Type of every node's value; raises HwbnnError at the first node that is not legal."""
        types: dict[str, TensorType] = {}
        for node in self:
            try:
                types[node.name] = node.op.out_type(*(types[i] for i in node.inputs))
            except (ValueError, TypeError) as error:
                raise HwbnnError(f"{type(node.op).__name__}: {error}", where=node.name) from error
        return types

    def dump(self) -> str:
        """The graph as text, a node a line."""
        types = self.types()
        lines = []
        for node in self:
            args = ", ".join(node.inputs)
            lines.append(f"{node.name} = {node.op.summary()}({args})  -> {types[node.name]}")
        lines.append(f"output {self.output}")
        lines += [f"decision {d}" for d in self.decisions]
        return "\n".join(lines)

    def digest(self) -> str:
        """Content hash over ops, tensors, wiring and meta."""
        h = hashlib.sha256()
        doc, tensors = self._serialise()
        h.update(json.dumps(doc, sort_keys=True).encode())
        for key in sorted(tensors):
            array = np.ascontiguousarray(tensors[key])
            h.update(f"{key}{array.dtype}{array.shape}".encode())
            h.update(array.tobytes())
        return h.hexdigest()

    def save(self, folder: Path, stem: str = "graph") -> None:
        """Write ``<stem>.json`` and ``<stem>.npz`` (every array) into ``folder``."""
        folder = Path(folder)
        doc, tensors = self._serialise()
        part = folder / f".{stem}.part.npz"
        np.savez_compressed(part, **tensors)
        part.replace(folder / f"{stem}.npz")
        (folder / f"{stem}.json").write_text(json.dumps(doc, indent=1))

    @classmethod
    def load(cls, folder: Path, stem: str = "graph") -> "Graph":
        """Read what `save` wrote; UserError when it is damaged or of another version."""
        folder = Path(folder)
        try:
            doc = json.loads((folder / f"{stem}.json").read_text())
            with np.load(folder / f"{stem}.npz") as archive:
                tensors = dict(archive)
            nodes = []
            for entry in doc["nodes"]:
                cls_ = OPS[entry["op"]]
                fields = {}
                for name, value in entry["fields"].items():
                    if isinstance(value, dict) and "tensor" in value:
                        value = tensors[value["tensor"]]
                    elif isinstance(value, list):
                        value = tuple(value)
                    fields[name] = value
                nodes.append(
                    Node(entry["name"], cls_(**fields), tuple(entry["inputs"]), entry["source"])
                )
            decisions = [Decision(**d) for d in doc["decisions"]]
            return cls(nodes, doc["output"], decisions, doc["meta"])
        except (OSError, KeyError, ValueError, TypeError) as error:
            raise UserError(
                f"not a readable graph ({error})",
                where=str(folder / f"{stem}.json"),
                hint="compile the checkpoint again",
            ) from error

    def _serialise(self) -> tuple[dict, dict[str, np.ndarray]]:
        tensors: dict[str, np.ndarray] = {}
        entries = []
        for node in self:
            fields = {}
            for field in dataclasses.fields(node.op):
                value = getattr(node.op, field.name)
                if isinstance(value, np.ndarray):
                    key = f"{node.name}.{field.name}"
                    tensors[key] = value
                    value = {"tensor": key}
                fields[field.name] = value
            entries.append(
                {
                    "name": node.name,
                    "op": type(node.op).__name__,
                    "inputs": list(node.inputs),
                    "source": node.source,
                    "fields": fields,
                }
            )
        doc = {
            "version": 1,
            "nodes": entries,
            "output": self.output,
            "decisions": [dataclasses.asdict(d) for d in self.decisions],
            "meta": self.meta,
        }
        return doc, tensors
