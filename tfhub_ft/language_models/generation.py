"""Generate replies token by token with a key/value cache."""

import contextlib
import os
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import keras
import tensorflow as tf

from tfhub_ft.language_models.chat_template import Message
from tfhub_ft.language_models.compiled_step import CompiledStep
from tfhub_ft.utils.errors import InputError, RowError

if TYPE_CHECKING:
    from tfhub_ft.language_models.dialogue_preprocessor import DialoguePreprocessor

BATCH_SIZE = 16


@dataclass(frozen=True, kw_only=True)
class Sampling:
    """Options that select the tokens of a reply.

    Args:
        temperature: Divides the logits before sampling. 0 selects the most likely token.
        top_p: Sample only from the most likely tokens whose probabilities add up to this value.
        seed: Random seed.
        max_tokens: Maximum number of tokens of a reply. It exceeds half of the window only where the dialogue is short.

    Raises:
        InputError: A value is out of range.

    Example:
        sampling = Sampling(temperature=0.7, top_p=0.9, seed=1)

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

    def tensors(self, rows: int) -> tuple[tf.Tensor, ...]:
        """Return temperature, top_p and seed, repeated for each row."""
        values = (float(self.temperature), float(self.top_p), self.seed)
        return tuple(tf.fill([rows], value) for value in values)


class ReplyWriter:
    """Generates the assistant's next message of dialogues.

    A reply ends with the model's end token or another special token. The first reply may copy the weights, so create
    a new writer after further training.

    Args:
        model: Text-in model that `dialogue_model` returned or that a run contains.
        least_cache: Length of the shortest key/value cache, in tokens. Longer caches are 2, 4, 8, ... times as long.
            Each length is compiled when it is first used, and a token takes longer with a longer cache.

    Attributes:
        window: Maximum number of tokens of a dialogue and its reply.
        tokens_per_second: Speed of the last reply of `stream`, measured from its first token on.

    Example:
        writer = ReplyWriter(Run("runs/dialogue").load_model())
        for part in writer.stream([{"role": "user", "content": "Hello?"}], Sampling(temperature=0.7)):
            print(part, end="")
    """

    def __init__(self, model: keras.Model, least_cache: int = 128):
        self.preprocessor: DialoguePreprocessor = model.get_layer("preprocessor")
        self.causal_lm = model.get_layer("token_model").get_layer("language_model").causal_lm
        self.window, self._least_cache = self.preprocessor.seq_length, least_cache
        special_ids = self.preprocessor.tokenize(self.preprocessor.specials)
        self.end_ids = sorted({self.preprocessor.end_id, *(ids[0] for ids in special_ids if len(ids) == 1)})
        self._cached_ids: list[int] = []
        self._cache: tf.Tensor | None = None
        self.tokens_per_second = 0.0

    def stream(self, messages: Sequence[Message], sampling: Sampling) -> Generator[str, None, None]:
        """Generate one reply and yield its text part by part.

        Args:
            messages: The dialogue, {"role", "content"} each, the user's message last. The first turns are dropped where
                the window cannot hold all of them and `max_tokens` of a reply (or half of the window, if that is less).
            sampling: Options that select the tokens.

        Raises:
            InputError: The last message alone fills the window, or a message contains a special token.
        """
        try:
            prompt = self._prompt_ids(messages, sampling)
        except RowError as error:
            raise InputError(f"a message {error}") from None
        yielded = ""
        ids: list[int] = []
        for token in self.tokens(prompt, sampling):
            ids.append(token)
            # The bytes of one character may be split between tokens.
            if not (text := self._detokenize(ids)).endswith("\ufffd"):
                yield text[len(yielded) :]
                yielded = text
        if rest := self._detokenize(ids)[len(yielded) :]:
            yield rest

    def tokens(self, prompt: list[int], sampling: Sampling) -> Iterator[int]:
        """Yield the token ids of the reply to a prompt's token ids, without the end token.

        Tokens that the prompt and the last dialogue have in common at the start are read from the cache.
        """
        max_tokens, options = self._max_tokens(prompt, sampling), sampling.tensors(1)
        read_ids, cache = self._reusable_cache(prompt, len(prompt) + max_tokens)
        ids, first_token_time = prompt[len(read_ids) :], 0.0
        for number in range(max_tokens):
            step = self.following_token if number else self.next_token
            (token,), cache = step(tf.constant([ids]), cache, len(read_ids), [number], *options)
            read_ids += ids
            self._cached_ids, self._cache = read_ids, cache
            now = time.perf_counter()
            first_token_time = first_token_time or now
            self.tokens_per_second = number / (now - first_token_time) if number else 0.0
            ids = [int(token)]
            if ids[0] in self.end_ids:
                return
            yield ids[0]

    def _reusable_cache(self, prompt: list[int], tokens: int) -> tuple[list[int], tf.Tensor]:
        """Return the first tokens of the prompt that are in the last cache, and that cache, resized for `tokens`."""
        length = self._least_cache
        while length < tokens:
            length *= 2
        length = min(self.window, length)
        read_ids = list(os.path.commonprefix([prompt[:-1], self._cached_ids]))
        if self._cache is None or not read_ids:
            return [], self._empty_cache(1, length)
        # Later entries are masked until they are overwritten.
        missing = max(0, length - (self._cache.shape[3] or 0))
        cache = tf.cast(self._cache[:, :, :, :length], self.causal_lm.compute_dtype)
        return read_ids, tf.pad(cache, [(0, 0)] * 3 + [(0, missing)] + [(0, 0)] * 2)

    def write(self, dialogues: Sequence[Sequence[Message]], sampling: Sampling) -> list[str]:
        """Generate a reply to each of many dialogues, in batches; a dialogue that `stream` refuses is a RowError.

        Up to floating-point rounding, each reply equals that of `stream`, whatever the batch.
        """
        prompts = [self._prompt_ids(messages, sampling, row) for row, messages in enumerate(dialogues)]
        order = sorted(range(len(prompts)), key=lambda row: len(prompts[row]))
        replies = [""] * len(prompts)
        for start in range(0, len(order), BATCH_SIZE):
            rows = order[start : start + BATCH_SIZE]
            ragged = tf.ragged.constant([prompts[row] for row in rows], dtype=tf.int32)
            ids = self.reply_ids(
                ragged.to_tensor(),
                tf.cast(ragged.row_lengths(), tf.int32),
                tf.constant([self._max_tokens(prompts[row], sampling) for row in rows]),
                *sampling.tensors(len(rows)),
            )
            for row, reply in zip(rows, ids.to_list(), strict=True):
                replies[row] = self._detokenize(reply)
        return replies

    @cached_property
    def reply_ids(self) -> Callable[..., tf.RaggedTensor]:
        """A tf.function from prompts to replies without end tokens, int32 (batch, ragged).

        It takes token ids, int32 (batch, length); the prompts' lengths and max_tokens, int32 (batch,); temperature and
        top_p, float32 (batch,); and seed, int32 (batch,).
        """
        dtypes = (tf.int32, tf.int32, tf.float32, tf.float32, tf.int32)
        signature = [tf.TensorSpec((None, None), tf.int32), *(tf.TensorSpec((None,), dtype) for dtype in dtypes)]

        @tf.function(input_signature=signature, autograph=False)
        def reply_ids(prompts, lengths, max_tokens, temperature, top_p, seed):
            batch, longest = tf.unstack(tf.shape(prompts))
            ends = lengths + max_tokens
            first, total = tf.reduce_min(lengths), tf.reduce_max(ends)
            logits, cache = self._forward(prompts[:, :first], self._empty_cache(batch, total), 0)
            prompts = tf.pad(prompts, [(0, 0), (0, total - longest)])

            def is_open(position, done, *_):
                return ~tf.reduce_all(done) & (position < total)

            def write_token(position, done, logits, cache, tokens, is_reply):
                selected = self._select(logits, temperature, top_p, seed, position - lengths)
                started = position >= lengths
                token = tf.where(started, selected, prompts[:, position])
                ended = tf.reduce_any(token[:, None] == self.end_ids, -1)
                tokens = tokens.write(position - first, token)
                is_reply = is_reply.write(position - first, started & ~done & ~ended)
                done |= started & (ended | (position + 1 >= ends))
                return (position + 1, done, *self._forward(token[:, None], cache, position), tokens, is_reply)

            arrays = [tf.TensorArray(dtype, 0, True, element_shape=(None,)) for dtype in (tf.int32, tf.bool)]
            start = (first, tf.zeros([batch], tf.bool), logits, cache, *arrays)
            *_, tokens, is_reply = tf.while_loop(is_open, write_token, start, parallel_iterations=1)
            return tf.ragged.boolean_mask(tf.transpose(tokens.stack()), tf.transpose(is_reply.stack()))

        return reply_ids

    @cached_property
    def next_token(self) -> Callable[..., tuple[tf.Tensor, tf.Tensor]]:
        """A tf.function that returns the next token ids, int32 (batch,), and the updated cache.

        It takes token ids, int32 (batch, length); a cache of any length; the position of the first of these tokens; the
        number of reply tokens so far, int32 (batch,); and temperature, top_p and seed, (batch,) each.
        """
        shape = self._empty_cache(1, 1).shape
        cache = tf.TensorSpec([None, *shape[1:3], None, *shape[4:]], self.causal_lm.compute_dtype)
        integers, floats = tf.TensorSpec((None,), tf.int32), tf.TensorSpec((None,), tf.float32)
        ids, position = tf.TensorSpec((None, None), tf.int32), tf.TensorSpec((), tf.int32)

        @tf.function(input_signature=[ids, cache, position, integers, floats, floats, integers], autograph=False)
        def next_token(ids, cache, position, number, temperature, top_p, seed):
            logits, cache = self._forward(ids, cache, position)
            return self._select(logits, temperature, top_p, seed, number), cache

        return next_token

    def following_token(
        self, ids: tf.Tensor, cache: tf.Tensor, position: int, *options: tf.Tensor | list[int]
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Return what `next_token` returns for one token of one dialogue, by a compiled step if the model has one."""
        if not self._compiled_token:
            return self.next_token(ids, cache, position, *options)
        if not isinstance(cache, tf.Variable):
            cache = CompiledStep.cache_of(cache)
        return self._compiled_token(ids[0], cache, tf.constant(position), *map(tf.constant, options)), cache

    @cached_property
    def _compiled_token(self) -> Callable[..., tf.Tensor] | None:
        if not CompiledStep.can_compile(self.causal_lm):
            return None
        step = CompiledStep(self.causal_lm)

        @tf.function(autograph=False)
        def compiled_token(token, cache, position, number, temperature, top_p, seed):
            return self._select(step(token, cache, position), temperature, top_p, seed, number)

        return compiled_token

    def _forward(
        self, token_ids: tf.Tensor, cache: tf.Tensor, position: tf.Tensor | int
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Return the logits that follow tokens, int32 (batch, length), at a position, and the updated cache."""
        with _plain_slice_update():
            _, hidden, cache = self.causal_lm.call_with_cache(token_ids, cache, position)
        logits = self.causal_lm.backbone.token_embedding(hidden[:, -1:], reverse=True)
        return tf.cast(logits[:, 0], tf.float32), cache

    def _select(
        self, logits: tf.Tensor, temperature: tf.Tensor, top_p: tf.Tensor, seed: tf.Tensor, number: tf.Tensor
    ) -> tf.Tensor:
        """Return the next token of each row, int32 (batch,), for logits, float32 (batch, vocabulary).

        Samples depend on a row's own seed and its number of reply tokens, not on the other rows of the batch.
        """
        greedy = tf.argmax(logits, -1, tf.int32)

        def sample() -> tf.Tensor:
            scale = tf.where(temperature > 0, temperature, 1.0)
            ordered, ids = tf.math.top_k(logits / scale[:, None], tf.shape(logits)[-1])
            # tf.nn.softmax warns about tensors of unknown rank.
            probabilities = tf.exp(ordered - tf.reduce_logsumexp(ordered, -1, keepdims=True))
            before = tf.cumsum(probabilities, axis=-1, exclusive=True)
            in_nucleus = before < top_p[:, None]
            seeds = tf.stack([seed, number], 1)
            uniform = tf.map_fn(
                lambda pair: tf.random.stateless_uniform((), pair), seeds, fn_output_signature=tf.float32
            )
            reached = before <= (uniform * tf.reduce_sum(tf.where(in_nucleus, probabilities, 0.0), -1))[:, None]
            rank = tf.maximum(tf.math.count_nonzero(reached & in_nucleus, -1) - 1, 0)
            return tf.where(temperature > 0, tf.gather(ids, rank, batch_dims=1), greedy)

        return tf.cond(tf.reduce_any(temperature > 0), sample, lambda: greedy)

    def _empty_cache(self, batch: tf.Tensor | int, length: tf.Tensor | int) -> tf.Tensor:
        backbone = self.causal_lm.backbone
        heads = getattr(backbone, "num_query_heads", None) or backbone.num_heads
        kv_heads = getattr(backbone, "num_key_value_heads", heads)
        width = getattr(backbone, "head_dim", None) or backbone.hidden_dim // heads
        shape = [batch, backbone.num_layers, 2, length, kv_heads, width]
        return tf.zeros(shape, self.causal_lm.compute_dtype)

    def _prompt_ids(self, messages: Sequence[Message], sampling: Sampling, row: int = 0) -> list[int]:
        return self.preprocessor.prompt_ids(messages, room=min(sampling.max_tokens, self.window // 2), row=row)

    def _max_tokens(self, prompt: list[int], sampling: Sampling) -> int:
        return min(sampling.max_tokens, self.window - len(prompt))

    def _detokenize(self, ids: list[int]) -> str:
        return self.preprocessor.tokenizer.detokenize([ids])[0] if ids else ""


@contextlib.contextmanager
def _plain_slice_update() -> Iterator[None]:
    """Let KerasHub update its cache by plain TensorFlow operations.

    `keras.ops.slice_update` uses an XLA operation, which is compiled for each shape, is slower on CPUs, and is missing
    in some servers.
    """
    slice_update, keras.ops.slice_update = keras.ops.slice_update, _replace_positions
    try:
        yield
    finally:
        keras.ops.slice_update = slice_update


def _replace_positions(inputs: tf.Tensor, start: Sequence[tf.Tensor | int], updates: tf.Tensor) -> tf.Tensor:
    """Replace the positions, on the second axis, from start[1] on."""
    after = inputs[:, start[1] + tf.shape(updates)[1] :]
    return tf.concat([inputs[:, : start[1]], tf.cast(updates, inputs.dtype), after], 1)
