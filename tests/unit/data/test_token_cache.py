import os
import time

import numpy as np
import pytest

from tfhub_ft.data import token_cache
from tfhub_ft.data.batches import TokenRows, tokenize
from tfhub_ft.data.sequences import Mapped
from tfhub_ft.encoders import HubPreprocessor
from tfhub_ft.utils.errors import RunError

INPUTS = [(f"good film {n}", "so nice"[: n % 7 + 1]) for n in range(100)]
IN_CACHE = "The tokens of 100 rows are in the cache"


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("TFHUB_FT_CACHE", str(tmp_path))
    monkeypatch.setattr(token_cache, "CACHED_FROM", 100)
    monkeypatch.setattr(token_cache, "ROWS_AT_ONCE", 32)
    return tmp_path / "tokens"


@pytest.fixture
def layer(tiny_pair):
    return HubPreprocessor(str(tiny_pair), seq_length=14)


def same(one: TokenRows, other: TokenRows):
    for name in ("word_ids", "type_ids", "starts"):
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name))
        assert getattr(one, name).dtype == getattr(other, name).dtype
    return True


def test_cached_tokens_equal_fresh_ones(cache, layer, tiny_pair, capsys, monkeypatch):
    written = tokenize(layer, INPUTS)
    assert len(list(cache.iterdir())) == 1
    assert IN_CACHE not in capsys.readouterr().err
    again = tokenize(HubPreprocessor(str(tiny_pair), seq_length=14), Mapped(tuple, INPUTS))
    assert IN_CACHE in capsys.readouterr().err
    monkeypatch.setattr(token_cache, "CACHED_FROM", 101)
    assert same(written, again)
    assert same(written, tokenize(layer, INPUTS))
    assert len(list(cache.iterdir())) == 1


def test_progress_is_shown_only_for_uncached_rows(cache, layer, capsys, monkeypatch):
    monkeypatch.setattr(token_cache, "SHOWN_FROM", 100)
    tokenize(layer, INPUTS)
    assert capsys.readouterr().err == "Tokens of 100 rows ...\n"
    tokenize(layer, INPUTS)
    assert capsys.readouterr().err == f"{IN_CACHE}\n"


@pytest.mark.parametrize("change", ["seq_length", "lowercase", "rows", "order"])
def test_cache_key_depends_on_rows_and_settings(cache, layer, tiny_pair, change):
    tokenize(layer, INPUTS)
    settings = {"seq_length": 13} if change == "seq_length" else {"seq_length": 14, "lowercase": change == "lowercase"}
    inputs = {"rows": [*INPUTS[:-1], ("bad", "film")], "order": INPUTS[::-1]}.get(change, INPUTS)
    tokenize(HubPreprocessor(str(tiny_pair), **settings), inputs)
    assert len(list(cache.iterdir())) == 2


@pytest.mark.parametrize("damage", ["cut", "changed", "missing", "no_index", "torn_index"])
def test_damaged_entry_is_written_again(cache, layer, capsys, damage):
    expected = tokenize(layer, INPUTS)
    (entry,) = cache.iterdir()
    # Other processes may have mapped the file, so it is replaced.
    whole = (entry / "word_ids").read_bytes()
    (entry / "word_ids").unlink()
    if damage != "missing":
        (entry / "word_ids").write_bytes({"cut": whole[:-4], "changed": b"\1" + whole[1:]}.get(damage, whole))
    if damage == "no_index":
        (entry / "index.json").unlink()
    if damage == "torn_index":
        (entry / "index.json").write_text('{"word_ids": {"dty')
    capsys.readouterr()
    assert same(tokenize(layer, INPUTS), expected)
    assert IN_CACHE not in capsys.readouterr().err
    tokenize(layer, INPUTS)
    assert IN_CACHE in capsys.readouterr().err


def test_interrupted_write_leaves_nothing(cache, layer, monkeypatch):
    packed = layer.without_padding
    calls = []

    def fail(segments):
        calls.append(1)
        if len(calls) > 2:
            raise KeyboardInterrupt
        return packed(segments)

    monkeypatch.setattr(layer, "without_padding", fail)
    with pytest.raises(KeyboardInterrupt):
        tokenize(layer, INPUTS)
    assert not cache.exists() or list(cache.iterdir()) == []


def test_unwritable_cache_is_reported(cache, layer):
    cache.write_text("a file where the folder should be")
    with pytest.raises(RunError, match=r"tokens of 100 rows cannot be written .*TFHUB_FT_CACHE"):
        tokenize(layer, INPUTS)


def test_unused_entries_are_removed(cache, layer):
    tokenize(layer, INPUTS)
    (old,) = cache.iterdir()
    tokenize(layer, INPUTS[::-1])
    long_ago = time.time() - 40 * 86400
    os.utime(old, (long_ago, long_ago))
    tokenize(layer, [*INPUTS, ("bad", "film")])
    assert not old.exists()
    assert len(list(cache.iterdir())) == 2


def test_read_only_cache_is_read_but_not_written(cache, layer, capsys, read_only, monkeypatch):
    expected = tokenize(layer, INPUTS)
    read_only(cache)
    monkeypatch.setattr(os, "utime", read_only.refuse)
    capsys.readouterr()
    assert same(tokenize(layer, INPUTS), expected)
    assert IN_CACHE in capsys.readouterr().err
    assert len(tokenize(layer, INPUTS[1:])) == len(INPUTS) - 1
    assert len(list(cache.iterdir())) == 1
