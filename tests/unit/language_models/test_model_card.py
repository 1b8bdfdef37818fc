from pathlib import Path
from types import SimpleNamespace

from tfhub_ft.language_models.export import DialogueExportContext
from tfhub_ft.language_models.model_card import dialogue_values


def entry(quantization, path):
    report = {"quantization": quantization, "path": path, "bytes": 2_000_000, "rows": 50, "agreement": 1.0}
    figures = {"same_words": 0.5, "score": {"form": 9.5, "model": 9.25}, "latency_ms": {"p50": 12.5}}
    return {**report, **figures}


def values(*entries, language_model="smollm2-135m-instruct"):
    settings = SimpleNamespace(language_model=language_model, seq_length=64)
    formats = DialogueExportContext.formats
    context = SimpleNamespace(run=SimpleNamespace(settings=settings), folder=Path("exports/bot"), formats=formats)
    return dialogue_values(context, list(entries))


def test_dialogue_values_describe_each_artifact():
    card = values(entry("int8", "int8/1"), entry("none", "1"))
    assert card["artifacts"].index("| float32 | `1` |") < card["artifacts"].index("| int8 | `int8/1` |")
    assert "9.5000 (9.2500)" in card["artifacts"]
    assert "32 at most" in card["notes"] and "`/models/bot/int8`" in card["notes"]
    assert any(limit.startswith("int8 weights") for limit in card["limitations"])
    assert "License of its weights: Apache-2.0" in card["license"]


def test_dialogue_values_of_other_models_name_no_license():
    card = values(entry("none", "1"), language_model="my_preset")
    assert card["license"] == "License of the language model: see its source."
    assert "base_path" not in card["notes"]
