"""Read checkpoints of the TensorFlow Model Garden with Keras 2."""

import importlib.util
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from tfhub_ft.utils.errors import InputError
from tfhub_ft.utils.files import temporary_folder
from tfhub_ft.utils.processes import module_command, run_quietly

if TYPE_CHECKING:
    import numpy as np

CONFIG = "bert_config.json"
# Names in Hugging Face's torch model by those in tf-models.
BLOCK_PARTS = {
    "self_attention/query": "attention.self.query",
    "self_attention/key": "attention.self.key",
    "self_attention/value": "attention.self.value",
    "self_attention/attention_output": "attention.output.dense",
    "self_attention_layer_norm": "attention.output.LayerNorm",
    "intermediate": "intermediate.dense",
    "output": "output.dense",
    "output_layer_norm": "output.LayerNorm",
}
_PARTS = {
    **BLOCK_PARTS,
    "word_embeddings": "embeddings.word_embeddings",
    "position_embedding": "embeddings.position_embeddings",
    "type_embeddings": "embeddings.token_type_embeddings",
    "embeddings/layer_norm": "embeddings.LayerNorm",
    "pooler_transform": "pooler.dense",
    "cls/predictions/transform/dense": "predictions.transform.dense",
    "cls/predictions/transform/LayerNorm": "predictions.transform.LayerNorm",
    "cls/predictions/output_bias": "predictions",
}


def read_weights(folder: Path) -> dict[str, "np.ndarray"]:
    """Return the float32 weights of a checkpoint beside bert_config.json, by their names in Hugging Face's torch model.

    See https://github.com/tensorflow/models/blob/master/official/nlp/docs/pretrained_models.md
    """
    from safetensors.numpy import load_file

    indices = sorted(folder.glob("*.index"))
    if len(indices) != 1:
        raise InputError(f"{folder}: expected one checkpoint (*.ckpt.index) beside {CONFIG}, got {len(indices)}")
    if importlib.util.find_spec("official") is None:
        raise InputError(
            f"{folder}: a Model Garden checkpoint needs tf-models-official; pip install 'tfhub_ft[models]'"
        )
    with temporary_folder() as scratch:
        file = Path(scratch) / "weights.safetensors"
        command = module_command(__name__, str(folder / CONFIG), str(indices[0].with_suffix("")), str(file))
        run_quietly(command, f"{indices[0]}: cannot be restored with {CONFIG}", TF_USE_LEGACY_KERAS="1")
        return dict(hugging_face_weight(name, value) for name, value in load_file(file).items())


def hugging_face_weight(name: str, value: "np.ndarray") -> tuple[str, "np.ndarray"]:
    """Return the name and the value of a TF Hub BERT's weight in Hugging Face's torch model."""
    import numpy as np

    match = re.fullmatch(r"(?:transformer/layer_(\d+)/)?(.+)/(\w+)", name)
    if not match:
        raise ValueError(f"{name}: not the name of a TF Hub BERT's weight")
    layer, part, kind = match.groups()
    if kind == "kernel":
        outputs = value.shape[-1] if part == "self_attention/attention_output" else value[0].size
        value = value.reshape(-1, outputs).T
    elif kind == "bias":
        value = value.reshape(-1)
    block = f"encoder.layer.{layer}." if layer else ""
    ending = "bias" if kind in ("bias", "beta") else "weight"
    return f"{block}{_PARTS[part]}.{ending}", np.ascontiguousarray(value)


def _restore(config_file: str, checkpoint: str, out_file: str) -> None:
    import tensorflow as tf
    from official.legacy.bert.configs import BertConfig
    from official.modeling import tf_utils
    from official.nlp.modeling import models
    from official.nlp.tools import export_tfhub_lib
    from safetensors.numpy import save_file

    config = BertConfig.from_json_file(config_file)
    encoder = export_tfhub_lib.get_bert_encoder(config)
    variables = encoder.variables
    roots = {name.split("/")[0] for name, _ in tf.train.list_variables(checkpoint)}
    if "masked_lm" in roots:
        pretrainer = models.BertPretrainerV2(encoder, mlm_activation=tf_utils.get_activation(config.hidden_act))
        pretrainer(pretrainer.inputs)
        variables = pretrainer.variables
        restored = tf.train.Checkpoint(**pretrainer.checkpoint_items)
    else:
        # Older checkpoints name the encoder `model`.
        restored = tf.train.Checkpoint(**({"encoder": encoder} if "encoder" in roots else {"model": encoder}))
    restored.read(checkpoint).assert_existing_objects_matched().expect_partial()
    names = (variable.name.removesuffix(":0").removeprefix("bert/") for variable in variables)
    save_file({name: variable.numpy() for name, variable in zip(names, variables, strict=True)}, out_file)


if __name__ == "__main__":
    _restore(*sys.argv[1:])
