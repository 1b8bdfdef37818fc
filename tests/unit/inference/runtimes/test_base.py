import numpy as np

from tfhub_ft.inference.runtimes.base import single_rows, text_batch, to_arrays


def test_text_batch_names_the_segments():
    batch = text_batch(("sentence1", "sentence2"), [("a", "b"), ("c", "d")])
    assert {name: texts.tolist() for name, texts in batch.items()} == {"sentence1": ["a", "c"], "sentence2": ["b", "d"]}


def test_single_rows_removes_padding():
    batch = {"input_word_ids": np.array([[5, 6, 7], [8, 0, 0]]), "input_mask": np.array([[1, 1, 1], [1, 0, 0]])}
    rows = single_rows([batch, {"text": np.array(["a"])}])
    assert [row["input_word_ids"].tolist() for row in rows[:2]] == [[[5, 6, 7]], [[8]]]
    assert rows[2]["text"].tolist() == ["a"]


def test_to_arrays_returns_arrays():
    assert to_arrays({"logits": [1.0, 2.0]})["logits"].tolist() == [1.0, 2.0]


def test_single_rows_keep_the_windows_of_a_row():
    mask = np.array([[[1, 1, 1], [1, 0, 0]], [[1, 1, 0], [0, 0, 0]]])
    first, second = single_rows([{"input_mask": mask, "input_word_ids": mask * 7}])
    np.testing.assert_array_equal(first["input_mask"], mask[:1])
    np.testing.assert_array_equal(second["input_word_ids"], [[[7, 7]]])
