"""Dialogues as the token ids that a causal language model reads: its chat template and its tokenizer, as a layer."""

import re
from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property
from typing import Any

import keras

from tfhub_ft.encoders.text_layer import TextLayer, flat
from tfhub_ft.language_models.chat_template import (
    ASSISTANT,
    MARK,
    SYSTEM,
    USER,
    Message,
    Turn,
    begin_of_reply,
    turns_of,
)
from tfhub_ft.language_models.packing import PackedDialogues, packed
from tfhub_ft.utils.devices import pin_to_cpu
from tfhub_ft.utils.errors import InputError, RowError

INPUTS = ("token_ids", "dialogue", "learnt")
AT_ONCE = 2048
Tokens = tuple[list[int], list[bool]]


@keras.saving.register_keras_serializable("tfhub_ft")
class DialoguePreprocessor(TextLayer):
    """Prompts and replies as token ids, written by a chat template.

    What a template writes around messages may be special tokens; a message never is: one that holds such a token is
    refused, so that nobody can end a turn by writing so.

    Args:
        tokenizer: a byte-pair or SentencePiece tokenizer of KerasHub, from strings to ragged token ids.
        template: the chat template, in Jinja's language.
        specials: tokens that only a template may write.
        system: the system prompt of dialogues that have none; None leaves it to the template.
        seq_length: the most tokens of a dialogue.

    Call arguments:
        texts: a list of two batches of texts, prompts and replies; see `TextLayer`.

    Returns:
        {"token_ids", "dialogue", "learnt"}, each int32 (batch, length), as `LanguageModel` takes them.

    Example:
        preprocessor.encode([[{"role": "user", "content": "Hello?"}, {"role": "assistant", "content": "Hi!"}]])
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

    def build(self, shapes: Any = None) -> None:
        self.built = True

    @pin_to_cpu
    def call(self, texts: Sequence[Any]) -> dict[str, Any]:
        import tensorflow as tf

        prompts, replies = map(flat, texts)
        before, replies = self.prompt_tokens(prompts), self.tokenize_in_graph(replies)
        replies = tf.concat([replies, tf.fill([replies.nrows(), 1], self.end_id)], 1)
        token_ids = tf.concat([before, replies], 1)[:, -self.seq_length :]
        learnt = tf.concat([tf.zeros_like(before), tf.ones_like(replies)], 1)[:, -self.seq_length :]
        return {
            "token_ids": token_ids.to_tensor(),
            "dialogue": tf.ones_like(token_ids).to_tensor(),
            "learnt": learnt.to_tensor(),
        }

    def compute_output_spec(self, texts: Sequence[Any]) -> dict[str, keras.KerasTensor]:
        return {name: keras.KerasTensor((texts[0].shape[0], None), dtype="int32", name=name) for name in INPUTS}

    @pin_to_cpu
    def prompt_tokens(self, prompts: Any, room: Any = None) -> Any:
        """The token ids of prompts, as a graph makes them.

        Args:
            prompts: string (batch,); special tokens in them are read as spaces.
            room: of a prompt that leaves no token of `seq_length` free the front is left out, until so many are free,
                int32 (batch,); None leaves nothing out.

        Returns:
            The ids up to where the replies begin, int32 (batch, ragged).
        """
        import tensorflow as tf

        before, behind = self.around_prompts
        ids = self.tokenize_in_graph(prompts)
        if room is not None:
            most, lengths = self.seq_length - len(before) - len(behind), tf.cast(ids.row_lengths(), tf.int32)
            excess = tf.where(lengths < most, 0, lengths - most + room)
            ids = tf.ragged.boolean_mask(ids, tf.ragged.range(lengths) >= excess[:, None])

        def repeated(some: list[int]) -> Any:
            return tf.RaggedTensor.from_tensor(tf.tile(tf.constant([some], tf.int32), [tf.shape(prompts)[0], 1]))

        return tf.concat([repeated(before), ids, repeated(behind)], 1)

    @cached_property
    def around_prompts(self) -> tuple[list[int], list[int]]:
        """The token ids that the template writes before a prompt, and between it and its reply."""
        *system, turn = turns_of(self.template, [{"role": USER, "content": MARK}], self.system)
        before = [part for each in system for part in each[1:]] + [turn.head]
        after = [turn.tail, begin_of_reply(self.template)]
        return sum(self.ids_of(before), []), sum(self.ids_of(after), [])

    @cached_property
    def end_id(self) -> int:
        """The token that ends a reply."""
        pair = [{"role": USER, "content": MARK}, {"role": ASSISTANT, "content": MARK}]
        (ids,) = self.ids_of([turns_of(self.template, pair)[-1].tail])
        if not ids:
            raise InputError("the model's chat template ends no reply: nothing stands behind an assistant's message")
        return ids[0]

    @cached_property
    def tokenize_in_graph(self) -> Any:
        """From messages, string (batch,), to their token ids, int32 (batch, ragged); KerasHub gives lists outside.

        Special tokens are read as spaces: only a template may write them.
        """
        import tensorflow as tf

        special = "|".join(re.escape(token) for token in sorted(self.specials, key=len, reverse=True))

        def tokenize(messages: Any) -> Any:
            return self.tokenizer(tf.strings.regex_replace(messages, special, " ") if special else messages)

        return tf.function(tokenize, autograph=False)

    @pin_to_cpu
    def ids_of(self, texts: Sequence[str]) -> list[list[int]]:
        """The token ids of texts, at least one."""
        import tensorflow as tf

        # In a graph, KerasHub's tokenizers return tensors instead of numbers.
        with tf.init_scope():
            return [list(map(int, ids)) for ids in self.tokenizer(list(texts))]

    def prompt_ids(self, messages: Sequence[Message], *, room: int = 1, row: int = 0) -> list[int]:
        """The token ids of a dialogue up to where the assistant's next message begins.

        Args:
            messages: {"role", "content"} each, the last one the user's.
            room: tokens that are left free of `seq_length`: what is too long is cut from the front by whole turns. Of
                the last turn alone it is enough that it leaves one.
            row: which dialogue it is, for an error.

        Raises:
            RowError: the last turn alone is too long, or a message holds a special token.
        """
        (begin,) = self.ids_of([begin_of_reply(self.template)])
        most = self.seq_length - len(begin)
        return [*self._fitted(messages, most - room, row, at_most=most - 1)[0], *begin]

    def encode(self, dialogues: Sequence[Sequence[Message]], *, seed: int | None = None) -> PackedDialogues:
        """The token ids of dialogues, too long ones cut from the front by whole turns.

        Args:
            dialogues: messages, {"role", "content"} each; the assistant's are to be predicted, with the token that
                ends each of them.
            seed: of the order in which they are packed into sequences of `seq_length`; None packs none.

        Raises:
            RowError: a dialogue cannot be written, or its last turns alone are too long.
        """
        written = []
        for start in range(0, len(dialogues), AT_ONCE):
            some = [dialogues[number] for number in range(start, min(start + AT_ONCE, len(dialogues)))]
            written += self._written(some, start)
        cut = sum(is_cut for _, is_cut in written)
        return replace(packed([tokens for tokens, _ in written], length=self.seq_length, seed=seed), cut=cut)

    def _written(self, dialogues: Sequence[Sequence[Message]], first: int) -> list[tuple[Tokens, bool]]:
        """The tokens of some dialogues, and whether they are cut; equal texts are tokenized once."""
        all_turns = [self._turns(messages, first + number) for number, messages in enumerate(dialogues)]
        texts = sorted({text for turns in all_turns for turn in turns for text in turn[1:]})
        known = dict(zip(texts, self.ids_of(texts), strict=True))
        written = []
        for number, (messages, turns) in enumerate(zip(dialogues, all_turns, strict=True)):
            tokens = _tokens(turns, known)
            fits = len(tokens[0]) <= self.seq_length
            written.append((tokens if fits else self._fitted(messages, self.seq_length, first + number), not fits))
        return written

    def _fitted(self, messages: Sequence[Message], most: int, row: int, *, at_most: int | None = None) -> Tokens:
        """The tokens of a dialogue without the first of its turns, as far as it must be.

        Where the last ones alone are more than `most`, they may be `at_most`.
        """
        while True:
            turns = self._turns(messages, row)
            texts = [text for turn in turns for text in turn[1:]]
            tokens = _tokens(turns, dict(zip(texts, self.ids_of(texts), strict=True)))
            if len(tokens[0]) <= most:
                return tokens
            if (shorter := _without_first_turns(messages)) is None:
                most = at_most or most
                if len(tokens[0]) <= most:
                    return tokens
                raise RowError(
                    row,
                    f"is too long: with what the chat template writes around it there are {len(tokens[0]):,} tokens, of"
                    f" which --seq-length {self.seq_length} leaves {most:,}; raise that, or shorten the text",
                )
            messages = shorter

    def _turns(self, messages: Sequence[Message], row: int) -> list[Turn]:
        for message in messages:
            if special := next((each for each in self.specials if each in message["content"]), None):
                raise RowError(row, f"holds {special}, which only the chat template may write; take it out")
        try:
            return turns_of(self.template, messages, self.system)
        except InputError as error:
            raise RowError(row, str(error)) from None

    def get_config(self) -> dict[str, Any]:
        own = {name: getattr(self, name) for name in ("template", "specials", "system", "seq_length")}
        return {**super().get_config(), "tokenizer": keras.saving.serialize_keras_object(self.tokenizer), **own}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "DialoguePreprocessor":
        import keras_hub  # noqa: F401  its classes register themselves

        return cls(**{**config, "tokenizer": keras.saving.deserialize_keras_object(config["tokenizer"])})


def _tokens(turns: Sequence[Turn], known: dict[str, list[int]]) -> Tokens:
    """The token ids of turns, and which of them are to be predicted."""
    ids, learnt = [], []
    for turn in turns:
        head, content, tail = (known[text] for text in turn[1:])
        ids += [*head, *content, *tail]
        said = turn.role == ASSISTANT
        learnt += [False] * len(head) + [said] * len(content) + [said and place == 0 for place in range(len(tail))]
    return ids, learnt


def _without_first_turns(messages: Sequence[Message]) -> list[Message] | None:
    """A dialogue without its first turns, up to the user's second one; None where there is none."""
    system = [message for message in messages[:1] if message["role"] == SYSTEM]
    rest = messages[len(system) :]
    place = next((i for i, message in enumerate(rest) if i and message["role"] == USER), None)
    return None if place is None else [*system, *rest[place:]]
