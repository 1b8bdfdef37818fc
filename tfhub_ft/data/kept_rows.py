"""Rows that a run keeps for use without its data files."""

import json
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING

from tfhub_ft.data.columns import Column
from tfhub_ft.data.rows import Row, restore_values
from tfhub_ft.utils.documents import parse_json
from tfhub_ft.utils.errors import InputError
from tfhub_ft.utils.files import write_text

if TYPE_CHECKING:
    from tfhub_ft.data.datasets import Split

LEAST_ROWS, MOST_ROWS, CALIBRATION_ROWS = 200, 1000, 100


@dataclass(frozen=True)
class KeptRows:
    """Some rows of each split.

    Args:
        validation: Up to 1,000 validation rows.
        train: Training rows that fill the validation rows up to 200.
        calibration: Up to 100 training rows.
        test: Up to 1,000 test rows.
    """

    validation: Sequence[Row]
    train: Sequence[Row]
    calibration: Sequence[Row]
    test: Sequence[Row]

    @property
    def verification(self) -> list[Row]:
        """The rows to verify exports with: with fewer than 200, a single prediction would weigh too much."""
        return [*self.validation, *self.train]

    @classmethod
    def drawn_from(cls, splits: "Mapping[str, Split]", seed: int) -> "KeptRows":
        """Draw rows of splits; the same rows and seed give the same rows."""
        rng, rows_by_split = random.Random(seed), {name: split.rows for name, split in splits.items()}

        def draw(name: str, count: int) -> list[Row]:
            rows = rows_by_split.get(name, ())
            return [rows[i] for i in sorted(rng.sample(range(len(rows)), max(0, min(count, len(rows)))))]

        validation = draw("validation", MOST_ROWS)
        train_rows = rows_by_split["train"]
        calibration = rng.sample(train_rows, min(CALIBRATION_ROWS, len(train_rows)))
        train = draw("train", LEAST_ROWS - len(validation))
        return cls(validation, train, calibration, draw("test", MOST_ROWS))

    def write(self, path: Path) -> None:
        """Write the rows as a JSON lines file; write nothing if a custom task has values that JSON cannot represent."""
        try:
            lines = [
                json.dumps({"kept_as": field.name, "line": row.line, "values": row.values}, ensure_ascii=False)
                for field in fields(self)
                for row in getattr(self, field.name)
            ]
        except TypeError:
            return
        write_text(path, "".join(f"{line}\n" for line in lines))

    @classmethod
    def read(cls, path: Path, columns: Sequence[Column]) -> "KeptRows":
        """Read the rows that `write` wrote; raise an InputError if the file is damaged."""
        rows_by_field: dict[str, list[Row]] = {field.name: [] for field in fields(cls)}
        try:
            with path.open(encoding="utf-8") as file:
                for line in file:
                    row = parse_json(line, {"kept_as": str, "line": int, "values": dict})
                    values = restore_values(row["values"], columns)
                    rows_by_field[row["kept_as"]].append(Row(row["line"], values))
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise InputError(f"{path}: cannot be read ({error}); restore the file, or train again") from None
        return cls(**rows_by_field)
