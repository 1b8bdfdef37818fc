import numpy as np
import pytest

from tfhub_ft.data.rows import Row
from tfhub_ft.tasks.base import decisions
from tfhub_ft.tasks.retrieval import CANDIDATES, TOP_REPLIES, Retrieval
from tfhub_ft.utils.errors import InputError

TASK = Retrieval()
BANK = [f"reply {number}" for number in range(8)]


def rows(*replies):
    return [Row(line, {"prompt": f"ask {line}", "reply": reply}) for line, reply in enumerate(replies, 2)]


def test_labels_are_the_distinct_replies_in_order():
    assert TASK.labels(rows("yes", "no ", "yes"), "f", None) == ["yes", "no"]
    with pytest.raises(InputError, match="f: only one reply .'yes'.; retrieval needs at least two"):
        TASK.labels(rows("yes", "yes"), "f", None)


def test_targets_of_equal_replies_are_equal():
    first, second, third = TASK.targets(rows("Yes", "no", "yes"), [], "f")
    assert first == third != second


def test_metrics_rank_the_own_reply_first():
    vectors = np.eye(16, dtype="float32")
    scores = TASK.metrics(np.stack([vectors, vectors], 1), np.arange(16), [], {})
    assert scores[f"recall_at_1_of_{CANDIDATES}"] == 1
    swapped = TASK.metrics(np.stack([vectors, np.roll(vectors, 1, 0)], 1), np.arange(16), [], {})
    assert swapped[f"recall_at_1_of_{CANDIDATES}"] < 1


def test_decoded_and_serving_outputs_agree():
    logits = np.random.default_rng(0).normal(size=(3, 8)).astype("float32")
    outputs = {name: value.numpy() for name, value in TASK.serving_outputs(logits, BANK, {}).items()}
    predictions = TASK.decode_serving_outputs({"logits": logits}, [], BANK, {})
    assert predictions == TASK.decode_serving_outputs(outputs, [], BANK, {})
    for prediction, row in zip(predictions, logits):
        assert prediction["reply"] == BANK[row.argmax()]
        assert len(prediction["replies"]) == TOP_REPLIES
    assert decisions(TASK, predictions, BANK) == [p["reply"] for p in predictions]
