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
    rows_at_once = 256
    scored_in_float32 = False
    grouped_by = "last input"
    plugin = "tfhub_ft.language_models.plugin"
    display_fields = ("reply",)
    reads_all_words = True

    def columns(self, settings: Any = None, *, labeled: bool = True) -> list[Column]:
        """The prompts alone may be messages: the dialogue up to the reply."""
        named = {name: getattr(settings, f"{name}_column", None) for name in ("messages", "prompt", "reply", "text")}
        if not labeled:
            aliases = (*PROMPT_ALIASES, "messages", *MESSAGES_ALIASES)
            return [Column("prompt", aliases, check_prompt, named["prompt"] or named["text"], "--prompt-column")]
        pair = (
            Column("prompt", PROMPT_ALIASES, check_text, named["prompt"], "--prompt-column"),
            Column("reply", REPLY_ALIASES, check_text, named["reply"], "--reply-column"),
        )
        # A file whose prompt or reply column the user names has no messages.
        if not named["messages"] and (named["prompt"] or named["reply"]):
            return list(pair)
        instead = () if named["messages"] else pair
        option = "--messages-column"
        return [Column("messages", MESSAGES_ALIASES, check_messages, named["messages"], option, instead=instead)]

    def training_inputs(self, row: Row) -> tuple[str, ...]:
        """The whole dialogue, as JSON."""
        return (json.dumps(messages_of(row), ensure_ascii=False),)

    def prediction_inputs(self, row: Row) -> tuple[str, ...]:
        """The user's first message."""
        return (next(message["content"] for message in messages_of(row) if message["role"] == USER),)

    def labels(self, rows: Sequence[Row], source: str, settings: "DialogueSettings") -> list[str]:
        return []

    def targets(self, rows: Sequence[Row], labels: Sequence[str], source: str) -> "np.ndarray":
        """Nothing: a dialogue is its own target. Zeros, int32 (rows,)."""
        import numpy as np

        return np.zeros(len(rows), "int32")

    def encode(self, preprocessor: Any, inputs: Sequence[tuple[str, ...]]) -> "PackedDialogues":
        dialogues = [json.loads(text) for (text,) in inputs]
        return preprocessor.encode(dialogues, seed=PACKING_SEED)

    def token_targets(self, tokens: "PackedDialogues", targets: "np.ndarray") -> "TokenTargets":
        """Which tokens count: 0 for those of a reply, -1 for others."""
        import numpy as np

        from tfhub_ft.data.windows import TokenTargets

        return TokenTargets(np.where(tokens.learnt, 0, -1).astype("int32"), tokens.starts)

    def make_score_fn(
        self, model: "keras.Model", precision: str = "float32"
    ) -> "Callable[[PackedDialogues], np.ndarray]":
        """Return a function that returns the three sums of each sequence, float32 (sequences, 3)."""
        from tfhub_ft.models.forward import make_logits_fn

        network = model.get_layer("token_model")
        return make_logits_fn(network, precision=precision, batch_size=SCORED_AT_ONCE, progress_bar=True)

    def metrics(
        self,
        logits: "np.ndarray",
        targets: "np.ndarray",
        labels: Sequence[str],
        thresholds: dict[str, Any],
        *,
        intervals: bool = False,
    ) -> dict[str, Any]:
        """{"rows", "sequences", "reply_tokens", "token_accuracy", "perplexity"}; tokens are those of replies."""
        from tfhub_ft.metrics.scores import guess_scores

        counts = {"rows": len(targets), "sequences": len(logits)}
        return counts | guess_scores(logits, count="reply_tokens", accuracy="token_accuracy", intervals=intervals)

    def decode_serving_outputs(
        self,
        outputs: dict[str, "np.ndarray"],
        rows: Sequence[tuple[str, ...]],
        labels: Sequence[str],
        thresholds: dict[str, Any],
    ) -> list[dict[str, Any]]:
        """{"reply"} for each prompt."""
        return [{"reply": reply.decode()} for reply in outputs["reply"]]


def reply_tokens(window: int) -> int:
    """The most tokens of a reply, where nobody says how many, of a model that reads so many tokens of a dialogue."""
    return min(REPLY_TOKENS, window // 2)
