import os
import shutil

import pytest

import tfhub_ft
from tfhub_ft.export_folder import next_version, versions


@pytest.fixture
def cluttered(tiny_export, tmp_path):
    """An export folder with version 1 and unrelated files."""
    folder = shutil.copytree(tiny_export, tmp_path / "tiny")
    for name in ("1_backup", "1 (copy)", "backup", "1.5", "-2", "\u0663"):
        shutil.copytree(folder / "1", folder / name)
    (folder / "3").mkdir()
    (folder / "2").write_text("a file")
    (folder / ".DS_Store").write_bytes(b"")
    (folder / "Thumbs.db").write_bytes(b"")
    (folder / "latest").symlink_to("1")
    (folder / "broken").symlink_to("nowhere")
    return folder


def test_versions_are_folders_with_numbers(cluttered):
    assert [path.name for path in versions(cluttered)] == ["1"]
    assert next_version(cluttered) == 4
    (cluttered / "3").rmdir()
    os.rename(cluttered / "1_backup", cluttered / "0010")
    (cluttered / "9").symlink_to("1")
    assert [path.name for path in versions(cluttered)] == ["1", "9", "0010"]
    assert next_version(cluttered) == 11
    assert (versions(cluttered / "none"), next_version(cluttered / "none")) == ([], 1)


def test_export_ignores_unrelated_files(cluttered, tiny_run):
    assert tfhub_ft.predict(cluttered, ["good film"])[0]["label"] == "positive"
    assert tfhub_ft.predict(cluttered / "latest", ["bad film"])[0]["label"] == "negative"
    tfhub_ft.export(tiny_run, output_dir=cluttered)
    assert (cluttered / "4" / "saved_model.pb").is_file()
