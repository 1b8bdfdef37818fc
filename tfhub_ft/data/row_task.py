"""What reading and splitting rows needs of a task."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Protocol

from tfhub_ft.data.columns import Column
from tfhub_ft.data.rows import Row

if TYPE_CHECKING:
    from tfhub_ft.data.batches import Targets


class RowTask(Protocol):
    """The data hooks of `tfhub_ft.tasks.base.Task`, which documents them."""

    label_column: str | None
    stratified: bool
    grouped_by: str
    labels_without_logit: int

    def columns(self, settings: Any = None, *, labeled: bool = True) -> list[Column]: ...

    def training_inputs(self, row: Row) -> tuple[str, ...]: ...

    def prediction_inputs(self, row: Row) -> tuple[str, ...]: ...

    def stratify_key(self, row: Row) -> tuple[str, ...]: ...

    def labels(self, rows: Sequence[Row], source: str, settings: Any) -> list[str]: ...

    def continued_labels(
        self, earlier: Sequence[str], labels: Sequence[str], source: str, settings: Any
    ) -> list[str]: ...

    def targets(self, rows: Sequence[Row], labels: Sequence[str], source: str) -> "Targets": ...
