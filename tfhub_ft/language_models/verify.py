"""The proof that a SavedModel writes and scores replies as the model of its run does, in a fresh process."""

import itertools
import json
from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tfhub_ft.exports.verify import ask
from tfhub_ft.language_models.chat_template import ASSISTANT, USER, Message
from tfhub_ft.language_models.generation import ReplyWriter, Sampling
from tfhub_ft.language_models.task import reply_tokens
from tfhub_ft.metrics.scores import guess_metrics
from tfhub_ft.utils.errors import RowError, RunError

if TYPE_CHECKING:
    import keras

    from tfhub_ft.run import Run

PROMPTS, PAIRS, BATCH, TIMED = 50, 64, 16, 3
DRAWN = Sampling(temperature=0.7, top_p=0.9, seed=1, max_tokens=32)
# Where two tokens are as likely as each other, rounding decides: one reply of 50 may be another.
LEAST_EQUAL, MOST_DIFFERENT = 0.98, 1e-3
# How much higher the perplexity may be, as a share of the model's.
MOST_HIGHER = {"none": 0.001, "bfloat16": 0.01, "int8": 0.03}

Feed = dict[str, np.ndarray]


class RunReplies:
    """What the model of a run writes and scores, computed once for all forms of an export.

    Args:
        run: the run.
        model: its model.
        dialogues: dialogues of its own, as JSON, whose last prompts and replies are scored; where they are few, the
            model's own replies are, too.
    """

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
    def replies(self) -> list[str]:
        """The likeliest reply to each prompt."""
        return self._write(self.prompts, Sampling(max_tokens=reply_tokens(self.preprocessor.seq_length)))

    @cached_property
    def drawn(self) -> list[str]:
        """A drawn reply to each of the first prompts."""
        return self._write(self.prompts[:BATCH], DRAWN)

    @cached_property
    def pairs(self) -> list[tuple[str, str]]:
        """Prompts and replies to be scored."""
        dialogues = (json.loads(text)[-2:] for (text,) in self._dialogues)
        true = ((asked["content"], said["content"]) for asked, said in dialogues)
        own = (pair for pair in zip(self.prompts, self.replies, strict=True))
        return list(itertools.islice((pair for pair in itertools.chain(true, own) if self._fits(*pair)), PAIRS))

    @cached_property
    def sums(self) -> np.ndarray:
        """The sums of cross-entropy, of right guesses and of tokens for each pair, float32 (pairs, 3)."""
        from tfhub_ft.models.forward import make_logits_fn

        tokens = self.preprocessor.encode([_dialogue(*pair) for pair in self.pairs])
        return make_logits_fn(self.model.get_layer("token_model"), batch_size=BATCH)(tokens)

    @cached_property
    def feeds(self) -> dict[str, list[Feed]]:
        """Prompts and pairs in batches, as the signatures take them."""
        asked, said = (np.array(column) for column in zip(*self.pairs, strict=True))
        return {
            "serving_default": list(_batches({"prompt": np.array(self.prompts)})),
            "generate": [generate_feed(self.prompts[:BATCH], DRAWN)],
            "score": list(_batches({"prompt": asked, "reply": said})),
        }

    def _write(self, prompts: Sequence[str], sampling: Sampling) -> list[str]:
        replies = self.writer.write([_dialogue(prompt) for prompt in prompts], sampling)
        # As they come back from another process, in which no text ends with a zero byte.
        return np.array(replies).tolist()

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


def generate_feed(prompts: Sequence[str], sampling: Sampling) -> Feed:
    """Prompts as the signature `generate` takes them, each with the same arguments."""
    return {
        "prompt": np.array(prompts),
        "max_tokens": np.full(len(prompts), sampling.max_tokens, "int32"),
        "temperature": np.full(len(prompts), sampling.temperature, "float32"),
        "top_p": np.full(len(prompts), sampling.top_p, "float32"),
        "seed": np.full(len(prompts), sampling.seed, "int32"),
    }


