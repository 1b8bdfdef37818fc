"""Replies, written token by token with a cache of keys and values."""

import contextlib
import itertools
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import keras
import tensorflow as tf

from tfhub_ft.language_models.chat_template import Message
from tfhub_ft.language_models.compiled_step import CompiledStep
from tfhub_ft.utils.errors import InputError, RowError

AT_ONCE = 16


@dataclass(frozen=True, kw_only=True)
class Sampling:
    """How the next token is chosen.

    Args:
        temperature: 0 takes the likeliest token; above it one is drawn, the more freely the higher.
        top_p: drawn from the likeliest tokens that have this much of the probability together.
        seed: of the draws.
        max_tokens: the most tokens of a reply; more than half of the window only where the dialogue leaves them.

    Raises:
        InputError: a value is out of its range.

    Reference:
        Holtzman et al. 2020, https://arxiv.org/abs/1904.09751 (top-p)
    """

    temperature: float = 0.0
    top_p: float = 1.0
    seed: int = 0
    max_tokens: int = 128

    def __post_init__(self) -> None:
        if not self.temperature >= 0:
            raise InputError(f"--temperature {self.temperature}: must be 0 or more")
        if not 0 < self.top_p <= 1:
            raise InputError(f"--top-p {self.top_p}: must be above 0, and at most 1")
        if not 0 <= self.seed < 2**31:
            raise InputError(f"--seed {self.seed}: must be from 0 to {2**31 - 1}")
        if self.max_tokens < 1:
            raise InputError(f"--max-tokens {self.max_tokens}: must be at least 1")


