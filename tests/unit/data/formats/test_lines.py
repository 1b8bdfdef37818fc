import gzip
import io
import re

import pytest

from tfhub_ft.data.formats.lines import encoding_of, open_bytes, read_lines, read_stream
from tfhub_ft.data.formats.source import ReadOptions
from tfhub_ft.utils.errors import InputError

TEXT = "naïve\nwörld\n"


def lines_of(path, **options):
    return list(read_lines(path, ReadOptions(**options)))


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32"])
def test_read_lines_detects_unicode_encodings(tmp_path, encoding):
    (tmp_path / "rows.txt").write_bytes(TEXT.encode(encoding))
    assert lines_of(tmp_path / "rows.txt") == [(1, "naïve\n", None), (2, "wörld\n", None)]


def test_read_lines_uses_the_named_or_usual_encoding(tmp_path):
    (tmp_path / "rows.txt").write_bytes(TEXT.encode("cp1252"))
    for name in ("encoding", "usual_encoding"):
        assert [line.text for line in lines_of(tmp_path / "rows.txt", **{name: "cp1252"})] == ["naïve\n", "wörld\n"]
    assert encoding_of("naïve".encode(), ReadOptions(usual_encoding="cp1252"), None) == "utf-8-sig"


def test_read_lines_decompresses_gzip_of_any_name(tmp_path):
    (tmp_path / "rows.txt").write_bytes(gzip.compress(TEXT.encode()))
    assert [line.text for line in lines_of(tmp_path / "rows.txt")] == ["naïve\n", "wörld\n"]
    (tmp_path / "rows.txt").write_bytes(gzip.compress(TEXT.encode())[:-9])
    with pytest.raises(InputError, match=r"rows\.txt: is not a complete gzip file"):
        lines_of(tmp_path / "rows.txt")


@pytest.mark.parametrize(
    ("content", "fault"),
    [
        (b"good\nb\xe4d\n", r"byte 2 \(0xe4\) is not UTF-8; .* --encoding cp1252"),
        (b"good\nb\x81d\n", r"byte 2 \(0x81\) is not UTF-8; .* --encoding latin-1"),
        (b"good\nb\0d\n", "contains a NUL byte; remove it"),
    ],
)
def test_read_lines_names_broken_bytes(tmp_path, content, fault):
    (tmp_path / "rows.txt").write_bytes(content)
    good, broken = lines_of(tmp_path / "rows.txt")
    assert (good.number, good.fault, broken.number) == (1, None, 2)
    assert re.match(fault, broken.fault)


def test_read_lines_keeps_carriage_returns_within_lines(tmp_path):
    (tmp_path / "rows.txt").write_bytes(b"a\nb\rc\n")
    assert [line.text for line in lines_of(tmp_path / "rows.txt")] == ["a\n", "b\rc\n"]


def test_read_stream_reads_streams_without_peek():
    stream = io.BytesIO(TEXT.encode())
    assert [line.text for line in read_stream(stream, "standard input", ReadOptions())] == ["naïve\n", "wörld\n"]


def test_open_bytes_names_a_missing_file(tmp_path):
    with (
        pytest.raises(InputError, match=r"none\.txt: cannot be read .*check the path"),
        open_bytes(tmp_path / "none.txt"),
    ):
        pass
