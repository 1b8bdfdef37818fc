import pytest

from tfhub_ft.evaluation.scored import score_warnings
from tfhub_ft.tasks.multilabel import Multilabel


def scores(**predicted):
    return {"test": {"per_class": {label: {"rows": 5, "predicted": count} for label, count in predicted.items()}}}


@pytest.mark.parametrize(
    ("predicted", "warning"),
    [
        ({"a": 2, "b": 3}, None),
        ({"a": 5, "b": 5, "c": 0}, "labels that the model never predicts, with their test rows: c"),
        ({"a": 10, "b": 0}, "the model predicts 'a' for all test rows"),
        ({"a": 0, "b": 0}, "the model predicts no label for any of the test rows"),
    ],
)
def test_score_warnings_name_labels_never_predicted(predicted, warning):
    warnings = score_warnings(Multilabel(), scores(**predicted), {})
    assert [text.startswith(warning or "") for text in warnings] == [True] * bool(warning)
