"""Addresses by lifetime: nothing lies over anything alive, updates in place lie where they must."""

import itertools

import numpy as np
import pytest

from hwbnn.allocate import Region, first_fit


def times(first, last):
    return frozenset(range(first, last + 1))


@pytest.mark.parametrize("seed", range(20))
def test_nothing_lies_over_what_is_alive(seed):
    rng = np.random.default_rng(seed)
    regions, chain_of = [], {}
    for n in range(12):
        start = int(rng.integers(0, 8))
        size, end = int(rng.integers(1, 50)), start + int(rng.integers(0, 4))
        before = regions[-1] if regions and rng.random() < 0.5 else None
        if before is None:
            chain_of[str(n)] = n
            regions.append(Region(str(n), size, times(start, end)))
            continue
        chain_of[str(n)] = chain_of[before.name]
        end = max(before.times) + int(rng.integers(0, 3))
        regions.append(Region(str(n), size, times(max(before.times), end), before.name,
                              int(rng.integers(0, size))))
    at, words = first_fit(regions)
    assert words == max(at[r.name] + r.size for r in regions) and min(at.values()) >= 0, seed
    for a, b in itertools.combinations(regions, 2):
        if chain_of[a.name] != chain_of[b.name] and a.times & b.times:
            assert at[a.name] + a.size <= at[b.name] or at[b.name] + b.size <= at[a.name], seed
    for r in regions:
        if r.alias:
            assert at[r.name] == at[r.alias] - r.before, seed


def test_a_chain_that_grows_lies_above_what_lives_at_its_start():
    """Two rings beside the first half of a map that doubles: with the large map first the second
    ring would lie behind it, in 16 words."""
    rings = [Region("ring", 4, times(0, 0)), Region("ring2", 4, times(0, 0))]
    chain = [Region("first", 6, times(0, 1)), Region("second", 12, times(1, 2), "first", 6)]
    at, words = first_fit(rings + chain)
    assert words == 14
    assert at["first"] == 8 and at["second"] == 2
