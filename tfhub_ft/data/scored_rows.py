"""Rows of a file on which a trained model is scored."""

from collections.abc import Collection, Sequence
from typing import Any

from tfhub_ft.data.columns import without_options
from tfhub_ft.data.labels import count_labels, drop_labels, known_labels, warn_of_unseen_labels
from tfhub_ft.data.row_task import RowTask
from tfhub_ft.data.rows import ReadOptions, Row, read_all
from tfhub_ft.utils.arguments import check_path, check_type


def read_scored_rows(
    task: RowTask,
    settings: Any,
    labels: Sequence[str],
    data: Any,
    *,
    dropped: Collection[str] = (),
    skip_bad_rows: bool = False,
    delimiter: str | None = None,
    encoding: str | None = None,
    header: bool | None = None,
    label_separator: str | None = None,
) -> Sequence[Row]:
    """Read and check the rows of a file, and warn of labels that the model does not know.

    Args:
        task: what the rows mean.
        settings: those of the run that trained the model. They name the columns, and fill in what is not named here and
            not detected in the file.
        labels: the labels of the model.
        data: the file, or a pattern of files.
        dropped: the labels that the run dropped.
        skip_bad_rows: count and skip bad rows, where the first one is an error otherwise.
        delimiter: of csv and tsv files.
        encoding: of text files.
        header: whether csv and tsv files begin with a header line.
        label_separator: of several labels in a cell.

    Raises:
        InputError: the file or a row is not as it must be, or no row is left.
    """
    data = check_path("data", data)
    check_type("skip_bad_rows", skip_bad_rows, bool, "True or False")
    options = ReadOptions.of_other_file(settings, delimiter=delimiter, encoding=encoding, header=header)
    if label_separator is not None:
        settings = settings.replaced({"label_separator": label_separator})
    columns = without_options(task.columns(settings))
    rows = read_all(data, columns, options=options, skip_bad_rows=skip_bad_rows)
    rows = drop_labels(task, rows, dropped, str(data))
    if known_labels(task, labels):
        warn_of_unseen_labels(task, count_labels(task, rows), labels, str(data))
    return rows
