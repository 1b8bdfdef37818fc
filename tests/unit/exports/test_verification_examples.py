import json
import shutil

import numpy as np

from tfhub_ft.exports.verification_examples import verification_examples
from tfhub_ft.run import Run
from tfhub_ft.utils.errors import InputError


def test_verification_examples_uses_the_order_of_the_labels(tiny_run, tmp_path):
    rows = verification_examples(Run(tiny_run))
    assert len(rows.segments) == len(rows.inputs) == len(rows.targets) == 24 + 112
    # A distilled run has the labels of its teacher, which may differ from those of its rows.
    distilled = tmp_path / "distilled"
    shutil.copytree(tiny_run, distilled)
    (distilled / "labels.json").write_text(json.dumps(["neutral", *Run(tiny_run).labels]))
    np.testing.assert_array_equal(verification_examples(Run(distilled)).targets, rows.targets + 1)


def test_verification_examples_falls_back_on_kept_rows(tiny_run, tmp_path, monkeypatch):
    rows = verification_examples(Run(tiny_run))
    monkeypatch.setattr(Run, "located_settings", fail)
    kept = verification_examples(Run(tiny_run))
    assert (kept.segments, kept.inputs, kept.calibration) == (rows.segments, rows.inputs, rows.calibration)
    np.testing.assert_array_equal(kept.targets, rows.targets)
    assert kept.fault == "gone"
    assert not rows.fault


def fail(run, objects):
    raise InputError("gone")
