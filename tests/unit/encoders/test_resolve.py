import errno
import gzip
import hashlib
import io
import json
import os
import socket
import subprocess
import sys
import tarfile
import threading
import time
import urllib.error
import urllib.request
import zipfile
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from tfhub_ft.encoders import download
from tfhub_ft.encoders import resolve as resolve_module
from tfhub_ft.encoders.catalog import CATALOG, lookup
from tfhub_ft.encoders.resolve import cached, resolve
from tfhub_ft.utils import cache as cache_module
from tfhub_ft.utils.cache import cache_dir
from tfhub_ft.utils.errors import InputError, RunError

BERT = lookup("bert-base-uncased")
BERT_PATH = BERT.handle.removeprefix("https://tfhub.dev")
PREPROCESSOR_PATH = BERT.preprocessor.removeprefix("https://tfhub.dev")
MODEL = {"saved_model.pb": b"graph", "variables/variables.index": b"index", "assets/vocab.txt": b"[PAD]\n"}


def tar_gz(members):
    """Return a tar.gz of {name: bytes}; a name that starts with "->" is a link."""
    buffer = io.BytesIO()
    # Without a timestamp: the same members give the same bytes.
    with gzip.GzipFile(fileobj=buffer, mode="wb", mtime=0) as packed, tarfile.open(fileobj=packed, mode="w") as tar:
        for name, content in members.items():
            info = tarfile.TarInfo(name.removeprefix("->"))
            if name.startswith("->"):
                info.type, info.linkname = tarfile.SYMTYPE, content.decode()
                content = b""
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


def zipped(members):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as file:
        for name, content in members.items():
            file.writestr(name, content)
    return buffer.getvalue()


def model(content):
    return {**MODEL, "saved_model.pb": content}


