"""A Keras layer that turns dialogues into token ids."""

import re
from collections.abc import Callable, Iterable, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

import keras

from tfhub_ft.encoders.text_layer import TextLayer, flat
from tfhub_ft.language_models.chat_template import (
    ASSISTANT,
    PLACEHOLDER,
    SYSTEM,
    USER,
    Message,
    Turn,
    render_turns,
    reply_start,
)
from tfhub_ft.language_models.packing import INPUTS, PackedDialogues, Tokens, pack
from tfhub_ft.utils.devices import pin_to_cpu
from tfhub_ft.utils.errors import InputError, RowError

if TYPE_CHECKING:
    import tensorflow as tf

DIALOGUES_AT_ONCE = 2048


@keras.saving.register_keras_serializable("tfhub_ft")
class DialoguePreprocessor(TextLayer):
    """Turns prompts and replies into the inputs of `LanguageModel`, by a chat template and a tokenizer.

    Only the template may write special tokens. Messages that contain one are refused, or read with a space in its
    place, so that a user cannot end a turn.

    Args:
        tokenizer: A byte-pair or SentencePiece tokenizer of KerasHub.
        template: The chat template, in Jinja's language.
        specials: Tokens that only a template may write.
        system: System prompt of dialogues without one; None leaves it to the template.
        seq_length: Maximum number of tokens of a dialogue.

    Call arguments:
        texts: A list of two batches of texts, prompts and replies; see `TextLayer`.
    """

    def __init__(
        self,
        tokenizer: Any,
        *,
        template: str,
        specials: Sequence[str],
        system: str | None = None,
        seq_length: int = 512,
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        self.tokenizer, self.template, self.specials = tokenizer, template, list(specials)
        self.system, self.seq_length = system, seq_length

    @property
    def truncation(self) -> str:
        """What truncated dialogues are, as warnings describe it."""
        return f"longer than --seq-length {self.seq_length} tokens; the rest of their text is not read"

    def build(self, input_shape: object = None) -> None:
        self.built = True

    @pin_to_cpu
    def call(self, texts: "Sequence[tf.Tensor]") -> "dict[str, tf.Tensor]":
        import tensorflow as tf

        prompts, replies = map(flat, texts)
        before, replies = self.prompt_tokens(prompts), self.tokenize_in_graph(replies)
        replies = tf.concat([replies, tf.fill([replies.nrows(), 1], self.end_id)], 1)
        token_ids = tf.concat([before, replies], 1)[:, -self.seq_length :]
        is_target = tf.concat([tf.zeros_like(before), tf.ones_like(replies)], 1)[:, -self.seq_length :]
        values = (token_ids, tf.ones_like(token_ids), is_target)
        return {name: value.to_tensor() for name, value in zip(INPUTS, values, strict=True)}

    def compute_output_spec(self, texts: Sequence[keras.KerasTensor]) -> dict[str, keras.KerasTensor]:
        return {name: keras.KerasTensor((texts[0].shape[0], None), dtype="int32", name=name) for name in INPUTS}

    @pin_to_cpu
    def prompt_tokens(self, prompts: "tf.Tensor", room: "tf.Tensor | None" = None) -> "tf.RaggedTensor":
        """Return the token ids of prompts, string (batch,), up to where the replies begin, by TensorFlow operations.

        Prompts that fill the window lose their first tokens until `room` tokens, int32 (batch,), are free; None keeps
        all tokens.
        """
        import tensorflow as tf

        before, after = self.around_prompts
        ids = self.tokenize_in_graph(prompts)
        if room is not None:
            limit, lengths = self.seq_length - len(before) - len(after), tf.cast(ids.row_lengths(), tf.int32)
            excess = tf.where(lengths < limit, 0, lengths - limit + room)
            ids = tf.ragged.boolean_mask(ids, tf.ragged.range(lengths) >= excess[:, None])
        rows = tf.shape(prompts)[0]
        before, after = (tf.tile(tf.constant([part], tf.int32), tf.stack([rows, 1])) for part in (before, after))
        return tf.concat([before, ids, after], 1)  # pyright: ignore[reportArgumentType, reportCallIssue]

    @cached_property
    def around_prompts(self) -> tuple[list[int], list[int]]:
        """The token ids that the template writes before a prompt, and between it and its reply."""
        *system, turn = render_turns(self.template, [{"role": USER, "content": PLACEHOLDER}], self.system)
        before = [text for each in system for text in each[1:]] + [turn.head]
        after = [turn.tail, reply_start(self.template)]
        return sum(self.tokenize(before), []), sum(self.tokenize(after), [])

    @cached_property
    def end_id(self) -> int:
        """The id of the token that ends a reply."""
        pair = [{"role": USER, "content": PLACEHOLDER}, {"role": ASSISTANT, "content": PLACEHOLDER}]
        (ids,) = self.tokenize([render_turns(self.template, pair)[-1].tail])
        if not ids:
            raise InputError("the model's chat template writes no end token after an assistant's message")
        return ids[0]

    @cached_property
    def tokenize_in_graph(self) -> "Callable[[tf.Tensor], tf.RaggedTensor]":
        """A function from messages, string (batch,), to token ids; special tokens are read as spaces."""
        import tensorflow as tf

        special = "|".join(re.escape(token) for token in sorted(self.specials, key=len, reverse=True))

        # Outside of graphs, KerasHub's tokenizers return lists.
        @tf.function(autograph=False)
        def tokenize(messages):
            return self.tokenizer(tf.strings.regex_replace(messages, special, " ") if special else messages)

        return tokenize

    @pin_to_cpu
    def tokenize(self, texts: Sequence[str]) -> list[list[int]]:
        """Return the token ids of texts."""
        import tensorflow as tf

        # In a graph, KerasHub's tokenizers return tensors.
        with tf.init_scope():
            return [list(map(int, ids)) for ids in self.tokenizer(list(texts))] if texts else []

    def prompt_ids(self, messages: Sequence[Message], *, room: int = 1, row: int = 0) -> list[int]:
        """Return the token ids of a dialogue up to where the assistant's next message begins.

        The first turns are dropped until `room` tokens of `seq_length` are free; the last turn may leave only one.

        Raises:
            RowError: The last turn alone is too long, or a message contains a special token.
        """
        (start,) = self.tokenize([reply_start(self.template)])
        limit = self.seq_length - len(start)
        return [*self._fit(messages, limit - room, row, last_turn_limit=limit - 1)[0], *start]

    def encode(self, dialogues: Sequence[Sequence[Message]], *, seed: int | None = None) -> PackedDialogues:
        """Return the tokens of dialogues; the targets are the assistant's messages and the end token after each.

        Dialogues that are too long lose their first turns. `seed` is that of the order in which they are packed into
        sequences; None packs one into each.

        Raises:
            RowError: The template rejects a dialogue, or its last turns alone are too long.
        """
        tokens_by_dialogue, truncated = [], 0
        for start in range(0, len(dialogues), DIALOGUES_AT_ONCE):
            some = dialogues[start : start + DIALOGUES_AT_ONCE]
            turns_by_dialogue = [self._turns(messages, row) for row, messages in enumerate(some, start)]
            ids_by_text = self._ids_by_text(turn for turns in turns_by_dialogue for turn in turns)
            for row, turns in enumerate(turns_by_dialogue, start):
                tokens = _tokens(turns, ids_by_text)
                if len(tokens[0]) > self.seq_length:
                    tokens = self._fit(dialogues[row], self.seq_length, row)
                    truncated += 1
                tokens_by_dialogue.append(tokens)
        return pack(tokens_by_dialogue, length=self.seq_length, seed=seed, truncated=truncated)

    def _ids_by_text(self, turns: Iterable[Turn]) -> dict[str, list[int]]:
        texts = sorted({text for turn in turns for text in turn[1:]})
        return dict(zip(texts, self.tokenize(texts), strict=True))

    def _fit(self, messages: Sequence[Message], limit: int, row: int, *, last_turn_limit: int | None = None) -> Tokens:
        """Return the tokens of a dialogue without as many of its first turns as exceed the limit."""
        while True:
            turns = self._turns(messages, row)
            tokens = _tokens(turns, self._ids_by_text(turns))
            shorter = _without_first_turns(messages)
            if shorter is None:
                limit = last_turn_limit or limit
            if len(tokens[0]) <= limit:
                return tokens
            if shorter is None:
                raise RowError(
                    row,
                    f"is too long: {len(tokens[0]):,} tokens with the chat template, where --seq-length"
                    f" {self.seq_length} leaves room for {limit:,}; raise --seq-length or shorten the text",
                )
            messages = shorter

    def _turns(self, messages: Sequence[Message], row: int) -> list[Turn]:
        for message in messages:
            if special := next((token for token in self.specials if token in message["content"]), None):
                raise RowError(row, f"contains {special}, which only the chat template may write; remove it")
        try:
            return render_turns(self.template, messages, self.system)
        except InputError as error:
            raise RowError(row, str(error)) from None

    def get_config(self) -> dict[str, Any]:
        config = {name: getattr(self, name) for name in ("template", "specials", "system", "seq_length")}
        return {**super().get_config(), "tokenizer": keras.saving.serialize_keras_object(self.tokenizer), **config}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "DialoguePreprocessor":
        import keras_hub  # noqa: F401  its classes register themselves

        return cls(**{**config, "tokenizer": keras.saving.deserialize_keras_object(config["tokenizer"])})


def _tokens(turns: Sequence[Turn], ids_by_text: dict[str, list[int]]) -> Tokens:
    """Return the token ids of turns, and which of them are targets."""
    ids, is_target = [], []
    for turn in turns:
        head, content, tail = (ids_by_text[text] for text in turn[1:])
        ids += [*head, *content, *tail]
        is_reply = turn.role == ASSISTANT
        is_target += [False] * len(head) + [is_reply] * len(content) + [is_reply and i == 0 for i in range(len(tail))]
    return ids, is_target


def _without_first_turns(messages: Sequence[Message]) -> list[Message] | None:
    """Return a dialogue from the user's second message on; None without one."""
    system = [message for message in messages[:1] if message["role"] == SYSTEM]
    rest = messages[len(system) :]
    start = next((i for i, message in enumerate(rest) if i and message["role"] == USER), None)
    return None if start is None else [*system, *rest[start:]]
