"""Contents of external memories as the files that simulation and synthesis load."""

from collections.abc import Iterable, Mapping
from pathlib import Path

from .emit import Emitted
from .errors import UserError


def memory_words(emitted: Emitted, contents: Mapping[str, Iterable[int]]) -> dict[str, list[int]]:
    """The words of every memory of ``emitted`` that starts with contents.

    ``contents`` maps a memory's name to unsigned words from address 0 on; words that are not
    given are zero. Memories not named keep the ``init`` they were emitted with.

    Raises
    ------
    UserError
        A name is no memory of the design, or the words do not fit it.
    """
    for name in contents:
        if name not in emitted.memories:
            known = ", ".join(sorted(emitted.memories)) or "none"
            raise UserError("no such memory", where=name, hint=f"the design has: {known}")
    words = {}
    for name, given in (emitted.contents | dict(contents)).items():
        width, depth = emitted.memories[name]
        words[name] = [int(word) for word in given]
        if len(words[name]) > depth:
            raise UserError(f"{len(words[name])} words for a memory of {depth}", where=name)
        for address, word in enumerate(words[name]):
            if not 0 <= word < 1 << width:
                raise UserError(
                    f"word {word:#x} at address {address} has more than {width} bits", where=name
                )
    return words


def hex_text(words: Iterable[int]) -> str:
    """``words`` as a $readmemh file; an empty memory is one zero, the rest being zero anyway."""
    return "".join(f"{word:x}\n" for word in words) or "0\n"


def write_images(
    emitted: Emitted, contents: Mapping[str, Iterable[int]], folder: Path
) -> list[Path]:
    """Write ``NAME.hex`` for every memory with contents: the folder for ``+IMAGES=``."""
    folder.mkdir(parents=True, exist_ok=True)
    files = []
    for name, words in memory_words(emitted, contents).items():
        file = folder / f"{name}.hex"
        file.write_text(hex_text(words))
        files.append(file)
    return files
