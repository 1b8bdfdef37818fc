"""Write the pair of a checkpoint with the exporter of tf-models-official, in a process with Keras 2.

python tests/integration/encoders/official_pair.py CHECKPOINT PAIR OUT_DIR

The weights come from PAIR, which `convert_checkpoint` wrote from CHECKPOINT.
"""

import math
import sys
from pathlib import Path

import tensorflow as tf
import tf_keras
from official.legacy.bert.configs import BertConfig
from official.nlp.tools import export_tfhub_lib

from tfhub_ft.encoders.checkpoint import read_checkpoint


def gelu(x):
    return 0.5 * x * (1.0 + tf.math.erf(x / math.sqrt(2)))


def main(checkpoint_dir: str, pair: str, out_dir: str) -> None:
    checkpoint, out = read_checkpoint(checkpoint_dir), Path(out_dir)
    config = BertConfig(
        vocab_size=checkpoint.vocab_size,
        hidden_size=checkpoint.hidden_size,
        num_hidden_layers=checkpoint.layers,
        num_attention_heads=checkpoint.heads,
        intermediate_size=checkpoint.intermediate_size,
        # tf-models' own "gelu" is the tanh approximation.
        hidden_act={"gelu": gelu, "gelu_tanh": "gelu", "relu": "relu", "silu": "swish"}[checkpoint.activation],
        hidden_dropout_prob=checkpoint.dropout,
        attention_probs_dropout_prob=checkpoint.attention_dropout,
        max_position_embeddings=checkpoint.max_positions,
        type_vocab_size=checkpoint.type_vocab_size or 2,
    )
    encoder, network = export_tfhub_lib._create_model(bert_config=config, with_mlm=bool(checkpoint.masked_lm))
    for layer in network.submodules:
        if isinstance(layer, tf_keras.layers.LayerNormalization):
            layer.epsilon = checkpoint.layer_norm_eps
    ours = tf.saved_model.load(f"{pair}/encoder")
    holder = ours.mlm if checkpoint.masked_lm else ours
    values = {variable.name: variable.numpy() for variable in holder.variables}
    if not checkpoint.has_pooler:
        outputs = {**encoder.output, "pooled_output": encoder.output["sequence_output"][:, 0]}
        outputs["default"] = outputs["pooled_output"]
        encoder = tf_keras.Model(encoder.input, outputs)
    for variable in (encoder.mlm if checkpoint.masked_lm else encoder).variables:
        name = variable.name.removeprefix("bert/")
        if name.startswith("type_embeddings") and name not in values:
            variable.assign(tf.zeros_like(variable))
        elif not (name.startswith("pooler_transform") and not checkpoint.has_pooler):
            variable.assign(values.pop(name))
    assert not values, list(values)
    (out / "vocab.txt").write_text("\n".join(checkpoint.vocabulary) + "\n", encoding="utf-8")
    encoder.vocab_file = tf.saved_model.Asset(str(out / "vocab.txt"))
    encoder.do_lower_case = tf.Variable(checkpoint.do_lower_case, trainable=False)
    encoder.save(str(out / "encoder"), include_optimizer=False, save_format="tf")
    export_tfhub_lib.export_preprocessing(
        str(out / "preprocessor"),
        vocab_file=str(out / "vocab.txt"),
        do_lower_case=checkpoint.do_lower_case,
        tokenize_with_offsets=False,
        experimental_disable_assert=True,
        default_seq_length=min(128, checkpoint.max_positions),
    )


if __name__ == "__main__":
    main(*sys.argv[1:])
