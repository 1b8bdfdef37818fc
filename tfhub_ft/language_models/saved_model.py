"""Convert a language model that writes replies to a SavedModel."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import tensorflow as tf

from tfhub_ft.exports.saved_model import serving_entry, write_assets
from tfhub_ft.language_models.generation import ReplyWriter
from tfhub_ft.language_models.task import reply_tokens
from tfhub_ft.language_models.weight_quantization import QuantizedWeights

if TYPE_CHECKING:
    import keras

    from tfhub_ft.exports.context import ExportContext


def convert_to_saved_model(context: "ExportContext", quantization: str, folder: Path) -> dict[str, Any]:
    """Write the SavedModel of an export, as `tfhub_ft.exports.saved_model.convert_to_saved_model` does."""
    write_dialogue_model(context.model, quantization, folder)
    return serving_entry(folder, context)


def write_dialogue_model(model: "keras.Model", quantization: str, folder: Path) -> None:
    """Write a model that `dialogue_model` made as a SavedModel for TF Serving.

    Its signatures are `serving_default`, from `prompt` to `reply`, string (batch,), by the likeliest tokens;
    `generate`, which takes with each prompt its own `max_tokens`, int32, `temperature` and `top_p`, float32, and
    `seed`, int32, (batch,) each, since TF Serving puts requests of different clients into one batch; and `score`, from
    `prompt` and `reply` to `log_likelihood`, float32, `tokens`, int32, and `perplexity`, float32, (batch,) each, in
    which the token that ends a reply counts. Special tokens in prompts are read as spaces.

    Args:
        model: the text-in model.
        quantization: of the weights: "none", "bfloat16" or "int8".
        folder: a folder that does not exist yet.
    """
    preprocessor = model.get_layer("preprocessor")
    layer = model.get_layer("token_model").get_layer("language_model")
    weights, write = QuantizedWeights(layer, quantization), _reply_function(model)
    texts, numbers, shares = (tf.TensorSpec((None,), kind) for kind in (tf.string, tf.int32, tf.float32))

    # One function for both signatures: a graph of all layers is what takes time and space.
    @tf.function(input_signature=[texts, numbers, shares, shares, numbers], autograph=False)
    def replies(*arguments):  # noqa: ANN002, ANN202
        with weights.used():
            return write(*arguments)

    @tf.function(input_signature=[texts])
    def greedy(prompt):  # noqa: ANN001, ANN202
        arguments = (reply_tokens(preprocessor.seq_length), 0.0, 1.0, 0)
        return {"reply": replies(prompt, *(tf.fill(tf.shape(prompt), value) for value in arguments))}

    @tf.function(input_signature=[texts, numbers, shares, shares, numbers])
    def generate(prompt, max_tokens, temperature, top_p, seed):  # noqa: ANN001, ANN202
        return {"reply": replies(prompt, max_tokens, temperature, top_p, seed)}

    @tf.function(input_signature=[texts, texts])
    def score(prompt, reply):  # noqa: ANN001, ANN202
        with weights.used():
            loss, _, count = tf.unstack(layer(preprocessor([prompt, reply]), training=False), axis=1)
        return {"log_likelihood": -loss, "tokens": tf.cast(count, tf.int32), "perplexity": tf.exp(loss / count)}

    served = tf.Module()
    served.weights, served.tables = weights.tracked, _tables(preprocessor.tokenizer)
    signatures = {"serving_default": greedy, "generate": generate, "score": score}
    tf.saved_model.save(served, str(folder), signatures=signatures)
    write_assets(folder, _described(preprocessor))


def _reply_function(model: "keras.Model") -> Callable[..., Any]:
    """From prompts, `max_tokens`, `temperature`, `top_p` and `seed`, (batch,) each, to replies, string (batch,)."""
    writer = ReplyWriter(model)
    preprocessor, window = writer.preprocessor, writer.preprocessor.seq_length

    def write(prompts: Any, max_tokens: Any, temperature: Any, top_p: Any, seed: Any) -> Any:
        tokens = preprocessor.prompt_tokens(prompts, room=tf.clip_by_value(max_tokens, 1, window // 2))
        lengths = tf.cast(tokens.row_lengths(), tf.int32)
        # A client may send any number: without room, a reply ends with the window.
        max_tokens = tf.clip_by_value(max_tokens, 1, window - lengths)
        ids = writer.reply_ids(tokens.to_tensor(), lengths, max_tokens, temperature, top_p, seed)
        # Half a character at a reply's end is invalid UTF-8, which REST cannot carry.
        return tf.strings.unicode_transcode(preprocessor.tokenizer.detokenize(ids), "UTF-8", "UTF-8")

    return write


def _tables(tokenizer: Any) -> list[Any]:
    """The tables of a tokenizer, and what else a SavedModel must make when it is loaded."""
    kind = (tf.saved_model.experimental.TrackableResource, tf.Module)
    return [each for each in vars(tokenizer).values() if isinstance(each, kind)]


def _described(preprocessor: Any) -> dict[str, Any]:
    dialogue = {name: getattr(preprocessor, name) for name in ("template", "system", "seq_length")}
    return {"task": "dialogue", "inputs": ["prompt"], "labels": [], "decision": {}, "dialogue": dialogue}
