"""MediaPipe's TextClassifier runs exported TFLite files."""

import subprocess
import sys

import pytest

import tfhub_ft

pytest.importorskip("mediapipe")

TEXTS = ["a warm, funny film", "Two hours I will NEVER get back!", "the plot was boring, but the music was lovely"]
CLASSIFY = """
import sys
from mediapipe.tasks.python import text

with text.TextClassifier.create_from_model_path(sys.argv[1]) as classifier:
    for each in sys.argv[2:]:
        best = classifier.classify(each).classifications[0].categories[0]
        print(best.category_name, best.score)
"""


@pytest.mark.slow
def test_mediapipe_predicts_as_the_run(tmp_path):
    run = tfhub_ft.train("sentiment", output_dir=tmp_path / "run", epochs=1)
    exports = tfhub_ft.export(run, output_dir=tmp_path / "exports", formats=["tflite"], quantize=["none", "dynamic"])
    for kind in ("fp32", "dynamic"):
        file = exports / "tflite" / f"exports_{kind}.tflite"
        command = [sys.executable, "-c", CLASSIFY, str(file), *TEXTS]
        lines = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
        for line, expected in zip(lines, tfhub_ft.predict(file, TEXTS), strict=True):
            label, score = line.split()
            assert label == expected["label"]
            assert float(score) == pytest.approx(expected["score"], abs=1e-4)
