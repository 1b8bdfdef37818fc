"""Dialogues: a causal language model learns to write the assistant's messages."""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tfhub_ft.data.columns import Column, check_text
from tfhub_ft.data.rows import Row
from tfhub_ft.language_models.chat_template import ASSISTANT, SYSTEM, USER, Message
from tfhub_ft.tasks.base import Task
from tfhub_ft.tasks.retrieval import PROMPT_ALIASES, REPLY_ALIASES

if TYPE_CHECKING:
    import keras
    import numpy as np

    from tfhub_ft.data.windows import TokenTargets
    from tfhub_ft.evaluation.report.html_report import Scored
    from tfhub_ft.language_models.evaluation import ReplyJudge
    from tfhub_ft.language_models.packing import PackedDialogues
    from tfhub_ft.settings import DialogueSettings

# Neighbours in a file are alike: which dialogues share a sequence shall not depend on its order.
PACKING_SEED = 0
SCORED_AT_ONCE = 8
REPLY_TOKENS = 128
MESSAGES_ALIASES = ("conversation", "conversations", "dialogue", "dialog")


def check_messages(value: Any) -> list[Message]:
    """Return the messages of a dialogue: the user's and the assistant's in turn, the assistant's last.

    Args:
        value: a list of {"role", "content"}, as jsonl files hold it, or the same as a text of JSON. A first message may
            have the role system.

    Raises:
        ValueError: it is of another kind, or the turns are not as they must be.
    """
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except ValueError:
            raise ValueError("is a text, not a list of messages") from None
    messages = _in_turn(value)
    if messages[-1]["role"] != ASSISTANT:
        raise ValueError(f"has no reply: its last message is of the role {messages[-1]['role']}, not {ASSISTANT}")
    return messages


def check_prompt(value: Any) -> str | list[Message]:
    """Return what a reply is written to: a text, or the messages of a dialogue, the user's last.

    Raises:
        ValueError: it is of another kind, or the turns are not as they must be.
    """
    if not isinstance(value, list):
        return check_text(value)
    messages = _in_turn(value)
    if messages[-1]["role"] != USER:
        raise ValueError(f"has no prompt: its last message is of the role {messages[-1]['role']}, not {USER}")
    return messages


def _in_turn(value: Any) -> list[Message]:
    if not isinstance(value, list) or not value:
        raise ValueError('is no list of messages, {"role": ..., "content": ...} each')
    messages = [_checked(number, message) for number, message in enumerate(value, 1)]
    begin = 1 if messages[0]["role"] == SYSTEM else 0
    for number, message in enumerate(messages[begin:]):
        wanted = (USER, ASSISTANT)[number % 2]
        if message["role"] != wanted:
            raise ValueError(
                f"has a message, number {number + begin + 1}, of the role {message['role']} where {wanted} must speak:"
                f" {USER} and {ASSISTANT} take turns, {USER} first"
            )
    return messages


def _checked(number: int, message: Any) -> Message:
    if not isinstance(message, dict) or not isinstance(message.get("role"), str):
        raise ValueError(f'has a message, number {number}, that is no {{"role": ..., "content": ...}}')
    if message["role"] not in (SYSTEM, USER, ASSISTANT):
        raise ValueError(
            f"has a message, number {number}, of the unknown role {message['role']!r}; roles are {SYSTEM}, {USER} and"
            f" {ASSISTANT}"
        )
    try:
        return {"role": message["role"], "content": check_text(message.get("content"))}
    except ValueError as error:
        raise ValueError(f"has a message, number {number}, that {error}") from None


def messages_of(row: Row) -> list[Message]:
    """The messages of a row, which may be a prompt and its reply."""
    if "messages" in row.values:
        return row.values["messages"]
    return [
        {"role": USER, "content": row.values["prompt"]},
        {"role": ASSISTANT, "content": row.values["reply"]},
    ]


