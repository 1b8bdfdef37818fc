import pytest

from tests.conftest import CHATML
from tfhub_ft.language_models.presets import chat_template, load_causal_lm, preset_folder


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("TFHUB_FT_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def test_a_folder_is_taken_as_it_is(tiny_preset):
    assert preset_folder(str(tiny_preset)) == tiny_preset
    assert chat_template(tiny_preset) == CHATML
    causal_lm = load_causal_lm(str(tiny_preset))
    assert type(causal_lm).__name__ == "Llama3CausalLM"
    assert causal_lm.preprocessor.tokenizer.end_token == "<|im_end|>"
    assert causal_lm.preprocessor.sequence_length == 256


def test_other_families_are_loaded_too(tiny_gpt2_preset):
    causal_lm = load_causal_lm(str(tiny_gpt2_preset))
    assert type(causal_lm).__name__ == "GPT2CausalLM"
    assert causal_lm.generate("the", max_length=8).startswith("the")
    assert chat_template(tiny_gpt2_preset) is None
