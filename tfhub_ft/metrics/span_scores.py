"""Exact match and F1 of answers that are spans of text, as in SQuAD's evaluation script."""

import re
import string
from collections import Counter
from collections.abc import Sequence

import numpy as np

from tfhub_ft.metrics import Scores
from tfhub_ft.metrics.scores import mean_scores

_ARTICLES = re.compile(r"\b(a|an|the)\b")
_PUNCTUATION = str.maketrans("", "", string.punctuation)


def span_metrics(predicted: Sequence[str], truth: Sequence[Sequence[str]], best: Sequence[str]) -> Scores:
    """Return the means of `span_values`, and the numbers of rows with and without an answer."""
    values = span_values(predicted, truth, best)
    return {
        "rows": len(truth),
        "answerable_rows": len(values["answerable_f1"]),
        "unanswerable_rows": len(values["unanswerable_accuracy"]),
        **mean_scores(values),
    }


def span_values(predicted: Sequence[str], truth: Sequence[Sequence[str]], best: Sequence[str]) -> dict[str, np.ndarray]:
    """Return the scores of each question, by name (Rajpurkar et al. 2018).

    Predictions are "" for "no answer"; `best` has the best span of each question, whether or not it was predicted.
    `truth` is empty for questions without an answer.
    """
    exact = np.array([span_exact_match(text, answers) for text, answers in zip(predicted, truth, strict=True)])
    f1 = np.array([span_f1(text, answers) for text, answers in zip(predicted, truth, strict=True)])
    answerable = np.array([bool(answers) for answers in truth], bool)
    spans = [(text, answers) for text, answers in zip(best, truth, strict=True) if answers]
    return {
        "exact_match": exact,
        "f1": f1,
        "answerable_exact_match": exact[answerable],
        "answerable_f1": f1[answerable],
        "best_span_exact_match": np.array([span_exact_match(*span) for span in spans]),
        "best_span_f1": np.array([span_f1(*span) for span in spans]),
        "unanswerable_accuracy": exact[~answerable],
    }


def span_exact_match(text: str, truth: Sequence[str]) -> float:
    """Return 1.0 if an answer equals a true one, except for case, punctuation and articles."""
    return max(float(_words(text) == _words(answer)) for answer in truth or [""])


def span_f1(text: str, truth: Sequence[str]) -> float:
    """Return the highest F1 of the words of an answer and of a true one."""
    return max(_f1(_words(text), _words(answer)) for answer in truth or [""])


def threshold_for_no_answer(
    predicted: Sequence[str], margins: Sequence[float], truth: Sequence[Sequence[str]]
) -> dict[str, float]:
    """Return the threshold with the highest mean F1 for predicting "no answer", and that F1.

    The margins are the logits of "no answer" minus those of the predicted spans. Margins above the threshold mean
    "no answer".
    """
    order = sorted(range(len(margins)), key=margins.__getitem__)
    with_span = np.array([span_f1(predicted[i], truth[i]) for i in order])
    without = np.array([float(not truth[i]) for i in order])
    # Position k: the k questions with the lowest margins are answered, all others are not.
    totals = np.concatenate([[0], np.cumsum(with_span)]) + np.concatenate([np.cumsum(without[::-1])[::-1], [0]])
    best, ordered = int(totals.argmax()), [margins[i] for i in order]
    low = ordered[best - 1] if best else ordered[0] - 2
    high = ordered[best] if best < len(ordered) else ordered[-1] + 2
    return {"no_answer_threshold": float((low + high) / 2), "f1": float(totals[best] / len(order))}


def _words(text: str) -> list[str]:
    return _ARTICLES.sub(" ", text.lower().translate(_PUNCTUATION)).split()


def _f1(words: list[str], true_words: list[str]) -> float:
    if not words or not true_words:
        return float(words == true_words)
    shared = sum((Counter(words) & Counter(true_words)).values())
    return 2 * shared / (len(words) + len(true_words))
