"""First-fit placement of values with lifetimes in one address space."""

import dataclasses

__all__ = ["Region", "first_fit"]


@dataclasses.dataclass(frozen=True)
class Region:
    """``size`` words that hold something at each of ``times``.

    ``alias`` names a region whose words this one takes over, an update in place; it begins
    ``before`` that one by so many words.
    """

    name: str
    size: int
    times: frozenset[int]
    alias: str | None = None
    before: int = 0


def first_fit(regions: list[Region]) -> tuple[dict[str, int], int]:
    """Addresses by name, and the words needed in all. Large regions are placed first,
    or those that end first if that takes fewer."""
    known = {region.name: region for region in regions}
    root, offset = {}, {}
    for region in regions:
        at, first = region, 0
        while at.alias:
            first -= at.before
            at = known[at.alias]
        root[region.name], offset[region.name] = at.name, first
    chains: dict[str, list[tuple[int, Region]]] = {}
    for region in regions:
        chains.setdefault(root[region.name], []).append((offset[region.name], region))
    for name, chain in chains.items():
        lowest = min(first for first, _r in chain)
        chains[name] = [(first - lowest, r) for first, r in chain]
    size = {name: max(first + r.size for first, r in chain) for name, chain in chains.items()}
    end = {name: max(max(r.times) for _first, r in chain) for name, chain in chains.items()}
    placed, top = None, None
    # a chain that grows over time may lie better above what only lives at its start
    for order in (lambda n: -size[n], lambda n: (end[n], -size[n])):
        tried = _place(chains, sorted(chains, key=order))
        words = max((tried[n] + size[n] for n in tried), default=0)
        if top is None or words < top:
            placed, top = tried, words
    return {r.name: placed[name] + first for name, chain in chains.items()
            for first, r in chain}, top


def _place(chains: dict[str, list[tuple[int, Region]]], order: list[str]) -> dict[str, int]:
    """The lowest address of each chain, one after another."""
    placed: dict[str, int] = {}
    for name in order:
        others = [(placed[other] + first, r) for other in placed for first, r in chains[other]]
        address = 0
        while (above := _blocked(chains[name], address, others)) is not None:
            address = above
        placed[name] = address
    return placed


def _blocked(chain: list[tuple[int, Region]], address: int,
             others: list[tuple[int, Region]]) -> int | None:
    """An address above ``address``, where something of ``chain`` would lie over one of ``others``:
    the lowest at which it does not lie over that one."""
    above = [at + other.size - first for at, other in others for first, mine in chain
             if mine.times & other.times
             and address + first < at + other.size and at < address + first + mine.size]
    return min(above, default=None)
