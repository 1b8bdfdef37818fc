"""Shell completion of commands, recipes, encoders and paths, by the protocol of click's bash script."""

import os
import subprocess
import sys

import pytest

SCRIPT = """
import sys
from tfhub_ft.cli.main import main
try:
    main()
finally:
    heavy = {"tensorflow", "keras", "numpy", "matplotlib", "sklearn", "scipy"} & set(sys.modules)
    print(*sorted(heavy), file=sys.stderr)
"""


def completed(words, folder):
    """Return the completions of the last word, each as type and value."""
    environment = {
        "_TFHUB_FT_COMPLETE": "bash_complete",
        "COMP_WORDS": " ".join(words),
        "COMP_CWORD": str(len(words) - 1),
    }
    command = [sys.executable, "-c", SCRIPT]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, env={**os.environ, **environment})
    assert done.stderr.strip() == ""
    return done.stdout.splitlines()


@pytest.mark.parametrize(
    ("line", "offers"),
    [
        ("tra", ["plain,train"]),
        ("train phi", ["plain,phishing"]),
        ("tune phi", ["plain,phishing"]),
        ("prepare phi", ["plain,phishing"]),
        ("copy phi", ["plain,phishing"]),
        ("train ./mi", ["file,./mi"]),
        ("train sentiment --encoder small-bert-l2-h1", ["plain,small-bert-l2-h128"]),
        ("train sentiment --encoder my", ["file,my"]),
        ("train dialogue --language-model smollm2-135", ["plain,smollm2-135m-instruct"]),
        ("train sentiment --precision bf", ["plain,bfloat16"]),
        ("encoders show bert-base-un", ["plain,bert-base-uncased"]),
        ("encoders pull smollm2-135", ["plain,smollm2-135m-instruct"]),
        ("distill runs/x --student lay", ["plain,layers:"]),
        ("train nothing --h", ["plain,--help"]),
        ("train ./none.py --q", ["plain,--quiet"]),
        ("evaluate runs/x --tr", ["plain,--trust"]),
    ],
)
def test_completion_of_names(line, offers, tmp_path):
    assert completed(["tfhub-ft", *line.split()], tmp_path) == offers


@pytest.mark.parametrize(
    "line",
    [
        *("train sentiment --data", "train sentiment --output-dir", "train sentiment --config", "tune spam --train"),
        *("prepare sentiment --output-dir", "distill", "distill x --unlabeled", "evaluate", "evaluate x --report"),
        *(
            "predict",
            "predict x --input",
            "predict x --output",
            "export",
            "export x --output-dir",
            "serve",
            "copy spam",
        ),
        *(
            "benchmark",
            "benchmark x --picture",
            "compare x",
            "chat",
            "chat --answers",
            "encoders convert",
            "encoders export x",
        ),
    ],
)
def test_completion_of_paths(line, tmp_path):
    assert completed(["tfhub-ft", *line.split(), "some"], tmp_path) == ["file,some"]
