"""Distillation: a student learns the predictions of its teacher, and is a run like any other."""

import contextlib
import io
import json
import shutil
import types

import pytest
import yaml

import tfhub_ft
from tests.conftest import TINY_SETTINGS, make_reviews, write_csv
from tfhub_ft.run import Run
from tfhub_ft.settings import OLD_UNLABELED
from tfhub_ft.utils.errors import InputError

NEW = [text for text, _ in make_reviews(60, seed=1)]


@pytest.fixture(scope="module", autouse=True)
def cache(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        folder = tmp_path_factory.mktemp("cache")
        patch.setenv("TFHUB_FT_CACHE", str(folder))
        yield folder


def rows_of(run, split):
    """The rows of a split of reviews_csv, as (text, label)."""
    lines = set(run.splits[split]["lines"])
    return [row for line, row in enumerate(make_reviews(160), 2) if line in lines]


def distilled(*arguments, **options):
    """Return the run of the student, and the log."""
    with contextlib.redirect_stderr(io.StringIO()) as log:
        run = tfhub_ft.distill(*arguments, **options)
    return types.SimpleNamespace(run=run, log=log.getvalue())


@pytest.fixture(scope="module")
def small(tiny_run, tmp_path_factory):
    """A student with one layer and the tokens of the domain, which also learns from rows without labels."""
    folder = tmp_path_factory.mktemp("distilled")
    held_out = [text for split in ("validation", "test") for text, _ in rows_of(Run(tiny_run), split)[:3]]
    unlabeled = folder / "more.txt"
    unlabeled.write_text("\n".join([*NEW, NEW[0].upper(), *held_out]) + "\n")
    return distilled(
        tiny_run, student="layers:1", output_dir=folder / "small", unlabeled=unlabeled, vocabulary="domain",
        hidden_weight=0.5, learning_rate=5e-3, seed=7,
    )  # fmt: skip


@pytest.mark.sample
def test_student_has_fewer_layers_and_tokens(small, tiny_run):
    teacher, student = Run(tiny_run), small.run
    encoder = student.load_model().get_layer("token_model").get_layer("encoder")
    words = student.load_model().get_layer("preprocessor").vocabulary
    assert len(encoder.values["word_embeddings/embeddings"]) == len(words)
    assert len(words) < len(teacher.load_model().get_layer("preprocessor").vocabulary)
    assert len(encoder.spec["outputs"]["encoder_outputs"]) == 1
    assert student.metrics["test"]["accuracy"] >= teacher.metrics["test"]["accuracy"] - 0.1
    assert [row["line"] for row in student.predictions] == [row["line"] for row in teacher.predictions]


@pytest.mark.sample
def test_student_trains_on_rows_of_the_teacher_and_new_rows(small, tiny_run):
    theirs, ours = Run(tiny_run).splits, small.run.splits
    assert ours == {name: {**split, "relative": ours[name]["relative"]} for name, split in theirs.items()}
    assert small.run.settings.seed == 7
    assert "skipped 6 of 67 rows, which are validation or test rows, and 1, which" in small.log
    described = yaml.safe_load((small.run.path / "distillation.yaml").read_text())
    assert described["rows"] == {"labeled": 112, "unlabeled": 60}
    assert described["teacher"] == str(tiny_run)
    assert described["teacher_layers"] == [1]
    assert (described["student"], described["alpha"], described["hidden_weight"]) == ("layers:1", 0.8, 0.5)


def test_student_run_can_be_moved(small, tmp_path):
    expected = tfhub_ft.predict(small.run, NEW[:5])
    moved = tmp_path / "moved"
    shutil.copytree(small.run.path, moved)
    hidden = small.run.path.rename(tmp_path / "hidden")
    try:
        test_csv = write_csv(tmp_path / "test.csv", rows_of(Run(moved), "test"))
        scores = tfhub_ft.evaluate(moved, data=test_csv)
        assert scores["accuracy"] == Run(moved).metrics["test"]["accuracy"]
        assert [a["label"] for a in tfhub_ft.predict(moved, NEW[:5])] == [a["label"] for a in expected]
    finally:
        hidden.rename(small.run.path)


@pytest.mark.slow
def test_student_run_is_exported(small, tmp_path):
    exported = tfhub_ft.export(small.run, output_dir=tmp_path / "export")
    expected = tfhub_ft.predict(small.run, NEW[:5])
    assert [a["label"] for a in tfhub_ft.predict(exported, NEW[:5])] == [a["label"] for a in expected]


def test_train_does_not_resume_a_student(small, tmp_path):
    shutil.copytree(small.run.path, tmp_path / "run")
    (tmp_path / "run" / "metrics.json").unlink()
    with pytest.raises(InputError, match="a distilled run, which cannot be resumed"):
        tfhub_ft.train("sentiment", output_dir=tmp_path / "run", resume=True)


@pytest.mark.slow
def test_alpha_weights_the_teacher_against_wrong_labels(tiny_run, tiny_pair, tmp_path):
    rows, held_out = make_reviews(120, seed=2), make_reviews(40, seed=3)
    wrong = {"positive": "negative", "negative": "positive"}
    files = {
        "train": write_csv(tmp_path / "train.csv", [(text, wrong[label]) for text, label in rows]),
        "validation": write_csv(tmp_path / "validation.csv", held_out[:20]),
        "test": write_csv(tmp_path / "test.csv", held_out[20:]),
    }
    options = {"student": tiny_pair, **files, "learning_rate": 5e-3}
    taught = distilled(tiny_run, output_dir=tmp_path / "taught", alpha=1.0, **options)
    options["validation"] = files["train"]
    misled = distilled(tiny_run, output_dir=tmp_path / "misled", alpha=0.0, **options)
    assert taught.run.metrics["test"]["accuracy"] >= 0.9
    assert misled.run.metrics["test"]["accuracy"] <= 0.1
    assert "Computing the logits of the teacher for 120 rows" in taught.log
    assert "Using the cached logits of the teacher for 120 rows" in misled.log
    assert taught.run.settings.train == str(files["train"])
    assert taught.run.settings.data is None


@pytest.mark.slow
@pytest.mark.parametrize("recipe", ["intent", "multilabel", "similarity"])
def test_distill_trains_other_tasks(recipe, tiny_pair, tmp_path):
    settings = {**TINY_SETTINGS, "epochs": 1, "encoder": tiny_pair}
    teacher = tfhub_ft.train(recipe, output_dir=tmp_path / "teacher", **settings)
    student = distilled(teacher, student=tiny_pair, output_dir=tmp_path / "student", alpha=1.0, epochs=2).run
    assert student.metrics["test"].keys() == teacher.metrics["test"].keys()
    assert student.thresholds.keys() == teacher.thresholds.keys()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"student": "layers:0"}, "--student layers:0: must be layers:N"),
        ({"student": "layers:two"}, "--student layers:two: must be layers:N"),
        ({"student": "layers:2"}, "--student layers:2: must be below the number of the teacher's layers, 2"),
        ({"student": "layers:99"}, "must be below the number of the teacher's layers"),
        ({"student": "minilm-l7"}, "--student minilm-l7: unknown encoder .* minilm-l6"),
        ({"alpha": 1.5}, "--alpha 1.5: must be at most 1"),
        ({"alpha": -0.1}, "--alpha -0.1: must be at least 0"),
        ({"temperature": 0}, "--temperature 0"),
        ({"vocabulary": "some"}, "--vocabulary some: must be one of all, domain"),
        ({"alpha": 0, "unlabeled": "texts.txt"}, "--unlabeled: unused with --alpha 0"),
        ({"unlabeled": "texts.txt"}, "texts.txt: not found"),
        ({"unlabeled": "empty.txt"}, "empty.txt: no rows found"),
        ({OLD_UNLABELED: "texts.txt"}, "texts.txt: not found"),
        ({"unlabeled": "blank.jsonl"}, "blank.jsonl, line 2: column 'text' is empty"),
        ({"train": "other.csv"}, "other.csv, line 2: label 'fine' was not seen in training"),
        ({"student": "PAIR", "hidden_weight": 1.0}, "--hidden-weight: the layers of .*; use --student layers:N"),
        ({"seq_length": 20, "hidden_weight": 1.0}, "--seq-length 20: --hidden-weight needs"),
        ({"encoder": "minilm-l6"}, "--encoder: name the encoder of the student with --student"),
        ({"preprocessor": "minilm-l6"}, "--preprocessor: a student layers:1 has the preprocessor of"),
        ({"strategy": "multi-worker"}, "--strategy multi-worker: not available for distillation"),
        ({"epoch": 3}, "did you mean epochs"),
    ],
)
def test_distill_refuses_wrong_input_before_it_writes(
    options, message, tiny_run, tiny_pair, tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty.txt").write_text("\n")
    (tmp_path / "blank.jsonl").write_text('{"text": "good film"}\n{"text": " "}\n')
    write_csv(tmp_path / "other.csv", [("good film", "fine"), ("bad film", "fine"), *make_reviews(40)])
    options = {"student": "layers:1", **options}
    options["student"] = options["student"].replace("PAIR", str(tiny_pair))
    with pytest.raises(InputError, match=message) as caught:
        tfhub_ft.distill(tiny_run, output_dir=tmp_path / "out", **options)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "out").exists()
    assert "Computing" not in capsys.readouterr().err


