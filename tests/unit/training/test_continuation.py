import json
import shutil

import numpy as np
import pytest

import tfhub_ft
from tests.conftest import write_csv
from tfhub_ft.recipe import load_recipe
from tfhub_ft.run import DISTILLATION
from tfhub_ft.tasks.base import load_task
from tfhub_ft.training.continuation import RunWeights, finished_run, inherited_settings
from tfhub_ft.training.start import read_settings
from tfhub_ft.utils.errors import InputError


@pytest.fixture
def copied_run(tiny_run, tmp_path):
    return shutil.copytree(tiny_run, tmp_path / "copy", ignore=shutil.ignore_patterns("logs"))


def test_read_settings_inherits_the_model_of_the_run(tiny_run, tiny_pair):
    settings, given = read_settings(load_recipe("topic"), None, {"from_run": tiny_run, "epochs": 7})
    assert (settings.encoder, settings.seq_length, settings.dropout) == (str(tiny_pair), 24, 0.0)
    # Settings of training are not those of the run.
    assert (settings.epochs, settings.learning_rate) == (7, 5e-5)
    assert given == {"from_run": tiny_run, "epochs": 7}
    adjusted, _ = read_settings(load_recipe("topic"), None, {"from_run": tfhub_ft.Run(tiny_run), "seq_length": 48})
    assert (adjusted.seq_length, adjusted.from_run) == (48, str(tiny_run))


def test_read_settings_takes_the_run_from_a_config_file(tiny_run, tmp_path):
    (tmp_path / "mine.yaml").write_text(f"from_run: {tiny_run}\n")
    settings, _ = read_settings(load_recipe("sentiment"), tmp_path / "mine.yaml", {})
    assert settings.seq_length == 24


def test_inherited_settings_has_the_encoder_of_a_moved_student(copied_run):
    (copied_run / DISTILLATION).write_text("teacher: runs/teacher\n")
    (copied_run / "encoder_pair").mkdir()
    inherited = inherited_settings(load_recipe("sentiment"), {"from_run": copied_run})
    assert inherited["encoder"] == str(copied_run / "encoder_pair")


def test_inherited_settings_omits_those_of_windows_for_truncated_texts(copied_run):
    recipe = (copied_run / "recipe.yaml").read_text()
    recipe = recipe.replace("long_texts: truncate", "long_texts: windows").replace("overlap: null", "overlap: 4")
    (copied_run / "recipe.yaml").write_text(recipe)
    windows, _ = read_settings(load_recipe("topic"), None, {"from_run": copied_run})
    assert (windows.long_texts, windows.overlap) == ("windows", 4)
    truncated, _ = read_settings(load_recipe("topic"), None, {"from_run": copied_run, "long_texts": "truncate"})
    assert (truncated.long_texts, truncated.overlap) == ("truncate", None)


def test_inherited_settings_is_empty_without_a_run():
    assert inherited_settings(load_recipe("sentiment"), {"epochs": 7}) == {}


@pytest.mark.parametrize(
    ("recipe", "settings", "message"),
    [
        ("ner", {}, r"^--from .*tiny: a run of recipe sentiment, not ner; pass a run of ner$"),
        ("pair", {}, r"a run of recipe sentiment, not pair"),
        ("topic", {"encoder": "minilm-l6"}, r"^--encoder minilm-l6: the run .*tiny has /.*pair/tiny; leave the option"),
        ("topic", {"preprocessor": "other"}, r"^--preprocessor other: the run .*tiny has None"),
        ("topic", {"seq_length": 2}, r"^--seq-length 2: must be at least 3"),
    ],
)
def test_train_refuses_a_run_that_does_not_fit(tiny_run, reviews_csv, tmp_path, recipe, settings, message):
    with pytest.raises(InputError, match=message):
        tfhub_ft.train(recipe, data=reviews_csv, from_run=tiny_run, output_dir=tmp_path / "run", **settings)
    assert not (tmp_path / "run").exists()


def test_finished_run_refuses_other_folders(copied_run, tmp_path):
    with pytest.raises(InputError, match=r"^--from .*missing: not found; pass a folder written by tfhub-ft train$"):
        finished_run(tmp_path / "missing")
    (tmp_path / "export").mkdir()
    (tmp_path / "export" / "export.json").write_text("{}")
    with pytest.raises(InputError, match=r"^--from .*export: not a run folder \(recipe.yaml not found\)"):
        finished_run(tmp_path / "export")
    (copied_run / "metrics.json").unlink()
    with pytest.raises(InputError, match=r"^--from .*copy: its training did not finish; continue it with --resume"):
        finished_run(copied_run)


