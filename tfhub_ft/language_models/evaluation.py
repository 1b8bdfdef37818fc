"""How good replies are that a model writes: how many words they have, and whether the true ones are the likeliest."""

import dataclasses
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

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
    """Scores of the replies that a model writes and prefers, on some rows; the same rows before and after a training.

    Args:
        model: a text-in model that `dialogue_model` made.
        rows: dialogues, of which some are taken.
        seed: selects the rows, and the other replies that each true one is compared with.
        precision: the compute dtype of scores.
    """

    def __init__(self, model: "keras.Model", rows: Sequence["Row"], *, seed: int, precision: str):
        self.model, self.writer, self.precision = model, ReplyWriter(model), precision
        random = np.random.default_rng(seed)
        self.dialogues = [messages_of(rows[int(i)]) for i in random.permutation(len(rows))[:ROWS]]
        replies = sorted({dialogue[-1]["content"] for dialogue in self.dialogues})
        self.candidates = [self._candidates(dialogue[-1]["content"], replies, random) for dialogue in self.dialogues]

    @staticmethod
    def _candidates(true: str, replies: Sequence[str], random: np.random.Generator) -> list[str]:
        others = [reply for reply in replies if reply != true]
        return [true, *(others[i] for i in random.permutation(len(others))[: CANDIDATES - 1])]

    def __call__(self) -> tuple[dict[str, Any], list[str]]:
        """The scores and the replies as the model is now.

        Returns:
            {"distinct_1", "distinct_2", "recall_1_of_N", "mean_rank"} and the reply to each of `dialogues`.
        """
        replies = self.writer.write([dialogue[:-1] for dialogue in self.dialogues], SAMPLING)
        ranks = self._ranks()
        most = max(len(each) for each in self.candidates)
        return {
            "distinct_1": distinct(replies, 1),
            "distinct_2": distinct(replies, 2),
            f"recall_1_of_{most}": float((ranks == 1).mean()),
            f"mean_rank_of_{most}": float(ranks.mean()),
        }, replies

    def beside(self, **replies: Sequence[str]) -> list[dict[str, str]]:
        """For each dialogue its last prompt, its true reply, and replies of models, by the names they are given."""
        rows = []
        for number, dialogue in enumerate(self.dialogues):
            prompt, true = (message["content"] for message in dialogue[-2:])
            rows.append(
                {"prompt": prompt, "true reply": true, **{name: each[number] for name, each in replies.items()}}
            )
        return rows

    def _ranks(self) -> np.ndarray:
        """Where each true reply stands among its candidates, from 1, by the mean log-likelihood of their tokens."""
        asked = [
            [*dialogue[:-1], {"role": dialogue[-1]["role"], "content": reply}]
            for dialogue, replies in zip(self.dialogues, self.candidates, strict=True)
            for reply in replies
        ]
        tokens = _last_replies(self.model.get_layer("preprocessor").encode(asked))
        sums = Dialogue().make_score_fn(self.model, self.precision)(tokens)
        losses = np.split(sums[:, 0] / sums[:, 2], np.cumsum([len(each) for each in self.candidates])[:-1])
        return np.array([1 + (each[1:] < each[0]).sum() for each in losses])


def distinct(replies: Sequence[str], size: int) -> float:
    """The share of n-grams of words, in all replies together, that are different ones.

    Args:
        replies: the texts.
        size: words of an n-gram.

    Returns:
        From 0 to 1; 0 where no reply has so many words.

    Reference:
        Li et al. 2016, https://arxiv.org/abs/1510.03055
    """
    grams = [
        tuple(words[start : start + size])
        for words in (reply.casefold().split() for reply in replies)
        for start in range(len(words) - size + 1)
    ]
    return len(set(grams)) / len(grams) if grams else 0.0


def _last_replies(tokens: "PackedDialogues") -> "PackedDialogues":
    """The same dialogues, each a sequence, of which only the last reply is to be predicted."""
    learnt = tokens.learnt.copy()
    for start, end in zip(tokens.starts[:-1], tokens.starts[1:], strict=True):
        said = np.flatnonzero(learnt[start:end])
        begins = said[np.flatnonzero(np.diff(said, prepend=-2) > 1)][-1]
        learnt[start : start + begins] = False
    return dataclasses.replace(tokens, learnt=learnt)
