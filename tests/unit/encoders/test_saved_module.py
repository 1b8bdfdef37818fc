import shutil
import tempfile
from pathlib import Path

import pytest

from tfhub_ft.encoders import HubPreprocessor
from tfhub_ft.encoders.saved_module import open_module


def mode_of(path):
    return path.stat().st_mode & 0o777


@pytest.mark.parametrize("mode", [0o777, 0o555])
def test_open_module_copies_privately(tiny_pair, tmp_path, mode):
    folder = shutil.copytree(tiny_pair / "preprocessor", tmp_path / "preprocessor")
    for path in (folder, folder / "assets"):
        path.chmod(mode)
    _, workspace = open_module(folder, keep_values=True)
    copy = Path(workspace.name)
    assert [mode_of(each) for each in (copy, copy.parent)] == [0o700] * 2
    assert copy.parent.parent == Path(tempfile.gettempdir())
    assert mode_of(copy / "assets") & 0o700 == 0o700
    for path in (folder, folder / "assets"):
        path.chmod(0o700)


def test_write_module_uses_default_permissions(tiny_pair, tmp_path):
    (tmp_path / "by_umask").mkdir()
    HubPreprocessor(str(tiny_pair)).write_module(tmp_path / "written")
    assert mode_of(tmp_path / "written") == mode_of(tmp_path / "by_umask")
