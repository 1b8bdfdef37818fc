"""Convert a language model to a SavedModel that generates replies."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import tensorflow as tf

from tfhub_ft.exports.saved_model import serving_entry, write_assets
from tfhub_ft.language_models.generation import ReplyWriter
from tfhub_ft.language_models.task import default_max_tokens
from tfhub_ft.language_models.weight_quantization import QuantizedWeights

if TYPE_CHECKING:
    import keras

    from tfhub_ft.exports.context import ExportContext


def convert_to_saved_model(context: "ExportContext", quantization: str, folder: Path) -> dict[str, Any]:
    """Write a SavedModel of an export for TF Serving, with "none", "bfloat16" or "int8" weights.

    Its signatures take one entry for each row, (batch,), as TF Serving batches the requests of different clients:

    - `serving_default` takes `prompt`, string, and returns `reply`, string, of the most likely tokens.
    - `generate` also takes `max_tokens`, int32, `temperature` and `top_p`, float32, and `seed`, int32.
    - `score` takes `prompt` and `reply` and returns `log_likelihood`, float32, `tokens`, int32, and `perplexity`,
      float32; the end token counts.

    Special tokens in prompts are read as spaces.

    Returns:
        The entries that export.json adds for the SavedModel.
    """
    model = context.model
    preprocessor = model.get_layer("preprocessor")
    layer = model.get_layer("token_model").get_layer("language_model")
    weights, generate_replies = QuantizedWeights(layer, quantization), _reply_function(model)
    texts, integers, floats = (tf.TensorSpec((None,), dtype) for dtype in (tf.string, tf.int32, tf.float32))

    # Both signatures share one graph of all layers, which takes time and space.
    @tf.function(input_signature=[texts, integers, floats, floats, integers], autograph=False)
    def replies(prompt, max_tokens, temperature, top_p, seed):
        with weights.used():
            return generate_replies(prompt, max_tokens, temperature, top_p, seed)

    @tf.function(input_signature=[texts])
    def greedy(prompt):
        options = (default_max_tokens(preprocessor.seq_length), 0.0, 1.0, 0)
        return {"reply": replies(prompt, *(tf.fill(tf.shape(prompt), value) for value in options))}

    @tf.function(input_signature=[texts, integers, floats, floats, integers])
    def generate(prompt, max_tokens, temperature, top_p, seed):
        return {"reply": replies(prompt, max_tokens, temperature, top_p, seed)}

    @tf.function(input_signature=[texts, texts])
    def score(prompt, reply):
        with weights.used():
            loss, _, count = tf.unstack(layer(preprocessor([prompt, reply]), training=False), axis=1)
        return {"log_likelihood": -loss, "tokens": tf.cast(count, tf.int32), "perplexity": tf.exp(loss / count)}

    module: Any = tf.Module()
    module.weights, module.tables = weights.tracked, _tables(preprocessor.tokenizer)
    signatures = {"serving_default": greedy, "generate": generate, "score": score}
    tf.saved_model.save(module, str(folder), signatures=signatures)
    dialogue = {name: getattr(preprocessor, name) for name in ("template", "system", "seq_length")}
    description = {"task": "dialogue", "inputs": ["prompt"], "labels": [], "decision": {}, "dialogue": dialogue}
    write_assets(folder, description)
    return serving_entry(folder, context)


def _reply_function(model: "keras.Model") -> Callable[..., tf.Tensor]:
    """Return a function from prompts and options, (batch,) each, to replies, string (batch,)."""
    writer = ReplyWriter(model)
    preprocessor, window = writer.preprocessor, writer.window

    def generate_replies(prompts, max_tokens, temperature, top_p, seed):
        tokens = preprocessor.prompt_tokens(prompts, room=tf.clip_by_value(max_tokens, 1, window // 2))
        lengths = tf.cast(tokens.row_lengths(), tf.int32)
        # Clients may send any number; the window limits the reply.
        max_tokens = tf.clip_by_value(max_tokens, 1, window - lengths)
        ids = writer.reply_ids(tokens.to_tensor(), lengths, max_tokens, temperature, top_p, seed)
        # A reply may end in half a character, which is invalid UTF-8 and breaks REST.
        return tf.strings.unicode_transcode(preprocessor.tokenizer.detokenize(ids), "UTF-8", "UTF-8")

    return generate_replies


def _tables(tokenizer: object) -> list[object]:
    """Return the tables of a tokenizer, and its other resources that a SavedModel must contain."""
    types = (tf.saved_model.experimental.TrackableResource, tf.Module)
    return [value for value in vars(tokenizer).values() if isinstance(value, types)]
