"""A build's output folder: one user at a time, a manifest of what was made from what.

``manifest.json`` lists, per stage, the digest of its inputs and the digest of every file it wrote.
A stage's record is written last, after its files; a stage that did not finish has none.
"""

import contextlib
import dataclasses
import errno
import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

from .cache import digest
from .errors import StaleError, UserError

__all__ = ["Folder", "Record", "STAGES", "file_digest", "open_folder", "write_text"]

# In the order in which they run, with the stages whose files each one reads.
STAGES = {
    "check": (),
    "evaluate": ("check",),
    "plan": ("check",),
    "rtl": ("plan",),
    "verify": ("check", "plan", "rtl"),
    "build": ("plan",),
    "report": ("check", "evaluate", "plan", "rtl", "verify", "build"),
}
MANIFEST = "manifest.json"
LOCK = ".lock"
FORMAT = 1

_PLAIN = {
    errno.ENOSPC: ("no space left on the disk", "free some, or give another -o"),
    errno.EDQUOT: ("the disk quota is used up", "free some, or give another -o"),
    errno.EFBIG: ("the file would exceed the allowed size", "see 'ulimit -f'"),
    errno.EROFS: ("the file system is read-only", "give another -o"),
    errno.EACCES: ("permission denied", "give another -o"),
    errno.EPERM: ("permission denied", "give another -o"),
    errno.ENOTDIR: ("a part of the path is a file", "give another -o"),
    errno.ENAMETOOLONG: ("the path is too long", "give another -o"),
}


def file_digest(path: Path) -> str:
    """SHA-256 of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_text(path: Path, text: str) -> None:
    """Write beside, then rename: a reader sees the old file or the whole new one."""
    part = path.with_name(f".{path.name}.part")
    try:
        part.write_text(text, encoding="utf-8")
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


@contextlib.contextmanager
def plain_errors(root: Path) -> Iterator[None]:
    """Turn what the operating system refuses below ``root`` into a UserError of one line."""
    try:
        yield
    except OSError as error:
        if error.errno not in _PLAIN:
            raise
        what, hint = _PLAIN[error.errno]
        raise UserError(what, where=str(error.filename or root), hint=hint) from error


@dataclasses.dataclass(frozen=True)
class Record:
    """What a finished stage leaves in the manifest.

    ``key`` is the digest of everything that decided its files: options, ``inputs`` (digests of
    files from outside by option), and ``reads`` (keys of the stages it read). ``files`` maps a
    path below the folder to its digest; ``facts`` are what later stages and the report read.
    """

    key: str
    inputs: dict[str, str]
    reads: dict[str, str]
    files: dict[str, str]
    facts: dict
    seconds: float
    peak_bytes: int


class Folder:
    """An output folder that this process holds. Made by `open_folder`.

    ``options`` are those of the last compile, as JSON.
    """

    def __init__(self, root: Path, records: dict[str, Record], options: dict):
        self.root = root
        self.records = records
        self.options = options

    def __truediv__(self, name: str) -> Path:
        return self.root / name

    def reads(self, stage: str) -> dict[str, str]:
        """Keys of the finished stages that ``stage`` reads; all but the report need each one."""
        needed = [s for s in STAGES[stage] if stage != "report" or s in self.records]
        return {name: self.need(name).key for name in needed}

    def finished_before(self, stage: str) -> list[str]:
        """The finished ones among the stages that ``stage`` reads."""
        return [s for s in STAGES[stage] if s in self.records]

    def key(self, stage: str, options: dict, inputs: dict[str, str]) -> str:
        """Digest of everything that decides what ``stage`` writes."""
        return digest(stage, json.dumps([options, inputs, self.reads(stage)], sort_keys=True))

    def need(self, stage: str) -> Record:
        """The record of an earlier stage; StaleError when it did not finish in this folder."""
        if stage not in self.records:
            raise StaleError(f"stage {stage!r} has not finished here", where=str(self.root),
                             hint="run 'hwbnn compile' with the same -o")
        return self.records[stage]

    def check_files(self, stage: str) -> None:
        """Raise StaleError, naming the file, unless ``stage``'s files are as it wrote them, and
        were made from what the folder holds now."""
        record = self.need(stage)
        for name, key in record.reads.items():
            if self.need(name).key != key:
                raise StaleError(f"stage {stage!r} was made from another {name!r}",
                                 where=str(self.root), hint="run 'hwbnn compile' with the same -o")
        for name, wanted in record.files.items():
            path = self.root / name
            if not path.is_file():
                raise StaleError(f"is missing, stage {stage!r} wrote it", where=str(path),
                                 hint=_remedy(name, self.root))
            if file_digest(path) != wanted:
                raise StaleError(f"was changed after stage {stage!r} wrote it", where=str(path),
                                 hint=_remedy(name, self.root))

    def finished(self, stage: str, key: str) -> bool:
        """Whether ``stage`` ran with this key and all of its files are still there.

        Raises
        ------
        StaleError
            One of them was changed by someone else.
        """
        record = self.records.get(stage)
        if record is None or record.key != key:
            return False
        if any(not (self.root / name).is_file() for name in record.files):
            return False
        self.check_files(stage)
        return True

    def invalidate(self, stage: str) -> None:
        """Forget ``stage`` and every one that reads it, and delete what they wrote."""
        gone = {stage}
        for name, read in STAGES.items():  # in order, so that one sweep finds all
            if gone & set(read):
                gone.add(name)
        for name in gone:
            record = self.records.pop(name, None)
            for file in record.files if record else ():
                (self.root / file).unlink(missing_ok=True)
        self._save()

    def finish(self, stage: str, record: Record) -> None:
        """Add a stage's record: the last thing it does."""
        self.records[stage] = record
        self._save()

    def digests(self, *paths: Path) -> dict[str, str]:
        """Manifest entries of files and of every file below folders."""
        found = {}
        for path in paths:
            files = sorted(p for p in path.rglob("*") if p.is_file()) if path.is_dir() else [path]
            for file in files:
                found[file.relative_to(self.root).as_posix()] = file_digest(file)
        return found

    def _save(self) -> None:
        doc = {
            "format": FORMAT,
            "options": self.options,
            "stages": {s: dataclasses.asdict(r) for s, r in self.records.items()},
        }
        write_text(self.root / MANIFEST, json.dumps(doc, indent=1) + "\n")


