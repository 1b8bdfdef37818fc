"""Measure the size and the accuracy of a fine-tuned model after distillation and quantization.

    python benchmarks/distillation.py phishing --data-dir DATA
    python benchmarks/distillation.py sst2 --data-dir DATA

The teacher is a fully fine-tuned minilm-l6. The student has four of its layers and the vocabulary of the domain. It
also learns from unlabeled texts, without those of the validation and test rows: URLs of urls_20000, and the phrases
of the training sentences of SST-2. DATA (default: $TFHUB_FT_DATA) contains phishing_urls/ and sst2/. All models share
the test rows, which are scored once, at the end.
"""

import argparse
import os
import time
from pathlib import Path

from machine import keep

import tfhub_ft
from tfhub_ft.data.rows import read_all

# The teacher's recipe, files and settings, and the student's settings.
ROWS = {
    "phishing": (
        "phishing",
        {"data": "phishing_urls/urls_3000.csv"},
        {"freeze": "none", "learning_rate": 1e-4, "epochs": 6},
        {"unlabeled": "phishing_urls/urls_20000.csv", "epochs": 3},
    ),
    "sst2": (
        "sentiment",
        {"train": "sst2/train.csv", "validation": "sst2/validation.csv", "test": "sst2/test.csv"},
        {"epochs": 3},
        {"unlabeled": "sst2/train_phrases.csv", "epochs": 2},
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
    recipe, files, settings, student_settings = ROWS[options.row]
    name, data_dir = f"distillation_{options.row}_seed{options.seed}", Path(options.data_dir)
    student_settings = {
        key: data_dir / value if key == "unlabeled" else value for key, value in student_settings.items()
    }

    began = time.perf_counter()
    teacher_dir = options.output_dir / f"{name}_teacher"
    files = {split: data_dir / file for split, file in files.items()}
    teacher = tfhub_ft.train(recipe, output_dir=teacher_dir, seed=options.seed, **files, **settings)
    taught = time.perf_counter()
    student = tfhub_ft.distill(
        teacher, student=options.student, vocabulary="domain", output_dir=options.output_dir / name, **student_settings
    )
    distilled = time.perf_counter()
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
            "seconds": {"teacher": round(taught - began, 1), "distillation": round(distilled - taught, 1)},
        },
    )


def accuracy(run, model):
    """Return the accuracy of a model on the run's test rows."""
    split, task = run.splits["test"], run.recipe.task
    lines = set(split.get("lines", ()))
    rows = [row for row in read_all(split["file"], task.columns(run.settings)) if not lines or row.line in lines]
    answers = tfhub_ft.predict(model, [task.prediction_inputs(row)[0] for row in rows])
    right = sum(answer["label"] == row.values["label"] for answer, row in zip(answers, rows, strict=True))
    return right / len(rows)


if __name__ == "__main__":
    main()
