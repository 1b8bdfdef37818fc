import pytest

import tfhub_ft
from tests.conftest import TINY_SETTINGS
from tests.unit.tasks.test_question_answering import squad

NAMES = ("mary", "bob", "ann", "lee", "kim", "tom")


def make_questions(count):
    """Return questions whose answer is the name after "waiter"; some passages have none."""
    questions = []
    for number in range(count):
        filler = [("good", "film", "and", "food")[(number + i) % 4] for i in range(number % 17)]
        name = NAMES[number % 6]
        known = number % 4 != 0
        context = " ".join([str(number), *filler, *(["waiter", name] if known else []), "so", "nice"])
        answers = [{"text": name, "answer_start": context.index(f"waiter {name}") + 7}] if known else []
        questions.append((context, {"question": "who is it?", "answers": answers, "is_impossible": not known}))
    return questions


@pytest.fixture(scope="module")
def trained(tiny_pair, tmp_path_factory):
    folder = tmp_path_factory.mktemp("qa")
    data = folder / "squad.json"
    data.write_text(squad(make_questions(200)))
    settings = {**TINY_SETTINGS, "epochs": 8, "seq_length": 24, "overlap": 4}
    return tfhub_ft.train("qa", data=data, encoder=tiny_pair, output_dir=folder / "run", **settings), data


def test_train_learns_spans_and_a_no_answer_threshold(trained):
    run, data = trained
    assert set(run.thresholds) == {"no_answer_threshold", "f1"}
    scores = tfhub_ft.evaluate(run, data=data)
    assert scores["rows"] == 200
    assert scores["answerable_rows"] == 150
    assert scores["f1"] > 0.6


def test_train_writes_answers_to_test_rows(trained):
    run, _ = trained
    predictions = run.predictions
    assert list(predictions[0]) == ["line", "question", "context", "answers", "prediction", "score"]
    predicted = tfhub_ft.predict(run, [(each["question"], each["context"]) for each in predictions])
    assert len(predictions) == run.splits["test"]["rows"]
    assert [each["prediction"] for each in predictions] == [each["answer"] for each in predicted]
    scores = [float(each["score"]) for each in predictions]
    assert scores == pytest.approx([each["score"] for each in predicted], abs=1e-4)
    assert {each["answers"] for each in predictions} <= {"", *NAMES}


LONG = "Good film. " * 40 + "The waiter Mary, so nice; " + "food and film " * 40
PAIRS = [("who is it?", LONG), ("who is it?", "waiter bob so nice"), ("who is it?", "?")]


def test_predict_returns_spans_of_long_passages(trained):
    run, _ = trained
    for prediction, (_, passage) in zip(tfhub_ft.predict(run, PAIRS), PAIRS):
        assert len(prediction["answers"]) <= 5
        for span in prediction["answers"]:
            assert passage[span["start"] : span["end"]] == span["text"]
        scores = [span["score"] for span in prediction["answers"]]
        assert scores == sorted(scores, reverse=True)
        assert prediction["answer"] == "" or prediction["answer"] == prediction["answers"][0]["text"]


@pytest.mark.slow
def test_export_predicts_like_its_run(trained, tmp_path):
    run, _ = trained
    exported = tfhub_ft.export(run, output_dir=tmp_path / "export")
    by_run, by_export = (tfhub_ft.predict(model, PAIRS) for model in (run, exported))
    assert [p["answer"] for p in by_run] == [p["answer"] for p in by_export]