def test_train_refuses_an_adapted_encoder_as_a_run(copied_run, reviews_csv, tmp_path):
    recipe = (copied_run / "recipe.yaml").read_text().replace("recipe: sentiment", "recipe: adapt")
    (copied_run / "recipe.yaml").write_text(recipe)
    with pytest.raises(InputError, match=r"a run of recipe adapt, not topic; pass --encoder .*copy instead$"):
        tfhub_ft.train("topic", data=reviews_csv, from_run=copied_run, output_dir=tmp_path / "run")


def test_train_refuses_a_run_with_an_argument_of_another_type(reviews_csv, tmp_path):
    with pytest.raises(InputError, match=r"^--from: expected a run, or the path of its folder .*got an int"):
        tfhub_ft.train("topic", data=reviews_csv, from_run=3, output_dir=tmp_path / "run")


def test_train_refuses_labels_that_do_not_fit_the_recipe(tiny_run, tmp_path):
    rows = [(f"good film {number}", label) for number in range(9) for label in ("positive", "neutral")]
    path = write_csv(tmp_path / "rows.csv", rows)
    with pytest.raises(InputError, match=r"3 labels \(negative, positive, neutral\); this recipe needs two"):
        tfhub_ft.train("phishing", data=path, from_run=tiny_run, output_dir=tmp_path / "run")
    rows = [(f"good film {number}", label) for number in range(9) for label in ("positive", "negative")]
    path = write_csv(tmp_path / "rows.csv", rows)
    with pytest.raises(InputError, match=r"^--positive-label 'negative': the earlier run has 'positive'"):
        tfhub_ft.train("phishing", data=path, from_run=tiny_run, positive_label="negative", output_dir=tmp_path / "run")


def test_distill_refuses_a_run_to_continue_from(tiny_run, tmp_path):
    with pytest.raises(InputError, match="^--from: not available for distillation"):
        tfhub_ft.distill(tiny_run, student="layers:1", output_dir=tmp_path / "run", from_run=tiny_run)


@pytest.mark.parametrize(
    ("task", "earlier", "labels", "expected"),
    [
        ("classification", ["b", "a"], ["0", "a", "c"], ["b", "a", "0", "c"]),
        ("intent", ["b", "a", "oos"], ["a", "c", "oos"], ["b", "a", "c", "oos"]),
        ("entities", ["O", "B-x", "I-x"], ["O", "B-a", "I-a"], ["O", "B-x", "I-x", "B-a", "I-a"]),
        ("regression", ["0.0", "5.0"], ["1.0", "2.0"], ["0.0", "5.0"]),
        ("retrieval", ["hi", "bye"], ["bye", "ok"], ["hi", "bye", "ok"]),
        ("spans", ["start", "end"], ["start", "end"], ["start", "end"]),
    ],
)
def test_continued_labels_keep_those_of_the_earlier_run_first(task, earlier, labels, expected):
    assert load_task(task).continued_labels(earlier, labels, "rows.csv", None) == expected


def test_train_warns_of_labels_without_training_rows(copied_run, tiny_pair, tmp_path):
    from tfhub_ft.training.start import load_rows
    from tfhub_ft.utils.console import recorded_warnings

    (copied_run / "labels.json").write_text(json.dumps(["negative", "positive", "delivery"]))
    rows = [(f"good film {number}", label) for number in range(9) for label in ("positive", "question")]
    data = write_csv(tmp_path / "rows.csv", rows)
    settings, _ = read_settings(load_recipe("topic"), None, {"from_run": copied_run, "data": data})
    with recorded_warnings() as warnings:
        dataset = load_rows(load_recipe("topic"), settings, {})
    assert dataset.labels == ["negative", "positive", "delivery", "question"]
    assert set(dataset.targets["train"].tolist()) == {1, 3}
    assert any("2 labels of the earlier run without training rows (delivery, negative)" in text for text in warnings)


def test_run_weights_refuse_another_head(tmp_path):
    import keras

    weights = RunWeights(tmp_path, {}, {"Dense": [[np.ones((3, 2))]]})
    widened = weights._widened(keras.Variable(np.zeros((3, 4))), np.ones((3, 2)))
    np.testing.assert_array_equal(widened, [[1, 1, 0, 0]] * 3)
    for shape in [(4, 4), (3, 1), (3,), ()]:
        with pytest.raises(InputError, match="its head does not fit"):
            weights._widened(keras.Variable(np.zeros(shape)), np.ones((3, 2)))
