"""First-fit placement of values with lifetimes in one address space."""

import dataclasses

__all__ = ["Region", "first_fit"]


@dataclasses.dataclass(frozen=True)
class Region:
    """``size`` words, live from step ``start`` to step ``end`` inclusive.

    ``alias`` names a region whose place this one takes over: an update in place.
    """

    name: str
    size: int
    start: int
    end: int
    alias: str | None = None


def first_fit(regions: list[Region]) -> tuple[dict[str, int], int]:
    """Addresses by name, and the words needed in all. Regions must come in order of start."""
    placed: dict[str, int] = {}
    live: list[Region] = []
    top = 0
    for region in regions:
        live = [r for r in live if r.end >= region.start and r.name != region.alias]
        if region.alias is not None:
            address = placed[region.alias]
        else:
            address = 0
            for other in sorted(live, key=lambda r: placed[r.name]):
                if address + region.size <= placed[other.name]:
                    break
                address = max(address, placed[other.name] + other.size)
        placed[region.name] = address
        live.append(region)
        top = max(top, address + region.size)
    return placed, top
