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
    """A tar.gz of {name: bytes}; a name that starts with "->" is a link."""
    buffer = io.BytesIO()
    # Without the time of day: the same members give the same bytes.
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
    """A server on this machine that answers as tfhub.dev and Kaggle do: a model's page, or its archive.

    Attributes:
        answers: path (with the query) to the body that is sent.
        lengths: path to the Content-Length that is claimed; None sends none.
        statuses: path to an HTTP status that is answered in place of a body.
        requests: the paths that were asked for.
        gate: waited at before each answer, where it is set.
    """

    def __init__(self):
        self.answers, self.lengths, self.statuses, self.redirects = {}, {}, {}, {}
        self.requests, self.agents = [], []
        self.gate = None
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        self.thread = threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.01})
        self.thread.start()

    def add(self, path, body=None, **answer):
        """Offer an archive where a handle's path is downloaded from; returns that path with its query."""
        path = (
            path if path.startswith("/api/") or "." in path.rsplit("/", 1)[-1] else f"{path}?tf-hub-format=compressed"
        )
        self.answers[path] = tar_gz(MODEL) if body is None else body
        for name, value in answer.items():
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
                if self.path not in hub.answers or self.path in hub.statuses:
                    self.send_error(hub.statuses.get(self.path, 404))
                    return
                body = hub.answers[self.path]
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
    return saved_model(tmp_path / "given_preprocessor")


def saved_model(folder):
    folder.mkdir(parents=True)
    (folder / "saved_model.pb").write_bytes(b"graph")
    return folder


def fails(*words, error=InputError, **arguments):
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


class TestCatalogueNames:
    def test_a_name_fetches_both_from_the_hub(self, hub, cache):
        hub.add(BERT_PATH, tar_gz(model(b"encoder")))
        hub.add(PREPROCESSOR_PATH, tar_gz(model(b"preprocessor")))
        assert not cached("bert-base-uncased")
        pair = resolve("bert-base-uncased")
        assert pair.name == "bert-base-uncased"
        assert pair.entry is BERT
        assert pair.max_seq_length == 512
        assert (pair.encoder / "saved_model.pb").read_bytes() == b"encoder"
        assert (pair.encoder / "assets" / "vocab.txt").read_bytes() == b"[PAD]\n"
        assert (pair.preprocessor / "saved_model.pb").read_bytes() == b"preprocessor"
        assert cached("bert-base-uncased")
        assert not cached("bert-base-cased")
        assert all(agent.startswith("tfhub_ft/") for agent in hub.agents)

    def test_the_cache_holds_one_named_folder_an_archive_with_what_is_known(self, hub, cache):
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

    def test_the_second_call_needs_no_server(self, hub, cache, monkeypatch):
        hub.add(BERT_PATH)
        hub.add(PREPROCESSOR_PATH)
        first = resolve("bert-base-uncased")
        hub.stop()
        assert resolve("bert-base-uncased") == first
        monkeypatch.setenv("TFHUB_FT_MIRROR", "http://127.0.0.1:1")
        assert resolve("bert-base-uncased") == first

    def test_an_unknown_name_says_the_nearest_ones(self, cache):
        fails(
            "--encoder bert-base-uncase", "bert-base-uncased", "or give a folder or a URL", encoder="bert-base-uncase"
        )
        assert not cached("bert-base-uncase")

    def test_an_unknown_preprocessor_names_the_option(self, cache):
        fails("--preprocessor electra-smal", "electra-small", encoder="minilm-l6", preprocessor="electra-smal")

    @pytest.mark.parametrize("name", ["", "no/such/folder", "x" * 5000, "a\0b"])
    def test_what_is_neither_name_nor_folder_is_refused(self, cache, name):
        fails("--encoder", "or give a folder or a URL", encoder=name)

    def test_a_name_given_as_preprocessor_means_that_encoders_preprocessor(self, hub, tmp_path):
        hub.add(PREPROCESSOR_PATH)
        pair = resolve(saved_model(tmp_path / "mine"), "bert-base-uncased")
        assert json.loads((pair.preprocessor / "entry.json").read_text())["handle"] == BERT.preprocessor

    def test_every_name_can_be_asked_whether_it_is_cached(self, cache):
        assert not any(cached(entry.name) for entry in CATALOG)
        assert not cache.exists()


