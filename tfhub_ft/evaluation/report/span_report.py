"""Plots and tables of a report on numbers, entities, spans, masked words and replies."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from tfhub_ft.evaluation.report.explained_texts import explained_texts
from tfhub_ft.evaluation.report.parts import Parts, report_parts
from tfhub_ft.evaluation.report.plots import bars, confusion_matrix, scatter, score_distribution, shorten
from tfhub_ft.evaluation.report.report_tables import ROWS_SHOWN, ReportTable, class_table
from tfhub_ft.evaluation.scored import Scored
from tfhub_ft.tasks.masked_lm import MaskedLM
from tfhub_ft.tasks.question_answering import QuestionAnswering, best_spans, predicted_answers, true_texts
from tfhub_ft.tasks.regression import Regression, on_scale
from tfhub_ft.tasks.retrieval import CANDIDATES, Retrieval
from tfhub_ft.tasks.token_classification import TokenClassification, tags_by_row

# Type, first and last word.
Entity = tuple[str, int, int]
NO_ENTITY = "no entity"


@report_parts.register
def _(task: Regression, scored: Scored) -> Parts:
    predicted, truth = (on_scale(values, scored.labels)[:, 0] for values in (scored.logits, scored.targets))
    errors = predicted - truth
    worst = np.argsort(-np.abs(errors), kind="stable")[:ROWS_SHOWN].tolist()
    texts, legend = explained_texts(scored, worst)
    rows = [[text, float(truth[i]), float(predicted[i])] for i, text in zip(worst, texts, strict=True)]
    caption = f"Mean {errors.mean():+.3f}. If it is far from 0, the model predicts too high or too low in general."
    return [
        scatter(predicted, truth),
        score_distribution({"predictions": errors}, title="Errors", axis="prediction minus score", caption=caption),
        ReportTable(
            "Largest errors", f"What do these texts have in common?{legend}", ["text", "score", "prediction"], rows
        ),
    ]


@report_parts.register
def _(task: TokenClassification, scored: Scored) -> Parts:
    from seqeval.metrics.sequence_labeling import get_entities

    predicted_tags, _ = tags_by_row(scored.logits, scored.targets, scored.labels)
    true_tags = [row.values["tags"] for row in scored.rows]
    predicted, truth = ([set(get_entities(tags)) for tags in each] for each in (predicted_tags, true_tags))
    rows = []
    for row, row_predicted, row_truth in zip(scored.rows, predicted, truth, strict=True):
        if wrong := row_predicted ^ row_truth:
            words = row.values["tokens"]
            missed, spurious = row_truth - row_predicted, row_predicted - row_truth
            rows.append((len(wrong), [shorten(" ".join(words)), _describe(words, missed), _describe(words, spurious)]))
    rows.sort(key=lambda row: -row[0])
    caption = f"{len(rows):,} of {len(truth):,} rows have a missed or a spurious entity."
    columns = ["text", "missed", "spurious"]
    f1 = {name: scores["f1"] for name, scores in scored.scores["per_class"].items()}
    advice = "Types with a short bar need more rows, or more consistent tags."
    return [
        *([bars(f1, title="F1 by type", axis="F1 of whole entities", caption=advice)] if f1 else []),
        *_entity_errors(predicted, truth),
        class_table(scored.scores),
        ReportTable("Rows with most mistakes", caption, columns, [row for _, row in rows[:ROWS_SHOWN]]),
    ]


def _entity_errors(predicted: Sequence[set[Entity]], truth: Sequence[set[Entity]]) -> Parts:
    """Return a confusion matrix of entity types, and a table of the kinds of errors."""
    pairs: Counter[tuple[str, str]] = Counter()
    errors: dict[str, Counter[str]] = {}
    for row_predicted, row_truth in zip(predicted, truth, strict=True):
        for entity in row_truth:
            predicted_type, error = _closest(entity, row_predicted)
            pairs[entity[0], predicted_type] += 1
            errors.setdefault(entity[0], Counter())[error] += 1
        for entity in row_predicted:
            if not any(_overlap(entity, other) for other in row_truth):
                pairs[NO_ENTITY, entity[0]] += 1
                errors.setdefault(entity[0], Counter())["spurious"] += 1
    types = sorted({name for pair in pairs for name in pair} - {NO_ENTITY})
    if not types:
        return []
    names = [*types, NO_ENTITY]
    matrix = confusion_matrix([[pairs[true, other] for other in names] for true in names], names)
    columns = ["exact", "wrong boundary", "wrong type", "wrong type and boundary", "missed", "spurious"]
    rows = [[name, *(errors.get(name, Counter())[column] for column in columns)] for name in types]
    caption = "True entities by the error of the closest overlapping prediction. Spurious predictions overlap none."
    return [
        replace(
            matrix,
            title="Entity types",
            caption=f"True entities by the type of the closest overlapping prediction. {matrix.caption}",
        ),
        ReportTable("Types and boundaries", caption, ["type", *columns], rows),
    ]


def _closest(entity: Entity, predicted: set[Entity]) -> tuple[str, str]:
    """Return the type of the prediction that overlaps an entity most, and its error."""
    near = [other for other in predicted if _overlap(entity, other)]
    if not near:
        return NO_ENTITY, "missed"
    other = max(near, key=lambda other: (_overlap(entity, other), other[0] == entity[0], other[1] - other[2], other))
    same_type, same_boundary = other[0] == entity[0], other[1:] == entity[1:]
    if same_type:
        return other[0], "exact" if same_boundary else "wrong boundary"
    return other[0], "wrong type" if same_boundary else "wrong type and boundary"


def _overlap(entity: Entity, other: Entity) -> int:
    """Return the number of words that two entities share."""
    return max(0, min(entity[2], other[2]) - max(entity[1], other[1]) + 1)


def _describe(words: Sequence[str], entities: set[Entity]) -> str:
    named = sorted((first, f"{' '.join(words[first : last + 1])} ({name})") for name, first, last in entities)
    return ", ".join(text for _, text in named) or "none"


@report_parts.register
def _(task: QuestionAnswering, scored: Scored) -> Parts:
    from tfhub_ft.metrics.span_scores import span_f1

    predicted, truth = predicted_answers(scored.logits, scored.thresholds), true_texts(scored.targets)
    margins = np.array(best_spans(scored.logits)[1])
    f1 = np.array([span_f1(text, answers) for text, answers in zip(predicted, truth, strict=True)])
    answerable = np.array([bool(answers) for answers in truth])
    groups = {"questions with an answer": margins[answerable], "questions without one": margins[~answerable]}
    worst = [i for i in np.argsort(-np.abs(margins), kind="stable").tolist() if f1[i] < 0.5][:ROWS_SHOWN]
    rows = []
    for i in worst:
        true_answers = " / ".join(dict.fromkeys(truth[i])) or "no answer"
        texts = map(shorten, scored.task.prediction_inputs(scored.rows[i]))
        rows.append([*texts, true_answers, predicted[i] or "no answer", float(f1[i])])
    threshold = scored.thresholds.get("no_answer_threshold")
    caption = "The less the two overlap, the better the model knows which questions have an answer."
    if threshold is not None:
        caption += ' Above the threshold, the prediction is "no answer".'
    return [
        score_distribution(
            groups,
            title="No answer",
            axis='logit of "no answer" minus that of the best span',
            caption=caption,
            threshold=threshold,
        ),
        score_distribution(
            {"questions": f1},
            title="F1",
            axis="F1 of the predicted answer",
            caption=f"Mean {f1.mean():.3f}. Values between 0 and 1 are spans that overlap a true answer in part.",
        ),
        ReportTable(
            "Most confident mistakes",
            f"{int((f1 < 0.5).sum()):,} of {len(f1):,} predictions share less than half of their words with a true"
            " answer.",
            [*scored.task.fields, "true answers", "prediction", "F1"],
            rows,
        ),
    ]


@report_parts.register
def _(task: MaskedLM, scored: Scored) -> Parts:
    loss, _, count = scored.logits.astype("float64").T
    means = loss[count > 0] / count[count > 0]
    if not len(means):
        return []
    caption = f"Mean cross-entropy of the masked tokens of each window; median {np.median(means):.2f}. Windows far to"
    caption += " the right are unlike the other texts."
    return [score_distribution({"windows": means}, title="Guesses", axis="cross-entropy", caption=caption)]


@report_parts.register
def _(task: Retrieval, scored: Scored) -> Parts:
    from tfhub_ft.metrics.scores import reply_ranks

    ranks = reply_ranks(scored.logits[:, 0], scored.logits[:, 1], scored.targets, candidates=CANDIDATES)
    counts = np.bincount(ranks, minlength=CANDIDATES + 1)[1:]
    shares = {str(rank): float(count / len(ranks)) for rank, count in enumerate(counts, 1)}
    worst = np.argsort(-ranks, kind="stable")[:ROWS_SHOWN].tolist()
    rows = [[*map(shorten, scored.task.training_inputs(scored.rows[i])), int(ranks[i])] for i in worst if ranks[i] > 1]
    caption = f"Share of the prompts by the rank of their own reply: {shares['1']:.1%} have rank 1. Guessing gives"
    caption += f" {1 / CANDIDATES:.0%} for each rank."
    columns = ["prompt", "reply", "rank"]
    return [
        bars(shares, title=f"Rank of the reply among {CANDIDATES}", axis="share of the prompts", caption=caption),
        ReportTable("Prompts whose reply ranks lowest", "Look for replies that fit many prompts.", columns, rows),
    ]