def test_distill_refuses_other_teachers_and_folders(tiny_run, tiny_pair, tmp_path):
    with pytest.raises(InputError, match="not found"):
        tfhub_ft.distill(tmp_path / "none", student="layers:1", output_dir=tmp_path / "out")
    with pytest.raises(InputError, match="already has a run"):
        tfhub_ft.distill(tiny_run, student="layers:1", output_dir=tiny_run)
    shutil.copytree(tiny_run, tmp_path / "unfinished")
    (tmp_path / "unfinished" / "metrics.json").unlink()
    with pytest.raises(InputError, match="did not finish; continue it with --resume"):
        tfhub_ft.distill(tmp_path / "unfinished", student="layers:1", output_dir=tmp_path / "out")
    shutil.copytree(tiny_run, tmp_path / "names")
    described = yaml.safe_load((tmp_path / "names" / "recipe.yaml").read_text())
    (tmp_path / "names" / "recipe.yaml").write_text(yaml.safe_dump({"recipe": "ner"}))
    with pytest.raises(
        InputError, match="has the task entities, which cannot be distilled; expected one of classification"
    ):
        tfhub_ft.distill(tmp_path / "names", student="layers:1", output_dir=tmp_path / "out")
    assert described["recipe"] == "sentiment"
    assert not (tmp_path / "out").exists()


