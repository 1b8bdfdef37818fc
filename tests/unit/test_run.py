"""Run folders, also damaged ones and those of other versions."""

import errno
import json
import pickle
import shutil

import pytest
import yaml

import tfhub_ft
from tfhub_ft.run import Run
from tfhub_ft.utils.errors import InputError, RunError


@pytest.fixture
def copied(tiny_run, tmp_path):
    return shutil.copytree(tiny_run, tmp_path / "run")


def test_run_pickles_its_absolute_path(copied, monkeypatch):
    monkeypatch.chdir(copied.parent)
    run = Run(copied.name)
    assert run.recipe.name == "sentiment"
    pickled = pickle.dumps(run)
    monkeypatch.chdir("/")
    assert pickle.loads(pickled).metrics == Run(copied).metrics


def test_thresholds_reads_file_of_version_0_1(copied):
    written = json.dumps({"threshold": 0.25})
    (copied / "thresholds.json").unlink()
    (copied / "decision.json").write_text(written)
    assert Run(copied).thresholds == {"threshold": 0.25}


def test_thresholds_reports_damaged_labels_once(copied):
    (copied / "labels.json").write_text('["a", "a"]')
    with pytest.raises(InputError, match=r"run/labels\.json: .*; restore the file or train again$") as error:
        Run(copied).thresholds  # noqa: B018
    assert str(error.value).count("restore the file") == 1


DAMAGES = [
    (
        "labels.json",
        "{}",
        r"run/labels\.json: cannot be read \(the content: expected list, got dict\); restore the file",
    ),
    (
        "labels.json",
        '[["a"], "b"]',
        r"labels\.json: cannot be read \(entry 1 of the content: expected str, got list",
    ),
    ("labels.json", '["a", "a"]', r"labels\.json: cannot be read \(the label 'a' is repeated\)"),
    ("labels.json", "[" * 9_000, r"labels\.json: cannot be read \(it is nested too deeply\)"),
    ("labels.json", b"\xff", r"labels\.json: cannot be read \('utf-8' codec"),
    ("thresholds.json", '{"thresh', r"run/thresholds\.json: cannot be read \(Unterminated string"),
    ("thresholds.json", None, r"run: thresholds\.json not found; restore the file or train again$"),
    ("model.keras", None, r"run: model\.keras not found; restore"),
    ("model.keras", "PK", r"run/model\.keras: cannot be read \("),
    ("recipe.yaml", "recipe: [1, 2", r"run/recipe\.yaml: cannot be read \("),
    (
        "recipe.yaml",
        "recipe: [1, 2]",
        r"run/recipe\.yaml: cannot be read \('recipe' of the content: expected str, got list",
    ),
    ("recipe.yaml", "epochs: 3", r"run/recipe\.yaml: cannot be read \(the content lacks 'recipe'\)"),
    ("recipe.yaml", "recipe: 5", r"run/recipe\.yaml: cannot be read \('recipe' of the content: expected str, got int"),
    ("recipe.yaml", "recipe: " + "[" * 9_000, r"run/recipe\.yaml: cannot be read \(it is nested too deeply\)"),
    ("recipe.yaml", None, r"run: not a run folder \(recipe\.yaml not found\); pass"),
    ("metrics.json", None, r"run: thresholds\.json not found; restore the file or train again$"),
    ("labels.json", '["a", ""]', r"labels\.json: cannot be read \(a label is empty\)"),
    ("labels.json", '["a"]', r"run/labels\.json: has 1 labels, which do not match the 2 logits of the model; restore"),
    ("labels.json", '["a", "b", "c"]', r"run/labels\.json: has 3 labels, which do not match the 2 logits of the model"),
    (
        "thresholds.json",
        '{"threshold": "a"}',
        r"thresholds\.json: cannot be read \('threshold': expected float, got str",
    ),
    (
        "thresholds.json",
        '{"threshold": null}',
        r"thresholds\.json: cannot be read \('threshold': expected float, got NoneType",
    ),
    (
        "thresholds.json",
        '{"threshold": NaN}',
        r"thresholds\.json: cannot be read \(a threshold is NaN\)",
    ),
    ("recipe.yaml", "recipe: sentiment\nseq_length: -3", r"run/recipe\.yaml: --seq-length -3: must be at least"),
    ("recipe.yaml", "recipe: nope", r"run/recipe\.yaml: unknown recipe 'nope'"),
    (
        "recipe.yaml",
        "recipe: sentiment\nepochs: 1\nepochs: 2",
        r"recipe\.yaml: cannot be read \('epochs' is repeated",
    ),
]


@pytest.mark.parametrize(("name", "content", "message"), DAMAGES)
def test_predict_names_damaged_file_of_run(copied, name, content, message):
    (copied / name).unlink()
    if name == "metrics.json":
        (copied / "thresholds.json").unlink()
    if content is not None:
        (copied / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(InputError, match=message) as caught:
        tfhub_ft.predict(copied, ["good film"])
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "content", "read"),
    [
        ("splits.json", '{"train": 3, "validation": {}}', lambda run: run.splits),
        ("splits.json", '{"train": {"file": 1, "rows": 2}}', lambda run: run.splits),
        ("metrics.json", "[]", lambda run: run.metrics),
        ("metrics.json", '{"train": {}}', lambda run: run.metrics),
        ("sample.jsonl", '["a"]\n{"b": 1}', lambda run: run.sample),
        ("warnings.json", "[1]", lambda run: run.warnings),
        ("calibration.json", "7", lambda run: run.calibration),
    ],
)
def test_run_rejects_files_of_another_structure(copied, name, content, read):
    (copied / name).write_text(content)
    with pytest.raises(InputError, match=rf"run/{name}: cannot be read \(.*\); restore the file or train again"):
        read(Run(copied))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"sparkle": 3}, r"recipe\.yaml: unknown setting 'sparkle'"),
        ({"recipe": "poetry"}, r"poetry"),
        ({"epochs": "many"}, r"--epochs 'many': must be an integer"),
    ],
)
def test_run_error_names_another_version(copied, changes, message):
    written = yaml.safe_load((copied / "recipe.yaml").read_text())
    for version, suffix in (
        (tfhub_ft.__version__, ""),
        ("9.9.9", r"; .*run was written by tfhub_ft 9\.9\.9, this is "),
    ):
        (copied / "recipe.yaml").write_text(yaml.safe_dump({**written, **changes, "tfhub_ft": version}))
        with pytest.raises(InputError, match=message + ".*" + suffix) as caught:
            Run(copied).settings  # noqa: B018
        assert ("was written by" in str(caught.value)) == bool(suffix)


def test_load_model_reports_full_temporary_folder(copied, monkeypatch):
    def load(path, **options):
        raise OSError(errno.EFBIG, "File too large")

    monkeypatch.setattr("keras.models.load_model", load)
    with pytest.raises(
        RunError, match=r"a temporary copy of .*model\.keras in .*: larger than the file size limit .*ulimit -f"
    ):
        Run(copied).load_model()
