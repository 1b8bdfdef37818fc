import json
import shutil

import numpy as np

from tfhub_ft.exports.verification_examples import verification_examples
from tfhub_ft.run import Run
from tfhub_ft.utils.errors import InputError


def test_rows_come_with_what_is_right_in_the_runs_own_order_of_labels(tiny_run, tmp_path):
    rows = verification_examples(Run(tiny_run))
    assert len(rows.segments) == len(rows.inputs) == len(rows.targets) == 24 + 112
    # A distilled run has its teacher's labels, which need not be those of its own rows, nor in their order.
    taught = tmp_path / "taught"
    shutil.copytree(tiny_run, taught)
    (taught / "labels.json").write_text(json.dumps(["neutral", *Run(tiny_run).labels]))
    np.testing.assert_array_equal(verification_examples(Run(taught)).targets, rows.targets + 1)


def test_proof_rows_are_the_same_after_the_files_have_gone(tiny_run, tmp_path, monkeypatch):
    rows = verification_examples(Run(tiny_run))
    monkeypatch.setattr(Run, "located_settings", fail)
    kept = verification_examples(Run(tiny_run))
    assert (kept.segments, kept.inputs, kept.calibration) == (rows.segments, rows.inputs, rows.calibration)
    np.testing.assert_array_equal(kept.targets, rows.targets)
    assert kept.fault == "gone"
    assert not rows.fault


def fail(run):
    raise InputError("gone")
