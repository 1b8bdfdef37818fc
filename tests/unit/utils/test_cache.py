import json
import threading

import pytest

from tfhub_ft.utils.cache import CACHE_VARIABLE, ENTRY_FILE, cache_dir, load_cached, read_entry, store_in_cache
from tfhub_ft.utils.errors import RunError


@pytest.fixture
def entry(tmp_path, monkeypatch):
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path / "cache"))
    return tmp_path / "cache" / "entry"


def fill(folder):
    folder.mkdir()
    (folder / "file").write_text("content")
    return {"source": "a test"}


def test_cache_dir_reads_environment_variable(entry, monkeypatch):
    assert cache_dir() == entry.parent
    monkeypatch.delenv(CACHE_VARIABLE)
    assert cache_dir().name == "tfhub_ft"


def test_store_in_cache_fills_entry_once(entry):
    store_in_cache(entry, fill)
    kept = read_entry(entry, thorough=True)
    assert kept["source"] == "a test"
    assert list(kept["files"]) == ["file"]
    assert {path.name for path in entry.parent.iterdir()} >= {"entry"}
    store_in_cache(entry, lambda folder: pytest.fail("was filled again"))


def test_store_in_cache_fills_for_one_process_at_a_time(entry):
    """The second waits for the lock; the third comes when the first, which it waited for, has left."""
    inside, together = set(), []
    started = {name: threading.Event() for name in "abc"}
    leave = {name: threading.Event() for name in "abc"}

    def visit(name):
        def make(folder):
            inside.add(name)
            together.append(set(inside))
            started[name].set()
            assert leave[name].wait(60)
            inside.remove(name)
            return fill(folder)

        store_in_cache(entry, make, read=lambda folder: None)

    first, second, third = (threading.Thread(target=visit, args=(name,)) for name in "abc")
    first.start()
    assert started["a"].wait(60)
    second.start()
    assert not started["b"].wait(0.3)
    leave["a"].set()
    assert started["b"].wait(60)
    first.join()
    third.start()
    started["c"].wait(0.5)
    leave["c"].set()
    leave["b"].set()
    for thread in (second, third):
        thread.join(60)
    assert together == [{"a"}, {"b"}, {"c"}]


def test_store_in_cache_removes_failed_entry(entry):
    with pytest.raises(ZeroDivisionError):
        store_in_cache(entry, lambda folder: 1 / 0)
    assert not entry.exists()
    assert read_entry(entry) is None


def test_store_in_cache_replaces_damaged_entry(entry):
    store_in_cache(entry, fill)
    (entry / "file").write_text("damaged")
    assert read_entry(entry) is None
    store_in_cache(entry, fill)
    assert (entry / "file").read_text() == "content"


def test_read_entry_records_new_times_of_copied_files(entry):
    store_in_cache(entry, fill)
    (entry / "file").touch()
    assert read_entry(entry) is not None
    _, _, time = json.loads((entry / ENTRY_FILE).read_text())["files"]["file"]
    assert time == (entry / "file").stat().st_mtime_ns


def test_store_in_cache_reports_read_only_cache(entry):
    entry.parent.write_text("a file")
    with pytest.raises(RunError, match=f"the cache is not writable .*set .{CACHE_VARIABLE}"):
        store_in_cache(entry, fill)


def test_load_cached_replaces_damaged_entry(entry):
    def get():
        store_in_cache(entry, fill)
        return entry

    def load(folder):
        if (folder / "file").read_text() != "content":
            raise ValueError("damaged")
        return "loaded"

    get()
    size, time = (entry / "file").stat().st_size, (entry / "file").stat().st_mtime_ns
    (entry / "file").write_text("c" * size)
    described = json.loads((entry / ENTRY_FILE).read_text())
    described["files"]["file"] = [size, "", time]
    (entry / ENTRY_FILE).write_text(json.dumps(described))
    with pytest.raises(ValueError, match="damaged"):
        load_cached(lambda: entry, lambda folder: load(folder))
