"""Read a checkpoint file as data: never run code from it, and name what is wrong with it."""

import pickle
import re
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from hwbnn.errors import CheckpointError

__all__ = ["Checkpoint", "load_checkpoint", "read_file"]

ZIP_MAGIC = b"PK\x03\x04"
LEGACY_MAGIC = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."  # torch.save before 1.6
PREFIXES = ("module.", "_orig_mod.")  # nn.DataParallel, torch.compile
NESTED = ("state_dict", "model", "net", "model_state_dict")
LIMIT = 16 << 30  # bytes of tensors; the largest published network needs 1.3e9

# Accuracies are often saved as numpy scalars, which are data although they are pickled as calls.
_SCALARS = [
    (np.float64(0).__reduce__()[0], "numpy.core.multiarray.scalar"),
    np.float64(0).__reduce__()[0],
    np.dtype,
    type(np.dtype(np.float64)),
    type(np.dtype(np.float32)),
    type(np.dtype(np.int64)),
]


@dataclass(frozen=True)
class Checkpoint:
    """Tensors by key, on the CPU, prefixes removed, all finite.

    Members
    -------
    tensors : floating tensors keep their dtype (float16 to float64), counters are int64.
    origin : file name, for messages.
    facts : "epoch" and "best_top1_acc" where the wrapper states them as numbers.
    """

    tensors: dict[str, Tensor]
    origin: str = "state_dict"
    facts: dict[str, float] = field(default_factory=dict)

    @classmethod
    def of(cls, state_dict: Mapping, origin: str = "state_dict", facts=None) -> "Checkpoint":
        """Check a state_dict already in memory; raises CheckpointError."""
        tensors = _without_prefixes(state_dict, origin)
        for key, tensor in tensors.items():
            _check_tensor(key, tensor, origin)
        return cls(tensors, origin, dict(facts or {}))

    def array(self, key: str) -> np.ndarray:
        """One tensor as float64."""
        return self.tensors[key].detach().double().numpy()


def load_checkpoint(path: str | Path) -> Checkpoint:
    """Read a file that torch.save wrote: a wrapper dict with "state_dict", or a bare state_dict.

    Raises
    ------
    CheckpointError
        Missing, truncated or foreign file; a file that holds code; tensors that are not finite.
    """
    path = Path(path)
    held = read_file(path)
    if not isinstance(held, Mapping):
        raise CheckpointError(f"holds a {type(held).__name__}, not a state_dict", where=str(path),
                              hint="save it with torch.save(net.state_dict(), path)")
    inner = next((k for k in NESTED if isinstance(held.get(k), Mapping)), None)
    facts = {}
    if inner:
        for key in ("epoch", "best_top1_acc"):
            value = held.get(key)
            if isinstance(value, Tensor) and value.numel() == 1:
                value = value.item()
            if isinstance(value, int | float | np.number):
                facts[key] = float(value)
    return Checkpoint.of(held[inner] if inner else held, str(path), facts)


def read_file(path: Path):
    """The data in a file of torch.save; CheckpointError where it is damaged, foreign or code."""
    _check_container(path)
    return _unpickle(path)


def _check_container(path: Path) -> None:
    where = str(path)
    if not path.is_file():
        what = "is a folder" if path.is_dir() else "no such file"
        raise CheckpointError(what, where=where, hint="give the path of a PyTorch checkpoint")
    size = path.stat().st_size
    with path.open("rb") as file:
        head = file.read(64)
    if not head:
        raise CheckpointError("the file is empty", where=where, hint="download or save it again")
    if head.startswith(LEGACY_MAGIC):
        return
    if not head.startswith(ZIP_MAGIC):
        kind = "an HTML page" if head.lstrip().lower().startswith((b"<!doctype", b"<html")) else (
            "a git-lfs pointer" if head.startswith(b"version https://git-lfs") else "")
        if kind:
            raise CheckpointError(f"is {kind}, not a checkpoint", where=where,
                                  hint="the download did not fetch the file itself")
        raise CheckpointError(f"not a PyTorch checkpoint (it starts with {head[:4].hex(' ')})",
                              where=where, hint="give a file that torch.save wrote")
    try:
        with zipfile.ZipFile(path) as archive:
            entries = archive.infolist()
    except zipfile.BadZipFile as error:
        raise CheckpointError(
            f"the file is truncated or damaged ({size} bytes, no zip directory at its end)",
            where=where, hint="download or save it again") from error
    names = [entry.filename for entry in entries]
    if any(name.endswith("constants.pkl") or "/code/" in name for name in names):
        raise CheckpointError("is a TorchScript program, not a state_dict", where=where,
                              hint="save it with torch.save(net.state_dict(), path)")
    if not any(name == "data.pkl" or name.endswith("/data.pkl") for name in names):
        kind = ".npz archive" if names and names[0].endswith(".npy") else "zip archive"
        raise CheckpointError(f"is a {kind}, not a PyTorch checkpoint", where=where,
                              hint="give a file that torch.save wrote")
    if sum(entry.file_size for entry in entries) > max(LIMIT, size):
        raise CheckpointError("claims more data than any network has", where=where,
                              hint="the file is damaged or hostile")


def _unpickle(path: Path):
    where = str(path)
    try:
        with torch.serialization.safe_globals(_SCALARS):
            return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        code = re.search(r"GLOBAL ([\w.<>]+)", str(error))
        if code:
            raise CheckpointError(
                f"holds pickled code ({code[1]}), which is never run", where=where,
                hint="save tensors alone: torch.save({'state_dict': net.state_dict()}, path)",
            ) from error
        raise CheckpointError("the file is truncated or damaged", where=where,
                              hint="download or save it again") from error
    except (RuntimeError, EOFError, ValueError, KeyError, AttributeError, OSError) as error:
        reason = str(error).split(". ")[0].split("\n")[0]
        raise CheckpointError(f"the file is truncated or damaged ({reason})", where=where,
                              hint="download or save it again") from error


def _without_prefixes(state: Mapping, where: str) -> dict[str, Tensor]:
    if not state:
        raise CheckpointError("holds no tensors", where=where)
    tensors: dict[str, Tensor] = {}
    for key, value in state.items():
        if not isinstance(key, str) or not isinstance(value, Tensor):
            raise CheckpointError(
                f"entry {key!r} is a {type(value).__name__}, not a tensor", where=where,
                hint=f"expected a state_dict, or a dict with one under {NESTED[0]!r}",
            )
        short = key
        while short.startswith(PREFIXES):
            short = short.split(".", 1)[1]
        if short in tensors:
            raise CheckpointError(f"has {short} twice, with and without a prefix", where=where)
        tensors[short] = value
    return tensors


def _check_tensor(key: str, tensor: Tensor, origin: str) -> None:
    where = f"{origin}: {key}"
    if tensor.layout != torch.strided or tensor.is_quantized or tensor.is_complex():
        raise CheckpointError(f"is a {tensor.dtype} {tensor.layout} tensor", where=where,
                              hint="convert it to float32 before saving")
    if not tensor.is_floating_point():
        return
    bad = int((~torch.isfinite(tensor)).sum())
    if bad:
        raise CheckpointError(f"{bad} of {tensor.numel()} values are NaN or infinite", where=where,
                              hint="training diverged; use an earlier checkpoint")
    if key.endswith("running_var") and bool((tensor < 0).any()):
        raise CheckpointError("a variance is negative", where=where, hint="the file is damaged")
