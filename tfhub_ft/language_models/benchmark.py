"""Measure the speed and the perplexity of artifacts that generate replies."""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np

from tfhub_ft.benchmarking.benchmark import spread, timing
from tfhub_ft.data.batches import batches_by_size
from tfhub_ft.data.rows import Row
from tfhub_ft.inference.runtimes.base import Batch, Runtime, text_batch
from tfhub_ft.inference.runtimes.isolated import IsolatedRuntime
from tfhub_ft.language_models.chat_template import USER
from tfhub_ft.language_models.generation import Sampling
from tfhub_ft.language_models.reference_replies import generate_feed, perplexity, same_words
from tfhub_ft.language_models.task import messages_of
from tfhub_ft.utils.console import log

if TYPE_CHECKING:
    from tfhub_ft.benchmarking.artifacts import Artifact
    from tfhub_ft.tasks.base import Task

PROMPTS, TIMED = 16, 3
GREEDY = Sampling(max_tokens=64)

Pair = tuple[str, str]


def measure_dialogue_artifacts(
    artifacts: "Sequence[Artifact]", task: "Task", rows: Sequence[Row], targets: np.ndarray
) -> tuple[list[dict[str, object]], int]:
    """Measure and score each artifact in an isolated process, as `measure_artifacts` does.

    It generates greedy replies of up to 64 tokens to up to 16 prompts of all lengths, three of them one by one for
    the latency, then all in one batch. The reply to each user message is scored, without earlier messages.
    """
    pairs = list(dict.fromkeys(pair for row in rows for pair in _pairs(row)))
    prompts = spread(sorted({prompt for prompt, _ in pairs}, key=len), PROMPTS)
    timed = spread(prompts, TIMED)
    figures: list[dict[str, object]] = []
    original: list[str] = []
    for artifact in artifacts:
        log(f"Measuring {artifact.path} in an isolated process, on {len(prompts)} prompts and {len(pairs):,} replies")
        singles = [generate_feed([prompt], GREEDY) for prompt in timed]
        with IsolatedRuntime(artifact.runtime_class) as runtime:
            runtime.open(artifact.path)
            measured = runtime.measure([generate_feed(prompts, GREEDY)], singles, signature="generate", timed=TIMED)
            replies = [reply.decode() for reply in measured.outputs[0]["reply"]]
            # The end token counts unless the reply was truncated.
            generated = _score(runtime, [(prompt, replies[prompts.index(prompt)]) for prompt in timed])
            scores = _score(runtime, pairs)
        original = original or replies
        tokens = generated["tokens"].clip(max=GREEDY.max_tokens).sum()
        figures.append(
            {
                **timing(measured, len(prompts), len(prompts)),
                "tokens_per_second": round(float(tokens / measured.row_seconds.sum()), 1),
                "scores": {"perplexity": perplexity(scores["log_likelihood"], scores["tokens"])},
                "agreement": float(np.mean(np.array(original) == np.array(replies))),
                "same_words": same_words(original, replies),
            }
        )
    return figures, TIMED


def _pairs(row: Row) -> Iterator[Pair]:
    """Yield each user message with its reply."""
    messages = messages_of(row)
    for prompt, reply in zip(messages, messages[1:], strict=False):
        if prompt["role"] == USER:
            yield prompt["content"], reply["content"]


def _score(runtime: Runtime, pairs: Sequence[Pair]) -> Batch:
    """Return the outputs of the signature `score` for pairs of a prompt and a reply, in order."""
    batches = list(batches_by_size(pairs))
    parts = [runtime(text_batch(("prompt", "reply"), [pairs[i] for i in batch]), "score") for batch in batches]
    order = np.argsort(np.concatenate(batches))
    return {name: np.concatenate([part[name] for part in parts])[order] for name in parts[0]}