class Hub:
    """A local server that behaves like tfhub.dev and Kaggle.

    Attributes:
        bodies: response body by path (with the query).
        lengths: Content-Length by path; None sends none.
        statuses: HTTP status by path, sent without a body.
        requests: the requested paths.
        gate: event that each response waits for, if set.
    """

    def __init__(self):
        self.bodies, self.lengths, self.statuses, self.redirects = {}, {}, {}, {}
        self.requests, self.agents = [], []
        self.gate = None
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        self.thread = threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.01})
        self.thread.start()

    def add(self, path, body=None, **responses):
        """Serve an archive at the download path of a handle; return that path with its query."""
        path = (
            path if path.startswith("/api/") or "." in path.rsplit("/", 1)[-1] else f"{path}?tf-hub-format=compressed"
        )
        self.bodies[path] = tar_gz(MODEL) if body is None else body
        for name, value in responses.items():
            getattr(self, name)[path] = value
        return path

    def stop(self):
        if self.thread.is_alive():
            self.server.shutdown()
            self.thread.join()
            self.server.server_close()

    def _handler(self):
        hub = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                hub.requests.append(self.path)
                hub.agents.append(self.headers["User-Agent"])
                if hub.gate:
                    hub.gate.wait(timeout=20)
                if self.path in hub.redirects:
                    self.send_response(302)
                    self.send_header("Location", hub.redirects[self.path])
                    self.end_headers()
                    return
                if self.path not in hub.bodies or self.path in hub.statuses:
                    self.send_error(hub.statuses.get(self.path, 404))
                    return
                body = hub.bodies[self.path]
                length = hub.lengths.get(self.path, len(body))
                self.send_response(200)
                if length is not None:
                    self.send_header("Content-Length", str(length))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *args):
                pass

        return Handler


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("TFHUB_FT_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("TFHUB_FT_TRUST", "1")
    monkeypatch.delenv("TFHUB_FT_MIRROR", raising=False)
    return tmp_path / "cache"


@pytest.fixture
def hub(cache, monkeypatch):
    hub = Hub()
    monkeypatch.setenv("TFHUB_FT_MIRROR", hub.url)
    yield hub
    hub.stop()


@pytest.fixture
def preprocessor(tmp_path):
    return saved_model(tmp_path / "my_preprocessor")


def saved_model(folder):
    folder.mkdir(parents=True)
    (folder / "saved_model.pb").write_bytes(b"graph")
    return folder


def assert_fails(*words, error=InputError, **arguments):
    with pytest.raises(error) as caught:
        resolve(**arguments)
    message = str(caught.value)
    assert "\n" not in message
    for word in words:
        assert word in message
    return message


def overwrite(file):
    with file.open("r+b") as opened:
        opened.seek(2**20)
        opened.write(b"x" * 400_000)


def cached_folder(folder):
    return cache_module.read_entry(folder) is not None


def left_in(cache):
    return sorted(path.name for path in cache.glob("[!.]*")) if cache.exists() else []


class TestCatalogNames:
    def test_resolve_downloads_both_from_the_hub(self, hub, cache):
        hub.add(BERT_PATH, tar_gz(model(b"encoder")))
        hub.add(PREPROCESSOR_PATH, tar_gz(model(b"preprocessor")))
        assert not cached("bert-base-uncased")
        pair = resolve("bert-base-uncased")
        assert pair.entry is BERT
        assert (pair.encoder / "saved_model.pb").read_bytes() == b"encoder"
        assert (pair.encoder / "assets" / "vocab.txt").read_bytes() == b"[PAD]\n"
        assert (pair.preprocessor / "saved_model.pb").read_bytes() == b"preprocessor"
        assert cached("bert-base-uncased")
        assert not cached("bert-base-cased")
        assert all(agent.startswith("tfhub_ft/") for agent in hub.agents)

    def test_cache_entries_record_their_source(self, hub, cache):
        hub.add(BERT_PATH)
        hub.add(PREPROCESSOR_PATH)
        pair = resolve("bert-base-uncased")
        assert left_in(cache) == sorted([pair.encoder.name, pair.preprocessor.name])
        assert pair.encoder.name.startswith("tensorflow_bert_en_uncased_L-12_H-768_A-12_4-")
        entry = json.loads((pair.encoder / "entry.json").read_text())
        assert entry["handle"] == BERT.handle
        assert entry["sha256"] == hashlib.sha256(tar_gz(MODEL)).hexdigest()
        assert entry["fetched"].endswith("+00:00")
        assert entry["tfhub_ft"]

    def test_second_resolve_needs_no_server(self, hub, cache, monkeypatch):
        hub.add(BERT_PATH)
        hub.add(PREPROCESSOR_PATH)
        first = resolve("bert-base-uncased")
        hub.stop()
        assert resolve("bert-base-uncased") == first
        monkeypatch.setenv("TFHUB_FT_MIRROR", "http://127.0.0.1:1")
        assert resolve("bert-base-uncased") == first

    def test_unknown_name_suggests_similar_names(self, cache):
        assert_fails(
            "--encoder bert-base-uncase", "bert-base-uncased", "or pass a folder or a URL", encoder="bert-base-uncase"
        )
        assert not cached("bert-base-uncase")

    def test_unknown_preprocessor_names_the_option(self, cache):
        assert_fails("--preprocessor electra-smal", "electra-small", encoder="minilm-l6", preprocessor="electra-smal")

    @pytest.mark.parametrize("name", ["", "no/such/folder", "x" * 5000, "a\0b"])
    def test_resolve_refuses_neither_name_nor_folder(self, cache, name):
        assert_fails("--encoder", "or pass a folder or a URL", encoder=name)

    def test_preprocessor_may_be_the_name_of_an_encoder(self, hub, tmp_path):
        hub.add(PREPROCESSOR_PATH)
        pair = resolve(saved_model(tmp_path / "mine"), "bert-base-uncased")
        assert json.loads((pair.preprocessor / "entry.json").read_text())["handle"] == BERT.preprocessor

    def test_cached_accepts_every_name(self, cache):
        assert not any(cached(entry.name) for entry in CATALOG)
        assert not cache.exists()


class TestTfhubHandles:
    def test_catalog_handle_resolves_its_preprocessor(self, hub):
        hub.add(BERT_PATH)
        hub.add(PREPROCESSOR_PATH)
        pair = resolve(BERT.handle)
        assert pair.entry is BERT
        assert pair.encoder == resolve("bert-base-uncased").encoder
        assert cached(BERT.handle)

    def test_spellings_of_a_handle_share_an_entry(self, hub):
        hub.add(BERT_PATH)
        hub.add(PREPROCESSOR_PATH)
        spellings = ("", "/", "?tf-hub-format=compressed")
        pairs = {resolve(BERT.handle + end).encoder for end in spellings}
        pairs.add(resolve(BERT.handle.replace("https://", "http://")).encoder)
        assert len(pairs) == 1
        assert len(hub.requests) == 2

    def test_versions_have_their_own_entries(self, hub):
        older = BERT_PATH.removesuffix("4") + "3"
        hub.add(older, tar_gz(model(b"older")))
        hub.add(BERT_PATH, tar_gz(model(b"newer")))
        hub.add(PREPROCESSOR_PATH)
        assert (resolve("https://tfhub.dev" + older).encoder / "saved_model.pb").read_bytes() == b"older"
        assert (resolve(BERT.handle).encoder / "saved_model.pb").read_bytes() == b"newer"

    def test_unknown_handle_needs_a_preprocessor(self, hub, preprocessor):
        hub.add("/me/mine/1")
        handle = "https://tfhub.dev/me/mine/1"
        assert_fails(handle, "--preprocessor", encoder=handle)
        assert hub.requests == []
        pair = resolve(handle, preprocessor)
        assert (pair.entry, pair.preprocessor) == (None, preprocessor)
        assert cached(handle)

    def test_preprocessor_may_be_a_handle(self, hub, tmp_path):
        hub.add("/me/preprocess/1", tar_gz(model(b"mine")))
        pair = resolve(saved_model(tmp_path / "mine"), "https://tfhub.dev/me/preprocess/1")
        assert (pair.preprocessor / "saved_model.pb").read_bytes() == b"mine"

    @pytest.mark.parametrize("path", ["/tensorflow/bert", "/tensorflow/1", "/", "/a//b/1"])
    def test_handle_without_a_version_is_refused(self, hub, path, preprocessor):
        assert_fails("OWNER/NAME/VERSION", encoder=f"https://tfhub.dev{path}", preprocessor=preprocessor)
        assert hub.requests == []

    def test_public_url_is_used_without_a_mirror(self, cache, monkeypatch):
        requested = no_network(monkeypatch)
        assert_fails("https://tfhub.dev/", encoder="bert-base-uncased")
        assert requested == [f"https://tfhub.dev{BERT_PATH}?tf-hub-format=compressed"]

    def test_mirror_may_have_a_path_and_a_trailing_slash(self, hub, monkeypatch):
        hub.add("/hub/me/mine/1")
        hub.add("/hub/me/preprocess/1")
        monkeypatch.setenv("TFHUB_FT_MIRROR", hub.url + "/hub/")
        resolve("https://tfhub.dev/me/mine/1", "https://tfhub.dev/me/preprocess/1")
        assert hub.requests[0] == "/hub/me/mine/1?tf-hub-format=compressed"

    def test_redirects_are_followed(self, hub, preprocessor):
        stored = hub.add("/storage/model.tar.gz")
        hub.redirects["/me/mine/1?tf-hub-format=compressed"] = hub.url + stored
        assert (resolve("https://tfhub.dev/me/mine/1", preprocessor).encoder / "saved_model.pb").is_file()


class TestKaggleHandles:
    LONG = "https://www.kaggle.com/models/tensorflow/bert/frameworks/tensorFlow2/variations/{}/versions/{}"
    SHORT = "https://www.kaggle.com/models/tensorflow/bert/tensorFlow2/{}/{}"
    DOWNLOAD = "/api/v1/models/tensorflow/bert/tensorFlow2/{}/{}/download"
    NAME = ("en-uncased-l-12-h-768-a-12", 3)

    def test_both_forms_share_an_entry_of_the_catalog(self, hub):
        hub.add(self.DOWNLOAD.format(*self.NAME))
        hub.add(PREPROCESSOR_PATH)
        long, short = (resolve(form.format(*self.NAME)) for form in (self.LONG, self.SHORT))
        assert long.encoder == short.encoder
        assert long.entry is BERT
        assert hub.requests[0] == self.DOWNLOAD.format(*self.NAME)
        assert len(hub.requests) == 2

    @pytest.mark.parametrize(
        "spelling",
        [
            "https://kaggle.com/models/tensorflow/bert/frameworks/TensorFlow2/variations/x/versions/1",
            "https://www.kaggle.com/models/tensorflow/bert/tensorFlow2/x/1?tfhub-redirect=true",
            "http://www.kaggle.com/models/tensorflow/bert/tensorFlow2/x/1/",
        ],
    )
    def test_kaggle_accepts_other_spellings(self, hub, preprocessor, spelling):
        hub.add(self.DOWNLOAD.format("x", 1))
        pair = resolve(spelling, preprocessor)
        handle = json.loads((pair.encoder / "entry.json").read_text())["handle"]
        assert handle == self.SHORT.format("x", 1)

    @pytest.mark.parametrize(
        "path", ["tensorflow/bert", "tensorflow/bert/tensorFlow2/x", "tensorflow/bert/tfLite/x/1", "a/b/pyTorch/x/1"]
    )
    def test_other_framework_or_missing_version_is_refused(self, hub, preprocessor, path):
        handle = f"https://www.kaggle.com/models/{path}"
        assert_fails(handle, "tensorFlow2/VARIATION/VERSION", encoder=handle, preprocessor=preprocessor)
        assert hub.requests == []

    def test_public_url_is_used_without_a_mirror(self, cache, monkeypatch, preprocessor):
        requested = no_network(monkeypatch)
        assert_fails("cannot be reached", encoder=self.SHORT.format("x", 1), preprocessor=preprocessor)
        assert requested == ["https://www.kaggle.com" + self.DOWNLOAD.format("x", 1)]

    def test_account_error_explains_what_to_do(self, hub, preprocessor, cache):
        hub.add(self.DOWNLOAD.format("x", 1), statuses=403)
        assert_fails(
            "HTTP 403", "account", "pass its folder", encoder=self.SHORT.format("x", 1), preprocessor=preprocessor
        )
        assert left_in(cache) == []


class TestOtherUrls:
    @pytest.mark.parametrize("top", ["", "my_encoder/"])
    @pytest.mark.parametrize(("name", "pack"), [("e.tar.gz", tar_gz), ("e.tgz", tar_gz), ("e.zip", zipped)])
    def test_archives_may_have_a_top_folder(self, hub, cache, preprocessor, name, pack, top):
        hub.add(f"/files/{name}", pack({top + path: content for path, content in MODEL.items()}))
        pair = resolve(f"{hub.url}/files/{name}", preprocessor)
        assert (pair.encoder / "variables" / "variables.index").read_bytes() == b"index"
        assert left_in(cache) == [pair.encoder.name]
        assert pair.encoder.name.startswith(f"files_{name}-")

    def test_mirror_is_not_used_for_other_urls(self, hub, preprocessor, monkeypatch):
        hub.add("/e.zip", zipped(MODEL))
        monkeypatch.setenv("TFHUB_FT_MIRROR", "http://127.0.0.1:1")
        assert resolve(f"{hub.url}/e.zip", preprocessor).encoder.is_dir()

    def test_urls_with_other_queries_have_their_own_entries(self, hub, preprocessor):
        hub.bodies.update({"/get?id=1": tar_gz(model(b"1")), "/get?id=2": tar_gz(model(b"2"))})
        for number in (b"1", b"2"):
            pair = resolve(f"{hub.url}/get?id={number.decode()}", preprocessor)
            assert (pair.encoder / "saved_model.pb").read_bytes() == number

    @pytest.mark.parametrize(
        "address", ["gs://bucket/model.tar.gz", "file:///etc/x.tar.gz", "https:///x.zip", "ftp://h/x"]
    )
    def test_only_http_is_fetched(self, cache, preprocessor, address):
        assert_fails(address, "pass its folder", encoder=address, preprocessor=preprocessor)

    @pytest.mark.parametrize(
        "address", ["http://[::1/x.zip", "http://ho st/x.zip", "http://h:port/x.zip", "http://h/ü.zip"]
    )
    def test_invalid_urls_raise_one_line(self, cache, preprocessor, address, monkeypatch):
        no_network(monkeypatch, validate=True)
        assert_fails(address, encoder=address, preprocessor=preprocessor)
        assert left_in(cache) == []


class TestTrust:
    def test_unknown_handles_need_trust(self, hub, cache, preprocessor, monkeypatch):
        hub.add("/me/mine/1")
        monkeypatch.delenv("TFHUB_FT_TRUST")
        assert_fails("not in the catalog", "--trust", encoder="https://tfhub.dev/me/mine/1", preprocessor=preprocessor)
        assert hub.requests == []
        monkeypatch.setenv("TFHUB_FT_TRUST", "1")
        pair = resolve("https://tfhub.dev/me/mine/1", preprocessor)
        monkeypatch.delenv("TFHUB_FT_TRUST")
        assert resolve("https://tfhub.dev/me/mine/1", preprocessor) == pair

    @pytest.mark.parametrize("address", ["http://models.invalid/bert.tar.gz", "http://192.0.2.1/bert.tar.gz"])
    def test_http_is_refused_even_with_trust(self, address, cache, preprocessor, monkeypatch):
        requested = no_network(monkeypatch)
        assert_fails(address, "is not fetched", "use https", encoder=address, preprocessor=preprocessor)
        monkeypatch.setenv("TFHUB_FT_MIRROR", "http://models.invalid")
        assert_fails("http://models.invalid/", "is not fetched", encoder="bert-base-uncased")
        assert requested == []

    def test_redirects_to_http_are_refused(self, hub, cache, preprocessor):
        hub.redirects["/bert.tar.gz"] = "http://models.invalid/bert.tar.gz"
        assert_fails(
            "http://models.invalid/bert.tar.gz is not fetched",
            encoder=f"{hub.url}/bert.tar.gz",
            preprocessor=preprocessor,
        )

    def test_catalog_and_local_folders_are_trusted(self, hub, tmp_path, monkeypatch):
        hub.add(BERT_PATH)
        hub.add(PREPROCESSOR_PATH)
        monkeypatch.delenv("TFHUB_FT_TRUST")
        assert resolve("bert-base-uncased").entry is BERT
        assert resolve(BERT.handle).entry is BERT
        assert resolve(saved_model(tmp_path / "mine"), saved_model(tmp_path / "beside")).entry is None

    def test_catalog_preprocessors_are_trusted(self, hub, tmp_path, monkeypatch):
        monkeypatch.delenv("TFHUB_FT_TRUST")
        kaggle = "https://www.kaggle.com/models/tensorflow/bert/tensorFlow2/en-uncased-preprocess/3"
        hub.add(PREPROCESSOR_PATH)
        hub.add("/api/v1/models/tensorflow/bert/tensorFlow2/en-uncased-preprocess/3/download")
        mine = saved_model(tmp_path / "mine")
        for handle in (BERT.preprocessor, kaggle):
            assert resolve(mine, handle).preprocessor.is_dir()


class TestPinnedArchives:
    PATH = "/e.tar.gz"

    def test_pinned_archive_is_downloaded(self, hub, preprocessor):
        hub.add(self.PATH)
        digest = hashlib.sha256(hub.bodies[self.PATH]).hexdigest()
        pair = resolve(f"{hub.url}{self.PATH}#sha256={digest.upper()}", preprocessor)
        assert pair.encoder == resolve(f"{hub.url}{self.PATH}", preprocessor).encoder
        assert hub.requests == [self.PATH]

    def test_wrong_sha256_is_refused_and_not_cached(self, hub, cache, preprocessor):
        hub.add(self.PATH)
        digest = hashlib.sha256(hub.bodies[self.PATH]).hexdigest()
        assert_fails(digest, "0" * 64, encoder=f"{hub.url}{self.PATH}#sha256={'0' * 64}", preprocessor=preprocessor)
        assert left_in(cache) == []

    def test_pin_is_compared_with_the_cached_archive(self, hub, preprocessor):
        hub.add(self.PATH)
        pair = resolve(f"{hub.url}{self.PATH}", preprocessor)
        digest = hashlib.sha256(hub.bodies[self.PATH]).hexdigest()
        pinned = f"{hub.url}{self.PATH}#sha256={'0' * 64}"
        assert_fails(digest, "0" * 64, str(pair.encoder), encoder=pinned, preprocessor=preprocessor)

    def test_tfhub_handles_can_be_pinned(self, hub):
        hub.add(BERT_PATH)
        hub.add(PREPROCESSOR_PATH)
        digest = hashlib.sha256(tar_gz(MODEL)).hexdigest()
        assert resolve(f"{BERT.handle}#sha256={digest}").entry is BERT
        assert_fails("0" * 64, encoder=f"{BERT.handle}#sha256={'0' * 64}")

    @pytest.mark.parametrize("fragment", ["sha256=12ab", "md5=" + "0" * 64, "top"])
    def test_other_fragments_are_refused(self, hub, preprocessor, fragment):
        assert_fails("64 hexadecimal digits", encoder=f"{hub.url}/e.zip#{fragment}", preprocessor=preprocessor)
        assert hub.requests == []


class TestFailedDownloads:
    HANDLE = "https://tfhub.dev/me/mine/1"
    PATH = "/me/mine/1"

    def assert_refused(self, hub, cache, *words, body=None, encoder=HANDLE, **responses):
        """Assert that a download fails and caches nothing, and that the next one, of a complete archive, succeeds."""
        path = hub.add(self.PATH, body, **responses)
        hub.add("/me/preprocess/1")
        message = assert_fails(self.HANDLE, *words, encoder=encoder, preprocessor="https://tfhub.dev/me/preprocess/1")
        assert left_in(cache) == []
        assert not cached(self.HANDLE)
        for by_path in (hub.lengths, hub.statuses):
            by_path.pop(path, None)
        hub.add(self.PATH)
        assert resolve(self.HANDLE, "https://tfhub.dev/me/preprocess/1").encoder.is_dir()
        return message

    def test_download_cut_off_half_way(self, hub, cache):
        body = tar_gz(MODEL)
        half = body[: len(body) // 2]
        words = (
            f"{len(half):,} of {len(body):,} bytes",
            "cut off",
            f"`tfhub-ft encoders pull {self.HANDLE} --preprocessor",
        )
        self.assert_refused(hub, cache, *words, body=half, lengths=len(body))

    def test_truncated_archive_without_a_length(self, hub, cache):
        body = tar_gz(MODEL)
        self.assert_refused(hub, cache, "damaged", body=body[: len(body) // 2], lengths=None)

    def test_connection_lost_while_reading(self, hub, cache, monkeypatch):
        def broken(response, *args):
            raise ConnectionResetError(errno.ECONNRESET, "Connection reset by peer")

        with monkeypatch.context() as patched:
            patched.setattr("http.client.HTTPResponse.read", broken)
            hub.add(self.PATH)
            assert_fails("cut off", "Connection reset", encoder=self.HANDLE, preprocessor=self.HANDLE)
        assert left_in(cache) == []

    def test_handle_not_found(self, hub, cache):
        message = self.assert_refused(hub, cache, "not found", "HTTP 404", hub.url, statuses=404)
        assert "encoders pull" not in message

    @pytest.mark.parametrize("status", [401, 403, 429, 500, 503])
    def test_other_http_errors(self, hub, cache, status):
        self.assert_refused(hub, cache, f"HTTP {status}", hub.url, "`tfhub-ft encoders pull", statuses=status)

    def test_html_page_instead_of_an_archive(self, hub, cache):
        self.assert_refused(
            hub, cache, "neither a .tar.gz nor a .zip", "<!doctype html>", body=b"<!doctype html>\n<html>"
        )

    def test_empty_response(self, hub, cache):
        self.assert_refused(hub, cache, "neither a .tar.gz nor a .zip", body=b"")

    def test_archive_without_a_saved_model(self, hub, cache):
        self.assert_refused(hub, cache, "saved_model.pb not found", body=tar_gz({"model.onnx": b"x"}))

    def test_archive_with_two_saved_models(self, hub, cache):
        self.assert_refused(
            hub, cache, "saved_model.pb not found", body=tar_gz({"a/saved_model.pb": b"", "b/saved_model.pb": b""})
        )

    @pytest.mark.parametrize(
        "members",
        [{"../evil": b"x"}, {"/tmp/evil": b"x"}, {"->saved_model.pb": b"/etc/passwd"}],
        ids=["up", "abs", "link"],
    )
    def test_malicious_archive(self, hub, cache, members):
        self.assert_refused(hub, cache, "not safe to unpack", body=tar_gz({**members, "variables/x": b"x"}))
        assert not (cache.parent / "evil").exists()

    def test_zip_with_paths_outside_the_folder(self, hub, cache):
        self.assert_refused(hub, cache, "not safe to unpack", body=zipped({"../../evil": b"x", **MODEL}))
        assert not (cache.parent / "evil").exists()

    def test_wrong_sha256(self, hub, cache):
        self.assert_refused(hub, cache, "0" * 64, encoder=f"{self.HANDLE}#sha256={'0' * 64}")

    def test_no_server(self, hub, cache):
        hub.stop()
        words = (BERT.handle, hub.url, "Connection refused", str(cache), "`tfhub-ft encoders pull bert-base-uncased`")
        assert_fails(*words, encoder="bert-base-uncased")
        assert left_in(cache) == []

    def test_no_name_resolution(self, cache, monkeypatch):
        monkeypatch.setenv("TFHUB_FT_MIRROR", "https://mirror.invalid")
        assert_fails("https://mirror.invalid/", "cannot be reached", encoder="bert-base-uncased")

    def test_multiline_reasons_become_one_line(self, cache, monkeypatch):
        def refuse(*arguments, **named):
            raise urllib.error.URLError("no route\nto the host\r\n(proxy)")

        monkeypatch.setattr(urllib.request.OpenerDirector, "open", refuse)
        assert_fails("(no route to the host (proxy))", encoder="bert-base-uncased")

    def test_silent_server_times_out(self, cache, monkeypatch):
        monkeypatch.setattr(download, "_TIMEOUT_S", 0.2)
        with socket.create_server(("127.0.0.1", 0)) as silent:
            monkeypatch.setenv("TFHUB_FT_MIRROR", f"http://127.0.0.1:{silent.getsockname()[1]}")
            assert_fails("cannot be reached", "timed out", encoder="bert-base-uncased")

    def test_earlier_downloads_survive_a_failure(self, hub, cache):
        hub.add(BERT_PATH)
        assert_fails("not found", encoder="bert-base-uncased")
        assert len(left_in(cache)) == 1
        hub.add(PREPROCESSOR_PATH)
        resolve("bert-base-uncased")
        assert sum(BERT_PATH in path for path in hub.requests) == 1

    def test_mirror_that_is_not_a_url(self, cache, monkeypatch):
        monkeypatch.setenv("TFHUB_FT_MIRROR", "mirror")
        assert_fails("cannot be reached", "unknown url type", encoder="bert-base-uncased")


class TestCache:
    def test_cache_dir_follows_the_variable(self, monkeypatch, tmp_path):
        monkeypatch.setenv("TFHUB_FT_CACHE", "relative")
        monkeypatch.chdir(tmp_path)
        assert cache_dir() == tmp_path / "relative"
        monkeypatch.delenv("TFHUB_FT_CACHE")
        assert cache_dir().name == "tfhub_ft" or cache_dir().parent.name == "tfhub_ft"
        assert cache_dir().is_absolute()

    def test_incomplete_entries_are_downloaded_again(self, hub, cache):
        hub.add(BERT_PATH)
        hub.add(PREPROCESSOR_PATH)
        pair = resolve("bert-base-uncased")
        for broken in ("entry.json", "saved_model.pb"):
            (pair.encoder / broken).unlink()
            assert not cached("bert-base-uncased")
            assert resolve("bert-base-uncased") == pair
            assert cached("bert-base-uncased")
        (pair.encoder / "entry.json").write_text('{"handle": ')
        assert resolve("bert-base-uncased") == pair
        assert len(left_in(cache)) == 2

    def test_concurrent_processes_download_once(self, hub, cache, preprocessor):
        hub.add("/me/mine/1")
        hub.gate = threading.Event()
        program = "import sys; from tfhub_ft.encoders.resolve import resolve; print(resolve(*sys.argv[1:]).encoder)"
        command = [sys.executable, "-c", program, "https://tfhub.dev/me/mine/1", str(preprocessor)]
        root = Path(resolve_module.__file__).parents[2]
        processes = [
            subprocess.Popen(command, cwd=root, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
            for _ in range(10)
        ]
        while not hub.requests:
            time.sleep(0.01)
        time.sleep(1)
        hub.gate.set()
        outputs = [process.communicate(timeout=60) for process in processes]
        assert [process.returncode for process in processes] == [0] * 10, outputs
        assert len({output for output, _ in outputs}) == 1
        assert len(hub.requests) == 1
        assert len(left_in(cache)) == 1

    @pytest.mark.parametrize("damage", [b"m", b"MODEL", b"model and more"])
    def test_damaged_entries_are_downloaded_again(self, hub, cache, preprocessor, damage):
        hub.add("/me/mine/1", tar_gz(model(b"model")))
        file = resolve("https://tfhub.dev/me/mine/1", preprocessor).encoder / "saved_model.pb"
        file.write_bytes(damage)
        assert resolve("https://tfhub.dev/me/mine/1", preprocessor).encoder == file.parent
        assert file.read_bytes() == b"model"
        assert len(hub.requests) == 2

    def test_overwritten_part_of_a_large_file_is_detected(self, hub, cache, preprocessor):
        hub.add("/me/mine/1", tar_gz(model(bytes(2**21))))
        file = resolve("https://tfhub.dev/me/mine/1", preprocessor).encoder / "saved_model.pb"
        overwrite(file)
        resolve("https://tfhub.dev/me/mine/1", preprocessor)
        assert file.read_bytes() == bytes(2**21)

    def test_hidden_damage_is_detected_when_loading_fails(self, hub, cache, preprocessor):
        hub.add("/me/mine/1", tar_gz(model(bytes(2**21))))

        def load(folder):
            if any((folder / "saved_model.pb").read_bytes()):
                raise RuntimeError("checksum")
            return folder

        def load_encoder():
            return cache_module.load_cached(lambda: resolve("https://tfhub.dev/me/mine/1", preprocessor).encoder, load)

        file = load_encoder() / "saved_model.pb"
        before = file.stat()
        overwrite(file)
        os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
        assert load_encoder() == file.parent
        assert len(hub.requests) == 2
        with pytest.raises(ZeroDivisionError):
            cache_module.load_cached(lambda: file.parent, lambda folder: 1 / 0)
        assert cached_folder(file.parent)

    def test_copied_entries_are_hashed_once(self, hub, cache, preprocessor, monkeypatch):
        hub.add("/me/mine/1", tar_gz(model(bytes(2**21))))
        file = resolve("https://tfhub.dev/me/mine/1", preprocessor).encoder / "saved_model.pb"
        os.utime(file, ns=(1, 1))
        read = []
        sha256_of = cache_module.sha256_of
        monkeypatch.setattr(cache_module, "sha256_of", lambda path: read.append(path.name) or sha256_of(path))
        resolve("https://tfhub.dev/me/mine/1", preprocessor)
        assert "saved_model.pb" in read
        read.clear()
        resolve("https://tfhub.dev/me/mine/1", preprocessor)
        assert "saved_model.pb" not in read
        assert len(hub.requests) == 1

    def test_leftovers_of_file_managers_are_ignored(self, hub, cache, preprocessor):
        hub.add("/me/mine/1", tar_gz(model(b"model")))
        (resolve("https://tfhub.dev/me/mine/1", preprocessor).encoder / ".DS_Store").write_bytes(b"x")
        resolve("https://tfhub.dev/me/mine/1", preprocessor)
        assert len(hub.requests) == 1

    def test_lost_race_uses_the_other_entry(self, hub, cache, preprocessor, monkeypatch):
        hub.add("/me/mine/1")
        move_into_cache, folders = cache_module._move_into_cache, []

        def lose_race(new, folder, read):
            folder.mkdir(parents=True)
            (folder / "saved_model.pb").write_bytes(b"the other's")
            (folder / "entry.json").write_text("{}")
            move_into_cache(new, folder, read)
            folders.append(folder)

        monkeypatch.setattr(cache_module, "_move_into_cache", lose_race)
        pair = resolve("https://tfhub.dev/me/mine/1", preprocessor)
        assert folders == [pair.encoder]
        assert (pair.encoder / "saved_model.pb").read_bytes() == b"the other's"
        assert left_in(cache) == [pair.encoder.name]

    def test_unwritable_cache_raises_a_run_error(self, hub, cache, preprocessor):
        hub.add("/me/mine/1")
        cache.write_text("a file")
        words = (str(cache), "TFHUB_FT_CACHE")
        assert_fails(*words, error=RunError, encoder="https://tfhub.dev/me/mine/1", preprocessor=preprocessor)

    def test_full_disk_raises_a_run_error(self, hub, cache, preprocessor, monkeypatch):
        def full(*args):
            raise OSError(errno.ENOSPC, "No space left on device")

        hub.add("/me/mine/1")
        monkeypatch.setattr(download, "sha256_of", full)
        words = ("No space left on device", "free some space")
        assert_fails(*words, error=RunError, encoder="https://tfhub.dev/me/mine/1", preprocessor=preprocessor)
        assert left_in(cache) == []

    def test_interrupted_downloads_leave_nothing(self, hub, cache, preprocessor, monkeypatch):
        def interrupt(*args):
            raise KeyboardInterrupt

        hub.add("/me/mine/1")
        monkeypatch.setattr("http.client.HTTPResponse.read", interrupt)
        with pytest.raises(KeyboardInterrupt):
            resolve("https://tfhub.dev/me/mine/1", preprocessor)
        assert left_in(cache) == []


class TestFolders:
    def test_saved_model_folders_are_used_unchanged(self, cache, tmp_path, preprocessor):
        encoder = saved_model(tmp_path / "mine")
        for spelling in (encoder, str(encoder), str(encoder) + "/"):
            pair = resolve(spelling, str(preprocessor))
            assert (pair.encoder, pair.preprocessor, pair.entry) == (encoder, preprocessor, None)
        assert cached(encoder)
        assert not cache.exists()

    @pytest.mark.parametrize("place", ["encoder", "encoder/assets", "preprocessor"])
    @pytest.mark.parametrize("target", ["file", "folder", "nothing"])
    def test_links_out_of_the_folder_are_refused(self, cache, tmp_path, place, target):
        (tmp_path / "file").write_text("secret")
        (tmp_path / "folder").mkdir()
        for part in ("encoder", "preprocessor"):
            saved_model(tmp_path / "pair" / part)
        link = tmp_path / "pair" / place / "link"
        link.parent.mkdir(exist_ok=True)
        link.symlink_to(tmp_path / target)
        assert_fails(f"{link}: is a link to {tmp_path / target}, out of the folder", encoder=tmp_path / "pair")

    def test_links_within_and_to_an_encoder_are_followed(self, cache, tmp_path, preprocessor):
        encoder = saved_model(tmp_path / "mine")
        (encoder / "link").symlink_to("saved_model.pb")
        (tmp_path / "other").symlink_to(encoder)
        assert resolve(tmp_path / "other", preprocessor).encoder == tmp_path / "other"

    @pytest.mark.parametrize("name", ["preprocessor", "preprocess"])
    @pytest.mark.parametrize("place", ["mine", "."])
    def test_preprocessor_in_or_beside_the_encoder_is_found(self, cache, tmp_path, name, place):
        encoder = saved_model(tmp_path / "mine")
        beside = saved_model(tmp_path / place / name)
        assert resolve(encoder).preprocessor == beside

    def test_pair_folder_is_resolved(self, cache, tmp_path, monkeypatch):
        encoder, preprocessor = (saved_model(tmp_path / "pair" / name) for name in ("encoder", "preprocessor"))
        pair = resolve(str(tmp_path / "pair"))
        assert (pair.encoder, pair.preprocessor) == (encoder, preprocessor)
        monkeypatch.chdir(tmp_path / "pair")
        assert resolve(".").encoder == encoder
        assert resolve("encoder").preprocessor == preprocessor
        other = saved_model(tmp_path / "other")
        assert resolve(other, tmp_path / "pair").preprocessor == preprocessor

    def test_preprocessor_argument_takes_precedence(self, cache, tmp_path, preprocessor):
        saved_model(tmp_path / "pair" / "encoder")
        saved_model(tmp_path / "pair" / "preprocessor")
        assert resolve(tmp_path / "pair", preprocessor).preprocessor == preprocessor

    def test_missing_preprocessor_is_refused(self, cache, tmp_path):
        encoder = saved_model(tmp_path / "mine")
        (tmp_path / "preprocessor").mkdir()
        assert_fails(str(encoder), "name it with --preprocessor", encoder=encoder)

    def test_folder_without_a_saved_model_is_refused(self, cache, tmp_path, preprocessor):
        assert_fails(str(tmp_path), "saved_model.pb", encoder=tmp_path, preprocessor=preprocessor)
        assert_fails("--preprocessor", "saved_model.pb", encoder=preprocessor, preprocessor=tmp_path)
        assert not cached(tmp_path)

    def test_file_or_missing_folder_is_refused(self, cache, tmp_path, preprocessor):
        (tmp_path / "file").write_text("x")
        assert_fails("not a folder", encoder=str(tmp_path / "file"), preprocessor=preprocessor)
        assert_fails("not a folder", encoder=tmp_path / "missing", preprocessor=preprocessor)

    def test_wrong_preprocessor_is_refused_before_downloads(self, hub, tmp_path):
        hub.add(BERT_PATH)
        assert_fails("--preprocessor", encoder="bert-base-uncased", preprocessor=tmp_path)
        assert hub.requests == []

    def test_names_precede_folders_but_paths_are_folders(self, hub, tmp_path, preprocessor, monkeypatch):
        hub.add(BERT_PATH)
        saved_model(tmp_path / "bert-base-uncased")
        monkeypatch.chdir(tmp_path)
        assert resolve("bert-base-uncased", preprocessor).entry is BERT
        assert resolve(Path("bert-base-uncased"), preprocessor).encoder == tmp_path / "bert-base-uncased"
        assert resolve("./bert-base-uncased", preprocessor).encoder == tmp_path / "bert-base-uncased"

    def test_tilde_is_expanded(self, cache, tmp_path, preprocessor, monkeypatch):
        monkeypatch.setenv("HOME", str(tmp_path))
        monkeypatch.setenv("USERPROFILE", str(tmp_path))
        encoder = saved_model(tmp_path / "mine")
        assert resolve("~/mine", "~/my_preprocessor").encoder == encoder


def no_network(monkeypatch, *, validate=False):
    """Make all requests fail; return the list of requested URLs. With `validate` urllib still checks each URL."""
    requested, open_url = [], urllib.request.OpenerDirector.open

    def nowhere(*args):
        raise socket.gaierror("Temporary failure in name resolution")

    def refuse(opener, request, **options):
        requested.append(request.full_url)
        if validate:
            return open_url(opener, request, **options)
        raise OSError("no network in this test")

    monkeypatch.setattr(socket, "getaddrinfo", nowhere)
    monkeypatch.setattr(urllib.request.OpenerDirector, "open", refuse)
    return requested


def test_importing_loads_no_tensorflow():
    program = "import sys, tfhub_ft.encoders.resolve; sys.exit('tensorflow' in sys.modules or 'keras' in sys.modules)"
    root = Path(resolve_module.__file__).parents[2]
    assert subprocess.run([sys.executable, "-c", program], cwd=root).returncode == 0
