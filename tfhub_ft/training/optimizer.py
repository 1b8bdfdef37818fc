"""The optimizer that BERT is fine-tuned with."""

from collections.abc import Mapping, Sequence
from typing import Any

import keras

from tfhub_ft.utils.keras_compat import SummedGradients, adam_slots, learning_rates, weight_decay_of

NOT_DECAYED = ("bias", "beta", "gamma", "layer_norm", "LayerNorm")


@keras.saving.register_keras_serializable("tfhub_ft")
class WarmupLinearDecay(keras.optimizers.schedules.LearningRateSchedule):
    """A learning rate that rises linearly to its peak, then falls linearly to 0.

    Args:
        peak: the highest learning rate.
        warmup_steps: steps until the peak.
        total_steps: steps until 0.

    Example:
        WarmupLinearDecay(5e-5, warmup_steps=65, total_steps=651)

    Reference:
        Devlin et al. 2019, appendix A.2, https://arxiv.org/abs/1810.04805
    """

    def __init__(self, peak: float, *, warmup_steps: int, total_steps: int):
        self.peak, self.warmup_steps, self.total_steps = peak, warmup_steps, total_steps

    def __call__(self, step: Any) -> Any:
        # The step that is about to be taken counts from 1: the first one is not wasted on a rate of 0.
        step = keras.ops.cast(step, "float32") + 1
        rising = step / max(self.warmup_steps, 1)
        falling = (self.total_steps + 1 - step) / max(self.total_steps + 1 - max(self.warmup_steps, 1), 1)
        return self.peak * keras.ops.clip(keras.ops.minimum(rising, falling), 0.0, 1.0)

    def get_config(self) -> dict[str, Any]:
        return {"peak": self.peak, "warmup_steps": self.warmup_steps, "total_steps": self.total_steps}


@keras.saving.register_keras_serializable("tfhub_ft")
class FusedAdamW(SummedGradients, keras.optimizers.AdamW):
    """Keras' AdamW, each weight updated by one operation of TensorFlow instead of some fifteen.

    The arithmetic is the same; the weights, half of which are the embeddings of words, are walked through fewer times.

    Args:
        rates: the share of the learning rate that weights have, by their paths; others have all of it.

    Example:
        model.compile(FusedAdamW(5e-5, weight_decay=0.01, global_clipnorm=1.0), "mse")
    """

    def __init__(self, *args: Any, rates: Mapping[str, float] | None = None, **kwargs: Any):
        super().__init__(*args, **kwargs)
        self._rates = dict(rates or {})
        self._first_steps: dict[str, int] = {}

    def begin(self, variables: Sequence[keras.Variable], step: int) -> None:
        """Count the steps of weights that begin to train later than the others, whose moments are still zero."""
        self._first_steps |= {variable.path: step for variable in variables}

    def left_by_decay(self, variable: keras.Variable, steps: int) -> float:
        """What decay alone leaves, after so many steps, of a weight's parts whose gradient is always zero."""
        rates = keras.ops.convert_to_numpy(learning_rates(self, keras.ops.arange(steps))).astype("float64")
        return float((1 - rates * weight_decay_of(self, variable) * self._rates.get(variable.path, 1.0)).prod())

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "rates": self._rates}

    def update_step(self, gradient: Any, variable: Any, learning_rate: Any) -> None:
        """Let one weight, a tf.Variable, decay, and move it along its gradient."""
        import tensorflow as tf

        path, momentum, velocity = adam_slots(self, variable)
        dtype, decay = variable.dtype, weight_decay_of(self, variable)
        learning_rate = tf.cast(learning_rate, dtype) * self._rates.get(path, 1.0)
        if decay:
            # The two numbers are multiplied first: a pass over the weights less.
            variable.assign_sub(variable * (learning_rate * decay))
        step = tf.cast(self.iterations + 1 - self._first_steps.get(path, 0), dtype)
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
    """AdamW with linear warm-up and decay; no weight decay on biases and norms.

    Args:
        learning_rate: the peak.
        warmup: share of the steps in which the rate rises.
        total_steps: steps of the whole training.
        weight_decay: decoupled from the gradient, as a share of the learning rate.
        clip_norm: the norm that the gradient of all weights together is clipped to; 0 does not clip.
        rates: the share of the learning rate that weights have, by their paths; others have all of it.
        accumulate_steps: steps whose gradients' mean moves the weights; `total_steps` counts such moves.

    Returns:
        A Keras optimizer, not built yet.

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
