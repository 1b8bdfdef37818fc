"""Export a run of the recipe dialogue to SavedModels."""

from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from tfhub_ft.exports.context import EXAMPLE, ExportContext
from tfhub_ft.exports.formats import FORMATS, Format, ParityReport, Tolerance
from tfhub_ft.inference.runtimes.base import SERVING_DEFAULT, Batch
from tfhub_ft.language_models.reference_replies import ReferenceReplies, perplexity, same_words
from tfhub_ft.tasks.base import share_equal
from tfhub_ft.utils.errors import InputError

if TYPE_CHECKING:
    from tfhub_ft.inference.runtimes.base import Runtime
    from tfhub_ft.run import Run

WARM_UP_TOKENS = 16


class DialogueExportContext(ExportContext):
    """An export in progress of a run of the recipe dialogue.

    With float32 weights 98% of the replies must be equal: rounding decides between equally likely tokens. Quantized
    weights select another token now and then, after which a reply continues in another way, so their perplexity counts.
    """

    formats = {
        "saved_model": Format(
            title="SavedModel",
            converter="tfhub_ft.language_models.saved_model.convert_to_saved_model",
            runtime=FORMATS["saved_model"].runtime,
            signatures=("serving_default", "generate", "score"),
            quantizations={
                "none": Tolerance(outputs=1e-3, texts=0.98, agreement=0.0, score=0.001),
                "bfloat16": Tolerance(agreement=0.0, score=0.01),
                "int8": Tolerance(agreement=0.0, score=0.03),
            },
        )
    }
    card_values = "tfhub_ft.language_models.model_card.dialogue_values"
    # A batch takes as long as its longest reply, and as much memory as all replies.
    max_batch_size = 16
    timed_rows = 3

    @classmethod
    def check(cls, run: "Run", vocabulary: str) -> None:
        if vocabulary != "all":
            raise InputError(f"--vocabulary {vocabulary}: a language model keeps its whole vocabulary; leave it out")

    @cached_property
    def reference(self) -> ReferenceReplies:  # pyright: ignore[reportIncompatibleVariableOverride]
        """The replies and scores of the run's model."""
        return ReferenceReplies(self.run, self.model, self.rows.inputs)

    @property
    def feeds(self) -> dict[str, list[Batch]]:  # pyright: ignore[reportIncompatibleVariableOverride]
        return self.reference.feeds

    @cached_property
    def example_feeds(self) -> dict[str, list[Batch]]:
        """A placeholder prompt and reply, as each signature takes them."""
        return {
            name: [{key: _placeholders(column[:1]) for key, column in batches[0].items()}]
            for name, batches in self.feeds.items()
        }

    @cached_property
    def warmup_feeds(self) -> dict[str, Batch]:
        """A batch for each signature, with one reply of full length."""
        rows = {"serving_default": 1, "generate": self.max_batch_size // 2, "score": self.max_batch_size // 2}
        convert = (lambda column: column) if self.warmup_rows else _placeholders
        feeds = {
            name: {key: convert(column[: rows[name]]) for key, column in batches[0].items()}
            for name, batches in self.feeds.items()
        }
        feeds["generate"]["max_tokens"] = feeds["generate"]["max_tokens"].clip(max=WARM_UP_TOKENS)
        return feeds

    def batches(self, format: str, quantization: str) -> dict[str, list[Batch]]:
        # With quantized weights, equal replies are only reported.
        replies = self.feeds[SERVING_DEFAULT][: None if quantization == "none" else 1]
        return {**self.feeds, SERVING_DEFAULT: replies}

    def expected(self, format: str, quantization: str, runtime: "Runtime") -> dict[str, list[Batch]]:
        outputs = {
            SERVING_DEFAULT: {"reply": _encoded(self.reference.predictions)},
            "generate": {"reply": _encoded(self.reference.sampled)},
            "score": self.reference.score_outputs,
        }
        batches = self.batches(format, quantization)
        return {name: list(_split(arrays, batches[name])) for name, arrays in outputs.items()}

    def evaluate(
        self, runtime: "Runtime", format: str, outputs: Mapping[str, Sequence[Batch]]
    ) -> tuple[int, float | None, float | None]:
        replies = _replies(outputs)
        score = perplexity(_join(outputs["score"], "log_likelihood"), _join(outputs["score"], "tokens"))
        return len(replies), share_equal(replies, self.reference.predictions[: len(replies)]), score

    def finish_report(self, report: ParityReport, outputs: Mapping[str, Sequence[Batch]]) -> ParityReport:
        """Return the report with "same_words", the share of equal words before the first different one."""
        replies = _replies(outputs)
        report.pop("max_logit_difference", None)
        return {**report, "same_words": same_words(self.reference.predictions[: len(replies)], replies)}


def _replies(outputs: Mapping[str, Sequence[Batch]]) -> list[str]:
    return [reply.decode() for reply in _join(outputs[SERVING_DEFAULT], "reply")]


def _split(arrays: Batch, batches: Sequence[Batch]) -> Iterator[Batch]:
    """Yield parts of arrays, as long as the batches."""
    start = 0
    for batch in batches:
        end = start + len(batch["prompt"])
        yield {name: array[start:end] for name, array in arrays.items()}
        start = end


def _join(batches: Sequence[Batch], name: str) -> np.ndarray:
    return np.concatenate([batch[name] for batch in batches])


def _encoded(texts: Sequence[str]) -> np.ndarray:
    return np.array([text.encode() for text in texts], object)


def _placeholders(column: np.ndarray) -> np.ndarray:
    """Return a short placeholder for each text; numbers stay."""
    return np.array([EXAMPLE.strip()] * len(column)) if column.dtype.kind in "US" else column
