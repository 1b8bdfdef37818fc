import json
import threading

import pytest

from tfhub_ft.utils.cache import CACHE_VARIABLE, ENTRY_FILE, cache_dir, entry_of, keep, load_kept
from tfhub_ft.utils.errors import RunError


@pytest.fixture
def entry(tmp_path, monkeypatch):
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path / "cache"))
    return tmp_path / "cache" / "entry"


def fill(folder):
    folder.mkdir()
    (folder / "file").write_text("content")
    return {"source": "a test"}


def test_cache_dir_is_what_the_variable_names(entry, monkeypatch):
    assert cache_dir() == entry.parent
    monkeypatch.delenv(CACHE_VARIABLE)
    assert cache_dir().name == "tfhub_ft"


def test_keep_fills_an_entry_once(entry):
    keep(entry, fill)
    kept = entry_of(entry, thorough=True)
    assert kept["source"] == "a test"
    assert list(kept["files"]) == ["file"]
    assert {path.name for path in entry.parent.iterdir()} >= {"entry"}
    keep(entry, lambda folder: pytest.fail("was filled again"))


def test_keep_fills_for_one_process_at_a_time(entry):
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

        keep(entry, make, read=lambda folder: None)

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


def test_keep_leaves_nothing_of_an_entry_that_fails(entry):
    with pytest.raises(ZeroDivisionError):
        keep(entry, lambda folder: 1 / 0)
    assert not entry.exists()
    assert entry_of(entry) is None


def test_keep_replaces_a_damaged_entry(entry):
    keep(entry, fill)
    (entry / "file").write_text("damaged")
    assert entry_of(entry) is None
    keep(entry, fill)
    assert (entry / "file").read_text() == "content"


def test_entry_of_reads_touched_files_and_keeps_their_time(entry):
    keep(entry, fill)
    (entry / "file").touch()
    assert entry_of(entry) is not None
    _, _, time = json.loads((entry / ENTRY_FILE).read_text())["files"]["file"]
    assert time == (entry / "file").stat().st_mtime_ns


def test_keep_says_that_the_cache_cannot_be_written(entry):
    entry.parent.write_text("a file")
    with pytest.raises(RunError, match=f"the cache cannot be written .*set {CACHE_VARIABLE}"):
        keep(entry, fill)


def test_load_kept_fetches_a_damaged_entry_again(entry):
    def get():
        keep(entry, fill)
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
        load_kept(lambda: entry, lambda folder: load(folder))
