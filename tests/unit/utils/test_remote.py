"""Remote files: URLs as paths, copies and errors."""

import functools
import http.server
import threading
import time
from pathlib import Path

import fsspec
import pytest
from fsspec.implementations.memory import MemoryFileSystem

from tfhub_ft.utils import remote
from tfhub_ft.utils.errors import InputError, RunError
from tfhub_ft.utils.files import check_writable, is_pattern, local_file, matching_files
from tfhub_ft.utils.remote import as_path, is_remote


class Handler(http.server.SimpleHTTPRequestHandler):
    """Serves files, and errors by name; counts requests for files."""

    requests: list[str]

    def do_GET(self):
        self.requests.append(self.path)
        if self.path == "/hangs.csv":
            time.sleep(1)
        elif self.path == "/secret.csv":
            self.send_error(403)
        elif self.path == "/broken.csv":
            self.send_response(200)
            self.send_header("Content-Length", "1000")
            self.end_headers()
            self.wfile.write(b"text")
        else:
            super().do_GET()

    do_HEAD = do_GET

    def log_message(self, *_):
        pass


@pytest.fixture
def server(tmp_path, monkeypatch):
    """The URL of a web server on this machine, and its folder."""
    # A proxy would not reach it.
    monkeypatch.setenv("no_proxy", "*")
    Handler.requests = []
    (tmp_path / "web").mkdir()
    handler = functools.partial(Handler, directory=str(tmp_path / "web"))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as running:
        threading.Thread(target=running.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{running.server_port}", tmp_path / "web"
        running.shutdown()


@pytest.mark.parametrize(
    ("name", "remote"),
    [
        ("s3://bucket/a.csv", True),
        ("https://host/a.csv?b=c", True),
        ("zip://a.csv::s3://bucket/a.zip", True),
        (Path("gs://bucket/a.csv"), True),
        ("a.csv", False),
        ("/data/a:b.csv", False),
        ("data/s3://a.csv", False),
        ("-", False),
    ],
)
def test_is_remote_recognizes_urls(name, remote):
    assert is_remote(name) == remote
    assert str(as_path(name)) == (str(name) if isinstance(name, str) and remote else str(as_path(Path(name))))


def test_remote_path_prints_as_its_url(tmp_path):
    (tmp_path / "1").write_text("a")
    path = as_path("https://host/a//b.csv.gz?next=https://x//y", copy=str(tmp_path / "1"))
    assert str(path) == "https://host/a//b.csv.gz?next=https://x//y"
    assert path.read_text() == Path(path.__fspath__()).read_text() == "a"
    assert (path.name, path.suffix, path.is_file()) == ("b.csv.gz", ".gz", True)
    assert str(path.with_suffix("")) == "https://host/a/b.csv"
    assert str(path.parent) == "https://host/a"
    assert path.resolve() is path
    assert str(as_path(path)) == str(path)
    assert str(as_path(Path("s3://b/c.csv"))) == "s3://b/c.csv"


def test_matching_files_downloads_a_remote_file_once(object_store):
    object_store.pipe("/rows/größer a.csv", b"text")
    (file,) = matching_files("memory://rows/größer a.csv")
    assert (str(file), file.read_text()) == ("memory://rows/größer a.csv", "text")
    assert matching_files(file)[0].copy == file.copy
    object_store.pipe("/rows/größer a.csv", b"more")
    assert local_file("memory://rows/größer a.csv").read_text() == "more"


def test_matching_files_finds_those_of_a_remote_pattern(object_store):
    for name in ("part-2.csv", "part-10.csv", "other.csv", "deep/part-3.csv"):
        object_store.pipe(f"/rows/{name}", name.encode())
    assert is_pattern("memory://rows/part-*.csv")
    files = matching_files("memory://rows/part-*.csv")
    assert [str(file) for file in files] == ["memory:///rows/part-10.csv", "memory:///rows/part-2.csv"]
    assert [file.read_text() for file in files] == ["part-10.csv", "part-2.csv"]
    with pytest.raises(InputError, match=r"^memory://rows/\*.tsv: no file matches the pattern"):
        matching_files("memory://rows/*.tsv")


def test_matching_files_reads_files_of_web_servers(server):
    url, folder = server
    (folder / "a b.csv").write_text("text")
    assert not is_pattern(f"{url}/a%20b.csv?x[1]=*")
    (file,) = matching_files(f"{url}/a%20b.csv?x=1")
    assert (file.read_text(), file.name) == ("text", "a%20b.csv")
    # The server does not say whether the file has changed.
    (folder / "a b.csv").write_text("more")
    assert matching_files(f"{url}/a%20b.csv?x=1")[0].read_text() == "more"


@pytest.mark.parametrize(
    ("name", "fault"),
    [
        ("none.csv", "not found; check the address"),
        ("secret.csv", r"no access \(ClientResponseError: 403, .*\); check the credentials for http://"),
        ("broken.csv", r"cannot be read \(ClientPayloadError: .*\); check the address and the network"),
        ("hangs.csv", "no response in time; check the network, and try again"),
    ],
)
def test_matching_files_names_the_fault_of_a_web_server(server, monkeypatch, name, fault):
    monkeypatch.setattr(remote, "_READ_S", 0.3)
    url, _ = server
    with pytest.raises(InputError, match=f"^{url}/{name}: {fault}$"):
        matching_files(f"{url}/{name}")


def test_matching_files_names_a_server_that_does_not_run(monkeypatch):
    monkeypatch.setenv("no_proxy", "*")
    with pytest.raises(InputError, match=r"^http://127.0.0.1:1/a.csv: cannot be read \(ClientConnectorError: "):
        matching_files("http://127.0.0.1:1/a.csv")


@pytest.mark.parametrize(
    ("error", "fault"),
    [
        (PermissionError("Access Denied"), r"no access \(PermissionError: Access Denied\); check the credentials for"),
        (type("NoCredentialsError", (Exception,), {})("Unable to locate"), r"no access \(NoCredentialsError: Unable"),
        (OSError("Forbidden: https://storage\nmore"), r"no access \(OSError: Forbidden: https://storage\); check"),
        (type("FSTimeoutError", (Exception,), {})(), "no response in time; check the network"),
        (FileNotFoundError("bucket/a.csv"), "not found; check the address"),
        (OSError("connection reset"), r"cannot be read \(OSError: connection reset\); check the address and the net"),
    ],
)
def test_matching_files_names_the_fault_of_a_store(object_store, monkeypatch, error, fault):
    def fail(*_, **__):
        raise error

    monkeypatch.setattr(MemoryFileSystem, "info", fail)
    with pytest.raises(InputError, match=f"^memory://rows/a.csv: {fault}"):
        matching_files("memory://rows/a.csv")


@pytest.mark.parametrize(
    ("url", "fault"),
    [
        ("nfs4://rows/a.csv", "nfs4:// is not known; use a protocol of fsspec, such as s3://"),
        (
            "memory://rows",
            r"is a folder; pass a file in it, or several by a pattern such as 'memory://rows/\*.parquet'",
        ),
    ],
)
def test_matching_files_refuses_other_urls(object_store, url, fault):
    object_store.pipe("/rows/a.csv", b"text")
    with pytest.raises(InputError, match=f"^{url}: {fault}"):
        matching_files(url)


def test_matching_files_names_the_missing_package(monkeypatch):
    def fail(*_, **__):
        raise ImportError("Install s3fs to access S3")

    monkeypatch.setattr(fsspec, "url_to_fs", fail)
    with pytest.raises(InputError, match="^s3://b/a.csv: needs s3fs, which is not installed; pip install s3fs$"):
        matching_files("s3://b/a.csv")


def test_matching_files_reports_a_full_disk(object_store, monkeypatch):
    object_store.pipe("/rows/full.csv", b"text")

    def fail(self, rpath, lpath, **__):
        raise OSError(28, "No space left on device", str(lpath))

    monkeypatch.setattr(MemoryFileSystem, "get_file", fail)
    with pytest.raises(RunError, match="^the copy of memory://rows/full.csv in .*: the disk is full"):
        matching_files("memory://rows/full.csv")


def test_check_writable_refuses_a_url():
    with pytest.raises(InputError, match="^--output-dir s3://b/runs: is remote; pass a local path$"):
        check_writable(as_path("s3://b/runs"), "--output-dir")
