"""Replies and scores of a run's model that its exports must reproduce."""

import itertools
import json
import os
from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from tfhub_ft.inference.runtimes.base import Batch
from tfhub_ft.language_models.chat_template import ASSISTANT, USER, Message
from tfhub_ft.language_models.generation import ReplyWriter, Sampling
from tfhub_ft.language_models.task import default_max_tokens
from tfhub_ft.metrics.scores import guess_metrics
from tfhub_ft.utils.errors import RowError, RunError

if TYPE_CHECKING:
    import keras

    from tfhub_ft.run import Run

PROMPTS, PAIRS, BATCH_SIZE = 50, 64, 16
SAMPLED = Sampling(temperature=0.7, top_p=0.9, seed=1, max_tokens=32)


class ReferenceReplies:
    """Replies and scores of a run's model, computed once for all artifacts of an export.

    Args:
        run: The run.
        model: Its model.
        dialogues: Dialogues as JSON. Their last prompts and replies are scored, and if they are few, generated replies.
    """

    score_name = "perplexity"

    def __init__(self, run: "Run", model: "keras.Model", dialogues: Sequence[tuple[str, ...]]):
        self.run, self.model, self._dialogues = run, model, dialogues
        self.writer = ReplyWriter(model)
        self.preprocessor = self.writer.preprocessor

    @cached_property
    def prompts(self) -> list[str]:
        """Prompts of the run's sample that leave room for a reply, the shortest first."""
        fitting = list(itertools.islice(filter(self._fits, (prompt for (prompt,) in self.run.sample)), PROMPTS))
        if not fitting:
            raise RunError(f"{self.run.path}: no prompt leaves room for a reply; train with a higher --seq-length")
        # The order of the batches in which `ReplyWriter` generates.
        return sorted(fitting, key=lambda prompt: len(self.preprocessor.prompt_ids(_dialogue(prompt))))

    @cached_property
    def predictions(self) -> list[str]:
        """The most likely reply to each prompt."""
        return self._generate(self.prompts, Sampling(max_tokens=default_max_tokens(self.preprocessor.seq_length)))

    @cached_property
    def sampled(self) -> list[str]:
        """A sampled reply to each of the first prompts."""
        return self._generate(self.prompts[:BATCH_SIZE], SAMPLED)

    @cached_property
    def pairs(self) -> list[tuple[str, str]]:
        """Prompts and replies to score."""
        dialogues = (json.loads(text)[-2:] for (text,) in self._dialogues)
        true = ((prompt["content"], reply["content"]) for prompt, reply in dialogues)
        generated = zip(self.prompts, self.predictions, strict=True)
        return list(itertools.islice((pair for pair in itertools.chain(true, generated) if self._fits(*pair)), PAIRS))

    @cached_property
    def sums(self) -> np.ndarray:
        """The sums of cross-entropy, of correct tokens and of tokens for each pair, float32 (pairs, 3)."""
        from tfhub_ft.models.forward import make_logits_fn

        tokens = self.preprocessor.encode([_dialogue(*pair) for pair in self.pairs])
        return make_logits_fn(self.model.get_layer("token_model"), batch_size=BATCH_SIZE)(tokens)

    @property
    def score(self) -> float:
        """The perplexity of all pairs."""
        return perplexity(-self.sums[:, 0], self.sums[:, 2])

    @property
    def score_outputs(self) -> Batch:
        """The outputs of the signature `score` for all pairs."""
        loss, _, tokens = self.sums.T
        return {"log_likelihood": -loss, "tokens": tokens.astype("int32"), "perplexity": np.exp(loss / tokens)}

    @cached_property
    def feeds(self) -> dict[str, list[Batch]]:
        """Batches of prompts and pairs, as the signatures take them."""
        prompts, replies = (np.array(column) for column in zip(*self.pairs, strict=True))
        return {
            "serving_default": list(_batches({"prompt": np.array(self.prompts)})),
            "generate": [generate_feed(self.prompts[:BATCH_SIZE], SAMPLED)],
            "score": list(_batches({"prompt": prompts, "reply": replies})),
        }

    def _generate(self, prompts: Sequence[str], sampling: Sampling) -> list[str]:
        return self.writer.write([_dialogue(prompt) for prompt in prompts], sampling)

    def _fits(self, *texts: str) -> bool:
        """Return whether the window has room for a prompt and its reply, if any, without special tokens."""
        try:
            if len(texts) == 1:
                self.preprocessor.prompt_ids(_dialogue(*texts))
            else:
                self.preprocessor.encode([_dialogue(*texts)])
        except RowError:
            return False
        return True


def generate_feed(prompts: Sequence[str], sampling: Sampling) -> Batch:
    """Return a batch for the signature `generate`, with the same options for each prompt."""
    dtypes = {"max_tokens": "int32", "temperature": "float32", "top_p": "float32", "seed": "int32"}
    options = {name: np.full(len(prompts), getattr(sampling, name), dtype) for name, dtype in dtypes.items()}
    return {"prompt": np.array(prompts), **options}


def perplexity(log_likelihoods: np.ndarray, tokens: np.ndarray) -> float:
    """Return the perplexity of all tokens, from the log-likelihood and the number of tokens of each row."""
    return guess_metrics(np.stack([-log_likelihoods, np.zeros_like(log_likelihoods), tokens], 1))[2]


def same_words(expected: Sequence[str], actual: Sequence[str]) -> float:
    """Return the share of words of the expected replies before the first different word."""
    pairs = [(one.split(), other.split()) for one, other in zip(expected, actual, strict=True)]
    same = sum(len(os.path.commonprefix(pair)) for pair in pairs)
    return same / max(sum(len(words) for words, _ in pairs), 1)


def _batches(columns: Batch) -> Iterator[Batch]:
    for start in range(0, len(next(iter(columns.values()))), BATCH_SIZE):
        yield {name: column[start : start + BATCH_SIZE] for name, column in columns.items()}


def _dialogue(*texts: str) -> list[Message]:
    return [{"role": role, "content": text} for role, text in zip((USER, ASSISTANT), texts, strict=False)]
