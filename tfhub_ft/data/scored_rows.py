"""Read the rows on which a trained model is scored."""

from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

from tfhub_ft.data.columns import without_options
from tfhub_ft.data.formats.source import ReadOptions
from tfhub_ft.data.labels import count_labels, drop_labels, known_labels, warn_of_unseen_labels
from tfhub_ft.data.row_task import RowTask
from tfhub_ft.data.rows import Row, read_all
from tfhub_ft.utils.arguments import check_path, check_type


def read_scored_rows(
    task: RowTask,
    settings: Any,
    labels: Sequence[str],
    data: str | Path,
    *,
    dropped: Collection[str] = (),
    skip_bad_rows: bool = False,
    delimiter: str | None = None,
    encoding: str | None = None,
    header: bool | None = None,
    label_separator: str | None = None,
) -> Sequence[Row]:
    """Read and check the rows of a file or a pattern, and warn of labels that the model does not know.

    `settings` are those of the run that trained the model, or an object with such attributes: they name its columns,
    and are the defaults of the options that are neither set nor detected. The run dropped the labels in `dropped`.
    """
    path = check_path("data", data)
    check_type("skip_bad_rows", skip_bad_rows, bool, "True or False")
    options = ReadOptions.of_other_file(settings, delimiter=delimiter, encoding=encoding, header=header)
    if label_separator is not None:
        settings = settings.replaced({"label_separator": label_separator})
    columns = without_options(task.columns(settings))
    rows = read_all(path, columns, options=options, skip_bad_rows=skip_bad_rows)
    rows = drop_labels(task, rows, dropped, str(path))
    if known_labels(task, labels):
        warn_of_unseen_labels(task, count_labels(task, rows), labels, str(path))
    return rows
