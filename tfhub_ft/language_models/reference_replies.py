"""The replies that a run's model writes, and its scores of replies: what exports must reproduce."""

import itertools
import json
from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from tfhub_ft.inference.runtimes.base import Batch
from tfhub_ft.language_models.chat_template import ASSISTANT, USER, Message
from tfhub_ft.language_models.generation import ReplyWriter, Sampling
from tfhub_ft.language_models.task import reply_tokens
from tfhub_ft.metrics.scores import guess_metrics
from tfhub_ft.utils.errors import RowError, RunError

if TYPE_CHECKING:
    import keras

    from tfhub_ft.run import Run

PROMPTS, PAIRS, BATCH = 50, 64, 16
SAMPLED = Sampling(temperature=0.7, top_p=0.9, seed=1, max_tokens=32)


class ReferenceReplies:
    """What a run's model writes and scores, computed once for all artifacts of an export.

    Args:
        run: the run.
        model: its model.
        dialogues: dialogues of the run, as JSON, whose last prompts and replies are scored; where they are few, the
            model's replies are, too.
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
            raise RunError(f"no prompt of {self.run.path} leaves room for a reply: train with a higher --seq-length")
        # In the batches that the model's own replies are written in.
        return sorted(fitting, key=lambda prompt: len(self.preprocessor.prompt_ids(_dialogue(prompt))))

    @cached_property
    def predictions(self) -> list[str]:
        """The likeliest reply to each prompt."""
        return self._write(self.prompts, Sampling(max_tokens=reply_tokens(self.preprocessor.seq_length)))

    @cached_property
    def sampled(self) -> list[str]:
        """A sampled reply to each of the first prompts."""
        return self._write(self.prompts[:BATCH], SAMPLED)

    @cached_property
    def pairs(self) -> list[tuple[str, str]]:
        """Prompts and replies to score."""
        dialogues = (json.loads(text)[-2:] for (text,) in self._dialogues)
        true = ((prompt["content"], reply["content"]) for prompt, reply in dialogues)
        written = zip(self.prompts, self.predictions, strict=True)
        return list(itertools.islice((pair for pair in itertools.chain(true, written) if self._fits(*pair)), PAIRS))

    @cached_property
    def sums(self) -> np.ndarray:
        """The sums of cross-entropy, of correct tokens and of tokens for each pair, float32 (pairs, 3)."""
        from tfhub_ft.models.forward import make_logits_fn

        tokens = self.preprocessor.encode([_dialogue(*pair) for pair in self.pairs])
        return make_logits_fn(self.model.get_layer("token_model"), batch_size=BATCH)(tokens)

    @property
    def score(self) -> float:
        """The perplexity of all pairs."""
        return perplexity(-self.sums[:, 0], self.sums[:, 2])

    @property
    def score_outputs(self) -> Batch:
        """What the signature `score` outputs for all pairs."""
        loss, _, tokens = self.sums.T
        return {"log_likelihood": -loss, "tokens": tokens.astype("int32"), "perplexity": np.exp(loss / tokens)}

    @cached_property
    def feeds(self) -> dict[str, list[Batch]]:
        """Prompts and pairs in batches, as the signatures take them."""
        prompts, replies = (np.array(column) for column in zip(*self.pairs, strict=True))
        return {
            "serving_default": list(_batches({"prompt": np.array(self.prompts)})),
            "generate": [generate_feed(self.prompts[:BATCH], SAMPLED)],
            "score": list(_batches({"prompt": prompts, "reply": replies})),
        }

    def _write(self, prompts: Sequence[str], sampling: Sampling) -> list[str]:
        return self.writer.write([_dialogue(prompt) for prompt in prompts], sampling)

    def _fits(self, *texts: str) -> bool:
        """Whether the window has room for a prompt, or for a prompt and its reply, and no special token is in them."""
        try:
            if len(texts) == 1:
                self.preprocessor.prompt_ids(_dialogue(*texts))
            else:
                self.preprocessor.encode([_dialogue(*texts)])
        except RowError:
            return False
        return True


def generate_feed(prompts: Sequence[str], sampling: Sampling) -> Batch:
    """Return prompts as the signature `generate` takes them, each with the same arguments."""
    return {
        "prompt": np.array(prompts),
        "max_tokens": np.full(len(prompts), sampling.max_tokens, "int32"),
        "temperature": np.full(len(prompts), sampling.temperature, "float32"),
        "top_p": np.full(len(prompts), sampling.top_p, "float32"),
        "seed": np.full(len(prompts), sampling.seed, "int32"),
    }


def perplexity(log_likelihoods: np.ndarray, tokens: np.ndarray) -> float:
    """Return the perplexity of all tokens together, from sums over some of them, (rows,) each."""
    return guess_metrics(np.stack([-log_likelihoods, np.zeros_like(log_likelihoods), tokens], 1))[2]


def same_words(expected: Sequence[str], found: Sequence[str]) -> float:
    """Return the share of the words of expected replies that others begin with, up to the first that differs."""
    same = total = 0
    for one, other in zip(expected, found, strict=True):
        words = one.split()
        pairs = zip(words, other.split(), strict=False)
        same += sum(1 for _ in itertools.takewhile(lambda pair: pair[0] == pair[1], pairs))
        total += len(words)
    return same / max(total, 1)


def _batches(columns: Batch) -> Iterator[Batch]:
    for start in range(0, len(next(iter(columns.values()))), BATCH):
        yield {name: column[start : start + BATCH] for name, column in columns.items()}


def _dialogue(*texts: str) -> list[Message]:
    return [{"role": role, "content": text} for role, text in zip((USER, ASSISTANT), texts, strict=False)]
