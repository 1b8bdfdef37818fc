"""Exact match and F1 of answers that are spans of text, as SQuAD scores them."""

import re
import string
from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np

_ARTICLES = re.compile(r"\b(a|an|the)\b")
_PUNCTUATION = str.maketrans("", "", string.punctuation)


def span_metrics(predicted: Sequence[str], truth: Sequence[Sequence[str]], best: Sequence[str]) -> dict[str, Any]:
    """Scores of answers, each against the true answer that it is nearest to.

    Args:
        predicted: an answer a question, "" for "no answer".
        truth: the true answers of each question; none where there is no answer.
        best: the best span of each question, whether or not it was answered with.

    Returns:
        {"rows", "exact_match", "f1", "answerable_rows", "answerable_exact_match", "answerable_f1",
        "best_span_exact_match", "best_span_f1": of the answerable rows, had all been answered, "unanswerable_rows",
        "unanswerable_accuracy"}, shares of 1. Those of no rows are None.

    Example:
        span_metrics(["in 1815", ""], [["1815"], []], ["in 1815", "London"])["f1"]

    Reference:
        Rajpurkar et al. 2018 and its evaluation script, https://rajpurkar.github.io/SQuAD-explorer/
    """
    values = span_values(predicted, truth, best)
    return {
        "rows": len(truth),
        "answerable_rows": len(values["answerable_f1"]),
        "unanswerable_rows": len(values["unanswerable_accuracy"]),
        **{name: float(each.mean()) if len(each) else None for name, each in values.items()},
    }


def span_values(
    predicted: Sequence[str], truth: Sequence[Sequence[str]], best: Sequence[str]
) -> "dict[str, np.ndarray]":
    """The values of each row that the scores of `span_metrics` are means of, by name; the arguments are the same."""
    import numpy as np

    exact = np.array([span_exact_match(text, trues) for text, trues in zip(predicted, truth)])
    f1 = np.array([span_f1(text, trues) for text, trues in zip(predicted, truth)])
    there = np.array([bool(trues) for trues in truth], bool)
    spans = [(best[i], truth[i]) for i in np.flatnonzero(there)]
    return {
        "exact_match": exact,
        "f1": f1,
        "answerable_exact_match": exact[there],
        "answerable_f1": f1[there],
        "best_span_exact_match": np.array([span_exact_match(*each) for each in spans]),
        "best_span_f1": np.array([span_f1(*each) for each in spans]),
        "unanswerable_accuracy": exact[~there],
    }


def span_exact_match(text: str, truth: Sequence[str]) -> float:
    """1.0 where the answer is a true one but for case, punctuation and articles, or is empty and there is none."""
    return max(float(_words(text) == _words(true)) for true in truth or [""])


def span_f1(text: str, truth: Sequence[str]) -> float:
    """The highest F1 of an answer's words with those of a true one; 1.0 where it is empty and there is none."""
    return max(_f1(_words(text), _words(true)) for true in truth or [""])


def threshold_for_no_answer(
    predicted: Sequence[str], above: Sequence[float], truth: Sequence[Sequence[str]]
) -> dict[str, float]:
    """The threshold with the highest mean F1: a question has no answer where "no answer" lies further above the best.

    Args:
        predicted: the best span of each question.
        above: how far the logit of "no answer" lies above that of the span.
        truth: the true answers.

    Returns:
        {"no_answer_threshold", "f1": with it}.
    """
    import numpy as np

    order = np.argsort(above, kind="stable")
    with_span = np.array([span_f1(predicted[i], truth[i]) for i in order])
    without = np.array([float(not truth[i]) for i in order])
    # Position k: the k lowest are answered, all others are not.
    totals = np.concatenate([[0], np.cumsum(with_span)]) + np.concatenate([np.cumsum(without[::-1])[::-1], [0]])
    best, sorted_above = int(totals.argmax()), np.sort(above)
    low = sorted_above[best - 1] if best else sorted_above[0] - 2
    high = sorted_above[best] if best < len(sorted_above) else sorted_above[-1] + 2
    return {"no_answer_threshold": float((low + high) / 2), "f1": float(totals[best] / len(totals[1:]))}


def _words(text: str) -> list[str]:
    return _ARTICLES.sub(" ", text.lower().translate(_PUNCTUATION)).split()


def _f1(words: list[str], true: list[str]) -> float:
    if not words or not true:
        return float(words == true)
    shared = sum((Counter(words) & Counter(true)).values())
    return 2 * shared / (len(words) + len(true))