class TestTfhubHandles:
    def test_a_handle_of_the_catalogue_brings_its_preprocessor(self, hub):
        hub.add(BERT_PATH)
        hub.add(PREPROCESSOR_PATH)
        pair = resolve(BERT.handle)
        assert pair.name == BERT.handle
        assert pair.entry is BERT
        assert pair.encoder == resolve("bert-base-uncased").encoder
        assert cached(BERT.handle)

    def test_spellings_of_one_handle_are_one_entry(self, hub):
        hub.add(BERT_PATH)
        hub.add(PREPROCESSOR_PATH)
        spellings = ("", "/", "?tf-hub-format=compressed")
        pairs = {resolve(BERT.handle + end).encoder for end in spellings}
        pairs.add(resolve(BERT.handle.replace("https://", "http://")).encoder)
        assert len(pairs) == 1
        assert len(hub.requests) == 2

    def test_versions_are_entries_of_their_own(self, hub):
        older = BERT_PATH.removesuffix("4") + "3"
        hub.add(older, tar_gz(model(b"older")))
        hub.add(BERT_PATH, tar_gz(model(b"newer")))
        hub.add(PREPROCESSOR_PATH)
        assert (resolve("https://tfhub.dev" + older).encoder / "saved_model.pb").read_bytes() == b"older"
        assert (resolve(BERT.handle).encoder / "saved_model.pb").read_bytes() == b"newer"

    def test_a_handle_outside_the_catalogue_needs_a_preprocessor(self, hub, preprocessor):
        hub.add("/me/mine/1")
        handle = "https://tfhub.dev/me/mine/1"
        fails(handle, "--preprocessor", encoder=handle)
        assert hub.requests == []
        pair = resolve(handle, preprocessor)
        assert (pair.entry, pair.max_seq_length, pair.preprocessor) == (None, None, preprocessor)
        assert cached(handle)

    def test_a_preprocessor_may_be_a_handle(self, hub, tmp_path):
        hub.add("/me/preprocess/1", tar_gz(model(b"mine")))
        pair = resolve(saved_model(tmp_path / "mine"), "https://tfhub.dev/me/preprocess/1")
        assert (pair.preprocessor / "saved_model.pb").read_bytes() == b"mine"

    @pytest.mark.parametrize("path", ["/tensorflow/bert", "/tensorflow/1", "/", "/a//b/1"])
    def test_a_handle_without_a_version_is_refused(self, hub, path, preprocessor):
        fails("OWNER/NAME/VERSION", encoder=f"https://tfhub.dev{path}", preprocessor=preprocessor)
        assert hub.requests == []

    def test_the_public_address_is_asked_without_a_mirror(self, cache, monkeypatch):
        asked = no_network(monkeypatch)
        fails("https://tfhub.dev/", encoder="bert-base-uncased")
        assert asked == [f"https://tfhub.dev{BERT_PATH}?tf-hub-format=compressed"]

    def test_a_mirror_may_have_a_path_and_a_slash_behind(self, hub, monkeypatch):
        hub.add("/hub/me/mine/1")
        hub.add("/hub/me/preprocess/1")
        monkeypatch.setenv("TFHUB_FT_MIRROR", hub.url + "/hub/")
        resolve("https://tfhub.dev/me/mine/1", "https://tfhub.dev/me/preprocess/1")
        assert hub.requests[0] == "/hub/me/mine/1?tf-hub-format=compressed"

    def test_a_redirect_is_followed(self, hub, preprocessor):
        stored = hub.add("/storage/model.tar.gz")
        hub.redirects["/me/mine/1?tf-hub-format=compressed"] = hub.url + stored
        assert (resolve("https://tfhub.dev/me/mine/1", preprocessor).encoder / "saved_model.pb").is_file()


