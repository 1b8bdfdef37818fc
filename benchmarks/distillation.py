"""A fine-tuned model distilled and quantized: how many bytes it has left, and how much accuracy.

    python benchmarks/distillation.py phishing --data-dir DATA
    python benchmarks/distillation.py sst2 --data-dir DATA

The teacher is minilm-l6, all of it fine-tuned; the student has four of its layers and the words of the domain. It also
learns texts without their labels, but for those of the validation and test rows: URLs of urls_20000, and the phrases
that the training sentences of SST-2 are made of. DATA (or $TFHUB_FT_DATA) holds phishing_urls/ and sst2/. The test rows
are the same for all and are scored once, at the end.
"""

import argparse
import os
import time
from pathlib import Path

from machine import keep

import tfhub_ft
from tfhub_ft.data.rows import read_all

# For each: the teacher's recipe, its files, its settings, and what its student is taught with.
ROWS = {
    "phishing": (
        "phishing",
        {"data": "phishing_urls/urls_3000.csv"},
        {"freeze": "none", "learning_rate": 1e-4, "epochs": 6},
        {"unlabelled": "phishing_urls/urls_20000.csv", "epochs": 3},
    ),
    "sst2": (
        "sentiment",
        {"train": "sst2/train.csv", "validation": "sst2/validation.csv", "test": "sst2/test.csv"},
        {"epochs": 3},
        {"unlabelled": "sst2/train_phrases.csv", "epochs": 2},
    ),
}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("row", choices=ROWS)
    parser.add_argument("--data-dir", type=Path, default=os.environ.get("TFHUB_FT_DATA"))
    parser.add_argument("--student", default="layers:4")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output-dir", type=Path, default=Path("runs"))
    options = parser.parse_args()
    if not options.data_dir:
        parser.error("--data-dir, or the environment variable TFHUB_FT_DATA, must name the data's folder")
    recipe, files, settings, lesson = ROWS[options.row]
    name, data_dir = f"distillation_{options.row}_seed{options.seed}", Path(options.data_dir)
    lesson = {key: data_dir / value if key == "unlabelled" else value for key, value in lesson.items()}

    began = time.perf_counter()
    teacher_dir = options.output_dir / f"{name}_teacher"
    files = {split: data_dir / file for split, file in files.items()}
    teacher = tfhub_ft.train(recipe, output_dir=teacher_dir, seed=options.seed, **files, **settings)
    taught = time.perf_counter()
    student = tfhub_ft.distill(
        teacher, student=options.student, vocabulary="domain", output_dir=options.output_dir / name, **lesson
    )
    learnt = time.perf_counter()
    exports = options.output_dir / f"{name}_export"
    tfhub_ft.export(student, output_dir=exports, formats=("tflite",), quantize=("dynamic",))
    quantized = next(exports.rglob("*.tflite"))

    teacher_bytes, student_bytes = (4 * run.load_model().count_params() for run in (teacher, student))
    keep(
        name,
        {
            "student": options.student,
            "words": len(student.load_model().get_layer("preprocessor").vocabulary),
            "teacher": {"accuracy": teacher.metrics["test"]["accuracy"], "fp32_bytes": teacher_bytes},
            "distilled": {"accuracy": student.metrics["test"]["accuracy"], "fp32_bytes": student_bytes},
            "quantized": {"accuracy": accuracy(student, quantized), "bytes": quantized.stat().st_size},
            "share_of_bytes": round(quantized.stat().st_size / teacher_bytes, 4),
            "test_rows": teacher.metrics["test"]["rows"],
            "seconds": {"teacher": round(taught - began, 1), "distillation": round(learnt - taught, 1)},
        },
    )


def accuracy(run, model):
    """The share of the run's test rows that a model's answers get right."""
    split, task = run.splits["test"], run.recipe.task
    lines = set(split.get("lines", ()))
    rows = [row for row in read_all(split["file"], task.columns(run.settings)) if not lines or row.line in lines]
    answers = tfhub_ft.predict(model, [task.prediction_inputs(row)[0] for row in rows])
    right = sum(answer["label"] == row.values["label"] for answer, row in zip(answers, rows, strict=True))
    return right / len(rows)


if __name__ == "__main__":
    main()
