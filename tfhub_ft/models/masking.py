"""Layers for masked language modeling."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import keras
import numpy as np

from tfhub_ft.encoders.packing import TOKEN_INPUTS

if TYPE_CHECKING:
    import tensorflow as tf

Shape = tuple[int | None, ...]
ORDINARY, CONTINUATION, SPECIAL = range(3)


@keras.saving.register_keras_serializable("tfhub_ft")
class MaskWords(keras.layers.Layer):
    """Mask a share of the words, all of their tokens: 80% become [MASK], 10% a random token, and 10% stay.

    Inputs are tokens by name; outputs have "chosen" in addition, bool (batch, length), the positions to predict. In
    training, words are drawn at random; otherwise they depend on the tokens of the row alone, so that scores are
    comparable. The weight is `token_kinds(vocabulary)`.

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

    def call(self, inputs: "dict[str, tf.Tensor]", training: bool = False) -> "dict[str, tf.Tensor]":
        import tensorflow as tf

        ids = inputs["input_word_ids"]
        kinds = tf.gather(tf.convert_to_tensor(self.kinds), ids)
        ordinary = (inputs["input_mask"] > 0) & (kinds != SPECIAL)
        word = tf.cumsum(tf.cast(kinds != CONTINUATION, tf.int32), -1) - 1
        draw = self._draw_in_training if training else _draw_by_row
        chosen = ordinary & (tf.gather(draw(ids, 0), tf.maximum(word, 0), batch_dims=1) < self.share)
        kind = draw(ids, 1)
        other = tf.cast(draw(ids, 2) * self.vocab_size, tf.int32)
        masked = tf.where(kind < 0.8, self.mask_id, tf.where(kind < 0.9, other, ids))
        return {**inputs, "input_word_ids": tf.where(chosen, masked, ids), "chosen": chosen}

    def _draw_in_training(self, ids: "tf.Tensor", salt: int) -> Any:
        return keras.random.uniform(keras.ops.shape(ids), seed=self.draws)

    def compute_output_spec(
        self, inputs: dict[str, keras.KerasTensor], training: bool = False
    ) -> dict[str, keras.KerasTensor]:
        shape = inputs["input_word_ids"].shape
        return {
            **{name: keras.KerasTensor(shape, dtype="int32", name=name) for name in TOKEN_INPUTS},
            "chosen": keras.KerasTensor(shape, dtype="bool", name="chosen"),
        }

    def get_config(self) -> dict[str, Any]:
        config = super().get_config()
        return {**config, "vocab_size": self.vocab_size, "mask_id": self.mask_id, "share": self.share}


def token_kinds(vocabulary: Sequence[str]) -> np.ndarray:
    """Return the kind of each token of a WordPiece vocabulary: ORDINARY, CONTINUATION or SPECIAL, int32 (tokens,)."""

    def kind(token: str) -> int:
        if token.startswith("##"):
            return CONTINUATION
        return SPECIAL if token.startswith("[") and token.endswith("]") and len(token) > 2 else ORDINARY

    return np.array([kind(token) for token in vocabulary], "int32")


def _draw_by_row(ids: "tf.Tensor", salt: int) -> "tf.Tensor":
    """Return pseudo-random numbers from 0 to 1, a hash of the row's tokens, position and salt, in the shape of ids."""
    import tensorflow as tf

    row = tf.reduce_sum(tf.cast(ids, tf.int64), -1, keepdims=True)
    position = tf.range(tf.shape(ids, tf.int64)[1])[None, :]
    mixed = row * 1_000_003 + position * 7_919 + salt * 104_729 + 1
    for factor in (6_364_136_223_846_793_005, 2_862_933_555_777_941_757):
        mixed = tf.bitwise.bitwise_xor(mixed, tf.bitwise.right_shift(mixed, tf.constant(29, tf.int64))) * factor
    bits = tf.bitwise.bitwise_and(tf.bitwise.right_shift(mixed, tf.constant(33, tf.int64)), 2**24 - 1)
    return tf.cast(bits, tf.float32) / 2**24


