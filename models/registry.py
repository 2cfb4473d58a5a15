"""Network families: what each must provide, which are known, which one a checkpoint belongs to."""

import dataclasses
import importlib
import importlib.util
import pkgutil
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

from torch import nn

from hwbnn.errors import CheckpointError, UserError
from hwbnn.ir import Graph

from .checkpoint import Checkpoint

__all__ = ["COMMON", "Family", "Match", "Option", "families", "load_family_file", "recognise",
           "register", "resolve_options", "select"]


@dataclasses.dataclass(frozen=True)
class Match:
    """How well a checkpoint fits a family: 0 (not at all) to 1, and why, in short sentences."""

    score: float
    reasons: tuple[str, ...]

    @classmethod
    def no(cls, reason: str) -> "Match":
        return cls(0.0, (reason,))


@dataclasses.dataclass(frozen=True)
class Option:
    """A fact that no key of the file states. ``parse`` turns text into the value or raises
    ValueError; a default of None means that the family infers it."""

    name: str
    default: Any
    help: str
    parse: Callable[[str], Any]


class Family(Protocol):
    """One kind of network. Methods raise CheckpointError where the file is not of this kind.

    An attribute ``synthetic``, a tuple of `models.synth.SyntheticNetwork`, is optional.
    """

    name: str
    describe: str
    options: tuple[Option, ...]

    def recognise(self, checkpoint: Checkpoint) -> Match:
        """Whether the keys and shapes are this family's. Must not raise."""

    def geometry(self, checkpoint: Checkpoint, options: dict[str, Any]) -> Any:
        """What keys, shapes and options say about the network: stages, widths, strides, sizes."""

    def to_torch(self, checkpoint: Checkpoint, options: dict[str, Any]) -> nn.Module:
        """The network in evaluation mode, float32, taking normalised images (N, 3, H, W)."""

    def lower(self, checkpoint: Checkpoint, options: dict[str, Any]) -> Graph:
        """The same network as a float graph, with the decisions that the file left open."""


def _floats(count: int) -> Callable[[str], tuple[float, ...]]:
    def parse(text: str) -> tuple[float, ...]:
        values = tuple(float(part) for part in text.split(","))
        if len(values) != count:
            raise ValueError(f"needs {count} numbers")
        return values

    return parse


def _positive(kind: type) -> Callable[[str], Any]:
    def parse(text: str):
        value = kind(text)
        if value <= 0:
            raise ValueError("must be positive")
        return value

    return parse


COMMON = (
    Option("input_size", None, "height and width of an image, in pixels", _positive(int)),
    Option("bn_eps", 1e-5, "eps of every batch normalisation", _positive(float)),
    Option("mean", (0.485, 0.456, 0.406), "mean of each colour, of 1", _floats(3)),
    Option("std", (0.229, 0.224, 0.225), "deviation of each colour, of 1", _floats(3)),
)

FAMILIES: dict[str, Family] = {}
_ORIGIN: dict[str, str] = {}  # family name -> file that registered it
_loading: list[str] = []


def register(cls):
    """Class decorator: make one instance of the family known by its name."""
    family = cls()
    origin = _loading[-1] if _loading else cls.__module__
    missing = [m for m in ("describe", "options", "recognise", "geometry", "to_torch", "lower")
               if not hasattr(family, m)]
    if missing:
        raise UserError(f"family has no {missing[0]}", where=cls.__name__,
                        hint="docs/families.md lists what a family provides")
    if _ORIGIN.get(family.name, origin) != origin:
        raise UserError(f"a family named {family.name!r} exists already", where=origin,
                        hint="choose another name")
    FAMILIES[family.name], _ORIGIN[family.name] = family, origin
    return cls


def families() -> dict[str, Family]:
    """Every family by name: each package under models/ with a module `family`, and loaded files."""
    package = importlib.import_module("models")
    for found in pkgutil.iter_modules(package.__path__):
        if found.ispkg and importlib.util.find_spec(f"models.{found.name}.family"):
            importlib.import_module(f"models.{found.name}.family")
    return dict(sorted(FAMILIES.items()))


def load_family_file(path: str | Path) -> list[Family]:
    """Run a Python file of the user's and return the families that it registered.

    The file is code and is executed; only load files that you trust.
    """
    path = Path(path)
    families()  # so that a clash with a family of ours is found
    if not path.is_file():
        raise UserError("no such family file", where=str(path))
    origin = str(path.resolve())
    for name in [n for n, o in _ORIGIN.items() if o == origin]:
        del FAMILIES[name], _ORIGIN[name]
    module_name = f"user_family_{path.stem}"
    spec = importlib.util.spec_from_file_location(module_name, path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[module_name] = module  # dataclasses look their module up
    _loading.append(origin)
    try:
        spec.loader.exec_module(module)
    except UserError:
        raise
    except Exception as error:
        frames = [f for f in traceback.extract_tb(error.__traceback__) if f.filename == str(path)]
        line = frames[-1].lineno if frames else getattr(error, "lineno", None)
        raise UserError(f"{type(error).__name__}: {error}",
                        where=f"{path}:{line}" if line else str(path),
                        hint="the family file does not run") from error
    finally:
        _loading.pop()
    found = [FAMILIES[name] for name, o in _ORIGIN.items() if o == origin]
    if not found:
        raise UserError("registers no family", where=str(path),
                        hint="decorate the class with @models.registry.register")
    return found


def select(text: str) -> Family:
    """A family by name, or the only one of a Python file."""
    if text.endswith(".py"):
        found = load_family_file(text)
        if len(found) > 1:
            names = ", ".join(f.name for f in found)
            raise UserError(f"registers {len(found)} families ({names})", where=text,
                            hint="one per file can be selected")
        return found[0]
    known = families()
    if text not in known:
        raise UserError(f"unknown family {text!r}",
                        hint=f"known: {', '.join(known)}, or a .py file")
    return known[text]


def recognise(checkpoint: Checkpoint) -> Family:
    """The family that fits best; CheckpointError says why each did not, or which tie."""
    matches = {name: family.recognise(checkpoint) for name, family in families().items()}
    best = max((m.score for m in matches.values()), default=0)
    if best <= 0:
        why = "; ".join(f"{name}: {m.reasons[0]}" for name, m in matches.items())
        raise CheckpointError(f"no family recognises its {len(checkpoint.tensors)} tensors ({why})",
                              where=checkpoint.origin,
                              hint="--family NAME or --family my_family.py")
    names = [name for name, m in matches.items() if m.score == best]
    if len(names) > 1:
        raise CheckpointError(f"fits the families {' and '.join(names)} alike",
                              where=checkpoint.origin, hint=f"--family {names[0]}")
    return families()[names[0]]


def resolve_options(family: Family, given: dict[str, Any] | None = None) -> dict[str, Any]:
    """Defaults of the family overlaid with `given`; text values are parsed; unknown names fail."""
    known = {option.name: option for option in family.options}
    values = {name: option.default for name, option in known.items()}
    for name, value in (given or {}).items():
        if name not in known:
            raise UserError(f"family {family.name} has no option {name!r}",
                            hint=f"it has {', '.join(known)}")
        if isinstance(value, str):
            try:
                value = known[name].parse(value)
            except ValueError as error:
                raise UserError(f"{value!r} is not valid ({error})", where=f"option {name}",
                                hint=known[name].help) from error
        values[name] = value
    return values
