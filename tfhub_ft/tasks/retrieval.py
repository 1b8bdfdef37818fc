"""The reply that fits a prompt, ranked out of a bank of replies."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tfhub_ft.data.columns import Column, check_text
from tfhub_ft.data.rows import Row
from tfhub_ft.tasks.base import Task
from tfhub_ft.utils.errors import InputError

if TYPE_CHECKING:
    import keras
    import numpy as np

    from tfhub_ft.data.batches import TokenRows
    from tfhub_ft.settings import Settings

PROMPT_ALIASES = ("question", "input", "text", "request", "sentence1")
REPLY_ALIASES = ("answer", "response", "output", "sentence2")
REPLIES_ANSWERED = 5
CANDIDATES = 10


@dataclass(frozen=True)
class Retrieval(Task):
    """Each row is a prompt and its reply. A bi-encoder learns to put both close together.

    The other replies of a batch are the negatives. What is trained gives the embeddings of both, float32 (batch, 2,
    hidden); what answers takes a prompt and gives its cosine to every reply of the bank: the training rows' replies,
    which are the "labels".

    Reference:
        Henderson et al. 2017, https://arxiv.org/abs/1705.00652
    """

    fields: tuple[str, ...] = ("prompt",)
    monitor: str = f"recall_at_1_of_{CANDIDATES}"
    name: str = "retrieval"
    decision_field = "reply"
    epoch_scores = (f"recall_at_1_of_{CANDIDATES}", f"mean_reciprocal_rank_of_{CANDIDATES}")

    def columns(self, settings: Any = None, *, labeled: bool = True) -> list[Column]:
        named = getattr(settings, "prompt_column", None) or getattr(settings, "text_column", None)
        prompt = Column("prompt", PROMPT_ALIASES, check_text, named, "--prompt-column")
        if not labeled:
            return [prompt]
        return [prompt, Column("reply", REPLY_ALIASES, check_text, settings.reply_column, "--reply-column")]

    def training_inputs(self, row: Row) -> tuple[str, ...]:
        return row.values["prompt"], row.values["reply"]

    def labels(self, rows: Sequence[Row], source: str, settings: "Settings") -> list[str]:
        """The distinct replies, in the order in which they appear.

        Raises:
            InputError: there is only one.
        """
        replies = list(dict.fromkeys(row.values["reply"].strip() for row in rows))
        if len(replies) < 2:
            raise InputError(f"{source}: a single dialogue ({replies[0]!r} is the only reply); a choice needs others")
        return replies

    def targets(self, rows: Sequence[Row], labels: Sequence[str], source: str) -> "np.ndarray":
        """A number for each distinct reply of these rows, int32 (rows,): equal replies are no negatives."""
        from tfhub_ft.data.fingerprints import fold_text, number_texts

        return number_texts(fold_text(row.values["reply"]) for row in rows).astype("int32")

    def make_score_fn(self, model: "keras.Model", precision: str = "float32") -> "Callable[[TokenRows], np.ndarray]":
        """Return a function from tokens of prompts and replies to their embeddings, float32 (rows, 2, hidden)."""
        import keras

        from tfhub_ft.models.frozen_features import make_score_fn
        from tfhub_ft.models.heads import SplitSegments, StackHalves

        network = model.get_layer("token_model")
        if "split_segments" not in [layer.name for layer in network.layers]:
            tokens = {name: keras.Input(shape=(None,), dtype="int32", name=name) for name in network.input}
            embeddings = network.get_layer("embedding_model")(SplitSegments()(tokens))
            network = keras.Model(tokens, StackHalves()(embeddings))
        return make_score_fn(network, precision)

    def inference_model(self, model: "keras.Model", labels: Sequence[str]) -> "keras.Model":
        """From prompts, string (batch,), to their cosine with each reply of the bank, float32 (batch, replies)."""
        from tfhub_ft.data.batches import tokenize
        from tfhub_ft.models.builders import compose_model
        from tfhub_ft.models.forward import make_logits_fn
        from tfhub_ft.models.heads import ReplyBank

        preprocessor = model.get_layer("preprocessor")
        embed = model.get_layer("token_model").get_layer("embedding_model")
        vectors = make_logits_fn(embed)(tokenize(preprocessor, [(reply,) for reply in labels]))
        bank = ReplyBank(*vectors.shape, name="reply_bank")
        bank.set_weights([vectors])
        return compose_model(preprocessor, lambda tokens: bank(embed(tokens)), ("prompt",), name=model.name)

    def metrics(
        self,
        logits: "np.ndarray",
        targets: "np.ndarray",
        labels: Sequence[str],
        thresholds: dict[str, Any],
        *,
        intervals: bool = False,
    ) -> dict[str, Any]:
        from tfhub_ft.metrics.intervals import mean_intervals
        from tfhub_ft.metrics.scores import reply_ranks, retrieval_metrics, retrieval_values

        scores = retrieval_metrics(logits[:, 0], logits[:, 1], targets, candidates=CANDIDATES)
        if intervals:
            ranks = reply_ranks(logits[:, 0], logits[:, 1], targets, candidates=CANDIDATES)
            scores["intervals"] = mean_intervals(retrieval_values(ranks, CANDIDATES))
        return scores

    def serving_outputs(self, logits: Any, labels: Sequence[str], thresholds: dict[str, Any]) -> dict[str, Any]:
        """`scores`, float32 (batch, 5), and `replies`, string (batch, 5), the best first."""
        import tensorflow as tf

        scores, chosen = tf.math.top_k(logits, min(REPLIES_ANSWERED, len(labels)))
        return {"scores": scores, "replies": tf.gather(tf.constant(list(labels)), chosen)}

    def decode_serving_outputs(
        self,
        outputs: dict[str, "np.ndarray"],
        rows: Sequence[tuple[str, ...]],
        labels: Sequence[str],
        thresholds: dict[str, Any],
    ) -> list[dict[str, Any]]:
        """{"reply", "score": its cosine, "replies": the best ones, [{"reply", "score"}, ...]} for each row."""
        import numpy as np

        if "replies" in outputs:
            best = [[reply.decode() for reply in replies] for replies in outputs["replies"]]
            scores = outputs["scores"].tolist()
        else:
            order = np.argsort(-outputs["logits"], -1, kind="stable")[:, :REPLIES_ANSWERED]
            best = [[labels[i] for i in chosen] for chosen in order]
            scores = np.take_along_axis(outputs["logits"], order, -1).tolist()
        ranked = [
            [{"reply": reply, "score": score} for reply, score in zip(*each, strict=True)]
            for each in zip(best, scores, strict=True)
        ]
        return [{**replies[0], "replies": replies} for replies in ranked]