class TestKaggleHandles:
    LONG = "https://www.kaggle.com/models/tensorflow/bert/frameworks/tensorFlow2/variations/{}/versions/{}"
    SHORT = "https://www.kaggle.com/models/tensorflow/bert/tensorFlow2/{}/{}"
    DOWNLOAD = "/api/v1/models/tensorflow/bert/tensorFlow2/{}/{}/download"
    NAME = ("en-uncased-l-12-h-768-a-12", 3)

    def test_both_forms_are_one_entry_and_know_the_catalogue(self, hub):
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
    def test_other_spellings(self, hub, preprocessor, spelling):
        hub.add(self.DOWNLOAD.format("x", 1))
        pair = resolve(spelling, preprocessor)
        handle = json.loads((pair.encoder / "entry.json").read_text())["handle"]
        assert handle == self.SHORT.format("x", 1)

    @pytest.mark.parametrize(
        "path", ["tensorflow/bert", "tensorflow/bert/tensorFlow2/x", "tensorflow/bert/tfLite/x/1", "a/b/pyTorch/x/1"]
    )
    def test_another_framework_or_no_version_is_refused(self, hub, preprocessor, path):
        handle = f"https://www.kaggle.com/models/{path}"
        fails(handle, "tensorFlow2/VARIATION/VERSION", encoder=handle, preprocessor=preprocessor)
        assert hub.requests == []

    def test_the_public_address_is_asked_without_a_mirror(self, cache, monkeypatch, preprocessor):
        asked = no_network(monkeypatch)
        fails("cannot be reached", encoder=self.SHORT.format("x", 1), preprocessor=preprocessor)
        assert asked == ["https://www.kaggle.com" + self.DOWNLOAD.format("x", 1)]

    def test_a_model_behind_an_account_says_what_to_do(self, hub, preprocessor, cache):
        hub.add(self.DOWNLOAD.format("x", 1), statuses=403)
        fails("HTTP 403", "account", "give its folder", encoder=self.SHORT.format("x", 1), preprocessor=preprocessor)
        assert left_in(cache) == []


class TestOtherAddresses:
    @pytest.mark.parametrize("top", ["", "my_encoder/"])
    @pytest.mark.parametrize(("name", "pack"), [("e.tar.gz", tar_gz), ("e.tgz", tar_gz), ("e.zip", zipped)])
    def test_archives_with_and_without_a_top_folder(self, hub, cache, preprocessor, name, pack, top):
        hub.add(f"/files/{name}", pack({top + path: content for path, content in MODEL.items()}))
        pair = resolve(f"{hub.url}/files/{name}", preprocessor)
        assert (pair.encoder / "variables" / "variables.index").read_bytes() == b"index"
        assert left_in(cache) == [pair.encoder.name]
        assert pair.encoder.name.startswith(f"files_{name}-")

    def test_a_mirror_does_not_stand_in_for_them(self, hub, preprocessor, monkeypatch):
        hub.add("/e.zip", zipped(MODEL))
        monkeypatch.setenv("TFHUB_FT_MIRROR", "http://127.0.0.1:1")
        assert resolve(f"{hub.url}/e.zip", preprocessor).encoder.is_dir()

    def test_addresses_that_differ_in_the_query_are_entries_of_their_own(self, hub, preprocessor):
        hub.answers.update({"/get?id=1": tar_gz(model(b"1")), "/get?id=2": tar_gz(model(b"2"))})
        for number in (b"1", b"2"):
            pair = resolve(f"{hub.url}/get?id={number.decode()}", preprocessor)
            assert (pair.encoder / "saved_model.pb").read_bytes() == number

    @pytest.mark.parametrize(
        "address", ["gs://bucket/model.tar.gz", "file:///etc/x.tar.gz", "https:///x.zip", "ftp://h/x"]
    )
    def test_only_http_is_fetched(self, cache, preprocessor, address):
        fails(address, "give its folder", encoder=address, preprocessor=preprocessor)

    @pytest.mark.parametrize(
        "address", ["http://[::1/x.zip", "http://ho st/x.zip", "http://h:port/x.zip", "http://h/ü.zip"]
    )
    def test_broken_addresses_are_one_line(self, cache, preprocessor, address, monkeypatch):
        no_network(monkeypatch, let_through=True)
        fails(address, encoder=address, preprocessor=preprocessor)
        assert left_in(cache) == []