def test_distill_refuses_rows_that_have_changed(tiny_run, tmp_path):
    shutil.copytree(tiny_run, tmp_path / "run")
    described = yaml.safe_load((tmp_path / "run" / "recipe.yaml").read_text())
    described["data"] = str(write_csv(tmp_path / "changed.csv", make_reviews(150)))
    (tmp_path / "run" / "recipe.yaml").write_text(yaml.safe_dump(described))
    splits = json.loads((tmp_path / "run" / "splits.json").read_text())
    splits["train"]["relative"] = "../gone.csv"
    (tmp_path / "run" / "splits.json").write_text(json.dumps(splits))
    faults = rf"{described['data']} has changed and {tmp_path}/gone.csv is missing; restore them, or name files with"
    with pytest.raises(InputError, match=faults):
        tfhub_ft.distill(tmp_path / "run", student="layers:1", output_dir=tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_student_of_a_moved_run_names_its_rows(tiny_run, reviews_csv, tmp_path, monkeypatch):
    run = shutil.copytree(tiny_run, tmp_path / "there" / "run")
    shutil.copy(reviews_csv, tmp_path / "there" / "rows.csv")
    recipe = yaml.safe_load((run / "recipe.yaml").read_text())
    (run / "recipe.yaml").write_text(yaml.safe_dump(recipe | {"data": "rows.csv"}))
    splits = json.loads((run / "splits.json").read_text())
    for split in splits.values():
        split |= {"file": "rows.csv", "relative": "../rows.csv"}
    (run / "splits.json").write_text(json.dumps(splits))
    monkeypatch.chdir(tmp_path)
    student = tfhub_ft.distill(run, student="layers:1", output_dir="small", epochs=1)
    assert student.settings.data == str(tmp_path / "there" / "rows.csv")
    assert student.splits["train"]["relative"] == "../there/rows.csv"
    assert student.splits["train"]["lines"] == Run(tiny_run).splits["train"]["lines"]
