"""Check that the same rows give the same scores in every form: files of each format and objects in memory.

    python benchmarks/same_rows.py --data-dir DATA   # 1,000 rows of SST-2, one epoch for each form
    python benchmarks/same_rows.py --data-dir DATA --forms csv pandas tf.data

DATA (default: $TFHUB_FT_DATA) contains sst2/train.csv with the columns text and label. The rows are ordered by label,
as the files of a folder are. Each form is trained with the default encoder and the same seed. The command fails if the
validation or test scores of a form differ from those of the first one in any digit.
"""

import argparse
import csv
import os
import sys
import tempfile
import time
from pathlib import Path

from machine import keep

import tfhub_ft


def write_csv(rows, folder):
    path = folder / "rows.csv"
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, ["text", "label"])
        writer.writeheader()
        writer.writerows(rows)
    return path


def write_parquet(rows, folder):
    import pyarrow.parquet

    pyarrow.parquet.write_table(to_pyarrow(rows, folder), folder / "rows.parquet")
    return folder / "rows.parquet"


def write_xlsx(rows, folder):
    to_pandas(rows, folder).to_excel(folder / "rows.xlsx", index=False)
    return folder / "rows.xlsx"


def write_folder(rows, folder):
    for number, row in enumerate(rows):
        path = folder / "rows" / row["label"] / f"{number:06}.txt"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(row["text"], encoding="utf-8")
    return folder / "rows"


def to_dicts(rows, folder):
    return rows


def to_arrays(rows, folder):
    return [row["text"] for row in rows], [row["label"] for row in rows]


def to_pandas(rows, folder):
    import pandas

    return pandas.DataFrame(rows)


def to_polars(rows, folder):
    import polars

    return polars.DataFrame(rows)


def to_pyarrow(rows, folder):
    import pyarrow

    return pyarrow.Table.from_pylist(rows)


def to_datasets(rows, folder):
    import datasets

    return datasets.Dataset.from_list(rows)


def to_tensors(rows, folder):
    import tensorflow as tf

    return tf.data.Dataset.from_tensor_slices(to_arrays(rows, folder)).batch(64)


FORMS = {
    "csv": write_csv,
    "parquet": write_parquet,
    "xlsx": write_xlsx,
    "folder": write_folder,
    "dicts": to_dicts,
    "arrays": to_arrays,
    "pandas": to_pandas,
    "polars": to_polars,
    "pyarrow": to_pyarrow,
    "datasets": to_datasets,
    "tf.data": to_tensors,
}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data-dir", type=Path, default=os.environ.get("TFHUB_FT_DATA"))
    parser.add_argument("--forms", nargs="+", choices=FORMS, default=list(FORMS))
    parser.add_argument("--rows", type=int, default=1000)
    parser.add_argument("--epochs", type=int, default=1)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    if not options.data_dir:
        parser.error("--data-dir, or the environment variable TFHUB_FT_DATA, must name the data's folder")
    with (Path(options.data_dir) / "sst2" / "train.csv").open(encoding="utf-8", newline="") as file:
        rows = [row for row, _ in zip(csv.DictReader(file), range(options.rows))]
    rows.sort(key=lambda row: row["label"])
    scores, seconds = {}, {}
    with tempfile.TemporaryDirectory() as scratch:
        for form in options.forms:
            folder = Path(scratch, form)
            folder.mkdir()
            began = time.perf_counter()
            run = tfhub_ft.train(
                "sentiment",
                data=FORMS[form](rows, folder),
                output_dir=folder / "run",
                epochs=options.epochs,
                seed=options.seed,
            )
            seconds[form] = round(time.perf_counter() - began, 1)
            scores[form] = {split: run.metrics[split] for split in ("validation", "test")}
            print(f"{form}: test accuracy {scores[form]['test']['accuracy']!r}, {seconds[form]} s", file=sys.stderr)
    first = scores[options.forms[0]]
    different = [form for form in options.forms if scores[form] != first]
    names = ("accuracy", "f1_macro", "roc_auc", "log_loss")
    keep(
        "same_rows",
        {
            "rows": len(rows),
            "epochs": options.epochs,
            "seed": options.seed,
            "forms": options.forms,
            "different": different,
            **{split: {name: first[split][name] for name in names} for split in first},
            "seconds": seconds,
        },
    )
    if different:
        sys.exit(f"other scores than {options.forms[0]}: {', '.join(different)}")


if __name__ == "__main__":
    main()
