from types import SimpleNamespace

import pytest

from tfhub_ft.evaluation.explanations import check_explainable, make_explain_fn
from tfhub_ft.models.builders import text_model
from tfhub_ft.models.heads import ClassificationHead
from tfhub_ft.tasks.classification import Classification
from tfhub_ft.tasks.intent import Intent
from tfhub_ft.tasks.multilabel import Multilabel
from tfhub_ft.tasks.question_answering import QuestionAnswering
from tfhub_ft.tasks.regression import Regression
from tfhub_ft.tasks.retrieval import Retrieval
from tfhub_ft.tasks.token_classification import TokenClassification
from tfhub_ft.utils.errors import InputError

TEXT = "a  warm, funny FILM"


def explain_fn(task, tiny_pair, labels, outputs, **options):
    model = text_model(
        lambda encoded: ClassificationHead(outputs)(encoded["pooled_output"]),
        encoder=str(tiny_pair),
        inputs=task.fields,
        seq_length=12,
        **options,
    )
    return make_explain_fn(task, model, labels)


def total(explanation):
    return sum(word["attribution"] for word in explanation["explanation"])


def test_explanations_have_the_words_of_the_text(tiny_pair):
    explain = explain_fn(Classification(), tiny_pair, ["no", "yes"], 2)
    prediction = {"label": "yes", "probabilities": {"no": 0.4, "yes": 0.6}}
    (explanation,) = explain([(TEXT,)], [prediction])
    words = explanation["explanation"]
    assert [word["text"] for word in words] == ["a", "warm", ",", "funny", "FILM"]
    assert all(TEXT[word["start"] : word["end"]] == word["text"] for word in words)
    assert set(words[0]) == {"text", "start", "end", "attribution"}
    assert 0 <= explanation["explanation_error"] < 0.01
    (other,) = explain([(TEXT,)], [{**prediction, "label": "no"}])
    # Of two labels, what raises one lowers the other.
    assert total(other) == pytest.approx(-total(explanation), abs=0.02)


def test_explanations_of_long_texts_have_the_words_that_are_read(tiny_pair):
    text = " ".join(
        f"{word} {number}" for number, word in enumerate(["good", "film", "the", "food", "was", "bad", "story"])
    )
    prediction = {"label": "yes", "probabilities": {"no": 0.4, "yes": 0.6}}
    words = {}
    for long_texts in ("truncate", "head-tail"):
        explain = explain_fn(Classification(), tiny_pair, ["no", "yes"], 2, long_texts=long_texts)
        words[long_texts] = [word["text"] for word in explain([(text,)], [prediction])[0]["explanation"]]
    assert words["truncate"] == text.split()[:10]
    assert words["head-tail"] == [*text.split()[:2], *text.split()[-8:]]


def test_explanations_of_pairs_name_the_fields(tiny_pair):
    explain = explain_fn(Classification(("sentence1", "sentence2")), tiny_pair, ["no", "yes"], 2)
    rows = [("good film", "bad"), ("the food", "the long food and the story and the very good film")]
    first, second = explain(rows, [{"label": "no", "probabilities": {"no": 0.6, "yes": 0.4}}] * 2)
    assert [(word["field"], word["text"]) for word in first["explanation"]] == [
        ("sentence1", "good"),
        ("sentence1", "film"),
        ("sentence2", "bad"),
    ]
    # The model does not read the words after the 12th token.
    assert " ".join(word["text"] for word in second["explanation"]) == "the food the long food and the story and"


def test_explanations_of_many_labels_name_the_label(tiny_pair):
    explain = explain_fn(Multilabel(), tiny_pair, ["joy", "anger", "fear"], 3)
    likely = {"joy": 0.9, "anger": 0.1, "fear": 0.7}
    several, none = explain(
        [("good film",), ("bad film",)],
        [{"labels": ["joy", "fear"], "probabilities": likely}, {"labels": [], "probabilities": likely}],
    )
    assert [word["label"] for word in several["explanation"]] == ["joy", "joy", "fear", "fear"]
    assert [word["label"] for word in none["explanation"]] == ["joy", "joy"]


def test_explanations_of_out_of_scope_are_against_the_likeliest_label(tiny_pair):
    explain = explain_fn(Intent(), tiny_pair, ["book", "cancel", "other"], 2)
    probabilities = {"book": 0.6, "cancel": 0.4}
    inside, outside = explain(
        [("good film",)] * 2, [{"label": label, "probabilities": probabilities} for label in ("book", "other")]
    )
    assert total(outside) == pytest.approx(-total(inside))
    assert total(inside) != 0


def test_explanations_of_numbers_are_on_their_scale(tiny_pair):
    task, rows = Regression(("text",)), [("good film",)]
    model = text_model(
        lambda encoded: ClassificationHead(1)(encoded["pooled_output"]), encoder=str(tiny_pair), seq_length=12
    )
    small, large = (
        make_explain_fn(task, model, labels)(rows, [{"score": 0.0}])[0] for labels in (["0", "1"], ["-5", "5"])
    )
    assert total(large) == pytest.approx(10 * total(small), abs=1e-4)
    assert total(small) != 0


@pytest.mark.parametrize("task", [TokenClassification(), QuestionAnswering(), Retrieval()])
def test_check_explainable_refuses_other_predictions(task):
    with pytest.raises(InputError, match="--explain: runs/x predicts neither labels nor a number"):
        check_explainable(task, SimpleNamespace(), "runs/x")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"mode": "bi-encoder"}, "--explain: runs/x compares two embeddings; train with --mode pair"),
        ({"long_texts": "windows"}, "--explain: runs/x reads --long-texts windows; train with truncate or head-tail"),
        ({"implementation": "graph"}, "--explain: runs/x computes its encoder by a graph"),
    ],
)
def test_check_explainable_refuses_settings(settings, message):
    with pytest.raises(InputError, match=message):
        check_explainable(Regression(), SimpleNamespace(**settings), "runs/x")
    check_explainable(Regression(), SimpleNamespace(mode="pair", implementation="auto"), "runs/x")
