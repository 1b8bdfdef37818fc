"""Layers that hide words of a text and guess them: masked language modelling."""

from collections.abc import Sequence
from typing import Any

import keras

from tfhub_ft.encoders.packing import TOKEN_INPUTS

ORDINARY, CONTINUATION, SPECIAL = range(3)


@keras.saving.register_keras_serializable("tfhub_ft")
class MaskWords(keras.layers.Layer):
    """Hides whole words: of their tokens 80% become [MASK], 10% another token, and 10% stay.

    In training other words are hidden each time, by the seed; outside training a row's words follow from the row alone,
    so that scores can be compared.

    Args:
        vocab_size: how many tokens there are.
        mask_id: the id of [MASK].
        share: of the words that are hidden.
        seed: drawn from `keras.utils.set_random_seed`'s generator when not given.

    Call arguments:
        inputs: {"input_word_ids", "input_mask", "input_type_ids"}, each int32 (batch, length).

    Returns:
        The same with hidden words, and "chosen": bool (batch, length), where there is something to guess.

    Example:
        layer = MaskWords(len(vocabulary), vocabulary.index("[MASK]"))
        layer.set_weights([token_kinds(vocabulary)])

    Reference:
        Devlin et al. 2019, section 3.1, https://arxiv.org/abs/1810.04805; whole words:
        https://github.com/google-research/bert#new-may-31st-2019-whole-word-masking-models
    """

    def __init__(self, vocab_size: int, mask_id: int, *, share: float = 0.15, seed: int | None = None, **kwargs: Any):
        super().__init__(**{"name": "mask_words", **kwargs})
        self.vocab_size, self.mask_id, self.share = vocab_size, mask_id, share
        self.draws = keras.random.SeedGenerator(seed)
        self.kinds = self.add_weight(
            shape=(vocab_size,), dtype="int64", initializer="zeros", trainable=False, name="kinds"
        )
        self.built = True

    def call(self, inputs: dict[str, Any], training: bool = False) -> dict[str, Any]:
        import tensorflow as tf

        ids = inputs["input_word_ids"]
        kinds = tf.gather(tf.convert_to_tensor(self.kinds), ids)
        ordinary = (inputs["input_mask"] > 0) & (kinds != SPECIAL)
        word = tf.cumsum(tf.cast(kinds != CONTINUATION, tf.int32), -1) - 1
        draw = self._draw_in_training if training else _draw_by_row
        chosen = ordinary & (tf.gather(draw(ids, 0), tf.maximum(word, 0), batch_dims=1) < self.share)
        kind = draw(ids, 1)
        other = tf.cast(draw(ids, 2) * self.vocab_size, tf.int32)
        hidden = tf.where(kind < 0.8, self.mask_id, tf.where(kind < 0.9, other, ids))
        return {**inputs, "input_word_ids": tf.where(chosen, hidden, ids), "chosen": chosen}

    def _draw_in_training(self, ids: Any, salt: int) -> Any:
        return keras.random.uniform(keras.ops.shape(ids), seed=self.draws)

    def compute_output_spec(self, inputs: dict[str, Any], training: bool = False) -> dict[str, keras.KerasTensor]:
        shape = inputs["input_word_ids"].shape
        return {
            **{name: keras.KerasTensor(shape, dtype="int32", name=name) for name in TOKEN_INPUTS},
            "chosen": keras.KerasTensor(shape, dtype="bool", name="chosen"),
        }

    def get_config(self) -> dict[str, Any]:
        own = {"vocab_size": self.vocab_size, "mask_id": self.mask_id, "share": self.share}
        return {**super().get_config(), **own}


def token_kinds(vocabulary: Sequence[str]) -> Any:
    """What each token of a WordPiece vocabulary is: the first of a word, a continuation, or special.

    Returns:
        int32 (tokens,).
    """
    import numpy as np

    def kind(token: str) -> int:
        if token.startswith("##"):
            return CONTINUATION
        return SPECIAL if token.startswith("[") and token.endswith("]") and len(token) > 2 else ORDINARY

    return np.array([kind(token) for token in vocabulary], "int32")


def _draw_by_row(ids: Any, salt: int) -> Any:
    """Numbers from 0 to 1 that look random and follow from a row's tokens, float32 like `ids`."""
    import tensorflow as tf

    row = tf.reduce_sum(tf.cast(ids, tf.int64), -1, keepdims=True)
    place = tf.range(tf.shape(ids, tf.int64)[1])[None, :]
    mixed = row * 1_000_003 + place * 7_919 + salt * 104_729 + 1
    for factor in (6_364_136_223_846_793_005, 2_862_933_555_777_941_757):
        mixed = tf.bitwise.bitwise_xor(mixed, tf.bitwise.right_shift(mixed, tf.constant(29, tf.int64))) * factor
    bits = tf.bitwise.bitwise_and(tf.bitwise.right_shift(mixed, tf.constant(33, tf.int64)), 2**24 - 1)
    return tf.cast(bits, tf.float32) / 2**24


