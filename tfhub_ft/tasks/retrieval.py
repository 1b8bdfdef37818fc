"""Retrieval of the reply that fits a prompt from a bank of replies."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tfhub_ft.data.columns import Column, text_column
from tfhub_ft.data.rows import Row
from tfhub_ft.metrics import Scores
from tfhub_ft.tasks.base import Array, Arrays, Prediction, Segments, Task, Tensors, Thresholds
from tfhub_ft.utils.errors import InputError

if TYPE_CHECKING:
    import keras
    import tensorflow as tf

    from tfhub_ft.data.batches import TokenRows

PROMPT_ALIASES = ("question", "input", "text", "request", "sentence1")
REPLY_ALIASES = ("answer", "response", "output", "sentence2")
TOP_REPLIES = 5
CANDIDATES = 10


@dataclass(frozen=True)
class Retrieval(Task):
    """Retrieval with a bi-encoder, which embeds a prompt and its reply close to each other.

    Each row is a prompt and its reply; the other replies of a batch are the negatives. The training model returns the
    embeddings of both, float32 (batch, 2, hidden). The inference model returns the cosine of a prompt with every reply
    of the bank: the replies of the training rows, which are the labels.

    Args:
        fields: Text segments of a row that a prediction reads.
        monitor: Validation score that selects the best epoch.
        name: Name of the task in exports.

    Example:
        Retrieval(monitor="mean_reciprocal_rank_of_10")

    Reference:
        [Henderson et al., 2017](https://arxiv.org/abs/1705.00652)
    """

    fields: tuple[str, ...] = ("prompt",)
    monitor: str = f"recall_at_1_of_{CANDIDATES}"
    name: str = "retrieval"
    decision_field = "reply"
    monitors = (
        *(f"recall_at_{count}_of_{CANDIDATES}" for count in (1, 3)),
        f"mean_reciprocal_rank_of_{CANDIDATES}",
    )
    epoch_scores = (f"recall_at_1_of_{CANDIDATES}", f"mean_reciprocal_rank_of_{CANDIDATES}")

    def columns(self, settings: Any = None, *, labeled: bool = True) -> list[Column]:
        prompt = text_column("prompt", PROMPT_ALIASES, settings, "prompt_column", "text_column")
        return [prompt, text_column("reply", REPLY_ALIASES, settings, "reply_column")] if labeled else [prompt]

    def training_inputs(self, row: Row) -> Segments:
        return row.values["prompt"], row.values["reply"]

    def labels(self, rows: Sequence[Row], source: str, settings: Any) -> list[str]:
        """Return the distinct replies in the order of their first rows."""
        replies = list(dict.fromkeys(row.values["reply"].strip() for row in rows))
        if len(replies) < 2:
            raise InputError(f"{source}: only one reply ({replies[0]!r}); retrieval needs at least two")
        return replies

    def targets(self, rows: Sequence[Row], labels: Sequence[str], source: str) -> Array:
        """Return a number for each distinct reply of these rows, int32 (rows,)."""
        from tfhub_ft.data.fingerprints import fold_text, number_texts

        return number_texts(fold_text(row.values["reply"]) for row in rows).astype("int32")

    def make_score_fn(self, model: "keras.Model", precision: str = "float32") -> "Callable[[TokenRows], Array]":
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
        """Return a model from prompts to their cosine with each reply of the bank, float32 (batch, replies)."""
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
        self, logits: Array, targets: Array, labels: Sequence[str], thresholds: Thresholds, *, intervals: bool = False
    ) -> Scores:
        from tfhub_ft.metrics.intervals import mean_intervals
        from tfhub_ft.metrics.scores import mean_scores, reply_ranks, retrieval_values

        ranks = reply_ranks(logits[:, 0], logits[:, 1], targets, candidates=CANDIDATES)
        values = retrieval_values(ranks, CANDIDATES)
        scores = {"rows": len(ranks), **mean_scores(values)}
        if intervals:
            scores["intervals"] = mean_intervals(values)
        return scores

    def serving_outputs(self, logits: "tf.Tensor", labels: Sequence[str], thresholds: Thresholds) -> Tensors:
        """Return `scores`, float32 (batch, 5), and `replies`, string (batch, 5), the best first."""
        import tensorflow as tf

        scores, best = tf.math.top_k(logits, min(TOP_REPLIES, len(labels)))
        return {"scores": scores, "replies": tf.gather(tf.constant(list(labels)), best)}

    def decode_serving_outputs(
        self, outputs: Arrays, rows: Sequence[Segments], labels: Sequence[str], thresholds: Thresholds
    ) -> list[Prediction]:
        """Return {"reply", "score": its cosine, "replies": [{"reply", "score"}, ...], best first} for each row."""
        import numpy as np

        if "replies" in outputs:
            best = [[reply.decode() for reply in replies] for replies in outputs["replies"]]
            scores = outputs["scores"].tolist()
        else:
            order = np.argsort(-outputs["logits"], -1, kind="stable")[:, :TOP_REPLIES]
            best = [[labels[i] for i in row] for row in order.tolist()]
            scores = np.take_along_axis(outputs["logits"], order, -1).tolist()
        ranked = [
            [{"reply": reply, "score": score} for reply, score in zip(*each, strict=True)]
            for each in zip(best, scores, strict=True)
        ]
        return [{**replies[0], "replies": replies} for replies in ranked]
