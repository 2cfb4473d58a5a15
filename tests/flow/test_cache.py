"""The cache returns what was put, or nothing."""

import pytest

from hwbnn.cache import Cache, default_folder, digest


@pytest.fixture
def kept(tmp_path):
    """A cache with one entry, its key and a folder to copy into."""
    cache, source, into = Cache(tmp_path / "cache"), tmp_path / "source", tmp_path / "into"
    source.mkdir()
    into.mkdir()
    for name in ("a.txt", "b.txt"):
        (source / name).write_text(name)
    key = digest("x", b"y")
    cache.put(key, [source / "a.txt", source / "b.txt"], {"seconds": 2.5})
    return cache, key, into


def test_what_was_put_comes_back(kept):
    cache, key, into = kept
    assert cache.get(key, into) == {"seconds": 2.5}
    assert sorted(p.name for p in into.iterdir()) == ["a.txt", "b.txt"]
    assert (into / "b.txt").read_text() == "b.txt"


def test_other_keys_and_a_disabled_cache_find_nothing(kept):
    cache, key, into = kept
    assert cache.get(digest("x", "z"), into) is None
    off = Cache(cache.folder, enabled=False)
    assert off.get(key, into) is None
    off.put(digest("new"), [], {})
    assert cache.get(digest("new"), into) is None
    assert not list(into.iterdir())


@pytest.mark.parametrize("damage", ["flip", "lose", "manifest"])
def test_a_damaged_entry_is_ignored_and_can_be_put_again(kept, damage, tmp_path):
    cache, key, into = kept
    entry = cache.folder / key[:2] / key
    if damage == "flip":
        (entry / "a.txt").write_text("A.txt")
    elif damage == "lose":
        (entry / "a.txt").unlink()
    else:
        (entry / "manifest.json").write_text("{")
    assert cache.get(key, into) is None
    assert not list(into.iterdir())
    cache.put(key, [tmp_path / "source" / "a.txt"], {})
    assert cache.get(key, into) == {}


def test_a_digest_tells_apart_where_parts_end():
    assert digest("ab", "c") != digest("a", "bc")
    assert digest("ab") == digest(b"ab")


def test_the_folder_can_be_chosen(monkeypatch, tmp_path):
    monkeypatch.setenv("HWBNN_CACHE", str(tmp_path))
    assert default_folder() == tmp_path
