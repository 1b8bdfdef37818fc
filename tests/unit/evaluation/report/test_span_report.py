from types import SimpleNamespace

from tfhub_ft.evaluation.report.span_report import of_entities
from tfhub_ft.metrics.scores import entity_metrics


def test_of_entities_tells_kinds_and_borders_of_errors_apart():
    truth = [
        ["B-PER", "I-PER", "O", "B-LOC"],
        ["B-PER", "O", "B-LOC", "I-LOC"],
        ["O", "O", "B-LOC", "O"],
    ]
    predicted = [
        ["B-PER", "I-PER", "O", "B-PER"],
        ["B-PER", "I-PER", "B-PER", "O"],
        ["B-LOC", "O", "O", "O"],
    ]
    rows = [SimpleNamespace(values={"tokens": list("abcd")})] * 3
    parts = of_entities(SimpleNamespace(rows=rows, scores=entity_metrics(predicted, truth)), predicted, truth)
    (table,) = [part for part in parts if part.title == "Kinds and borders"]
    assert table.columns == [
        "kind", "exact", "wrong borders", "wrong kind", "wrong kind and borders", "missed", "spurious"
    ]  # fmt: skip
    assert table.rows == [["LOC", 0, 0, 1, 1, 1, 1], ["PER", 1, 1, 0, 0, 0, 0]]
    (matrix,) = [part for part in parts if part.title == "Kinds of entities"]
    assert "LOC for PER, 2 times" in matrix.says
