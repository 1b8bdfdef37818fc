import pytest

from tfhub_ft.metrics.span_scores import span_exact_match, span_f1, span_metrics, threshold_for_no_answer


@pytest.mark.parametrize(
    ("text", "truth", "exact", "f1"),
    [
        ("the Eiffel Tower!", ["Eiffel tower"], 1, 1),
        ("in Paris", ["Paris", "in the city"], 0, 2 / 3),
        ("", [], 1, 1),
        ("Paris", [], 0, 0),
        ("", ["Paris"], 0, 0),
        ("a b b", ["b b c"], 0, 2 * 2 / 5),
    ],
)
def test_span_scores_normalize_texts_as_squad_does(text, truth, exact, f1):
    assert span_exact_match(text, truth) == exact
    assert span_f1(text, truth) == pytest.approx(f1)


def test_span_metrics_split_rows_by_whether_there_is_an_answer():
    scores = span_metrics(["a x", "", "y"], [["x"], ["z"], []], ["a x", "z", "y"])
    assert scores["exact_match"] == pytest.approx(1 / 3)
    assert scores["answerable_f1"] == pytest.approx(0.5)
    assert scores["best_span_f1"] == 1
    assert scores["unanswerable_accuracy"] == 0


def test_threshold_for_no_answer_separates_the_questions():
    thresholds = threshold_for_no_answer(["x", "x", "q", "q"], [-3.0, -1.0, 2.0, 4.0], [["x"], ["x"], [], []])
    assert -1 < thresholds["no_answer_threshold"] < 2
    assert thresholds["f1"] == 1


def test_threshold_for_no_answer_may_answer_all_or_none():
    assert threshold_for_no_answer(["x", "x"], [1.0, 2.0], [["x"], ["x"]])["no_answer_threshold"] > 2
    assert threshold_for_no_answer(["q", "q"], [1.0, 2.0], [[], []])["no_answer_threshold"] < 1
