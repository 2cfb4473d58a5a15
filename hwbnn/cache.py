"""Results of slow tools kept by the digest of everything that went into them."""

import hashlib
import json
import os
import shutil
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path

MANIFEST = "manifest.json"


def digest(*parts: str | bytes) -> str:
    """SHA-256 over ``parts``, each with its length, as a hexadecimal number."""
    total = hashlib.sha256()
    for part in parts:
        raw = part.encode() if isinstance(part, str) else part
        total.update(f"{len(raw)}:".encode())
        total.update(raw)
    return total.hexdigest()


def default_folder() -> Path:
    """``$HWBNN_CACHE``, or ``hwbnn`` in the platform's folder for caches."""
    if "HWBNN_CACHE" in os.environ:
        return Path(os.environ["HWBNN_CACHE"])
    if sys.platform == "darwin":
        base = Path.home() / "Library" / "Caches"
    elif os.name == "nt":
        base = Path(os.environ.get("LOCALAPPDATA", Path.home() / "AppData" / "Local"))
    else:
        base = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache"))
    return base / "hwbnn"


class Cache:
    """Files by key. An entry holds the hash of each of its files and is ignored when damaged.

    Parameters
    ----------
    folder : Path, optional
        Where entries live; ``default_folder()`` unless given.
    enabled : bool
        False makes ``get`` find nothing and ``put`` keep nothing.
    """

    def __init__(self, folder: Path | None = None, *, enabled: bool = True):
        self.folder = default_folder() if folder is None else folder
        self.enabled = enabled

    def get(self, key: str, into: Path) -> dict | None:
        """Copy the files of ``key`` into a folder; return the notes kept with them, or None."""
        entry = self._entry(key)
        if not self.enabled or not entry.is_dir():
            return None
        try:
            manifest = json.loads((entry / MANIFEST).read_text())
            contents = {name: (entry / name).read_bytes() for name in manifest["files"]}
        except (OSError, ValueError, KeyError, TypeError):
            return None
        if any(digest(raw) != manifest["files"][name] for name, raw in contents.items()):
            return None
        for name, raw in contents.items():
            (into / name).write_bytes(raw)
        return manifest["notes"]

    def put(self, key: str, files: Iterable[Path], notes: dict) -> None:
        """Keep ``files`` (by their names) and ``notes`` (JSON) under ``key``, all or nothing."""
        if not self.enabled:
            return
        entry = self._entry(key)
        entry.parent.mkdir(parents=True, exist_ok=True)
        new = Path(tempfile.mkdtemp(dir=entry.parent, prefix=".new-"))
        hashes = {}
        for file in files:
            raw = file.read_bytes()
            (new / file.name).write_bytes(raw)
            hashes[file.name] = digest(raw)
        (new / MANIFEST).write_text(json.dumps({"files": hashes, "notes": notes}))
        shutil.rmtree(entry, ignore_errors=True)
        try:
            new.rename(entry)
        except OSError:  # another process kept the same result first
            shutil.rmtree(new, ignore_errors=True)

    def _entry(self, key: str) -> Path:
        return self.folder / key[:2] / key
