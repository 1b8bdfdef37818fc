"""A number for a text, such as the stars of a review or the days until a ticket is closed.

The model learns the number in standard deviations from the mean of the training rows, and returns it on its own scale.
`--loss huber` counts large errors less than the squared error does, for numbers with outliers.

From the command line:

    tfhub-ft train regression --data reviews.csv --score-column stars --output-dir runs/stars

In Python:

    import keras
    import tensorflow as tf

    from tfhub_ft.recipes import regression

    texts, scores = ["spotless, and a view of the sea", "nothing worked"], [1.0, -1.0]
    model = regression.build_model(encoder="minilm-l6")
    model.compile(keras.optimizers.AdamW(5e-5), loss=regression.loss())
    model.fit(tf.data.Dataset.from_tensor_slices((texts, scores)).batch(32))
"""

import dataclasses
from typing import TYPE_CHECKING, Any

from tfhub_ft import InputError, Recipe, Regression, ScoredTextSettings, demo_file, setting

if TYPE_CHECKING:
    import keras


@dataclasses.dataclass(frozen=True, kw_only=True)
class RegressionSettings(ScoredTextSettings):
    """Settings of the regression recipe."""

    loss: str = setting(
        "mse",
        "Loss: mse (mean squared error) or huber, which is linear for errors above --huber-delta.",
        group="Training",
        choices=("mse", "huber"),
    )
    huber_delta: float = setting(
        1.0,
        "Error from which the Huber loss is linear, in standard deviations of the training scores.",
        group="Training",
        minimum=0.001,
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.huber_delta != 1.0 and self.loss != "huber":
            raise InputError(
                f"--huber-delta {self.huber_delta:g}: unused without --loss huber; add it, or omit --huber-delta"
            )


def build_model(encoder: str = "minilm-l6", *, dropout: float = 0.1, **options: Any) -> "keras.Model":
    """Build a model from texts to numbers.

    Args:
        encoder: A catalog name, a TF Hub or Kaggle handle, a URL or a SavedModel folder.
        dropout: Dropout before the last layer.
        options: Other fields of `EncoderArguments`.

    Returns:
        A model from a string tensor of shape (batch,) to float32 (batch, 1), in standard deviations from the mean.

    Reference:
        Devlin et al. 2019, https://arxiv.org/abs/1810.04805
    """
    from tfhub_ft import ClassificationHead, text_model

    head = ClassificationHead(1, dropout=dropout, name="logits")
    return text_model(lambda encoded: head(encoded["pooled_output"]), encoder=encoder, **options)


def loss(loss: str = "mse", huber_delta: float = 1.0) -> "keras.losses.Loss":
    """Return the mean squared error or the Huber loss.

    Reference:
        Huber 1964, https://doi.org/10.1214/aoms/1177703732
    """
    import keras

    return keras.losses.Huber(huber_delta) if loss == "huber" else keras.losses.MeanSquaredError()


def metrics() -> "list[keras.metrics.Metric]":
    """Return no metrics: R2 and correlations need all rows, and are computed after each epoch."""
    return []


RECIPE = Recipe(
    summary="Which number belongs to a text? Stars, prices, days.",
    task=Regression(fields=("text",), standardized=True),
    build_model=build_model,
    loss=loss,
    metrics=metrics,
    settings=RegressionSettings(epochs=4),
    recommended=("minilm-l6", "bert-base-uncased"),
    demo=demo_file("regression.csv"),
)
