"""AdamW for fine-tuning BERT, with linear warm-up and decay."""

from collections.abc import Mapping, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tfhub_ft.utils.keras_compat import SummedGradients, adam_slots, learning_rates, weight_decay_of

NOT_DECAYED = ("bias", "beta", "gamma", "layer_norm", "LayerNorm")


@keras.saving.register_keras_serializable("tfhub_ft")
class WarmupLinearDecay(keras.optimizers.schedules.LearningRateSchedule):
    """A learning rate that rises linearly to its peak in `warmup_steps`, then falls linearly to 0.

    Reference:
        Devlin et al. 2019, appendix A.2, https://arxiv.org/abs/1810.04805
    """

    def __init__(self, peak: float, *, warmup_steps: int, total_steps: int):
        self.peak, self.warmup_steps, self.total_steps = peak, warmup_steps, total_steps

    def __call__(self, step: tf.Tensor | int) -> tf.Tensor:
        # Steps count from 1, so that the rate of the first one is not 0.
        step_number = tf.cast(step, tf.float32) + 1
        rising = step_number / max(self.warmup_steps, 1)
        falling = (self.total_steps + 1 - step_number) / max(self.total_steps + 1 - max(self.warmup_steps, 1), 1)
        return self.peak * tf.clip_by_value(tf.minimum(rising, falling), 0.0, 1.0)

    def get_config(self) -> dict[str, float]:
        return {"peak": self.peak, "warmup_steps": self.warmup_steps, "total_steps": self.total_steps}


@keras.saving.register_keras_serializable("tfhub_ft")
class FusedAdamW(SummedGradients, keras.optimizers.AdamW):
    """Keras' AdamW with one TensorFlow operation per weight, not about fifteen, and a learning rate per weight.

    `rates` has the learning rates of weights by path, as shares of `learning_rate`; it is 1 for all others.
    """

    def __init__(self, *args: Any, rates: Mapping[str, float] | None = None, **kwargs: Any):
        super().__init__(*args, **kwargs)
        self._rates = dict(rates or {})
        self._first_steps: dict[str, int] = {}

    def begin(self, variables: Sequence[keras.Variable], step: int) -> None:
        """Count the steps of variables from `step` on, at which they begin to train with moments of zero."""
        self._first_steps |= {variable.path: step for variable in variables}

    def decay_factor(self, variable: keras.Variable, steps: int) -> float:
        """Return the factor by which weight decay alone scales a variable in the first steps."""
        rates = np.asarray(learning_rates(self, tf.range(steps)), "float64")
        return float((1 - rates * weight_decay_of(self, variable) * self._rates.get(variable.path, 1.0)).prod())

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "rates": self._rates}

    def update_step(self, gradient: tf.Tensor, variable: tf.Variable, learning_rate: tf.Tensor) -> None:
        path, momentum, velocity = adam_slots(self, variable)
        dtype, decay = variable.dtype, weight_decay_of(self, variable)
        learning_rate = tf.cast(learning_rate, dtype) * self._rates.get(path, 1.0)
        if decay:
            # Multiplying the scalars first saves a pass over the weights.
            variable.assign_sub(variable * (learning_rate * decay))
        step = tf.cast(tf.convert_to_tensor(self.iterations) + 1 - self._first_steps.get(path, 0), dtype)
        beta_1, beta_2 = tf.cast(self.beta_1, dtype), tf.cast(self.beta_2, dtype)
        tf.raw_ops.ResourceApplyAdam(
            var=variable.handle,
            m=momentum.handle,
            v=velocity.handle,
            beta1_power=tf.pow(beta_1, step),
            beta2_power=tf.pow(beta_2, step),
            lr=learning_rate,
            beta1=beta_1,
            beta2=beta_2,
            epsilon=tf.cast(self.epsilon, dtype),
            grad=tf.cast(gradient, dtype),
        )


def build_optimizer(
    *,
    learning_rate: float,
    warmup: float,
    total_steps: int,
    weight_decay: float,
    clip_norm: float,
    rates: Mapping[str, float] | None = None,
    accumulate_steps: int = 1,
) -> FusedAdamW:
    """Return AdamW with linear warm-up and decay, without weight decay of biases and norms.

    `total_steps` counts optimizer steps, each of `accumulate_steps` training steps; `warmup` is a share of them.

    Reference:
        Loshchilov & Hutter 2019, https://arxiv.org/abs/1711.05101
    """
    schedule = WarmupLinearDecay(learning_rate, warmup_steps=round(warmup * total_steps), total_steps=total_steps)
    optimizer = FusedAdamW(
        schedule,
        weight_decay=weight_decay,
        epsilon=1e-8,
        global_clipnorm=clip_norm or None,
        rates=rates,
        gradient_accumulation_steps=accumulate_steps if accumulate_steps > 1 else None,
    )
    optimizer.exclude_from_weight_decay(var_names=list(NOT_DECAYED))
    return optimizer