def prove_dialogue(saved_model: Path, expected: RunReplies, quantization: str) -> dict[str, Any]:
    """Compare what a SavedModel writes and scores with what the run's model does.

    With float32 weights at least 98% of the replies must be the same, greedy and drawn ones, and the log-likelihood of
    each pair within 1e-3. Other weights choose another token here and there, and nothing can be asked of what comes
    behind it: there the perplexity of all pairs may be 1% higher with bfloat16, and 3% with int8. How many replies are
    the same is told, of 50, or of 16 where nothing is asked of them.

    Args:
        saved_model: the SavedModel's folder.
        expected: what the model writes and scores.
        quantization: of the weights.

    Returns:
        {"rows": prompts, "agreement": share of equal replies, "same_words": share of the words of the model's replies
        up to the first that differs, "score": {"name", "model", "form"}, "outputs": {signature: {name: "dtype
        (shape)"}}, "latency_ms": {"p50", "p95"} of one prompt through `serving_default`, "tokens_per_second" then}.

    Raises:
        RunError: it differs by more.
    """
    feeds = expected.feeds
    if quantization != "none":
        feeds = {**feeds, "serving_default": feeds["serving_default"][:1]}
    found = ask(saved_model, feeds, timed=TIMED)
    replies, drawn = (_joined(found, signature, "reply").tolist() for signature in ("serving_default", "generate"))
    own = expected.replies[: len(replies)]
    likelihoods, tokens = (_joined(found, "score", name) for name in ("log_likelihood", "tokens"))
    score = {"name": "perplexity", "model": perplexity(-expected.sums[:, 0], expected.sums[:, 2])}
    score["form"] = perplexity(likelihoods, tokens)
    if quantization == "none":
        _check_equal([*own, *expected.drawn], [*replies, *drawn])
        _check_likelihoods(-expected.sums[:, 0], likelihoods)
    if not score["form"] <= score["model"] * (1 + MOST_HIGHER[quantization]):
        raise RunError(
            f"the export with {quantization} weights has a perplexity of {score['form']:.4f}, the model"
            f" {score['model']:.4f}; {MOST_HIGHER[quantization]:.1%} more is allowed: it was not kept"
        )
    p50, p95 = np.percentile(found["seconds"] * 1000, [50, 95]).round(2).tolist()
    return {
        "rows": len(replies),
        "agreement": _equal(own, replies).mean(),
        "same_words": same_words(own, replies),
        "score": score,
        "outputs": {
            signature: {
                key.split("|")[2]: str(kind) for key, kind in found.items() if key.startswith(f"{signature}|kind|")
            }
            for signature in expected.feeds
        },
        "latency_ms": {"p50": p50, "p95": p95},
    }


def perplexity(log_likelihoods: np.ndarray, tokens: np.ndarray) -> float:
    """The perplexity of all tokens together, of sums over some of them, (rows,) each."""
    return guess_metrics(np.stack([-log_likelihoods, np.zeros_like(log_likelihoods), tokens], 1))[2]


def same_words(expected: Sequence[str], found: Sequence[str]) -> float:
    """The share of the words of expected replies that others begin with too, up to the first word that differs."""
    same = total = 0
    for one, other in zip(expected, found, strict=True):
        ours, theirs = one.split(), other.split()
        pairs = zip(ours, theirs, strict=False)
        same += sum(1 for _ in itertools.takewhile(lambda pair: pair[0] == pair[1], pairs))
        total += len(ours)
    return same / max(total, 1)


def _check_equal(expected: Sequence[str], found: Sequence[str]) -> None:
    equal = _equal(expected, found)
    if equal.mean() < LEAST_EQUAL:
        number = int(np.argmin(equal))
        raise RunError(
            f"the export writes other replies than the model ({equal.mean():.1%} are the same, {LEAST_EQUAL:.0%} must"
            f" be; {found[number]!r}, not {expected[number]!r}): it was not kept"
        )


def _check_likelihoods(expected: np.ndarray, found: np.ndarray) -> None:
    difference = float((np.abs(found - expected) / np.maximum(np.abs(expected), 1)).max())
    if not difference <= MOST_DIFFERENT:
        raise RunError(
            f"the export scores replies otherwise than the model (log-likelihoods differ by {difference:.2g},"
            f" {MOST_DIFFERENT:g} is allowed): it was not kept"
        )


def _equal(expected: Sequence[str], found: Sequence[str]) -> np.ndarray:
    return np.array(expected) == np.array(found)


def _joined(found: dict[str, np.ndarray], signature: str, name: str) -> np.ndarray:
    """An output of a signature for all rows."""
    parts = [key for key in sorted(found) if key.startswith(f"{signature}|0") and key.endswith(f"|{name}")]
    return np.concatenate([found[key] for key in parts])


def _batches(feed: Feed) -> Iterator[Feed]:
    for start in range(0, len(next(iter(feed.values()))), BATCH):
        yield {name: column[start : start + BATCH] for name, column in feed.items()}


def _dialogue(*texts: str) -> list[Message]:
    return [{"role": role, "content": text} for role, text in zip((USER, ASSISTANT), texts, strict=False)]