class TestTrust:
    def test_what_the_catalogue_does_not_have_is_not_fetched_unasked(self, hub, cache, preprocessor, monkeypatch):
        hub.add("/me/mine/1")
        monkeypatch.delenv("TFHUB_FT_TRUST")
        fails("not in the catalogue", "--trust", encoder="https://tfhub.dev/me/mine/1", preprocessor=preprocessor)
        assert hub.requests == []
        monkeypatch.setenv("TFHUB_FT_TRUST", "1")
        pair = resolve("https://tfhub.dev/me/mine/1", preprocessor)
        monkeypatch.delenv("TFHUB_FT_TRUST")
        assert resolve("https://tfhub.dev/me/mine/1", preprocessor) == pair

    @pytest.mark.parametrize("address", ["http://models.invalid/bert.tar.gz", "http://192.0.2.1/bert.tar.gz"])
    def test_http_is_refused_though_trusted(self, address, cache, preprocessor, monkeypatch):
        asked = no_network(monkeypatch)
        fails(address, "is not fetched", "use https", encoder=address, preprocessor=preprocessor)
        monkeypatch.setenv("TFHUB_FT_MIRROR", "http://models.invalid")
        fails("http://models.invalid/", "is not fetched", encoder="bert-base-uncased")
        assert asked == []

    def test_redirects_to_http_are_refused(self, hub, cache, preprocessor):
        hub.redirects["/bert.tar.gz"] = "http://models.invalid/bert.tar.gz"
        fails(
            "http://models.invalid/bert.tar.gz is not fetched",
            encoder=f"{hub.url}/bert.tar.gz",
            preprocessor=preprocessor,
        )

    def test_the_catalogue_and_folders_of_the_user_are_trusted(self, hub, tmp_path, monkeypatch):
        hub.add(BERT_PATH)
        hub.add(PREPROCESSOR_PATH)
        monkeypatch.delenv("TFHUB_FT_TRUST")
        assert resolve("bert-base-uncased").entry is BERT
        assert resolve(BERT.handle).entry is BERT
        assert resolve(saved_model(tmp_path / "mine"), saved_model(tmp_path / "beside")).entry is None

    def test_preprocessors_of_the_catalog_are_trusted(self, hub, tmp_path, monkeypatch):
        monkeypatch.delenv("TFHUB_FT_TRUST")
        kaggle = "https://www.kaggle.com/models/tensorflow/bert/tensorFlow2/en-uncased-preprocess/3"
        hub.add(PREPROCESSOR_PATH)
        hub.add("/api/v1/models/tensorflow/bert/tensorFlow2/en-uncased-preprocess/3/download")
        mine = saved_model(tmp_path / "mine")
        for handle in (BERT.preprocessor, kaggle):
            assert resolve(mine, handle).preprocessor.is_dir()


class TestPinnedArchives:
    PATH = "/e.tar.gz"

    def test_the_right_sha256_is_taken(self, hub, preprocessor):
        hub.add(self.PATH)
        digest = hashlib.sha256(hub.answers[self.PATH]).hexdigest()
        pair = resolve(f"{hub.url}{self.PATH}#sha256={digest.upper()}", preprocessor)
        assert pair.encoder == resolve(f"{hub.url}{self.PATH}", preprocessor).encoder
        assert hub.requests == [self.PATH]

    def test_a_wrong_sha256_is_refused_and_not_kept(self, hub, cache, preprocessor):
        hub.add(self.PATH)
        digest = hashlib.sha256(hub.answers[self.PATH]).hexdigest()
        fails(digest, "0" * 64, encoder=f"{hub.url}{self.PATH}#sha256={'0' * 64}", preprocessor=preprocessor)
        assert left_in(cache) == []

    def test_a_pin_is_compared_with_what_the_cache_has(self, hub, preprocessor):
        hub.add(self.PATH)
        pair = resolve(f"{hub.url}{self.PATH}", preprocessor)
        digest = hashlib.sha256(hub.answers[self.PATH]).hexdigest()
        pinned = f"{hub.url}{self.PATH}#sha256={'0' * 64}"
        fails(digest, "0" * 64, str(pair.encoder), encoder=pinned, preprocessor=preprocessor)

    def test_a_tfhub_handle_can_be_pinned(self, hub):
        hub.add(BERT_PATH)
        hub.add(PREPROCESSOR_PATH)
        digest = hashlib.sha256(tar_gz(MODEL)).hexdigest()
        assert resolve(f"{BERT.handle}#sha256={digest}").entry is BERT
        fails("0" * 64, encoder=f"{BERT.handle}#sha256={'0' * 64}")

    @pytest.mark.parametrize("fragment", ["sha256=12ab", "md5=" + "0" * 64, "top"])
    def test_another_fragment_is_refused(self, hub, preprocessor, fragment):
        fails("64 hexadecimal digits", encoder=f"{hub.url}/e.zip#{fragment}", preprocessor=preprocessor)
        assert hub.requests == []


