"""Task heads: small layers on an encoder's output."""

from typing import Any

import keras


@keras.saving.register_keras_serializable("tfhub_ft")
class ClassificationHead(keras.layers.Layer):
    """Dropout and a linear layer: logits from a pooled output, or from each token of a sequence output.

    Args:
        num_classes: how many logits there are: classes, labels, or 1 for a number.
        dropout: the share of the inputs set to zero in training.

    Call arguments:
        inputs: float of shape (batch, hidden) or (batch, length, hidden).

    Returns:
        float32 logits of shape (batch, num_classes) or (batch, length, num_classes).

    Example:
        logits = ClassificationHead(2)(encoded["pooled_output"])

    Reference:
        Devlin et al. 2019, section 4.1, https://arxiv.org/abs/1810.04805
    """

    def __init__(self, num_classes: int, *, dropout: float = 0.1, **kwargs: Any):
        super().__init__(**kwargs)
        self.num_classes, self.dropout = num_classes, dropout
        self.drop = keras.layers.Dropout(dropout)
        self.dense = keras.layers.Dense(
            num_classes, kernel_initializer=keras.initializers.TruncatedNormal(stddev=0.02), dtype="float32"
        )

    def build(self, input_shape: tuple) -> None:
        self.dense.build(input_shape)

    def call(self, inputs: Any, training: bool = False) -> Any:
        return self.dense(self.drop(inputs, training=training))

    def compute_output_shape(self, input_shape: tuple) -> tuple:
        return (*input_shape[:-1], self.num_classes)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "num_classes": self.num_classes, "dropout": self.dropout}
