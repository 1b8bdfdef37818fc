import pytest

from tfhub_ft.utils import trust


@pytest.mark.parametrize(("value", "expected"), [(None, False), ("", False), ("0", False), ("1", True), ("yes", True)])
def test_trusts_all_reads_environment_variable(value, expected, monkeypatch):
    monkeypatch.delenv("TFHUB_FT_TRUST", raising=False)
    if value is not None:
        monkeypatch.setenv("TFHUB_FT_TRUST", value)
    assert trust.trusts_all() == expected


def test_config_dir_reads_environment_variable(tmp_path, monkeypatch):
    monkeypatch.setenv("TFHUB_FT_CONFIG", str(tmp_path))
    assert trust.config_dir() == tmp_path
    monkeypatch.delenv("TFHUB_FT_CONFIG")
    assert trust.config_dir().name == "tfhub_ft"


def test_record_recipe_is_known_to_later_processes(tmp_path, monkeypatch):
    monkeypatch.setenv("TFHUB_FT_CONFIG", str(tmp_path / "config"))
    monkeypatch.setattr(trust, "_trained_here", set())
    assert not trust.is_known_recipe(b"RECIPE = 1")
    trust.record_recipe(b"RECIPE = 1", "/home/me/mine.py")
    trust._trained_here.clear()
    assert trust.is_known_recipe(b"RECIPE = 1")
    assert not trust.is_known_recipe(b"RECIPE = 2")
    (record,) = (tmp_path / "config" / "recipes").iterdir()
    assert record.read_text() == "/home/me/mine.py\n"
