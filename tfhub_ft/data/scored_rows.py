"""Read the rows on which a trained model is scored."""

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from tfhub_ft.data.columns import has_columns, other_columns
from tfhub_ft.data.formats import open_source
from tfhub_ft.data.formats.memory import Rows
from tfhub_ft.data.formats.source import ReadOptions
from tfhub_ft.data.labels import count_labels, drop_labels, known_labels, rename_labels, warn_of_unseen_labels
from tfhub_ft.data.memory_rows import MemoryRows, check_rows
from tfhub_ft.data.row_task import RowTask
from tfhub_ft.data.rows import Row, read_all
from tfhub_ft.settings import TEMPLATES, option_name
from tfhub_ft.utils.arguments import check_type
from tfhub_ft.utils.errors import InputError
from tfhub_ft.utils.files import matching_files

LABEL_COLUMNS = ("label_column", "labels_column", "score_column")


def read_scored_rows(
    task: RowTask,
    settings: Any,
    labels: Sequence[str],
    data: str | Path | Rows | MemoryRows,
    *,
    dropped: Collection[str] = (),
    skip_bad_rows: bool = False,
    delimiter: str | None = None,
    encoding: str | None = None,
    header: bool | None = None,
    label_separator: str | None = None,
    labeled: bool = True,
    with_others: bool = False,
    **columns: str | None,
) -> Sequence[Row]:
    """Read and check the rows of a file, a pattern or an object, and warn of labels that the model does not know.

    `settings` are those of the run that trained the model, or an object with such attributes: they name its columns,
    and are the defaults of the options that are neither set nor detected. `columns` are settings such as `label_column`
    for a file whose columns have other names. The run dropped the labels in `dropped`. With `labeled=False`, only the
    columns of texts are read. `with_others` reads all other columns, too, as the value "" of each row.
    """
    path = data if isinstance(data, MemoryRows) else check_rows("data", data)
    check_type("skip_bad_rows", skip_bad_rows, bool, "True or False")
    options = ReadOptions.of_other_file(settings, delimiter=delimiter, encoding=encoding, header=header)
    if label_separator is not None:
        settings = settings.replaced({"label_separator": label_separator})
    named = {name: column for name, column in columns.items() if column is not None}
    _check_columns(task, settings, named)
    settings = settings.with_columns(named) if named else settings
    read_columns = task.columns(settings, labeled=labeled)
    read_columns += [other_columns(read_columns)] if with_others else []
    rows = read_all(path, read_columns, options=options, skip_bad_rows=skip_bad_rows)
    if not labeled:
        return rows
    rows = rename_labels(task, rows, [*labels, *dropped])
    rows = drop_labels(task, rows, dropped, str(path))
    if known_labels(task, labels):
        warn_of_unseen_labels(task, count_labels(task, rows), labels, str(path))
    return rows


def has_labels(
    task: RowTask,
    settings: Any,
    data: Path | MemoryRows,
    *,
    delimiter: str | None = None,
    encoding: str | None = None,
    header: bool | None = None,
    **reading: Any,
) -> bool:
    """Return whether rows have the column of the labels, which may be named in `reading`; see `read_scored_rows`."""
    if any(reading.get(name) for name in LABEL_COLUMNS):
        return True
    columns, texts = task.columns(settings), task.columns(settings, labeled=False)
    if isinstance(data, MemoryRows):
        try:
            source = data.open(columns)
        except InputError:
            # A tuple of texts alone; for other objects, reading the texts raises the same error.
            return False
    else:
        options = ReadOptions.of_other_file(settings, delimiter=delimiter, encoding=encoding, header=header)
        source = open_source(matching_files(data)[0], texts, options)
    names = source.names or next((list(record.values) for record in source.records() if record.values), [])
    labels = [column for column in columns if column.name not in {text.name for text in texts}]
    return has_columns(names, labels, by_number=True)


class _Unnamed:
    """Settings that name no column."""

    def __getattr__(self, name: str) -> None:
        return None


def _check_columns(task: RowTask, settings: Any, named: Mapping[str, object]) -> None:
    """Raise an InputError if named columns are not among those of the task."""
    options = [column.option for each in task.columns(_Unnamed()) for column in (each, *each.instead)]
    names = [option[2:].replace("-", "_") for option in options if option]
    templates = [TEMPLATES[name] for name in names if name in TEMPLATES and hasattr(settings, TEMPLATES[name])]
    known = dict.fromkeys([*names, *templates])
    for name, column in named.items():
        check_type(name, column, str, "the name of a column")
        if name not in known:
            raise InputError(
                f"{option_name(name)}: not a column of this model; its options are {', '.join(map(option_name, known))}"
            )
