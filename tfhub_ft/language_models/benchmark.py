"""Forms of an export that write replies: how fast each writes, and how well it would have written the true ones."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tfhub_ft.benchmarking.artifacts import Form, text_feed
from tfhub_ft.data.batches import batches_by_size
from tfhub_ft.data.rows import Row
from tfhub_ft.inference.runtimes.isolated import KINDS, Feed, run_isolated
from tfhub_ft.language_models.chat_template import USER
from tfhub_ft.language_models.generation import Sampling
from tfhub_ft.language_models.task import messages_of
from tfhub_ft.language_models.verify import generate_feed, perplexity, same_words
from tfhub_ft.utils.console import log
from tfhub_ft.utils.memory import give_back_memory

PROMPTS, TIMED = 16, 3
GREEDY = Sampling(max_tokens=64)

Pair = tuple[str, str]


def measure_reply_forms(forms: Sequence[Form], rows: Sequence[Row], folder: Path) -> list[dict[str, Any]]:
    """Measure each form in a process of its own.

    It writes greedy replies of up to 64 tokens to up to 16 prompts of all lengths: three of them one by one, which is
    timed, and all at once. Scored is the reply to each message of a user, whatever was said before.

    Args:
        forms: the forms, the original first.
        rows: dialogues.
        folder: the export folder.

    Returns:
        What `benchmark` says of each form.
    """
    pairs = list(dict.fromkeys(pair for row in rows for pair in _pairs(row)))
    prompts = _spread(sorted({prompt for prompt, _ in pairs}, key=len), PROMPTS)
    timed = _spread(prompts, TIMED)
    measured: list[dict[str, Any]] = []
    original: list[str] = []
    for form in forms:
        log(f"Measuring {form.path} in a fresh process, on {len(prompts)} prompts")
        singles = [generate_feed([prompt], GREEDY) for prompt in timed]
        found = run_isolated("saved_model_generate", form.path, [generate_feed(prompts, GREEDY)], singles, timed=TIMED)
        replies = dict(zip(prompts, found.outputs[0]["reply"].tolist(), strict=True))
        original = original or list(replies.values())
        log(f"Scoring {len(pairs):,} replies by {form.path}")
        score = _scorer(form.path)
        # The token that ends a reply counts where there was room for it.
        tokens = score([(prompt, replies[prompt]) for prompt in timed])["tokens"].clip(max=GREEDY.max_tokens)
        sums = score(pairs)
        measured.append(
            {
                "form": form.name,
                "path": str(form.path.relative_to(folder)),
                "quantization": form.quantization,
                "reads": form.reads,
                "bytes": form.bytes,
                "peak_memory_bytes": found.peak_memory_bytes,
                "load_seconds": round(found.load_seconds, 3),
                "latency_ms": found.latency_ms,
                "tokens_per_second": round(float(tokens.sum() / found.row_seconds.sum()), 1),
                "rows_per_second": round(len(prompts) / found.batch_seconds, 2),
                "batch_size": len(prompts),
                "scores": {"perplexity": perplexity(sums["log_likelihood"], sums["tokens"])},
                "agreement": float(np.mean(np.array(original) == np.array(list(replies.values())))),
                "same_words": same_words(original, list(replies.values())),
            }
        )
        give_back_memory()
    return measured


def _pairs(row: Row) -> Iterator[Pair]:
    """Each message of the user with its reply."""
    messages = messages_of(row)
    for asked, said in zip(messages, messages[1:], strict=False):
        if asked["role"] == USER:
            yield asked["content"], said["content"]


def _spread(texts: Sequence[str], most: int) -> list[str]:
    """Some of the texts, at even steps."""
    count = min(len(texts), most)
    return [texts[i * (len(texts) - 1) // max(count - 1, 1)] for i in range(count)]


def _scorer(saved_model: Path) -> Callable[[Sequence[Pair]], Feed]:
    """From pairs of a prompt and a reply to the outputs of the signature `score`, in their order."""
    call = KINDS["saved_model_score"](saved_model)

    def score(pairs: Sequence[Pair]) -> Feed:
        batches = list(batches_by_size(pairs))
        feeds = (text_feed(("prompt", "reply"), [pairs[i] for i in batch]) for batch in batches)
        parts = [call(feed) for feed in feeds]
        order = np.argsort(np.concatenate(batches))
        return {name: np.concatenate([part[name] for part in parts])[order] for name in parts[0]}

    return score
