"""Scores of generated replies: diversity, and ranks of true replies."""

import dataclasses
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from tfhub_ft.language_models.generation import ReplyWriter, Sampling
from tfhub_ft.language_models.task import Dialogue, messages_of

if TYPE_CHECKING:
    import keras

    from tfhub_ft.data.rows import Row
    from tfhub_ft.language_models.packing import PackedDialogues

ROWS, CANDIDATES = 48, 10
SAMPLING = Sampling(max_tokens=48)


class ReplyEvaluator:
    """Scores the replies that a text-in model generates and prefers on the same rows, before and after training.

    `seed` selects the rows, and the other candidates that each true reply is compared with.
    """

    def __init__(self, model: "keras.Model", rows: Sequence["Row"], *, seed: int, precision: str):
        self.model, self.writer, self.precision = model, ReplyWriter(model), precision
        rng = np.random.default_rng(seed)
        self.dialogues = [messages_of(rows[int(i)]) for i in rng.permutation(len(rows))[:ROWS]]
        true_replies = [dialogue[-1]["content"] for dialogue in self.dialogues]
        self.candidates: list[list[str]] = []
        for true in true_replies:
            others = [reply for reply in sorted(set(true_replies)) if reply != true]
            self.candidates.append([true, *(others[i] for i in rng.permutation(len(others))[: CANDIDATES - 1])])

    def __call__(self) -> tuple[dict[str, float], list[str]]:
        """Return the scores of the model with its current weights, and its reply to each of `dialogues`."""
        replies = self.writer.write([dialogue[:-1] for dialogue in self.dialogues], SAMPLING)
        ranks = self._ranks()
        candidates = max(len(each) for each in self.candidates)
        return {
            "distinct_1": distinct(replies, 1),
            "distinct_2": distinct(replies, 2),
            f"recall_1_of_{candidates}": float((ranks == 1).mean()),
            f"mean_rank_of_{candidates}": float(ranks.mean()),
        }, replies

    def reply_table(self, **replies: Sequence[str]) -> list[dict[str, str]]:
        """Return the last prompt and true reply of each dialogue, and the replies of models by name."""
        rows = []
        for number, dialogue in enumerate(self.dialogues):
            prompt, true = (message["content"] for message in dialogue[-2:])
            generated = {name: texts[number] for name, texts in replies.items()}
            rows.append({"prompt": prompt, "true reply": true, **generated})
        return rows

    def _ranks(self) -> np.ndarray:
        """Return the rank of each true reply among its candidates, by the mean log-likelihood of their tokens."""
        dialogues = [
            [*dialogue[:-1], {"role": dialogue[-1]["role"], "content": reply}]
            for dialogue, candidates in zip(self.dialogues, self.candidates, strict=True)
            for reply in candidates
        ]
        tokens = _last_replies(self.model.get_layer("preprocessor").encode(dialogues))
        sums = Dialogue().make_score_fn(self.model, self.precision)(tokens)
        losses = np.split(sums[:, 0] / sums[:, 2], np.cumsum([len(each) for each in self.candidates])[:-1])
        return np.array([1 + (each[1:] < each[0]).sum() for each in losses])


def distinct(replies: Sequence[str], size: int) -> float:
    """Return the share of distinct n-grams of words in all replies; 0 without n-grams.

    Reference:
        Li et al. 2016, https://arxiv.org/abs/1510.03055
    """
    ngrams = [
        tuple(words[start : start + size])
        for words in (reply.casefold().split() for reply in replies)
        for start in range(len(words) - size + 1)
    ]
    return len(set(ngrams)) / len(ngrams) if ngrams else 0.0


def _last_replies(tokens: "PackedDialogues") -> "PackedDialogues":
    """Return the same sequences, one dialogue each, with only the last reply as target."""
    is_target = tokens.is_target.copy()
    for start, end in zip(tokens.starts[:-1], tokens.starts[1:], strict=True):
        targets = np.flatnonzero(is_target[start:end])
        last_start = targets[np.flatnonzero(np.diff(targets, prepend=-2) > 1)][-1]
        is_target[start : start + last_start] = False
    return dataclasses.replace(tokens, is_target=is_target)
