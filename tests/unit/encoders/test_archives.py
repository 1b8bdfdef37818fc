import gzip
import io
import stat
import tarfile
import zipfile

import pytest

from tfhub_ft.encoders import archives
from tfhub_ft.encoders.archives import unpack
from tfhub_ft.utils.errors import InputError


def tar_gz(path, *members, mode="w:gz"):
    """Write (name, bytes) as files, (name, None) as folders, and TarInfo objects unchanged."""
    with tarfile.open(path, mode) as tar:
        for member in members:
            if isinstance(member, tarfile.TarInfo):
                tar.addfile(member)
                continue
            name, content = member
            info = tarfile.TarInfo(name)
            if content is None:
                info.type = tarfile.DIRTYPE
            info.size = len(content or b"")
            tar.addfile(info, io.BytesIO(content or b""))
    return path


def zip_of(path, *members):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as zipped:
        for name, content in members:
            zipped.writestr(name, content)
    return path


def special(name, kind, target=""):
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, target
    return info


def assert_refused(archive, tmp_path, *words, **options):
    """Assert that unpacking fails with a one-line error that contains the words, and leaves no files."""
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(InputError) as caught:
        unpack(archive, tmp_path / "target" / "out", **options)
    message = str(caught.value)
    assert "\n" not in message
    assert str(archive) in message
    for word in words:
        assert word in message
    assert not (tmp_path / "target").exists()
    assert sorted(tmp_path.rglob("*")) == before


def test_unpack_extracts_a_tar_gz(tmp_path):
    content = bytes(range(256)) * 10_000
    archive = tar_gz(
        tmp_path / "a.tar.gz", ("./", None), ("./variables", None), ("./variables/v", content), ("m", b"x")
    )
    unpack(archive, tmp_path / "out")
    assert (tmp_path / "out" / "variables" / "v").read_bytes() == content
    assert (tmp_path / "out" / "m").read_bytes() == b"x"


def test_unpack_extracts_a_zip(tmp_path):
    archive = zip_of(tmp_path / "a.zip", ("variables/", ""), ("variables/v", b"v" * 100), ("assets/deep/vocab", b""))
    unpack(archive, tmp_path / "out")
    assert (tmp_path / "out" / "variables" / "v").read_bytes() == b"v" * 100
    assert (tmp_path / "out" / "assets" / "deep" / "vocab").read_bytes() == b""


def test_unpack_detects_the_format_by_content(tmp_path):
    unpack(zip_of(tmp_path / "a.tar.gz", ("m", b"x")), tmp_path / "out")
    assert (tmp_path / "out" / "m").read_bytes() == b"x"


def test_unpack_ignores_permissions(tmp_path):
    info = tarfile.TarInfo("m")
    info.mode = 0o4777
    unpack(tar_gz(tmp_path / "a.tar.gz", info), tmp_path / "out")
    assert (tmp_path / "out" / "m").stat().st_mode & (stat.S_ISUID | stat.S_IXUSR | stat.S_IWOTH) == 0


@pytest.mark.parametrize("name", ["../x", "a/../../x", "..", "a/..", "./../x"])
def test_unpack_refuses_paths_outside_the_folder(tmp_path, name):
    assert_refused(tar_gz(tmp_path / "a.tar.gz", ("ok", b"1"), (name, b"x")), tmp_path, repr(name), "leads out")
    assert_refused(zip_of(tmp_path / "a.zip", ("ok", b"1"), (name, b"x")), tmp_path, repr(name), "leads out")


@pytest.mark.parametrize("name", ["/abs", "//host/share/x", "C:/x", "C:x", "..\\x", "a\\b"])
def test_unpack_refuses_absolute_paths_and_backslashes(tmp_path, name):
    assert_refused(tar_gz(tmp_path / "a.tar.gz", (name, b"x")), tmp_path, repr(name), "absolute")
    assert_refused(zip_of(tmp_path / "a.zip", (name, b"x")), tmp_path, repr(name), "absolute")