@dataclass(frozen=True)
class Dialogue(Task):
    """Each row is a dialogue, of which the assistant's messages are learnt, each token by those before it.

    What is trained gives, for each sequence of dialogues, the sums of cross-entropy, of right guesses and of guesses,
    float32 (sequences, 3); what answers writes a reply to a prompt.
    """

    fields: tuple[str, ...] = ("prompt",)
    monitor: str = "perplexity"
    name: str = "dialogue"
    epoch_scores = ("perplexity", "token_accuracy")
    example_unit = "sequences"
    answered_at_once = 256
    display_fields = ("reply",)
    reads_all_words = True

    def columns(self, settings: "DialogueSettings") -> list[Column]:
        reply = Column("reply", REPLY_ALIASES, check_text, getattr(settings, "reply_column", None), "--reply-column")
        prompt = Column(
            "prompt", PROMPT_ALIASES, check_text, getattr(settings, "prompt_column", None), "--prompt-column"
        )
        pair = (prompt, reply)
        named = getattr(settings, "messages_column", None)
        # Who names the column of the prompts or of the replies has no messages.
        if not named and any(column.column for column in pair):
            return list(pair)
        instead = () if named else pair
        return [Column("messages", MESSAGES_ALIASES, check_messages, named, "--messages-column", instead=instead)]

    def text_columns(self, settings: "DialogueSettings | None" = None) -> list[Column]:
        """The prompts, which may be messages: the dialogue up to the reply."""
        named = getattr(settings, "prompt_column", None) or getattr(settings, "text_column", None)
        aliases = (*PROMPT_ALIASES, "messages", *MESSAGES_ALIASES)
        return [Column("prompt", aliases, check_prompt, named, "--prompt-column")]

    def training_inputs(self, row: Row) -> tuple[str, ...]:
        """The whole dialogue, as JSON."""
        return (json.dumps(messages_of(row), ensure_ascii=False),)

    def prediction_inputs(self, row: Row) -> tuple[str, ...]:
        """The user's first message."""
        return (next(message["content"] for message in messages_of(row) if message["role"] == USER),)

    def group_key(self, row: Row) -> str:
        return self.prediction_inputs(row)[0]

    def labels(self, rows: Sequence[Row], source: str, settings: "DialogueSettings") -> list[str]:
        return []

    def targets(self, rows: Sequence[Row], labels: Sequence[str], source: str) -> "np.ndarray":
        """Nothing: a dialogue is its own target. Zeros, int32 (rows,)."""
        import numpy as np

        return np.zeros(len(rows), "int32")

    def model_arguments(self, labels: Sequence[str]) -> dict[str, Any]:
        return {}

    def encode(self, preprocessor: Any, inputs: Sequence[tuple[str, ...]]) -> "PackedDialogues":
        dialogues = [json.loads(text) for (text,) in inputs]
        return preprocessor.encode(dialogues, seed=PACKING_SEED)

    def token_targets(self, tokens: "PackedDialogues", targets: "np.ndarray") -> "TokenTargets":
        """Which tokens count: 0 for those of a reply, -1 for others."""
        import numpy as np

        from tfhub_ft.data.windows import TokenTargets

        return TokenTargets(np.where(tokens.learnt, 0, -1).astype("int32"), tokens.starts)

    def compile_arguments(self, settings: "DialogueSettings", targets: "np.ndarray") -> dict[str, Any]:
        from tfhub_ft.tasks.losses import GuessAccuracy, GuessedCrossEntropy

        return {"loss": GuessedCrossEntropy(), "metrics": [GuessAccuracy(name="token_accuracy")]}

    def scorer(self, model: "keras.Model") -> "Callable[[PackedDialogues], np.ndarray]":
        """A function that returns the three sums of each sequence, float32 (sequences, 3).

        The matrix products are computed in the precision "auto": in float32 a language model would take several times
        as long, for the same perplexity to three digits.
        """
        from tfhub_ft.models.forward import logits_function
        from tfhub_ft.utils.precision import matrix_products_in, resolve_precision

        network = model.get_layer("token_model")
        sums_of = logits_function(network, batch_size=SCORED_AT_ONCE, scoring=True)

        def score(tokens: "PackedDialogues") -> "np.ndarray":
            with matrix_products_in(resolve_precision("auto"), network):
                return sums_of(tokens)

        return score

    def metrics(
        self, logits: "np.ndarray", targets: "np.ndarray", labels: Sequence[str], decision: dict[str, Any]
    ) -> dict[str, Any]:
        """{"rows", "sequences", "reply_tokens", "token_accuracy", "perplexity"}; tokens are those of replies."""
        from tfhub_ft.metrics.scores import guess_metrics

        count, accuracy, perplexity = guess_metrics(logits)
        own = {"reply_tokens": count, "token_accuracy": accuracy, "perplexity": perplexity}
        return {"rows": len(targets), "sequences": len(logits), **own}

    def intervals(
        self, logits: "np.ndarray", targets: "np.ndarray", labels: Sequence[str], decision: dict[str, Any]
    ) -> dict[str, tuple[float, float]]:
        from tfhub_ft.metrics.intervals import guess_intervals

        return guess_intervals(logits, "token_accuracy")

    def generation_evaluator(self, model: "keras.Model", rows: Sequence[Row], seed: int) -> "ReplyJudge":
        from tfhub_ft.language_models.evaluation import ReplyJudge

        return ReplyJudge(model, rows, seed=seed)

    def report(self, scored: "Scored") -> list[Any]:
        from tfhub_ft.evaluation.report.span_report import of_written_replies

        return of_written_replies(scored)

    def answers(self, logits: Any, labels: Sequence[str], decision: dict[str, Any]) -> list[dict[str, Any]]:
        """Replies are written, not read off logits: {"reply"} of each of these texts."""
        return [{"reply": reply} for reply in logits]

    def decode_serving_outputs(
        self,
        outputs: dict[str, "np.ndarray"],
        rows: Sequence[tuple[str, ...]],
        labels: Sequence[str],
        decision: dict[str, Any],
    ) -> list[dict[str, Any]]:
        return self.answers([reply.decode() for reply in outputs["reply"]], labels, decision)

    def make_predict_fn(
        self, model: "keras.Model", labels: Sequence[str], decision: dict[str, Any]
    ) -> Callable[[Sequence[tuple[str, ...]]], list[dict[str, Any]]]:
        """{"reply"} of each prompt, a text or messages: the likeliest tokens, up to 128, or half of the window."""
        from tfhub_ft.language_models.generation import ReplyWriter, Sampling

        writer = ReplyWriter(model)
        sampling = Sampling(max_tokens=reply_tokens(writer.window))

        def answer(rows: Sequence[tuple[str, ...]]) -> list[dict[str, Any]]:
            dialogues = [p if isinstance(p, list) else [{"role": USER, "content": p}] for (p,) in rows]
            return self.answers(writer.write(dialogues, sampling), labels, decision)

        return answer


def reply_tokens(window: int) -> int:
    """The most tokens of a reply, where nobody says how many, of a model that reads so many tokens of a dialogue."""
    return min(REPLY_TOKENS, window // 2)
