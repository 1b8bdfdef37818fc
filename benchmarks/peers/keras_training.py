"""Training code shared by the two peers that use Keras' `fit`."""

from pathlib import Path

NOT_DECAYED = ["bias", "beta", "gamma", "layer_norm", "LayerNorm"]
WARMUP = 0.1


def add_training_options(parser):
    parser.add_argument("--train", type=Path, required=True)
    parser.add_argument("--validation", type=Path, required=True)
    parser.add_argument("--epochs", type=int, default=1)
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--learning-rate", type=float, default=5e-5)
    parser.add_argument("--seq-length", type=int, default=128)
    parser.add_argument("--seed", type=int, default=0)


def warmup_linear_decay(step, peak, steps):
    """Return the learning rate at a step: linear warm-up over the first tenth of all steps, then linear decay to 0."""
    import tensorflow as tf

    step, warmup = tf.cast(step, tf.float32), max(round(WARMUP * steps), 1)
    return peak * tf.maximum(0.0, tf.minimum(step / warmup, (steps - step) / max(steps - warmup, 1)))