@pytest.mark.parametrize("name", ["a" * 5000, "ä" * 200, "a/" * 2500 + "b"], ids=["long", "bytes", "deep"])
def test_unpack_refuses_names_too_long_for_file_systems(tmp_path, name):
    words = (repr(f"{name[:80]}..."), "longer than 255 bytes, or more than 12 folders")
    assert_refused(tar_gz(tmp_path / "a.tar.gz", ("ok", b"1"), (name, b"x")), tmp_path, *words)
    assert_refused(zip_of(tmp_path / "a.zip", ("ok", b"1"), (name, b"x")), tmp_path, *words)


def test_unpack_refuses_folders_outside_the_folder(tmp_path):
    assert_refused(tar_gz(tmp_path / "a.tar.gz", ("../made", None)), tmp_path, "leads out")


@pytest.mark.parametrize(
    ("kind", "word"),
    [
        (tarfile.SYMTYPE, "a link"),
        (tarfile.LNKTYPE, "a link"),
        (tarfile.CHRTYPE, "neither a plain file"),
        (tarfile.BLKTYPE, "neither a plain file"),
        (tarfile.FIFOTYPE, "neither a plain file"),
    ],
)
def test_unpack_refuses_links_and_devices_in_tars(tmp_path, kind, word):
    assert_refused(tar_gz(tmp_path / "a.tar.gz", special("m", kind, "/etc/passwd")), tmp_path, "'m'", word)


def test_unpack_refuses_files_below_a_link(tmp_path):
    archive = tar_gz(tmp_path / "a.tar.gz", special("d", tarfile.SYMTYPE, str(tmp_path)), ("d/evil", b"x"))
    assert_refused(archive, tmp_path, "a link")


@pytest.mark.parametrize(("kind", "word"), [(stat.S_IFLNK, "a link"), (stat.S_IFIFO, "neither a plain file")])
def test_unpack_refuses_links_and_devices_in_zips(tmp_path, kind, word):
    info = zipfile.ZipInfo("m")
    info.create_system, info.external_attr = 3, (kind | 0o777) << 16
    assert_refused(zip_of(tmp_path / "a.zip", (info, "/etc/passwd")), tmp_path, "'m'", word)


@pytest.mark.parametrize("names", [("m", "m"), ("m", "./m"), ("m", "m/x"), ("m/x", "m")])
def test_unpack_refuses_members_that_overwrite_others(tmp_path, names):
    members = [(name, b"x") for name in names]
    assert_refused(tar_gz(tmp_path / "a.tar.gz", *members), tmp_path, "overwrite another member")
    if names != ("m", "m"):
        assert_refused(zip_of(tmp_path / "a.zip", *members), tmp_path, "overwrite another member")


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_unpack_refuses_duplicate_names_in_zips(tmp_path):
    assert_refused(zip_of(tmp_path / "a.zip", ("m", b"1"), ("m", b"2")), tmp_path, "overwrite another member")


def test_unpack_refuses_a_folder_with_the_path_of_a_file(tmp_path):
    assert_refused(tar_gz(tmp_path / "a.tar.gz", ("m", b"1"), ("m", None)), tmp_path, "another member, which is a file")


def test_unpack_accepts_duplicate_folders(tmp_path):
    unpack(tar_gz(tmp_path / "a.tar.gz", ("d", None), ("d", None), ("d/m", b"x")), tmp_path / "out")
    assert (tmp_path / "out" / "d" / "m").is_file()


def test_unpack_limits_the_total_size(tmp_path):
    members = [(f"m{number}", bytes(600)) for number in range(2)]
    for archive in (tar_gz(tmp_path / "a.tar.gz", *members), zip_of(tmp_path / "a.zip", *members)):
        assert_refused(archive, tmp_path, "more than 1,000 bytes", max_bytes=1000)
        unpack(archive, tmp_path / archive.suffix[1:], max_bytes=20_000)


def test_unpack_stops_bombs_with_false_headers(tmp_path):
    archive = zip_of(tmp_path / "bomb.zip", ("m", bytes(50_000_000)))
    data = bytearray(archive.read_bytes())
    assert len(data) < 100_000
    false_size = (1000).to_bytes(4, "little")
    for signature, offset in ((b"PK\x03\x04", 22), (b"PK\x01\x02", 24)):
        start = data.index(signature) + offset
        data[start : start + 4] = false_size
    archive.write_bytes(data)
    assert_refused(archive, tmp_path, max_bytes=2000)
    assert_refused(
        tar_gz(tmp_path / "bomb.tar.gz", ("m", bytes(50_000_000))), tmp_path, "more than 1,000,000", max_bytes=10**6
    )