class ReplyWriter:
    """Writes the assistant's next message of dialogues.

    `stream` and `tokens` take the weights as they are at their first reply: train further, and take a new writer.
    A reply ends where the token that ends a turn is chosen, or another special token, which no message can hold.

    Args:
        model: a text-in model that `dialogue_model` made, or that a run keeps.
        least_cache: the tokens that the shortest cache is for. Longer ones are 2, 4, 8 ... times as long, and the first
            reply that needs one waits for its compilation; a token takes the longer, the longer its cache is.

    Attributes:
        window: the most tokens of a dialogue with its reply.
        tokens_per_second: of the last reply of `stream`, from its first token on.

    Example:
        writer = ReplyWriter(Run("runs/dialogue").load_model())
        for part in writer.stream([{"role": "user", "content": "Hello?"}], Sampling(temperature=0.7)):
            print(part, end="")
    """

    def __init__(self, model: keras.Model, least_cache: int = 128):
        self.preprocessor = model.get_layer("preprocessor")
        self.causal_lm = model.get_layer("token_model").get_layer("language_model").causal_lm
        self.window, self._least_cache = self.preprocessor.seq_length, least_cache
        self.end_ids = self._end_ids()
        self._last: tuple[list[int], Any] = ([], None)
        self.tokens_per_second = 0.0

    def _end_ids(self) -> list[int]:
        specials = self.preprocessor.ids_of(self.preprocessor.specials) if self.preprocessor.specials else []
        return sorted({self.preprocessor.end_id, *(ids[0] for ids in specials if len(ids) == 1)})

    def stream(self, messages: Sequence[Message], sampling: Sampling) -> Iterator[str]:
        """Write one reply, and give its text part by part, as it comes.

        Args:
            messages: {"role", "content"} each, the last one the user's. The first turns are left out where all do not
                fit into the window with `max_tokens` of a reply (with half of the window, where that is less).
            sampling: how tokens are chosen.

        Raises:
            InputError: the last message alone fills the window, or a message holds a special token.
        """
        try:
            prompt = self._prompt(messages, sampling)
        except RowError as fault:
            raise InputError(f"a message {fault}") from None
        said = ""
        ids: list[int] = []
        for token in self.tokens(prompt, sampling):
            ids.append(token)
            # A character may be several tokens: half of one is not said yet.
            if not (text := self._text(ids)).endswith("\ufffd"):
                yield text[len(said) :]
                said = text
        if rest := self._text(ids)[len(said) :]:
            yield rest

    def tokens(self, prompt: list[int], sampling: Sampling) -> Iterator[int]:
        """The token ids of the reply to a prompt's token ids, one by one, without the one that ends it.

        What the prompt begins with, as the one before did, is not read again: in a conversation, all but the last turn.
        """
        choice, most = self._choice(sampling, 1), self._most(prompt, sampling)
        read, cache = self._read_before(prompt, self._cache_length(len(prompt) + most))
        ids, first_came = prompt[len(read) :], 0.0
        for number in range(most):
            following = self.following_token if number else self.next_token
            (token,), cache = following(tf.constant([ids]), cache, len(read), [number], *choice)
            read += ids
            self._last = (read, cache)
            now = time.perf_counter()
            first_came = first_came or now
            self.tokens_per_second = number / (now - first_came) if number else 0.0
            ids = [int(token)]
            if ids[0] in self.end_ids:
                return
            yield ids[0]

    def _cache_length(self, tokens: int) -> int:
        """How long a cache for some tokens is: of few lengths, as a program is compiled for each."""
        length = self._least_cache
        while length < tokens:
            length *= 2
        return min(self.window, length)

    def _read_before(self, prompt: list[int], length: int) -> tuple[list[int], Any]:
        """What a prompt begins with that stands in the cache of the last reply, and that cache, made as long."""
        read, cache = self._last
        equal = itertools.takewhile(lambda pair: pair[0] == pair[1], zip(prompt[:-1], read, strict=False))
        count = sum(1 for _ in equal)
        if not count:
            return [], self._empty_cache(1, length)
        # What else stands in it, behind, is masked until it is written over.
        missing = max(0, length - cache.shape[3])
        kept = tf.cast(cache[:, :, :, :length], self.causal_lm.compute_dtype)
        return prompt[:count], tf.pad(kept, [(0, 0)] * 3 + [(0, missing)] + [(0, 0)] * 2)

    def write(self, dialogues: Sequence[Sequence[Message]], sampling: Sampling) -> list[str]:
        """Write a reply to each of many dialogues, several at once.

        Args:
            dialogues: messages, as for `stream`.
            sampling: how tokens are chosen.

        Returns:
            The replies, in order. Each is what `stream` would have written, whatever others stand beside it, but for
            what floating-point numbers are rounded to.

        Raises:
            RowError: of a dialogue, for what is an error for `stream`.
        """
        prompts = [self._prompt(messages, sampling, row) for row, messages in enumerate(dialogues)]
        order = sorted(range(len(prompts)), key=lambda number: len(prompts[number]))
        replies = [""] * len(prompts)
        for start in range(0, len(order), AT_ONCE):
            some = order[start : start + AT_ONCE]
            ragged = tf.ragged.constant([prompts[number] for number in some], dtype=tf.int32)
            ids = self.reply_ids(
                ragged.to_tensor(),
                tf.cast(ragged.row_lengths(), tf.int32),
                tf.constant([self._most(prompts[number], sampling) for number in some]),
                *self._choice(sampling, len(some)),
            )
            for number, row in zip(some, ids.to_list(), strict=True):
                replies[number] = self._text(row)
        return replies

    @cached_property
    def reply_ids(self) -> Any:
        """A tf.function that writes replies to several prompts.

        Its arguments are token ids, int32 (batch, length), how many of each row are its prompt's, int32 (batch,), and,
        for each row, max_tokens, temperature, top_p and seed, int32 or float32 (batch,); it returns the replies' token
        ids without the end, int32 (batch, ragged).
        """
        numbers = [tf.TensorSpec((None,), kind) for kind in (tf.int32, tf.int32, tf.float32, tf.float32, tf.int32)]
        signature = [tf.TensorSpec((None, None), tf.int32), *numbers]
        return tf.function(self._reply_ids, input_signature=signature, autograph=False)

    def _reply_ids(self, prompts: Any, lengths: Any, max_tokens: Any, temperature: Any, top_p: Any, seed: Any) -> Any:
        batch, longest = tf.unstack(tf.shape(prompts))
        ends = lengths + max_tokens
        first, total = tf.reduce_min(lengths), tf.reduce_max(ends)
        logits, cache = self._forward(prompts[:, :first], self._empty_cache(batch, total), 0)
        prompts = tf.pad(prompts, [(0, 0), (0, total - longest)])

        def is_open(place: Any, done: Any, *_: Any) -> Any:
            return ~tf.reduce_all(done) & (place < total)

        def write(place: Any, done: Any, logits: Any, cache: Any, tokens: Any, counts: Any) -> tuple[Any, ...]:
            drawn = self._chosen(logits, temperature, top_p, seed, place - lengths)
            begun = place >= lengths
            token = tf.where(begun, drawn, prompts[:, place])
            ended = tf.reduce_any(token[:, None] == self.end_ids, -1)
            tokens = tokens.write(place - first, token)
            counts = counts.write(place - first, begun & ~done & ~ended)
            done |= begun & (ended | (place + 1 >= ends))
            return (place + 1, done, *self._forward(token[:, None], cache, place), tokens, counts)

        arrays = [tf.TensorArray(kind, 0, True, element_shape=(None,)) for kind in (tf.int32, tf.bool)]
        begin = (first, tf.zeros([batch], tf.bool), logits, cache, *arrays)
        *_, tokens, counts = tf.while_loop(is_open, write, begin, parallel_iterations=1)
        return tf.ragged.boolean_mask(tf.transpose(tokens.stack()), tf.transpose(counts.stack()))

    @cached_property
    def next_token(self) -> Any:
        """A tf.function that chooses the token behind others: one graph, whatever their number and the cache's length.

        Its arguments are token ids, int32 (batch, length); the cache; the place of the first of them in it; how many
        tokens the reply has; and temperature, top_p and seed, (batch,) each. It returns the chosen token ids, int32
        (batch,), and the cache with the given ones.
        """
        spec = self._empty_cache(1, 1).shape
        cache = tf.TensorSpec([None, *spec[1:3], None, *spec[4:]], self.causal_lm.compute_dtype)
        number, share = tf.TensorSpec((None,), tf.int32), tf.TensorSpec((None,), tf.float32)
        ids = tf.TensorSpec((None, None), tf.int32)
        signature = [ids, cache, tf.TensorSpec((), tf.int32), number, share, share, number]
        return tf.function(self._next_token, input_signature=signature, autograph=False)

    def _next_token(
        self, token_ids: Any, cache: Any, place: Any, number: Any, temperature: Any, top_p: Any, seed: Any
    ) -> tuple[Any, Any]:
        logits, cache = self._forward(token_ids, cache, place)
        return self._chosen(logits, temperature, top_p, seed, number), cache

    def following_token(self, token_ids: Any, cache: Any, place: Any, *choice: Any) -> tuple[Any, Any]:
        """What `next_token` gives behind a single token of one dialogue, sooner where the model can be compiled."""
        if not self._compiled_token:
            return self.next_token(token_ids, cache, place, *choice)
        if not isinstance(cache, tf.Variable):
            cache = CompiledStep.cache_of(cache)
        return self._compiled_token(token_ids[0], cache, tf.constant(place), *map(tf.constant, choice)), cache

    @cached_property
    def _compiled_token(self) -> Any:
        if not CompiledStep.can_compile(self.causal_lm):
            return None
        step = CompiledStep(self.causal_lm)

        @tf.function(autograph=False)
        def chosen(token: Any, cache: Any, place: Any, number: Any, *heat: Any) -> Any:
            return self._chosen(step(token, cache, place), *heat, number)

        return chosen

    def _forward(self, token_ids: Any, cache: Any, place: Any) -> tuple[Any, Any]:
        """The logits behind tokens, int32 (batch, length), that stand from a place on, and the cache with them."""
        with _slices_updated_by_tensorflow():
            _, hidden, cache = self.causal_lm.call_with_cache(token_ids, cache, place)
        # Of the last token alone: a vocabulary is wide.
        logits = self.causal_lm.backbone.token_embedding(hidden[:, -1:], reverse=True)
        return tf.cast(logits[:, 0], tf.float32), cache

    def _chosen(self, logits: Any, temperature: Any, top_p: Any, seed: Any, place: Any) -> Any:
        """The next token of each row, int32 (batch,), of logits, float32 (batch, vocabulary).

        What is drawn depends on a row's own seed and the place in its own reply, not on the rows beside it.
        """
        likeliest = tf.argmax(logits, -1, tf.int32)

        def drawn() -> Any:
            heat = tf.where(temperature > 0, temperature, 1.0)
            ordered, ids = tf.math.top_k(logits / heat[:, None], tf.shape(logits)[-1])
            # By its formula: TensorFlow warns of a softmax whose rank it does not know.
            shares = tf.exp(ordered - tf.reduce_logsumexp(ordered, -1, keepdims=True))
            before = tf.cumsum(shares, axis=-1, exclusive=True)
            kept = before < top_p[:, None]
            seeds = tf.stack([seed, place], 1)
            chance = tf.map_fn(
                lambda pair: tf.random.stateless_uniform((), pair), seeds, fn_output_signature=tf.float32
            )
            reached = before <= (chance * tf.reduce_sum(tf.where(kept, shares, 0.0), -1))[:, None]
            number = tf.math.count_nonzero(reached & kept, -1) - 1
            number = tf.maximum(number, 0)
            return tf.where(temperature > 0, tf.gather(ids, number, batch_dims=1), likeliest)

        return tf.cond(tf.reduce_any(temperature > 0), drawn, lambda: likeliest)

    def _empty_cache(self, batch: Any, length: Any) -> Any:
        backbone = self.causal_lm.backbone
        heads = getattr(backbone, "num_query_heads", None) or backbone.num_heads
        kept_heads = getattr(backbone, "num_key_value_heads", heads)
        width = getattr(backbone, "head_dim", None) or backbone.hidden_dim // heads
        shape = [batch, backbone.num_layers, 2, length, kept_heads, width]
        return tf.zeros(shape, self.causal_lm.compute_dtype)

    def _prompt(self, messages: Sequence[Message], sampling: Sampling, row: int = 0) -> list[int]:
        return self.preprocessor.prompt_ids(messages, room=min(sampling.max_tokens, self.window // 2), row=row)

    def _most(self, prompt: list[int], sampling: Sampling) -> int:
        """The most tokens of the reply to a prompt."""
        return min(sampling.max_tokens, self.window - len(prompt))

    def _choice(self, sampling: Sampling, rows: int) -> tuple[Any, Any, Any]:
        """Temperature, top_p and seed, the same for each of some rows."""
        return (
            tf.fill([rows], float(sampling.temperature)),
            tf.fill([rows], float(sampling.top_p)),
            tf.fill([rows], sampling.seed),
        )

    def _text(self, ids: Sequence[int]) -> str:
        return self.preprocessor.tokenizer.detokenize([list(ids)])[0] if ids else ""


@contextlib.contextmanager
def _slices_updated_by_tensorflow() -> Iterator[None]:
    """Within this context KerasHub's cache is written by plain operations of TensorFlow.

    Keras updates slices by an operation of XLA, which TensorFlow compiles anew for each shape, in each process; on a
    CPU that is slower than what it does, and not every server can.
    """
    update, keras.ops.slice_update = keras.ops.slice_update, _with_rows
    try:
        yield
    finally:
        keras.ops.slice_update = update


def _with_rows(inputs: Any, start: Sequence[Any], updates: Any) -> Any:
    """A tensor with some rows along its second axis, from `start` on, replaced."""
    first = start[1]
    behind = inputs[:, first + tf.shape(updates)[1] :]
    return tf.concat([inputs[:, :first], tf.cast(updates, inputs.dtype), behind], 1)
