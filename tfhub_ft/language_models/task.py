"""The task of dialogues: predict the assistant's messages."""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tfhub_ft.data.columns import Column, check_text
from tfhub_ft.data.rows import Row
from tfhub_ft.language_models.chat_template import ASSISTANT, SYSTEM, USER, Message
from tfhub_ft.tasks.base import Arrays, Prediction, Segments, Task, Thresholds
from tfhub_ft.tasks.retrieval import PROMPT_ALIASES, REPLY_ALIASES

if TYPE_CHECKING:
    import keras
    import numpy as np

    from tfhub_ft.data.windows import TokenTargets
    from tfhub_ft.language_models.dialogue_preprocessor import DialoguePreprocessor
    from tfhub_ft.language_models.packing import PackedDialogues
    from tfhub_ft.metrics import Scores
    from tfhub_ft.settings import Settings

# Neighboring rows of a file are often similar, so dialogues are packed in random order.
PACKING_SEED = 0
SCORING_BATCH_SIZE = 8
REPLY_TOKENS = 128
MESSAGES_ALIASES = ("conversation", "conversations", "dialogue", "dialog")


def check_messages(value: object) -> list[Message]:
    """Return a list of messages, or its JSON text, as messages if user and assistant take turns, the assistant last."""
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except ValueError:
            raise ValueError("is a text, not a list of messages") from None
    return _alternating_messages(value, ASSISTANT)


def check_prompt(value: object) -> str | list[Message]:
    """Return a text, or a list of messages if user and assistant take turns, the user last."""
    return _alternating_messages(value, USER) if isinstance(value, list) else check_text(value)


def _alternating_messages(value: object, last_role: str) -> list[Message]:
    """Return messages, of which the first may have the role system, or raise a ValueError."""
    if not isinstance(value, list) or not value:
        raise ValueError('is not a list of messages, {"role": ..., "content": ...} each')
    messages = [_check_message(number, message) for number, message in enumerate(value, 1)]
    first = 1 if messages[0]["role"] == SYSTEM else 0
    for number, message in enumerate(messages[first:]):
        expected = (USER, ASSISTANT)[number % 2]
        if message["role"] != expected:
            raise ValueError(
                f"has the role {message['role']} in message {number + first + 1}; expected {expected}: {USER} and"
                f" {ASSISTANT} take turns, {USER} first"
            )
    if (role := messages[-1]["role"]) != last_role:
        raise ValueError(f"has the role {role} in the last message; expected {last_role}")
    return messages


def _check_message(number: int, message: object) -> Message:
    if not isinstance(message, dict) or not isinstance(role := message.get("role"), str):
        raise ValueError(f'has an invalid message {number}; expected {{"role": ..., "content": ...}}')
    if role not in (SYSTEM, USER, ASSISTANT):
        raise ValueError(f"has the role {role!r} in message {number}; expected {SYSTEM}, {USER} or {ASSISTANT}")
    try:
        return {"role": role, "content": check_text(message.get("content"))}
    except ValueError as error:
        raise ValueError(f"has an invalid message {number}: it {error}") from None


def messages_of(row: Row) -> list[Message]:
    """Return the messages of a row of messages, or of a prompt and its reply."""
    if "messages" in row.values:
        return row.values["messages"]
    return [
        {"role": USER, "content": row.values["prompt"]},
        {"role": ASSISTANT, "content": row.values["reply"]},
    ]


@dataclass(frozen=True)
class Dialogue(Task):
    """Each row is a dialogue, whose assistant messages the model learns to predict token by token.

    The trained model returns the sums of cross-entropy, of correct predictions and of predictions of each sequence of
    dialogues, float32 (sequences, 3). A prediction is a generated reply.

    Args:
        fields: Text segments of a row that a prediction reads.
        monitor: Validation score that selects the best epoch.
        name: Name of the task in exports.

    Example:
        recipe = dataclasses.replace(dialogue.RECIPE, task=Dialogue(monitor="token_accuracy"))
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
        """Return the columns of messages, or of prompts and replies; unlabeled prompts may be messages, too."""
        named = {name: getattr(settings, f"{name}_column", None) for name in ("messages", "prompt", "reply", "text")}
        if not labeled:
            aliases = (*PROMPT_ALIASES, "messages", *MESSAGES_ALIASES)
            return [Column("prompt", aliases, check_prompt, named["prompt"] or named["text"], "--prompt-column")]
        pair = (
            Column("prompt", PROMPT_ALIASES, check_text, named["prompt"], "--prompt-column"),
            Column("reply", REPLY_ALIASES, check_text, named["reply"], "--reply-column"),
        )
        # Without a messages column, named prompt or reply columns select pairs.
        if not named["messages"] and (named["prompt"] or named["reply"]):
            return list(pair)
        instead = () if named["messages"] else pair
        option = "--messages-column"
        return [Column("messages", MESSAGES_ALIASES, check_messages, named["messages"], option, instead=instead)]

    def training_inputs(self, row: Row) -> Segments:
        """Return the dialogue as JSON."""
        return (json.dumps(messages_of(row), ensure_ascii=False),)

    def prediction_inputs(self, row: Row) -> Segments:
        """Return the user's first message."""
        return (next(message["content"] for message in messages_of(row) if message["role"] == USER),)

    def labels(self, rows: Sequence[Row], source: str, settings: "Settings") -> list[str]:
        return []

    def targets(self, rows: Sequence[Row], labels: Sequence[str], source: str) -> "np.ndarray":
        """Return zeros, int32 (rows,): the targets are the tokens of the dialogue."""
        import numpy as np

        return np.zeros(len(rows), "int32")

    def encode(self, preprocessor: "DialoguePreprocessor", inputs: Sequence[Segments]) -> "PackedDialogues":
        return preprocessor.encode([json.loads(text) for (text,) in inputs], seed=PACKING_SEED)

    def token_targets(self, tokens: "PackedDialogues", targets: "np.ndarray") -> "TokenTargets":
        """Return 0 for each token to predict, and -1 for others."""
        import numpy as np

        from tfhub_ft.data.windows import TokenTargets

        return TokenTargets(np.where(tokens.is_target, 0, -1).astype("int32"), tokens.starts)

    def make_score_fn(
        self, model: "keras.Model", precision: str = "float32"
    ) -> "Callable[[PackedDialogues], np.ndarray]":
        """Return a function from `PackedDialogues` to the three sums of each sequence, float32 (sequences, 3)."""
        from tfhub_ft.models.forward import make_logits_fn

        network = model.get_layer("token_model")
        return make_logits_fn(network, precision=precision, batch_size=SCORING_BATCH_SIZE, progress_bar=True)

    def metrics(
        self,
        logits: "np.ndarray",
        targets: "np.ndarray",
        labels: Sequence[str],
        thresholds: Thresholds,
        *,
        intervals: bool = False,
    ) -> "Scores":
        """Return {"rows", "sequences", "reply_tokens", "token_accuracy", "perplexity"}."""
        from tfhub_ft.metrics.scores import guess_scores

        counts = {"rows": len(targets), "sequences": len(logits)}
        return counts | guess_scores(logits, count="reply_tokens", accuracy="token_accuracy", intervals=intervals)

    def decode_serving_outputs(
        self, outputs: Arrays, rows: Sequence[Segments], labels: Sequence[str], thresholds: Thresholds
    ) -> list[Prediction]:
        """Return {"reply"} for each prompt."""
        return [{"reply": reply.decode()} for reply in outputs["reply"]]


def default_max_tokens(window: int) -> int:
    """Return the default maximum number of tokens of a reply: 128, or half of the window."""
    return min(REPLY_TOKENS, window // 2)
