import pickle
import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner

import tfhub_ft
from tests.conftest import make_reviews
from tfhub_ft.cli.main import group
from tfhub_ft.data.texts import TextRows
from tfhub_ft.encoders.window_preprocessor import WindowPreprocessor
from tfhub_ft.inference.predict import Predictor, open_predictor
from tfhub_ft.utils.errors import InputError

LONG = "the " * 60 + "good film"
TEXTS = [text for text, _ in make_reviews(50, seed=5)]


@pytest.fixture(scope="module")
def by_run(tiny_run):
    return open_predictor(tiny_run)


def test_predict_keeps_the_order_of_texts(by_run):
    predictions = tfhub_ft.predict(by_run, TEXTS)
    labels = [label for _, label in make_reviews(50, seed=5)]
    assert sum(each["label"] == label for each, label in zip(predictions, labels)) >= 45
    alone = [tfhub_ft.predict(by_run, [text])[0] for text in TEXTS[:4]]
    for one, other in zip(predictions, alone):
        assert one["score"] == pytest.approx(other["score"], abs=1e-5)
    assert sum(predictions[0]["probabilities"].values()) == pytest.approx(1)
    assert predictions[0]["score"] == max(predictions[0]["probabilities"].values())


def test_predict_warns_of_truncated_texts(tiny_run, by_run, tiny_export, capsys):
    warning = "Warning: 1 of 2 texts are longer than --seq-length 24 tokens; the rest of their text is not read\n"
    for model in (tiny_run, tiny_export):
        tfhub_ft.predict(model, [LONG, "good"])
        assert capsys.readouterr().err.endswith(warning)
        tfhub_ft.predict(model, ["good film"])
        assert "longer than" not in capsys.readouterr().err
    tfhub_ft.predict(by_run, [LONG, "good"])
    assert capsys.readouterr().err == ""
    done = CliRunner().invoke(group, ["predict", str(tiny_run), LONG, "good"])
    assert done.stderr.endswith(warning)


def test_truncated_rows_is_zero_for_windows(by_run, tiny_pair):
    layer = WindowPreprocessor(tiny_pair / "preprocessor", seq_length=16)
    windows = Predictor(by_run.task, by_run.labels, lambda: None, "windows", lambda: layer)
    assert windows.truncated_rows([(LONG,)]) == 0


ARTICLES = "title,body,text\nA,film,x\n"


@pytest.mark.parametrize(
    ("trained", "names", "texts"),
    [
        ({}, {}, ["x"]),
        ({"text_column": "body"}, {}, ["film"]),
        ({"text_column": "absent"}, {}, ["x"]),
        ({"text": "{title} {body}"}, {}, ["A film"]),
        ({"text": "{title} {body}"}, {"text_column": "body"}, ["film"]),
        ({"text_column": "body"}, {"text": "{title}: {text}"}, ["A: x"]),
    ],
)
def test_columns_are_those_of_training_by_default(by_run, trained, names, texts, tmp_path):
    path = tmp_path / "a.csv"
    path.write_text(ARTICLES)
    predictor = Predictor(by_run.task, by_run.labels, lambda: None, "run", lambda: None, trained_columns=trained)
    assert [row.texts[0] for row in TextRows(path, predictor.columns(**names))] == texts


def test_columns_reject_missing_names(by_run, tmp_path):
    path = tmp_path / "a.csv"
    path.write_text(ARTICLES)
    trained = {"text": "{headline}"}
    predictor = Predictor(by_run.task, by_run.labels, lambda: None, "run", lambda: None, trained_columns=trained)
    with pytest.raises(InputError, match=r"column 'headline' of --text '\{headline\}' not found; the columns are"):
        list(TextRows(path, predictor.columns()))
    with pytest.raises(InputError, match="--text: cannot be combined with --text-column; pass one of the two"):
        predictor.columns(text="{title}", text_column="body")


def test_template_keeps_its_columns(by_run, tmp_path):
    path = tmp_path / "a.csv"
    path.write_text(ARTICLES)
    (row,) = TextRows(path, by_run.columns(text="{title} {body}"))
    assert (row.texts, row.values) == (("A film",), {"title": "A", "body": "film", "text": "x"})


def test_unpickled_predictor_requires_its_run(tiny_run, tmp_path):
    pickled = pickle.dumps(open_predictor(shutil.copytree(tiny_run, tmp_path / "run")))
    shutil.rmtree(tmp_path / "run")
    with pytest.raises(InputError, match="run: not found"):
        pickle.loads(pickled)


def test_predict_returns_frames_with_an_export(by_run, tiny_export):
    pd = pytest.importorskip("pandas")
    frame = pd.DataFrame({"review": TEXTS[:3], "label": "x"}, index=["a", "b", "c"])
    one, other = (tfhub_ft.predict(model, frame, text_column="review") for model in (by_run, tiny_export))
    assert list(one.columns)[:4] == ["review", "input_label", "label", "score"]
    pd.testing.assert_frame_equal(one, other, atol=1e-5)


def test_predict_returns_nothing_for_no_texts(by_run):
    assert tfhub_ft.predict(by_run, []) == []


def test_predict_refuses_empty_texts(by_run):
    with pytest.raises(InputError, match="text 2 is empty"):
        tfhub_ft.predict(by_run, ["good", " "])


def test_predict_refuses_lone_surrogates(by_run):
    with pytest.raises(InputError, match="text 2: character 2 is a lone surrogate; replace it"):
        tfhub_ft.predict(by_run, ["good", "a\ud800"])


def test_predict_refuses_paths_without_a_model(tmp_path):
    with pytest.raises(InputError, match="not found"):
        tfhub_ft.predict(tmp_path / "none", ["good"])
    with pytest.raises(InputError, match="not a run folder"):
        tfhub_ft.predict(tmp_path, ["good"])


def test_open_predictor_refuses_encoders(tiny_pair):
    with pytest.raises(InputError, match="not an export of tfhub_ft"):
        open_predictor(Path(tiny_pair) / "encoder")


def test_predict_computes_in_bfloat16(tiny_run, by_run):
    exact = tfhub_ft.predict(by_run, TEXTS)
    rounded = tfhub_ft.predict(tiny_run, TEXTS, precision="bfloat16")
    differences = [abs(a["probabilities"]["positive"] - b["probabilities"]["positive"]) for a, b in zip(exact, rounded)]
    assert 0 < max(differences) < 0.1


def test_open_predictor_refuses_precisions_of_exports(tiny_export, tiny_run):
    with pytest.raises(InputError, match="--precision bfloat16: .* is an export, whose precision is fixed"):
        open_predictor(tiny_export, precision="bfloat16")
    with pytest.raises(InputError, match="--precision half: must be one of auto, float32"):
        open_predictor(tiny_run, precision="half")
