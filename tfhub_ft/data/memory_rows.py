"""Rows that Python code passes as objects, in place of files."""

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from tfhub_ft.data.columns import Column
from tfhub_ft.data.formats.memory import check_rows_type, is_path, is_stream, kind_of_rows, open_rows, store_stream
from tfhub_ft.data.formats.source import Source
from tfhub_ft.utils.arguments import check_path

_MARK = " in memory"


class MemoryRows:
    """An object of rows, such as a data frame; see `open_rows`.

    Args:
        rows: The object.
        argument: The argument that it was passed as.

    Raises:
        InputError: The object has a type that is not read.
    """

    def __init__(self, rows: object, argument: str = "data"):
        check_rows_type(rows, argument)
        self.rows, self.argument, self._kind = rows, argument, kind_of_rows(rows)
        self._folder: object = None
        self._source: Source | None = None
        self._columns: Sequence[object] = ()

    def __str__(self) -> str:
        return self._kind + ("" if self.argument == "data" else f" ({self.argument})")

    @property
    def name(self) -> str:
        """What titles call the rows, as the name of a file."""
        return str(self)

    @property
    def recorded_name(self) -> str:
        """What files such as recipe.yaml call the rows, such as "DataFrame in memory"."""
        return self._kind + _MARK

    def open(self, columns: Sequence[Column]) -> Source:
        """Return the records of the object; what can be read only once is read only once."""
        if is_stream(self.rows):
            self.rows, self._folder = store_stream(self.rows, str(self))
        named = [(column.name, column.column, column.preferred, column.template) for column in columns]
        if self._source is None or named != self._columns:
            self._source = open_rows(self.rows, columns, str(self), argument=self.argument)
            self._columns = named
        return self._source

    def location(self, number: int) -> str:
        """Return the name of the rows and a row's index for a message."""
        return self._source.location(number) if self._source else f"{self}, row {number}"


def is_in_memory(name: str | None) -> bool:
    """Return whether a setting or a file name records rows that were in memory."""
    return bool(name) and name.endswith(_MARK)


def check_rows(argument: str, rows: Any) -> Path | MemoryRows:
    """Return a path, or an object of rows in its wrapper; raise an InputError for others."""
    if rows is None or is_path(rows):
        return check_path(argument, rows, "a path (str or Path) or rows in memory, such as a DataFrame")
    return MemoryRows(rows, argument)


def take_memory_rows(
    settings: Mapping[str, Any], names: Collection[str]
) -> tuple[dict[str, Any], dict[str, MemoryRows]]:
    """Return settings in which objects of rows are replaced by their recorded names, and the objects by setting."""
    objects = {
        name: rows if isinstance(rows, MemoryRows) else MemoryRows(rows, name)
        for name, rows in settings.items()
        if name in names and rows is not None and not is_path(rows)
    }
    return {**settings, **{name: rows.recorded_name for name, rows in objects.items()}}, objects