def test_unpack_refuses_sparse_files(tmp_path):
    assert_refused(
        tar_gz(tmp_path / "a.tar.gz", special("m", tarfile.GNUTYPE_SPARSE)), tmp_path, "neither a plain file"
    )


def test_unpack_refuses_huge_headers(tmp_path):
    info = tarfile.TarInfo("pax")
    info.type, info.size = tarfile.XHDTYPE, 8 * 2**30
    archive = tmp_path / "a.tar.gz"
    archive.write_bytes(gzip.compress(info.tobuf(tarfile.GNU_FORMAT) + bytes(2048)))
    assert_refused(archive, tmp_path, "damaged", "a header of 8,589,934,592 bytes")


def test_unpack_refuses_endless_padding(tmp_path):
    plain = tar_gz(tmp_path / "plain", ("m", b"x"), mode="w").read_bytes()
    archive = tmp_path / "a.tar.gz"
    archive.write_bytes(gzip.compress(plain + bytes(5_000_000)))
    assert_refused(archive, tmp_path, "too much data after the end of the archive", max_bytes=10**6)


def test_unpack_limits_the_number_of_members(tmp_path, monkeypatch):
    monkeypatch.setattr(archives, "MAX_MEMBERS", 3)
    members = [(f"m{number}", b"x") for number in range(4)]
    assert_refused(tar_gz(tmp_path / "a.tar.gz", *members), tmp_path, "more than 3 members")
    assert_refused(zip_of(tmp_path / "a.zip", *members), tmp_path, "more than 3 members")


def test_unpack_refuses_encrypted_zips(tmp_path):
    archive = zip_of(tmp_path / "a.zip", ("m", b"x"))
    data = bytearray(archive.read_bytes())
    for signature, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        data[data.index(signature) + offset] |= 1
    archive.write_bytes(data)
    assert_refused(archive, tmp_path, "encrypted")


def test_unpack_refuses_html_pages(tmp_path):
    page = tmp_path / "page.tar.gz"
    page.write_bytes(b"<!doctype html>\n<html><body>Sign in</body></html>")
    assert_refused(page, tmp_path, "neither a .tar.gz nor a .zip", "<!doctype html>")


def test_unpack_refuses_empty_files(tmp_path):
    (tmp_path / "empty").write_bytes(b"")
    assert_refused(tmp_path / "empty", tmp_path, "neither a .tar.gz nor a .zip")


@pytest.mark.parametrize("keep", [0.2, 0.9, 0.999])
@pytest.mark.parametrize("kind", ["a.tar.gz", "a.zip"])
def test_unpack_refuses_truncated_archives(tmp_path, kind, keep):
    content = bytes((number * number) % 251 for number in range(50_000))
    archive = (zip_of if kind == "a.zip" else tar_gz)(tmp_path / kind, ("m", content), ("n", content))
    data = archive.read_bytes()
    archive.write_bytes(data[: int(len(data) * keep)])
    assert_refused(archive, tmp_path, "damaged")


def test_unpack_verifies_checksums(tmp_path):
    for archive in (tar_gz(tmp_path / "a.tar.gz", ("m", b"x" * 99)), zip_of(tmp_path / "a.zip", ("m", b"x" * 99))):
        data = bytearray(archive.read_bytes())
        position = len(data) - 8 if archive.suffix == ".gz" else data.index(b"PK\x01\x02") + 16
        data[position] ^= 0xFF
        archive.write_bytes(data)
        assert_refused(archive, tmp_path, "damaged")


def test_unpack_errors_use_the_label(tmp_path):
    archive = tar_gz(tmp_path / "a.tar.gz", ("../x", b"x"))
    with pytest.raises(InputError, match=r"^https://host/model: ") as caught:
        unpack(archive, tmp_path / "out", label="https://host/model")
    assert str(archive) not in str(caught.value)


def test_unpack_errors_escape_unprintable_names(tmp_path):
    archive = tar_gz(tmp_path / "a.tar.gz", ("../\udcff\n", b"x"))
    with pytest.raises(InputError) as caught:
        unpack(archive, tmp_path / "out")
    str(caught.value).encode("utf-8")
    assert "\n" not in str(caught.value)
