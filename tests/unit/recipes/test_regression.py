"""The recipe for one text and one number."""

import csv

import numpy as np
import pytest

import tfhub_ft
from tests.conftest import TINY_SETTINGS, make_reviews
from tfhub_ft.recipe import load_recipe
from tfhub_ft.utils.errors import InputError


def write_stars(path, *, scale=1.0, header=("review", "stars")):
    stars = {"positive": 5.0, "negative": 1.0}
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([header, *((text, stars[label] * scale) for text, label in make_reviews(120))])
    return path


@pytest.fixture(scope="module")
def run(tiny_pair, tmp_path_factory):
    folder = tmp_path_factory.mktemp("regression")
    settings = {**TINY_SETTINGS, "epochs": 8, "learning_rate": 2e-3, "encoder": tiny_pair}
    data = write_stars(folder / "rows.csv", scale=1e6)
    return tfhub_ft.train("regression", data=data, output_dir=folder / "run", loss="huber", **settings)


def test_regression_learns_numbers_far_from_0_and_1(run):
    good, bad = (each["score"] for each in tfhub_ft.predict(run, ["good fine film", "bad poor film"]))
    assert good > 3e6 > bad
    scores = run.metrics["test"]
    assert scores["r2"] > 0.3
    assert {"pearson", "spearman", "r2", "mean_absolute_error"} <= scores["intervals"].keys()


def test_regression_reports_numbers(run):
    report = (run.path / "report.html").read_text(encoding="utf-8")
    assert "Largest errors" in report
    assert "spearman" in report.lower()


def test_regression_evaluates_other_rows(run, tmp_path):
    assert tfhub_ft.evaluate(run, data=write_stars(tmp_path / "more.csv", scale=1e6))["rows"] == 120


@pytest.mark.parametrize(("name", "expected"), [("mse", 4.0), ("huber", 1.5)])
def test_loss_follows_the_setting(name, expected):
    recipe = load_recipe("regression")
    loss = recipe.compile_arguments(recipe.settings.replaced({"loss": name}), None)["loss"]
    assert float(loss(np.array([[0.0]]), np.array([[2.0]]))) == pytest.approx(expected)


def test_huber_delta_changes_the_loss():
    recipe = load_recipe("regression")
    settings = recipe.settings.replaced({"loss": "huber", "huber_delta": 0.5})
    loss = recipe.compile_arguments(settings, None)["loss"]
    assert float(loss(np.array([[0.0]]), np.array([[2.0]]))) == pytest.approx(0.5 * (2 - 0.25))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"loss": "mae"}, "--loss mae: must be one of mse, huber"),
        ({"huber_delta": 0.5}, "--huber-delta 0.5: unused without --loss huber; add it, or omit --huber-delta"),
        ({"loss": "huber", "huber_delta": 0}, "--huber-delta 0.0: must be at least 0.001"),
    ],
)
def test_settings_reject_bad_losses(settings, message):
    with pytest.raises(InputError) as error:
        load_recipe("regression").settings.replaced(settings)
    assert str(error.value) == message


def test_regression_rejects_rows_without_numbers(tmp_path):
    path = tmp_path / "rows.csv"
    path.write_text("text,score\ngood,3\nbad,low\n")
    with pytest.raises(InputError, match=r"rows.csv, line 3: column 'score' is 'low', not a number"):
        tfhub_ft.dry_run("regression", data=path)
