import json

import pytest

import tfhub_ft
from tests.conftest import TINY_SETTINGS

PEOPLE, THINGS = ("ann", "bob", "mary"), ("film", "book", "hotel", "room", "pizza", "bill")


def make_rows(count):
    """Return sentences with a person and a thing of two words."""
    rows = []
    for number in range(count):
        who, what = PEOPLE[number % 3], THINGS[number % 6]
        tokens = [who, ("saw", "likes")[number % 2], "the", *["new"] * (number % 5), what, what, "in", str(number)]
        tags = ["B-person", "O", "O", *["O"] * (number % 5), "B-thing", "I-thing", "O", "O"]
        rows.append({"tokens": tokens, "tags": tags})
    return rows


@pytest.fixture(scope="module")
def trained(tiny_pair, tmp_path_factory):
    folder = tmp_path_factory.mktemp("ner")
    data = folder / "rows.jsonl"
    data.write_text("".join(json.dumps(row) + "\n" for row in make_rows(160)))
    settings = {**TINY_SETTINGS, "epochs": 30, "learning_rate": 2e-3, "seq_length": 16, "overlap": 3}
    run = tfhub_ft.train("ner", data=data, encoder=tiny_pair, output_dir=folder / "run", **settings)
    return run, tfhub_ft.export(run, output_dir=folder / "export"), data


def test_train_learns_entities(trained):
    run, _, data = trained
    assert run.labels == ["O", "B-person", "I-person", "B-thing", "I-thing"]
    assert run.metrics["test"]["f1"] > 0.8
    scores = tfhub_ft.evaluate(run, data=data)
    assert scores["entities"] == 320
    assert set(scores["per_class"]) == {"person", "thing"}


def test_train_writes_predicted_tags_of_test_rows(trained):
    run, _, data = trained
    rows = [json.loads(line) for line in data.read_text().splitlines()]
    predictions = run.predictions
    assert [int(each["line"]) for each in predictions] == run.splits["test"]["lines"]
    for each in predictions:
        row = rows[int(each["line"]) - 1]
        assert (each["text"].split(), each["tags"].split()) == (row["tokens"], row["tags"])
    predicted = tfhub_ft.predict(run, [each["text"] for each in predictions])
    assert [each["prediction"].split() for each in predictions] == [each["tags"] for each in predicted]


def test_predict_returns_spans_of_long_texts(trained):
    run, exported, _ = trained
    text = "  " + "Ann saw the new film film in 5 ; " * 30 + "\tBob likes the book book"
    short = "mary saw the hotel hotel in 3"
    by_run, by_export = (tfhub_ft.predict(model, [text, short, "?"]) for model in (run, exported))
    for prediction, original in zip(by_run, (text, short, "?")):
        assert "".join(prediction["tokens"]) == "".join(original.split())
        assert len(prediction["tags"]) == len(prediction["tokens"])
        for entity in prediction["entities"]:
            assert original[entity["start"] : entity["end"]] == entity["text"]
    things = {entity["text"] for entity in by_run[0]["entities"] if entity["label"] == "thing"}
    assert "film film" in things
    assert [p["tags"] for p in by_run] == [p["tags"] for p in by_export]
