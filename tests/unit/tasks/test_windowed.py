from types import SimpleNamespace

from tfhub_ft.tasks.windowed import score_by_row


def test_score_by_row_returns_results_in_the_order_of_the_rows():
    rows = [("a" * length,) for length in (30, 1, 500, 7)]
    batches = []

    def score_batch(batch):
        batches.append(batch)
        return [len(text) for (text,) in batch]

    assert score_by_row(score_batch, None, "float32")(SimpleNamespace(inputs=rows)) == [30, 1, 500, 7]
    assert sum(map(len, batches)) == 4