class TestFailedDownloads:
    HANDLE = "https://tfhub.dev/me/mine/1"
    PATH = "/me/mine/1"

    def refused(self, hub, cache, *words, body=None, encoder=HANDLE, **answer):
        """The encoder is asked for in vain, nothing is kept; the next try, with a whole archive, succeeds."""
        path = hub.add(self.PATH, body, **answer)
        hub.add("/me/preprocess/1")
        message = fails(self.HANDLE, *words, encoder=encoder, preprocessor="https://tfhub.dev/me/preprocess/1")
        assert left_in(cache) == []
        assert not cached(self.HANDLE)
        for answers in (hub.lengths, hub.statuses):
            answers.pop(path, None)
        hub.add(self.PATH)
        assert resolve(self.HANDLE, "https://tfhub.dev/me/preprocess/1").encoder.is_dir()
        return message

    def test_cut_off_half_way(self, hub, cache):
        body = tar_gz(MODEL)
        half = body[: len(body) // 2]
        words = (
            f"{len(half):,} of {len(body):,} bytes",
            "cut off",
            f"`tfhub-ft encoders pull {self.HANDLE} --preprocessor",
        )
        self.refused(hub, cache, *words, body=half, lengths=len(body))

    def test_cut_off_half_way_without_a_length(self, hub, cache):
        body = tar_gz(MODEL)
        self.refused(hub, cache, "damaged", body=body[: len(body) // 2], lengths=None)

    def test_a_connection_that_breaks_while_reading(self, hub, cache, monkeypatch):
        def broken(response, *args):
            raise ConnectionResetError(errno.ECONNRESET, "Connection reset by peer")

        with monkeypatch.context() as patched:
            patched.setattr("http.client.HTTPResponse.read", broken)
            hub.add(self.PATH)
            fails("cut off", "Connection reset", encoder=self.HANDLE, preprocessor=self.HANDLE)
        assert left_in(cache) == []

    def test_a_handle_that_does_not_exist(self, hub, cache):
        message = self.refused(hub, cache, "does not exist there", "HTTP 404", hub.url, statuses=404)
        assert "encoders pull" not in message

    @pytest.mark.parametrize("status", [401, 403, 429, 500, 503])
    def test_other_answers(self, hub, cache, status):
        self.refused(hub, cache, f"HTTP {status}", hub.url, "`tfhub-ft encoders pull", statuses=status)

    def test_a_page_in_place_of_an_archive(self, hub, cache):
        self.refused(hub, cache, "neither a .tar.gz nor a .zip", "<!doctype html>", body=b"<!doctype html>\n<html>")

    def test_an_empty_answer(self, hub, cache):
        self.refused(hub, cache, "neither a .tar.gz nor a .zip", body=b"")

    def test_an_archive_without_a_saved_model(self, hub, cache):
        self.refused(hub, cache, "holds no saved_model.pb", body=tar_gz({"model.onnx": b"x"}))

    def test_an_archive_with_two_saved_models(self, hub, cache):
        self.refused(hub, cache, "no saved_model.pb", body=tar_gz({"a/saved_model.pb": b"", "b/saved_model.pb": b""}))

    @pytest.mark.parametrize(
        "members",
        [{"../evil": b"x"}, {"/tmp/evil": b"x"}, {"->saved_model.pb": b"/etc/passwd"}],
        ids=["up", "abs", "link"],
    )
    def test_a_malicious_archive(self, hub, cache, members):
        self.refused(hub, cache, "not safe to unpack", body=tar_gz({**members, "variables/x": b"x"}))
        assert not (cache.parent / "evil").exists()

    def test_a_zip_that_slips_out(self, hub, cache):
        self.refused(hub, cache, "not safe to unpack", body=zipped({"../../evil": b"x", **MODEL}))
        assert not (cache.parent / "evil").exists()

    def test_a_wrong_sha256(self, hub, cache):
        self.refused(hub, cache, "0" * 64, encoder=f"{self.HANDLE}#sha256={'0' * 64}")

    def test_no_server(self, hub, cache):
        hub.stop()
        words = (BERT.handle, hub.url, "Connection refused", str(cache), "`tfhub-ft encoders pull bert-base-uncased`")
        fails(*words, encoder="bert-base-uncased")
        assert left_in(cache) == []

    def test_no_name_resolution(self, cache, monkeypatch):
        monkeypatch.setenv("TFHUB_FT_MIRROR", "https://mirror.invalid")
        fails("https://mirror.invalid/", "cannot be reached", encoder="bert-base-uncased")

    def test_a_reason_of_several_lines_is_one_line(self, cache, monkeypatch):
        def refuse(*arguments, **named):
            raise urllib.error.URLError("no route\nto the host\r\n(proxy)")

        monkeypatch.setattr(urllib.request.OpenerDirector, "open", refuse)
        fails("(no route to the host (proxy))", encoder="bert-base-uncased")

    def test_a_server_that_says_nothing(self, cache, monkeypatch):
        monkeypatch.setattr(download, "_TIMEOUT_S", 0.2)
        with socket.create_server(("127.0.0.1", 0)) as silent:
            monkeypatch.setenv("TFHUB_FT_MIRROR", f"http://127.0.0.1:{silent.getsockname()[1]}")
            fails("cannot be reached", "timed out", encoder="bert-base-uncased")

    def test_what_was_fetched_before_the_failure_stays(self, hub, cache):
        hub.add(BERT_PATH)
        fails("does not exist there", encoder="bert-base-uncased")
        assert len(left_in(cache)) == 1
        hub.add(PREPROCESSOR_PATH)
        resolve("bert-base-uncased")
        assert sum(BERT_PATH in path for path in hub.requests) == 1

    def test_a_mirror_that_is_no_address(self, cache, monkeypatch):
        monkeypatch.setenv("TFHUB_FT_MIRROR", "mirror")
        fails("cannot be reached", "unknown url type", encoder="bert-base-uncased")


class TestCache:
    def test_its_place(self, monkeypatch, tmp_path):
        monkeypatch.setenv("TFHUB_FT_CACHE", "relative")
        monkeypatch.chdir(tmp_path)
        assert cache_dir() == tmp_path / "relative"
        monkeypatch.delenv("TFHUB_FT_CACHE")
        assert cache_dir().name == "tfhub_ft" or cache_dir().parent.name == "tfhub_ft"
        assert cache_dir().is_absolute()

    def test_a_half_written_entry_is_not_taken(self, hub, cache):
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

    def test_of_ten_at_once_one_downloads_and_the_others_wait(self, hub, cache, preprocessor):
        hub.add("/me/mine/1")
        hub.gate = threading.Event()
        program = "import sys; from tfhub_ft.encoders.resolve import resolve; print(resolve(*sys.argv[1:]).encoder)"
        command = [sys.executable, "-c", program, "https://tfhub.dev/me/mine/1", str(preprocessor)]
        root = Path(resolve_module.__file__).parents[2]
        started = [
            subprocess.Popen(command, cwd=root, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
            for _ in range(10)
        ]
        while not hub.requests:
            time.sleep(0.01)
        time.sleep(1)
        hub.gate.set()
        outputs = [process.communicate(timeout=60) for process in started]
        assert [process.returncode for process in started] == [0] * 10, outputs
        assert len({output for output, _ in outputs}) == 1
        assert len(hub.requests) == 1
        assert len(left_in(cache)) == 1

    @pytest.mark.parametrize("damage", [b"m", b"MODEL", b"model and more"])
    def test_a_damaged_entry_is_found_and_fetched_again(self, hub, cache, preprocessor, damage):
        hub.add("/me/mine/1", tar_gz(model(b"model")))
        file = resolve("https://tfhub.dev/me/mine/1", preprocessor).encoder / "saved_model.pb"
        file.write_bytes(damage)
        assert resolve("https://tfhub.dev/me/mine/1", preprocessor).encoder == file.parent
        assert file.read_bytes() == b"model"
        assert len(hub.requests) == 2

    def test_an_overwritten_part_of_a_large_file_is_fetched_again(self, hub, cache, preprocessor):
        hub.add("/me/mine/1", tar_gz(model(bytes(2**21))))
        file = resolve("https://tfhub.dev/me/mine/1", preprocessor).encoder / "saved_model.pb"
        overwrite(file)
        resolve("https://tfhub.dev/me/mine/1", preprocessor)
        assert file.read_bytes() == bytes(2**21)

    def test_damage_that_leaves_no_trace_is_found_when_loading_fails(self, hub, cache, preprocessor):
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

    def test_a_copied_entry_is_whole_and_read_through_once(self, hub, cache, preprocessor, monkeypatch):
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

    def test_a_leftover_of_a_file_manager_damages_nothing(self, hub, cache, preprocessor):
        hub.add("/me/mine/1", tar_gz(model(b"model")))
        (resolve("https://tfhub.dev/me/mine/1", preprocessor).encoder / ".DS_Store").write_bytes(b"x")
        resolve("https://tfhub.dev/me/mine/1", preprocessor)
        assert len(hub.requests) == 1

    def test_a_lost_race_uses_what_the_other_one_wrote(self, hub, cache, preprocessor, monkeypatch):
        hub.add("/me/mine/1")
        put_in_place, kept = cache_module._put_in_place, []

        def second(made, folder, read):
            folder.mkdir(parents=True)
            (folder / "saved_model.pb").write_bytes(b"the other's")
            (folder / "entry.json").write_text("{}")
            put_in_place(made, folder, read)
            kept.append(folder)

        monkeypatch.setattr(cache_module, "_put_in_place", second)
        pair = resolve("https://tfhub.dev/me/mine/1", preprocessor)
        assert kept == [pair.encoder]
        assert (pair.encoder / "saved_model.pb").read_bytes() == b"the other's"
        assert left_in(cache) == [pair.encoder.name]

    def test_a_cache_that_cannot_be_written_is_a_failed_work(self, hub, cache, preprocessor):
        hub.add("/me/mine/1")
        cache.write_text("a file")
        words = (str(cache), "TFHUB_FT_CACHE")
        fails(*words, error=RunError, encoder="https://tfhub.dev/me/mine/1", preprocessor=preprocessor)

    def test_a_full_disk_is_a_failed_work(self, hub, cache, preprocessor, monkeypatch):
        def full(*args):
            raise OSError(errno.ENOSPC, "No space left on device")

        hub.add("/me/mine/1")
        monkeypatch.setattr(download, "sha256_of", full)
        words = ("No space left on device", "make room")
        fails(*words, error=RunError, encoder="https://tfhub.dev/me/mine/1", preprocessor=preprocessor)
        assert left_in(cache) == []

    def test_an_interrupted_download_leaves_nothing(self, hub, cache, preprocessor, monkeypatch):
        def interrupt(*args):
            raise KeyboardInterrupt

        hub.add("/me/mine/1")
        monkeypatch.setattr("http.client.HTTPResponse.read", interrupt)
        with pytest.raises(KeyboardInterrupt):
            resolve("https://tfhub.dev/me/mine/1", preprocessor)
        assert left_in(cache) == []


class TestFolders:
    def test_a_saved_model_and_its_preprocessor_given(self, cache, tmp_path, preprocessor):
        encoder = saved_model(tmp_path / "mine")
        for spelling in (encoder, str(encoder), str(encoder) + "/"):
            pair = resolve(spelling, str(preprocessor))
            assert (pair.encoder, pair.preprocessor, pair.entry) == (encoder, preprocessor, None)
            assert pair.name == os.fspath(spelling)
        assert cached(encoder)
        assert not cache.exists()

    @pytest.mark.parametrize("place", ["encoder", "encoder/assets", "preprocessor"])
    @pytest.mark.parametrize("target", ["file", "folder", "nothing"])
    def test_a_link_that_leads_out_is_refused(self, cache, tmp_path, place, target):
        (tmp_path / "file").write_text("secret")
        (tmp_path / "folder").mkdir()
        for part in ("encoder", "preprocessor"):
            saved_model(tmp_path / "pair" / part)
        link = tmp_path / "pair" / place / "link"
        link.parent.mkdir(exist_ok=True)
        link.symlink_to(tmp_path / target)
        fails(f"{link}: is a link to {tmp_path / target}, out of the folder", encoder=tmp_path / "pair")

    def test_links_within_and_to_an_encoder_are_followed(self, cache, tmp_path, preprocessor):
        encoder = saved_model(tmp_path / "mine")
        (encoder / "link").symlink_to("saved_model.pb")
        (tmp_path / "other").symlink_to(encoder)
        assert resolve(tmp_path / "other", preprocessor).encoder == tmp_path / "other"

    @pytest.mark.parametrize("name", ["preprocessor", "preprocess"])
    @pytest.mark.parametrize("place", ["mine", "."])
    def test_a_preprocessor_in_or_beside_it_is_found(self, cache, tmp_path, name, place):
        encoder = saved_model(tmp_path / "mine")
        beside = saved_model(tmp_path / place / name)
        assert resolve(encoder).preprocessor == beside

    def test_a_pair_in_one_folder(self, cache, tmp_path, monkeypatch):
        encoder, preprocessor = (saved_model(tmp_path / "pair" / name) for name in ("encoder", "preprocessor"))
        pair = resolve(str(tmp_path / "pair"))
        assert (pair.encoder, pair.preprocessor) == (encoder, preprocessor)
        monkeypatch.chdir(tmp_path / "pair")
        assert resolve(".").encoder == encoder
        assert resolve("encoder").preprocessor == preprocessor
        other = saved_model(tmp_path / "other")
        assert resolve(other, tmp_path / "pair").preprocessor == preprocessor

    def test_a_preprocessor_given_goes_before_the_one_beside(self, cache, tmp_path, preprocessor):
        saved_model(tmp_path / "pair" / "encoder")
        saved_model(tmp_path / "pair" / "preprocessor")
        assert resolve(tmp_path / "pair", preprocessor).preprocessor == preprocessor

    def test_a_preprocessor_that_is_nowhere_is_asked_for(self, cache, tmp_path):
        encoder = saved_model(tmp_path / "mine")
        (tmp_path / "preprocessor").mkdir()
        fails(str(encoder), "name it with --preprocessor", encoder=encoder)

    def test_a_folder_without_a_saved_model_is_refused(self, cache, tmp_path, preprocessor):
        fails(str(tmp_path), "saved_model.pb", encoder=tmp_path, preprocessor=preprocessor)
        fails("--preprocessor", "saved_model.pb", encoder=preprocessor, preprocessor=tmp_path)
        assert not cached(tmp_path)

    def test_a_file_or_a_missing_folder_is_refused(self, cache, tmp_path, preprocessor):
        (tmp_path / "file").write_text("x")
        fails("is no folder", encoder=str(tmp_path / "file"), preprocessor=preprocessor)
        fails("is no folder", encoder=tmp_path / "missing", preprocessor=preprocessor)

    def test_a_wrong_preprocessor_is_noticed_before_the_encoder_is_fetched(self, hub, tmp_path):
        hub.add(BERT_PATH)
        fails("--preprocessor", encoder="bert-base-uncased", preprocessor=tmp_path)
        assert hub.requests == []

    def test_a_name_goes_before_a_folder_but_a_path_object_is_a_folder(self, hub, tmp_path, preprocessor, monkeypatch):
        hub.add(BERT_PATH)
        saved_model(tmp_path / "bert-base-uncased")
        monkeypatch.chdir(tmp_path)
        assert resolve("bert-base-uncased", preprocessor).entry is BERT
        assert resolve(Path("bert-base-uncased"), preprocessor).encoder == tmp_path / "bert-base-uncased"
        assert resolve("./bert-base-uncased", preprocessor).encoder == tmp_path / "bert-base-uncased"

    def test_a_folder_of_the_home_may_be_written_short(self, cache, tmp_path, preprocessor, monkeypatch):
        monkeypatch.setenv("HOME", str(tmp_path))
        monkeypatch.setenv("USERPROFILE", str(tmp_path))
        encoder = saved_model(tmp_path / "mine")
        assert resolve("~/mine", "~/given_preprocessor").encoder == encoder


def no_network(monkeypatch, *, let_through=False):
    """Note the addresses that are asked for; none answers. `let_through` still lets urllib judge the address."""
    asked, open_address = [], urllib.request.OpenerDirector.open

    def nowhere(*args):
        raise socket.gaierror("Temporary failure in name resolution")

    def refuse(opener, request, **options):
        asked.append(request.full_url)
        if let_through:
            return open_address(opener, request, **options)
        raise OSError("no network in this test")

    monkeypatch.setattr(socket, "getaddrinfo", nowhere)
    monkeypatch.setattr(urllib.request.OpenerDirector, "open", refuse)
    return asked


def test_importing_loads_no_tensorflow():
    program = "import sys, tfhub_ft.encoders.resolve; sys.exit('tensorflow' in sys.modules or 'keras' in sys.modules)"
    root = Path(resolve_module.__file__).parents[2]
    assert subprocess.run([sys.executable, "-c", program], cwd=root).returncode == 0
