from dataclasses import replace

import numpy as np
import pytest

from tfhub_ft.data.rows import Row
from tfhub_ft.evaluation.report.explained_texts import EXPLAINED_TOKENS, ExplainedText, explained_texts
from tfhub_ft.evaluation.report.html_report import write_report
from tfhub_ft.evaluation.scored import Scored
from tfhub_ft.run import Run
from tfhub_ft.tasks.classification import Classification
from tfhub_ft.utils.errors import InputError

TEXT = "never a <good> film"


def explain(rows, predictions):
    words = [{"text": "never", "start": 0, "end": 5, "attribution": 2.0}]
    words.append({"text": "good", "start": 9, "end": 13, "attribution": -0.5})
    return [{"explanation": words, "explanation_error": 0.0} for _ in rows]


def fail(rows, predictions):
    raise ValueError("out of memory\nsecond line")


def refuse(rows, predictions):
    raise InputError("--explain: not supported, because the encoder is computed by its graph")


def scored_rows(texts, explain_fn):
    rows = [Row(number, {"text": text, "label": "no"}) for number, text in enumerate(texts)]
    logits, targets = np.tile(np.float32([0, 3]), (len(rows), 1)), np.zeros(len(rows), "int32")
    return Scored(Classification(), rows, logits, targets, ["no", "yes"], {}, {}, {}, explain=explain_fn)


def test_explained_texts_mark_words_by_sign_and_strength():
    (text,), legend = explained_texts(scored_rows([TEXT], explain), [0])
    assert isinstance(text, ExplainedText)
    assert "".join(part for part, _ in text.parts) == TEXT
    marks = {part: text.mark(attribution) for part, attribution in text.parts}
    assert marks == {"never": "for4", " a <": "", "good": "against2", "> film": ""}
    assert text.numbers == "never +2.00, good -0.50"
    assert "Blue words raise the prediction" in legend


def test_explained_texts_are_shortened():
    (text,), _ = explained_texts(scored_rows([TEXT + " x" * 500], explain), [0])
    assert sum(len(part) for part, _ in text.parts) == 400
    assert text.parts[-1][0].endswith("…")


def test_explained_texts_are_few():
    long = TEXT + " x" * 2 * EXPLAINED_TOKENS
    texts, legend = explained_texts(scored_rows([long, TEXT], explain), [0, 1])
    assert isinstance(texts[0], ExplainedText)
    assert texts[1] == TEXT
    assert legend.endswith(" Only the first row is explained.")


def test_explained_texts_say_why_there_are_none():
    texts, legend = explained_texts(scored_rows([TEXT], fail), [0])
    assert texts == [TEXT]
    assert legend == " The words that made these predictions cannot be shown (out of memory)."
    assert explained_texts(scored_rows([TEXT], refuse), [0]) == ([TEXT], "")
    assert explained_texts(scored_rows([TEXT], None), [0]) == ([TEXT], "")
    assert explained_texts(scored_rows([TEXT], fail), []) == ([], "")


@pytest.mark.parametrize("with_model", [True, False])
def test_report_shows_explained_mistakes(tiny_run, tmp_path, with_model):
    run = Run(tiny_run)
    texts = ["a good film <b>", "a bad film"]
    scored = replace(scored_rows(texts, None), labels=run.labels)
    rows = [Row(number, {"text": text, "label": run.labels[0]}) for number, text in enumerate(texts)]
    # The label of the first row is the true one of two, so that those of the others do not look wrong.
    scored = replace(scored, rows=rows, scores={"per_class": {"x": {"rows": 1}}, "confusion_matrix": [[0, 2], [0, 0]]})
    model = run.load_model() if with_model else None
    write_report(tmp_path / "report.html", run, scored, of="rows", scores={"rows": {"accuracy": 0.0}}, model=model)
    html = (tmp_path / "report.html").read_text()
    assert ('<mark class="' in html) == with_model
    assert '<td dir="auto">' in html
    assert "&lt;b&gt;" in html or not with_model
    assert "<b></td>" not in html
