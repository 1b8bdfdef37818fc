"""The reply that fits a prompt, ranked out of a bank of replies."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tfhub_ft.data.columns import Column, check_text
from tfhub_ft.data.rows import Row
from tfhub_ft.tasks.base import Task
from tfhub_ft.utils.errors import InputError

if TYPE_CHECKING:
    import keras
    import numpy as np

    from tfhub_ft.evaluation.report.html_report import Scored
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
    epoch_scores = (f"recall_at_1_of_{CANDIDATES}", f"mean_reciprocal_rank_of_{CANDIDATES}")

    def columns(self, settings: "Settings") -> list[Column]:
        reply = Column("reply", REPLY_ALIASES, check_text, settings.reply_column, "--reply-column")
        return [*self.text_columns(settings), reply]

    def text_columns(self, settings: "Settings | None" = None) -> list[Column]:
        wanted = getattr(settings, "prompt_column", None) or getattr(settings, "text_column", None)
        return [Column("prompt", PROMPT_ALIASES, check_text, wanted, "--prompt-column")]

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
        from tfhub_ft.data.fingerprints import folded, numbered

        return numbered(folded(row.values["reply"]) for row in rows).astype("int32")

    def model_arguments(self, labels: Sequence[str]) -> dict[str, Any]:
        return {}

    def compile_arguments(self, settings: "Settings", targets: "np.ndarray") -> dict[str, Any]:
        from tfhub_ft.tasks.losses import InBatchNegatives, InBatchRecall

        return {"loss": InBatchNegatives(), "metrics": [InBatchRecall(name="in_batch_recall")]}

    def scored_network(self, model: "keras.Model") -> "keras.Model":
        import keras

        from tfhub_ft.models.heads import SplitSegments, StackHalves

        network = model.get_layer("token_model")
        if "split_segments" in [layer.name for layer in network.layers]:
            return network
        tokens = {name: keras.Input(shape=(None,), dtype="int32", name=name) for name in network.input}
        embeddings = network.get_layer("embedding_model")(SplitSegments()(tokens))
        return keras.Model(tokens, StackHalves()(embeddings))

    def answering_model(self, model: "keras.Model", labels: Sequence[str]) -> "keras.Model":
        """From prompts, string (batch,), to their cosine with each reply of the bank, float32 (batch, replies)."""
        import keras

        from tfhub_ft.data.batches import tokenize
        from tfhub_ft.models.forward import logits_function
        from tfhub_ft.models.heads import ReplyBank

        preprocessor = model.get_layer("preprocessor")
        embed = model.get_layer("token_model").get_layer("embedding_model")
        vectors = logits_function(embed)(tokenize(preprocessor, [(reply,) for reply in labels]))
        bank = ReplyBank(*vectors.shape, name="reply_bank")
        bank.set_weights([vectors])

        prompt = keras.Input(shape=(), dtype="string", name="prompt")
        tokens = preprocessor(prompt)
        token_inputs = {name: keras.Input(shape=(None,), dtype="int32", name=name) for name in tokens}
        token_model = keras.Model(token_inputs, bank(embed(token_inputs)), name="token_model")
        return keras.Model(prompt, token_model(tokens), name=model.name)

    def metrics(
        self, logits: "np.ndarray", targets: "np.ndarray", labels: Sequence[str], decision: dict[str, Any]
    ) -> dict[str, Any]:
        from tfhub_ft.metrics.scores import retrieval_metrics

        return retrieval_metrics(logits[:, 0], logits[:, 1], targets, candidates=CANDIDATES)

    def intervals(
        self, logits: "np.ndarray", targets: "np.ndarray", labels: Sequence[str], decision: dict[str, Any]
    ) -> dict[str, tuple[float, float]]:
        from tfhub_ft.metrics.intervals import mean_intervals
        from tfhub_ft.metrics.scores import reply_ranks, retrieval_values

        return mean_intervals(
            retrieval_values(reply_ranks(logits[:, 0], logits[:, 1], targets, candidates=CANDIDATES), CANDIDATES)
        )

    def report(self, scored: "Scored") -> list[Any]:
        from tfhub_ft.evaluation.report.span_report import of_replies
        from tfhub_ft.metrics.scores import reply_ranks

        prompts, replies = scored.logits[:, 0], scored.logits[:, 1]
        return of_replies(scored, reply_ranks(prompts, replies, scored.targets, candidates=CANDIDATES), CANDIDATES)

    def answers(self, logits: "np.ndarray", labels: Sequence[str], decision: dict[str, Any]) -> list[dict[str, Any]]:
        """{"reply", "score": its cosine, "replies": the best ones, [{"reply", "score"}, ...]} for each row."""
        import numpy as np

        best = np.argsort(-logits, -1, kind="stable")[:, :REPLIES_ANSWERED]
        return [
            _worded([labels[i] for i in chosen], row[chosen].tolist()) for chosen, row in zip(best, logits, strict=True)
        ]

    def decisions(self, answers: Sequence[dict[str, Any]], labels: Sequence[str]) -> list[str]:
        return [answer["reply"] for answer in answers]

    def serving_outputs(self, logits: Any, labels: Sequence[str], decision: dict[str, Any]) -> dict[str, Any]:
        """`scores`, float32 (batch, 5), and `replies`, string (batch, 5), the best first."""
        import tensorflow as tf

        scores, chosen = tf.math.top_k(logits, min(REPLIES_ANSWERED, len(labels)))
        return {"scores": scores, "replies": tf.gather(tf.constant(list(labels)), chosen)}

    def decode_serving_outputs(
        self,
        outputs: dict[str, "np.ndarray"],
        rows: Sequence[tuple[str, ...]],
        labels: Sequence[str],
        decision: dict[str, Any],
    ) -> list[dict[str, Any]]:
        return [
            _worded([reply.decode() for reply in replies], scores.tolist())
            for replies, scores in zip(outputs["replies"], outputs["scores"], strict=True)
        ]


def _worded(replies: list[str], scores: list[float]) -> dict[str, Any]:
    ranked = [{"reply": reply, "score": score} for reply, score in zip(replies, scores, strict=True)]
    return {**ranked[0], "replies": ranked}
