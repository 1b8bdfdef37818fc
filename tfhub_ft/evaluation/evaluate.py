"""Scoring a finished run on other rows."""

from pathlib import Path
from typing import Any

from tfhub_ft.data.rows import read_all
from tfhub_ft.data.sequences import Mapped
from tfhub_ft.run import Run


def evaluate(run: str | Path | Run, *, data: str | Path, skip_bad_rows: bool = False) -> dict[str, Any]:
    """The scores of a run on the rows of a file. What `tfhub-ft evaluate` does.

    Args:
        run: a run or its folder.
        data: a csv, tsv or jsonl file with the columns that the run was trained on.
        skip_bad_rows: count and skip bad rows, where the first one is an error otherwise.

    Returns:
        The same scores that metrics.json has of the test rows.

    Raises:
        InputError: the run or the file is not as it must be.

    Example:
        tfhub_ft.evaluate("runs/reviews", data="more_reviews.csv")["accuracy"]
    """
    run = run if isinstance(run, Run) else Run(run)
    task, labels = run.recipe.task, run.labels
    rows = read_all(data, task.columns(run.settings), check=task.check_row, skip_bad_rows=skip_bad_rows)
    targets = task.targets(rows, labels, str(data))

    model = run.load_model()
    tokens = task.encode(model.get_layer("preprocessor"), Mapped(task.inputs, rows))
    return task.metrics(task.row_logits(model, tokens), targets, labels, run.decision)