def _remedy(name: str, root: Path) -> str:
    if name == "plan.json":
        return f"to build from it, copy it elsewhere and pass --plan COPY; else delete {root}"
    return "delete the folder, or compile into another with -o"


@contextlib.contextmanager
def open_folder(root: Path, *, create: bool) -> Iterator[Folder]:
    """Take the folder for this process; ``create`` makes it where it is missing or empty.

    Raises
    ------
    UserError
        It is in use, cannot be written, or holds something else than a build.
    StaleError
        Its manifest is damaged or of another version.
    """
    root = Path(root)
    with plain_errors(root):
        if root.exists() and not root.is_dir():
            raise UserError("is a file, not a folder", where=str(root), hint="give another -o")
        known = (root / MANIFEST).is_file()
        if not known and not create:
            what = "is no build folder" if root.exists() else "no such folder"
            raise UserError(what, where=str(root), hint="'hwbnn compile' makes one")
        if not known and root.is_dir() and any(p.name != LOCK for p in root.iterdir()):
            raise UserError("is not empty and is no build folder", where=str(root),
                            hint="give another -o")
        root.mkdir(parents=True, exist_ok=True)
        with _locked(root):
            folder = Folder(root, *(_read(root) if known else ({}, {})))
            if not known:
                folder._save()
            yield folder


def _read(root: Path) -> tuple[dict[str, Record], dict]:
    path = root / MANIFEST
    try:
        doc = json.loads(path.read_text(encoding="utf-8"))
        if doc["format"] != FORMAT:
            raise StaleError(f"is of format {doc['format']}, this version writes {FORMAT}",
                             where=str(path), hint="delete the folder and compile again")
        return {s: Record(**entry) for s, entry in doc["stages"].items()}, doc["options"]
    except (ValueError, KeyError, TypeError) as error:
        raise StaleError("is damaged", where=str(path),
                         hint="delete the folder and compile again") from error


@contextlib.contextmanager
def _locked(root: Path) -> Iterator[None]:
    """Hold an advisory lock, which the system drops when this process ends however it ends."""
    path = root / LOCK
    with path.open("a+") as file:
        if not _try_lock(file):
            file.seek(0)
            owner = file.read().strip() or "another process"
            raise UserError(f"in use by {owner}", where=str(root),
                            hint="wait for it, or give another -o")
        file.truncate(0)
        file.write(f"process {os.getpid()}")
        file.flush()
        yield


def _lock_functions() -> Callable:
    try:
        import fcntl
    except ImportError:  # Windows
        import msvcrt

        def lock(file) -> None:
            file.seek(1 << 20)  # beyond the text, which others read
            msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
    else:

        def lock(file) -> None:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)

    return lock


def _try_lock(file) -> bool:
    try:
        _lock_functions()(file)
    except OSError as error:
        if error.errno in (errno.EWOULDBLOCK, errno.EAGAIN, errno.EACCES):
            return False
        raise
    return True


def clear(path: Path) -> Path:
    """An empty folder at ``path``, whatever an earlier run left there."""
    if path.exists():
        shutil.rmtree(path)
    path.mkdir(parents=True)
    return path
