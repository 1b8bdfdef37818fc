"""What a report shows of answers that are numbers, spans of a text, or replies."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from tfhub_ft.evaluation.listings import ROWS_SHOWN, Listing, cut, per_class
from tfhub_ft.evaluation.pictures import bars, scatter, score_distribution

if TYPE_CHECKING:
    import numpy as np

    from tfhub_ft.evaluation.report import Scored


def of_numbers(scored: "Scored", answered: "np.ndarray", truth: "np.ndarray") -> list[Any]:
    """The parts of a report on answers that are numbers, both float (rows,)."""
    import numpy as np

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


def of_entities(scored: "Scored", answered: Sequence[list[str]], truth: Sequence[list[str]]) -> list[Any]:
    """The parts of a report on entities; tags of the words of each row."""
    from seqeval.metrics.sequence_labeling import get_entities

    rows = []
    for row, mine, true in zip(scored.rows, answered, truth, strict=True):
        found, wanted = set(get_entities(mine)), set(get_entities(true))
        if wrong := found ^ wanted:
            words = row.values["tokens"]
            missed, made_up = (_entities(words, each) for each in (wanted - found, found - wanted))
            rows.append((len(wrong), [cut(" ".join(words)), missed, made_up]))
    rows.sort(key=lambda row: -row[0])
    f1 = {kind: each["f1"] for kind, each in scored.scores["per_class"].items()}
    says = f"{len(rows):,} of {len(truth):,} rows have an entity too many or too few."
    return [
        *([bars(f1, title="F1 by kind", axis="F1 of whole entities")] if f1 else []),
        per_class(scored.scores),
        Listing("Rows with most mistakes", says, ["text", "missed", "made up"], [row for _, row in rows[:ROWS_SHOWN]]),
    ]


def _entities(words: Sequence[str], entities: set[tuple[str, int, int]]) -> str:
    named = sorted((first, f"{' '.join(words[first : last + 1])} ({kind})") for kind, first, last in entities)
    return ", ".join(text for _, text in named) or "none"


def of_spans(
    scored: "Scored", answered: Sequence[str], truth: Sequence[Sequence[str]], above: Sequence[float]
) -> list[Any]:
    """The parts of a report on answers that are spans of a context.

    Args:
        scored: the rows.
        answered: an answer a question, "" for none.
        truth: the true answers of each question, none where there is no answer.
        above: how far "no answer" lies above the best span.
    """
    import numpy as np

    from tfhub_ft.evaluation.span_metrics import span_f1

    f1 = np.array([span_f1(text, trues) for text, trues in zip(answered, truth, strict=True)])
    there, above = np.array([bool(trues) for trues in truth]), np.array(above)
    kinds = {"questions with an answer": above[there], "questions without one": above[~there]}
    worst = [i for i in np.argsort(np.abs(above) * -1.0, kind="stable") if f1[i] < 0.5][:ROWS_SHOWN]
    rows = [
        [*map(cut, scored.task.asked(scored.rows[i])), " / ".join(dict.fromkeys(truth[i])) or "no answer",
         answered[i] or "no answer", float(f1[i])]
        for i in worst
    ]  # fmt: skip
    return [
        score_distribution(
            {name: values for name, values in kinds.items() if len(values)},
            title="No answer",
            axis='how far "no answer" lies above the best span',
            says='Behind the threshold the answer is "no answer".' if "no_answer_threshold" in scored.decision else "",
            threshold=scored.decision.get("no_answer_threshold"),
        ),
        score_distribution({"questions": f1}, title="F1", axis="F1 of an answer", says=f"Mean {f1.mean():.3f}."),
        Listing(
            "Most confident mistakes",
            f"{int((f1 < 0.5).sum()):,} of {len(f1):,} answers share less than half of their words with a true one.",
            [*scored.task.fields, "true answers", "answer", "F1"],
            rows,
        ),
    ]


def of_replies(scored: "Scored", ranks: "np.ndarray", candidates: int) -> list[Any]:
    """The parts of a report on replies, each with its place among candidates, int (rows,)."""
    import numpy as np

    counts = np.bincount(ranks, minlength=candidates + 1)[1:]
    shares = {str(place): float(count / len(ranks)) for place, count in enumerate(counts, 1)}
    worst = np.argsort(-ranks, kind="stable")[:ROWS_SHOWN]
    rows = [[*map(cut, scored.task.inputs(scored.rows[i])), int(ranks[i])] for i in worst if ranks[i] > 1]
    return [
        bars(shares, title=f"Place of the own reply among {candidates}", axis="share of the prompts"),
        Listing("Prompts whose reply is far behind", "", ["prompt", "reply", "place"], rows),
    ]


def of_written_replies(scored: "Scored") -> list[Any]:
    """The parts of a report on replies that are written: those to some prompts, side by side."""
    if not scored.written:
        return []
    columns = list(scored.written[0])
    rows = [[cut(row[name]) for name in columns] for row in scored.written[:ROWS_SHOWN]]
    return [Listing("Replies", "The likeliest tokens, one after the other.", columns, rows)]
