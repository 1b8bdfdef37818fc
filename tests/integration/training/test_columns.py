"""Texts of several columns, files with other columns, and entities as spans, from training to predictions."""

import json

import pandas as pd
import pytest
import yaml

import tfhub_ft
from tests.conftest import TINY_SETTINGS, make_reviews, write_csv
from tfhub_ft.utils.errors import InputError


@pytest.mark.slow
def test_template_is_applied_from_training_to_predictions(tiny_pair, tmp_path):
    rows = [(*text.split(" ", 1), label) for text, label in make_reviews(80)]
    joined = [(f"{title}: {body}", label) for title, body, label in rows]
    train = write_csv(tmp_path / "train.csv", rows, ("title", "rest of it", "label"))
    test = write_csv(tmp_path / "test.csv", rows[:40], ("headline", "body", "verdict"))
    settings = TINY_SETTINGS | {"epochs": 2, "encoder": str(tiny_pair)}
    names = {"test_text": "{headline}: {body}", "test_label_column": "verdict"}
    config = tmp_path / "config.yaml"
    config.write_text(yaml.safe_dump({**settings, **names, "text": "{title}: {rest of it}"}))
    run = tfhub_ft.train("topic", config=config, train=train, test=test, output_dir=tmp_path / "run")
    plain = {"train": write_csv(tmp_path / "a.csv", joined), "test": write_csv(tmp_path / "b.csv", joined[:40])}
    other = tfhub_ft.train("topic", **plain, **settings, output_dir=tmp_path / "other")
    assert run.metrics == other.metrics

    scores = other.metrics["test"]
    assert tfhub_ft.evaluate(run, data=test, text="{headline}: {body}", label_column="verdict") == scores
    assert tfhub_ft.evaluate(run, data=plain["test"], text_column="text") == scores
    with pytest.raises(InputError, match=r"test.csv: column 'title' of --text '\{title\}: \{rest of it\}' not found"):
        tfhub_ft.evaluate(run, data=test)

    expected = [each["label"] for each in tfhub_ft.predict(run, [text for text, _ in joined[:8]])]
    frame = pd.read_csv(train).head(8)
    predicted = tfhub_ft.predict(run, frame)
    assert [*predicted["label"]] == expected
    assert [*predicted][:3] == ["title", "rest of it", "input_label"]
    frame = pd.read_csv(test).head(8)
    assert [*tfhub_ft.predict(run, frame, text="{headline}: {body}")["label"]] == expected
    with pytest.raises(InputError, match="DataFrame: column 'title' of --text"):
        tfhub_ft.predict(run, frame)


@pytest.mark.slow
def test_spans_train_as_their_tags(tiny_pair, tmp_path):
    sentences = [text for text, _ in make_reviews(60)]
    spans = [[[0, len(text.split()[0]), "first"]] for text in sentences]
    layouts = {
        "spans": [{"text": text, "label": each} for text, each in zip(sentences, spans)],
        "tags": [{"tokens": text.split(), "tags": ["B-first", *["O"] * (len(text.split()) - 1)]} for text in sentences],
    }
    settings = TINY_SETTINGS | {"encoder": tiny_pair}
    runs = {}
    for name, rows in layouts.items():
        path = tmp_path / f"{name}.jsonl"
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
        runs[name] = tfhub_ft.train("ner", data=path, output_dir=tmp_path / name, **settings)
    assert runs["spans"].metrics == runs["tags"].metrics
    # What predict writes is read again.
    predicted = tfhub_ft.predict(runs["spans"], [{"text": text} for text in sentences[:10]])
    spans_again = [{"text": row["text"], "entities": row["entities"]} for row in predicted]
    scores = [tfhub_ft.evaluate(runs["spans"], data=rows) for rows in (predicted, spans_again)]
    assert scores[0] == scores[1]
