"""What a report shows of answers that are numbers, spans of a text, or replies."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from tfhub_ft.evaluation.report.parts import report_parts
from tfhub_ft.evaluation.report.plots import bars, confusion_matrix, scatter, score_distribution
from tfhub_ft.evaluation.report.report_tables import ROWS_SHOWN, Listing, cut, per_class
from tfhub_ft.evaluation.scored import Scored
from tfhub_ft.tasks.masked_lm import MaskedLM
from tfhub_ft.tasks.question_answering import QuestionAnswering, answers_of, best_spans, true_texts
from tfhub_ft.tasks.regression import Regression, on_scale
from tfhub_ft.tasks.retrieval import CANDIDATES, Retrieval
from tfhub_ft.tasks.token_classification import TokenClassification, tags_by_row

# Kind, first and last word.
Entity = tuple[str, int, int]
NO_ENTITY = "no entity"


@report_parts.register
def _(task: Regression, scored: Scored) -> list[Any]:
    import numpy as np

    answered, truth = (on_scale(each, scored.labels)[:, 0] for each in (scored.logits, scored.targets))
    off = answered - truth
    worst = np.argsort(-np.abs(off), kind="stable")[:ROWS_SHOWN]
    rows = [[cut(scored.texts[i]), float(truth[i]), float(answered[i])] for i in worst]
    return [
        scatter(answered, truth),
        score_distribution(
            {"answers": off}, title="Errors", axis="answer minus score", says=f"On average {off.mean():+.3f}."
        ),
        Listing("Largest errors", "", ["text", "score", "answer"], rows),
    ]


@report_parts.register
def _(task: TokenClassification, scored: Scored) -> list[Any]:
    from seqeval.metrics.sequence_labeling import get_entities

    predicted, _ = tags_by_row(scored.logits, scored.targets, scored.labels)
    truth = [row.values["tags"] for row in scored.rows]
    found, wanted = ([set(get_entities(tags)) for tags in each] for each in (predicted, truth))
    rows = []
    for row, mine, true in zip(scored.rows, found, wanted, strict=True):
        if wrong := mine ^ true:
            words = row.values["tokens"]
            missed, spurious = (_entities(words, each) for each in (true - mine, mine - true))
            rows.append((len(wrong), [cut(" ".join(words)), missed, spurious]))
    rows.sort(key=lambda row: -row[0])
    f1 = {kind: each["f1"] for kind, each in scored.scores["per_class"].items()}
    says = f"{len(rows):,} of {len(truth):,} rows have a missed or a spurious entity."
    return [
        *([bars(f1, title="F1 by kind", axis="F1 of whole entities")] if f1 else []),
        *_entity_errors(found, wanted),
        per_class(scored.scores),
        Listing("Rows with most mistakes", says, ["text", "missed", "spurious"], [row for _, row in rows[:ROWS_SHOWN]]),
    ]


def _entity_errors(found: Sequence[set[Entity]], wanted: Sequence[set[Entity]]) -> list[Any]:
    """What true entities were taken for: a confusion matrix of kinds, and a table of kinds and borders of errors."""
    pairs: Counter[tuple[str, str]] = Counter()
    errors: dict[str, Counter[str]] = {}
    for mine, true in zip(found, wanted, strict=True):
        for entity in true:
            other, error = _closest(entity, mine)
            pairs[entity[0], other] += 1
            errors.setdefault(entity[0], Counter())[error] += 1
        for entity in mine:
            if not any(_overlap(entity, other) for other in true):
                pairs[NO_ENTITY, entity[0]] += 1
                errors.setdefault(entity[0], Counter())["spurious"] += 1
    kinds = sorted({kind for pair in pairs for kind in pair} - {NO_ENTITY})
    if not kinds:
        return []
    names = [*kinds, NO_ENTITY]
    matrix = confusion_matrix([[pairs[true, other] for other in names] for true in names], names)
    columns = ["exact", "wrong borders", "wrong kind", "wrong kind and borders", "missed", "spurious"]
    rows = [[kind, *(errors.get(kind, Counter())[column] for column in columns)] for kind in kinds]
    says = "True entities by how the closest prediction that overlaps them is wrong; spurious ones overlap none."
    return [
        replace(matrix, title="Kinds of entities", says=f"True entities by the kind of the closest one. {matrix.says}"),
        Listing("Kinds and borders", says, ["kind", *columns], rows),
    ]


def _closest(entity: Entity, predicted: set[Entity]) -> tuple[str, str]:
    """The kind of the prediction that overlaps an entity most, and how it is wrong."""
    near = [other for other in predicted if _overlap(entity, other)]
    if not near:
        return NO_ENTITY, "missed"
    other = max(near, key=lambda other: (_overlap(entity, other), other[0] == entity[0], other[1] - other[2], other))
    is_kind, is_place = other[0] == entity[0], other[1:] == entity[1:]
    if is_kind:
        return other[0], "exact" if is_place else "wrong borders"
    return other[0], "wrong kind" if is_place else "wrong kind and borders"


def _overlap(entity: Entity, other: Entity) -> int:
    """The words that two entities share."""
    return max(0, min(entity[2], other[2]) - max(entity[1], other[1]) + 1)


def _entities(words: Sequence[str], entities: set[Entity]) -> str:
    named = sorted((first, f"{' '.join(words[first : last + 1])} ({kind})") for kind, first, last in entities)
    return ", ".join(text for _, text in named) or "none"


@report_parts.register
def _(task: QuestionAnswering, scored: Scored) -> list[Any]:
    import numpy as np

    from tfhub_ft.metrics.span_scores import span_f1

    answered, truth = answers_of(scored.logits, scored.thresholds), true_texts(scored.targets)
    _, above = best_spans(scored.logits)
    f1 = np.array([span_f1(text, trues) for text, trues in zip(answered, truth, strict=True)])
    there, above = np.array([bool(trues) for trues in truth]), np.array(above)
    kinds = {"questions with an answer": above[there], "questions without one": above[~there]}
    worst = [i for i in np.argsort(np.abs(above) * -1.0, kind="stable") if f1[i] < 0.5][:ROWS_SHOWN]
    rows = [
        [*map(cut, scored.task.prediction_inputs(scored.rows[i])), " / ".join(dict.fromkeys(truth[i])) or "no answer",
         answered[i] or "no answer", float(f1[i])]
        for i in worst
    ]  # fmt: skip
    return [
        score_distribution(
            {name: values for name, values in kinds.items() if len(values)},
            title="No answer",
            axis='how far "no answer" lies above the best span',
            says='Behind the threshold the answer is "no answer".'
            if "no_answer_threshold" in scored.thresholds
            else "",
            threshold=scored.thresholds.get("no_answer_threshold"),
        ),
        score_distribution({"questions": f1}, title="F1", axis="F1 of an answer", says=f"Mean {f1.mean():.3f}."),
        Listing(
            "Most confident mistakes",
            f"{int((f1 < 0.5).sum()):,} of {len(f1):,} answers share less than half of their words with a true one.",
            [*scored.task.fields, "true answers", "answer", "F1"],
            rows,
        ),
    ]


@report_parts.register
def _(task: MaskedLM, scored: Scored) -> list[Any]:
    import numpy as np

    loss, _, count = scored.logits.astype("float64").T
    means = loss[count > 0] / count[count > 0]
    if not len(means):
        return []
    says = f"Mean cross-entropy of the hidden tokens of a window; half of them have at most {np.median(means):.2f}."
    return [score_distribution({"windows": means}, title="Guesses", axis="cross-entropy", says=says)]


@report_parts.register
def _(task: Retrieval, scored: Scored) -> list[Any]:
    import numpy as np

    from tfhub_ft.metrics.scores import reply_ranks

    ranks = reply_ranks(scored.logits[:, 0], scored.logits[:, 1], scored.targets, candidates=CANDIDATES)
    counts = np.bincount(ranks, minlength=CANDIDATES + 1)[1:]
    shares = {str(place): float(count / len(ranks)) for place, count in enumerate(counts, 1)}
    worst = np.argsort(-ranks, kind="stable")[:ROWS_SHOWN]
    rows = [[*map(cut, scored.task.training_inputs(scored.rows[i])), int(ranks[i])] for i in worst if ranks[i] > 1]
    return [
        bars(shares, title=f"Place of the own reply among {CANDIDATES}", axis="share of the prompts"),
        Listing("Prompts whose reply is far behind", "", ["prompt", "reply", "place"], rows),
    ]