@keras.saving.register_keras_serializable("tfhub_ft")
class MaskedWordHead(keras.layers.Layer):
    """Guesses tokens at chosen places: a transformation, then the dot product with each token's own embedding.

    Call arguments:
        states: float (batch, length, hidden), an encoder's sequence output.
        chosen: bool (batch, length).
        embeddings: float (vocabulary, size), the encoder's word embeddings, which the output is tied to.

    Returns:
        float32 logits (chosen places, vocabulary), row after row.

    Example:
        logits = MaskedWordHead()(encoded["sequence_output"], chosen, encoded["word_embeddings"])

    Reference:
        Devlin et al. 2019, https://arxiv.org/abs/1810.04805; Press and Wolf 2017, https://arxiv.org/abs/1608.05859
    """

    def build(self, states_shape: tuple, chosen_shape: tuple, embeddings_shape: tuple) -> None:
        vocabulary, size = embeddings_shape
        initializer = keras.initializers.TruncatedNormal(stddev=0.02)
        self.transform = keras.layers.Dense(size, kernel_initializer=initializer, name="transform")
        self.norm = keras.layers.LayerNormalization(epsilon=1e-12, name="norm")
        self.transform.build(states_shape)
        self.norm.build((*states_shape[:-1], size))
        self.bias = self.add_weight(shape=(vocabulary,), initializer="zeros", name="bias")

    def call(self, states: Any, chosen: Any, embeddings: Any) -> Any:
        import tensorflow as tf

        places = tf.boolean_mask(states, chosen)
        places = self.norm(keras.ops.gelu(self.transform(places), approximate=False))
        logits = tf.matmul(places, tf.cast(embeddings, places.dtype), transpose_b=True)
        return tf.cast(logits, tf.float32) + tf.convert_to_tensor(self.bias)

    def compute_output_spec(self, states: Any, chosen: Any, embeddings: Any) -> keras.KerasTensor:
        return keras.KerasTensor((None, embeddings.shape[0]), dtype="float32")


@keras.saving.register_keras_serializable("tfhub_ft")
class MaskedWordScores(keras.layers.Layer):
    """How well hidden tokens were guessed, summed over each row.

    Call arguments:
        logits: float (chosen places, vocabulary).
        chosen: bool (batch, length).
        ids: int32 (batch, length), the tokens that stood there.

    Returns:
        float32 (batch, 3): cross-entropy, right guesses, and guesses.
    """

    def call(self, logits: Any, chosen: Any, ids: Any) -> Any:
        import tensorflow as tf

        truth = tf.boolean_mask(ids, chosen)
        losses = tf.nn.sparse_softmax_cross_entropy_with_logits(truth, logits)
        right = tf.cast(tf.argmax(logits, -1, output_type=tf.int32) == truth, tf.float32)
        scores = tf.stack([losses, right, tf.ones_like(losses)], -1)
        return tf.math.unsorted_segment_sum(scores, tf.where(chosen)[:, 0], tf.shape(ids, tf.int64)[0])

    def compute_output_spec(self, logits: Any, chosen: Any, ids: Any) -> keras.KerasTensor:
        return keras.KerasTensor((ids.shape[0], 3), dtype="float32")


@keras.saving.register_keras_serializable("tfhub_ft")
class MaskPlaces(keras.layers.Layer):
    """Where a row has the token [MASK]: bool like `inputs`, int32 (batch, length).

    Args:
        mask_id: the id of [MASK].
    """

    def __init__(self, mask_id: int, **kwargs: Any):
        super().__init__(**kwargs)
        self.mask_id = mask_id

    def call(self, inputs: Any) -> Any:
        return keras.ops.equal(inputs, self.mask_id)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "mask_id": self.mask_id}


@keras.saving.register_keras_serializable("tfhub_ft")
class StackPlaces(keras.layers.Layer):
    """Puts what belongs to chosen places back into rows.

    Call arguments:
        values: float (chosen places, size), row after row.
        chosen: bool (batch, length).

    Returns:
        float (batch, most places of a row, size), 0 where a row has fewer.
    """

    def call(self, values: Any, chosen: Any) -> Any:
        import tensorflow as tf

        # By dense operations alone: TFLite has no ragged ones.
        number = tf.cumsum(tf.cast(chosen, tf.int32), -1)
        places = tf.where(chosen)
        target = tf.stack([tf.cast(places[:, 0], tf.int32), tf.gather_nd(number, places) - 1], -1)
        return tf.scatter_nd(target, values, [tf.shape(chosen)[0], tf.reduce_max(number), tf.shape(values)[1]])

    def compute_output_spec(self, values: Any, chosen: Any) -> keras.KerasTensor:
        return keras.KerasTensor((chosen.shape[0], None, values.shape[-1]), dtype=values.dtype)
