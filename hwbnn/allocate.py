"""First-fit placement of values with lifetimes in one address space."""

import dataclasses

__all__ = ["Region", "first_fit"]


@dataclasses.dataclass(frozen=True)
class Region:
    """``size`` words that hold something at each of ``times``.

    ``alias`` names a region whose first words this one takes over: an update in place.
    """

    name: str
    size: int
    times: frozenset[int]
    alias: str | None = None


def first_fit(regions: list[Region]) -> tuple[dict[str, int], int]:
    """Addresses by name, and the words needed in all. Large regions are placed first."""
    alias = {region.name: region.alias for region in regions}
    root = {name: name for name in alias}
    for name in root:
        while alias[root[name]]:
            root[name] = alias[root[name]]
    chains: dict[str, list[Region]] = {}
    for region in regions:
        chains.setdefault(root[region.name], []).append(region)
    size = {name: max(r.size for r in chain) for name, chain in chains.items()}
    placed: dict[str, int] = {}
    for name in sorted(chains, key=lambda n: -size[n]):
        others = [(placed[other], r) for other in placed for r in chains[other]]
        address = 0
        while (above := _blocked(chains[name], address, others)) is not None:
            address = above
        placed[name] = address
    top = max((placed[n] + size[n] for n in placed), default=0)
    return {name: placed[r] for name, r in root.items()}, top


def _blocked(chain: list[Region], address: int, others: list[tuple[int, Region]]) -> int | None:
    """The end of a region that something of ``chain`` at ``address`` would lie over."""
    ends = [at + other.size for at, other in others for mine in chain
            if mine.times & other.times
            and address < at + other.size and at < address + mine.size]
    return min(ends, default=None)