@keras.saving.register_keras_serializable("tfhub_ft")
class MaskedWordHead(keras.layers.Layer):
    """Logits of the tokens at chosen positions, float32 (positions, vocabulary), tied to the word embeddings.

    Reference:
        Devlin et al. 2019, https://arxiv.org/abs/1810.04805; Press and Wolf 2017, https://arxiv.org/abs/1608.05859
    """

    def build(  # pyright: ignore[reportIncompatibleMethodOverride]
        self, states_shape: Shape, chosen_shape: Shape, embeddings_shape: tuple[int, int]
    ) -> None:
        vocabulary, size = embeddings_shape
        self.transform = keras.layers.Dense(
            size,
            kernel_initializer=keras.initializers.TruncatedNormal(stddev=0.02),  # pyright: ignore[reportArgumentType]
            name="transform",
        )
        self.norm = keras.layers.LayerNormalization(epsilon=1e-12, name="norm")
        self.transform.build(states_shape)
        self.norm.build((*states_shape[:-1], size))
        self.bias = self.add_weight(shape=(vocabulary,), initializer="zeros", name="bias")

    def call(self, states: "tf.Tensor", chosen: "tf.Tensor", embeddings: "tf.Tensor") -> "tf.Tensor":
        import tensorflow as tf

        states = tf.boolean_mask(states, chosen)
        states = self.norm(keras.ops.gelu(self.transform(states), approximate=False))
        logits = tf.matmul(states, tf.cast(embeddings, states.dtype), transpose_b=True)
        return tf.cast(logits, tf.float32) + tf.convert_to_tensor(self.bias)

    def compute_output_spec(
        self, states: keras.KerasTensor, chosen: keras.KerasTensor, embeddings: keras.KerasTensor
    ) -> keras.KerasTensor:
        return keras.KerasTensor((None, embeddings.shape[0]), dtype="float32")


@keras.saving.register_keras_serializable("tfhub_ft")
class MaskedWordScores(keras.layers.Layer):
    """Sums per row, float32 (batch, 3): cross-entropy, number of correct predictions, and number of predictions."""

    def call(self, logits: "tf.Tensor", chosen: "tf.Tensor", ids: "tf.Tensor") -> "tf.Tensor":
        import tensorflow as tf

        targets = tf.boolean_mask(ids, chosen)
        losses = tf.nn.sparse_softmax_cross_entropy_with_logits(targets, logits)
        correct = tf.cast(tf.argmax(logits, -1, output_type=tf.int32) == targets, tf.float32)
        scores = tf.stack([losses, correct, tf.ones_like(losses)], -1)
        return tf.math.unsorted_segment_sum(scores, tf.where(chosen)[:, 0], tf.shape(ids, tf.int64)[0])

    def compute_output_spec(
        self, logits: keras.KerasTensor, chosen: keras.KerasTensor, ids: keras.KerasTensor
    ) -> keras.KerasTensor:
        return keras.KerasTensor((ids.shape[0], 3), dtype="float32")


@keras.saving.register_keras_serializable("tfhub_ft")
class MaskPlaces(keras.layers.Layer):
    """Positions of the token [MASK], by its id: int32 (batch, length) to bool of the same shape."""

    def __init__(self, mask_id: int, **kwargs: Any):
        super().__init__(**kwargs)
        self.mask_id = mask_id

    def call(self, inputs: "tf.Tensor") -> Any:
        return keras.ops.equal(inputs, self.mask_id)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "mask_id": self.mask_id}


@keras.saving.register_keras_serializable("tfhub_ft")
class StackPlaces(keras.layers.Layer):
    """Values of chosen positions (positions, size) by row: (batch, most positions in a row, size), padded with 0."""

    def call(self, values: "tf.Tensor", chosen: "tf.Tensor") -> "tf.Tensor":
        import tensorflow as tf

        # TFLite supports dense operations only.
        number = tf.cumsum(tf.cast(chosen, tf.int32), -1)
        positions = tf.where(chosen)
        target = tf.stack([tf.cast(positions[:, 0], tf.int32), tf.gather_nd(number, positions) - 1], -1)
        return tf.scatter_nd(target, values, [tf.shape(chosen)[0], tf.reduce_max(number), tf.shape(values)[1]])

    def compute_output_spec(self, values: keras.KerasTensor, chosen: keras.KerasTensor) -> keras.KerasTensor:
        return keras.KerasTensor((chosen.shape[0], None, values.shape[-1]), dtype=values.dtype)
