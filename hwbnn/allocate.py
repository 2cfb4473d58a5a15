"""First-fit placement of values with lifetimes in one address space."""

import dataclasses

__all__ = ["Region", "first_fit"]


@dataclasses.dataclass(frozen=True)
class Region:
    """``size`` words that hold something at each of ``times``.

    ``alias`` names an earlier region whose place this one takes over: an update in place.
    """

    name: str
    size: int
    times: frozenset[int]
    alias: str | None = None


def first_fit(regions: list[Region]) -> tuple[dict[str, int], int]:
    """Addresses by name, and the words needed in all. Large regions are placed first."""
    chains: dict[str, list[Region]] = {}
    root: dict[str, str] = {}
    for region in regions:
        root[region.name] = root[region.alias] if region.alias else region.name
        chains.setdefault(root[region.name], []).append(region)
    size = {name: max(r.size for r in chain) for name, chain in chains.items()}
    times = {name: frozenset().union(*(r.times for r in chain)) for name, chain in chains.items()}
    placed: dict[str, int] = {}
    for name in sorted(chains, key=lambda n: -size[n]):
        address = 0
        for other in sorted(placed, key=placed.get):
            if times[name] & times[other]:
                if address + size[name] <= placed[other]:
                    break
                address = max(address, placed[other] + size[other])
        placed[name] = address
    top = max((placed[n] + size[n] for n in placed), default=0)
    return {name: placed[r] for name, r in root.items()}, top
