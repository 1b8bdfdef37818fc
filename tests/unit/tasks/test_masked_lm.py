import numpy as np
import pytest

from tfhub_ft.data.rows import Row
from tfhub_ft.tasks.base import decisions
from tfhub_ft.tasks.masked_lm import GUESSES, MaskedLM

TASK = MaskedLM()


def test_prediction_inputs_mask_every_seventh_word():
    row = Row(2, {"text": "one two three four five six seven eight  nine"})
    assert TASK.prediction_inputs(row) == ("[MASK] two three four five six seven [MASK]  nine",)
    assert TASK.training_inputs(row) == (row.values["text"],)


def test_metrics_are_means_over_guesses():
    sums = np.array([[np.log(4) * 2, 1, 2], [np.log(4) * 6, 1, 6]], "float32")
    scores = TASK.metrics(sums, np.zeros(1), [], {})
    assert (scores["rows"], scores["windows"], scores["masked_tokens"]) == (1, 2, 8)
    assert scores["masked_accuracy"] == pytest.approx(0.25)
    assert scores["perplexity"] == pytest.approx(4)


def test_serving_outputs_are_the_likeliest_tokens():
    logits = np.random.default_rng(0).normal(size=(2, 3, 20)).astype("float32")
    outputs = TASK.serving_outputs(logits, [], {})
    assert outputs["word_ids"].shape == (2, 3, GUESSES)
    np.testing.assert_array_equal(outputs["word_ids"][..., 0], logits.argmax(-1))
    assert (np.diff(outputs["scores"]) <= 0).all()


def test_decode_serving_outputs_fills_the_text():
    words = np.array([[[b"good", b"bad"], [b"film", b"book"]], [[b"nice", b"poor"], [b"", b""]]])
    scores = np.array([[[0.7, 0.2], [0.6, 0.1]], [[0.9, 0.1], [0.0, 0.0]]])
    rows = [("a [MASK] [MASK]!",), ("so [MASK]",)]
    both, one = TASK.decode_serving_outputs({"words": words, "scores": scores}, rows, [], {})
    assert (both["filled"], both["words"]) == ("a good film!", ["good", "film"])
    assert one["guesses"] == [[{"word": "nice", "score": 0.9}, {"word": "poor", "score": 0.1}]]
    assert decisions(TASK, [both, one], []) == ["good", "film", "nice"]
