"""Read a BERT checkpoint of the TensorFlow Model Garden by tf-models-official, in a process of Keras 2."""

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
# Names of parts in Hugging Face's torch model, by those in tf-models.
_PARTS = {
    "self_attention/query": "attention.self.query",
    "self_attention/key": "attention.self.key",
    "self_attention/value": "attention.self.value",
    "self_attention/attention_output": "attention.output.dense",
    "self_attention_layer_norm": "attention.output.LayerNorm",
    "intermediate": "intermediate.dense",
    "output": "output.dense",
    "output_layer_norm": "output.LayerNorm",
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
    """Return the weights of a checkpoint by their names in Hugging Face's torch model.

    Args:
        folder: holds bert_config.json and a checkpoint, such as bert_model.ckpt.index with its data.

    Returns:
        float32 arrays; a dense layer's weight is [out, in]. Those of the masked-LM head are there where it was kept.

    Raises:
        InputError: tf-models-official is not installed, or the folder has several checkpoints, or none.
        RunError: the checkpoint does not fit bert_config.json.

    Reference:
        https://github.com/tensorflow/models/blob/master/official/nlp/docs/pretrained_models.md
    """
    from safetensors.numpy import load_file

    indices = sorted(folder.glob("*.index"))
    if len(indices) != 1:
        raise InputError(f"{folder}: has {len(indices)} checkpoints (*.ckpt.index) beside {CONFIG}; keep one of them")
    if importlib.util.find_spec("official") is None:
        raise InputError(f"{folder}: a checkpoint of the Model Garden needs pip install 'tfhub_ft[models]'")
    with temporary_folder() as scratch:
        file = Path(scratch) / "weights.safetensors"
        command = module_command(__name__, str(folder / CONFIG), str(indices[0].with_suffix("")), str(file))
        run_quietly(command, f"{indices[0]}: cannot be restored as {CONFIG} describes it", TF_USE_LEGACY_KERAS="1")
        return dict(hugging_face_weight(*each) for each in load_file(file).items())


def hugging_face_weight(name: str, value: "np.ndarray") -> tuple[str, "np.ndarray"]:
    """Return the name and the value that a weight of a TF Hub BERT has in Hugging Face's torch model.

    Args:
        name: such as "transformer/layer_0/self_attention/query/kernel".
        value: float32; attention kernels and biases have an axis of heads.

    Example:
        hugging_face_weight("pooler_transform/kernel", kernel)  # ("pooler.dense.weight", kernel transposed)
    """
    import numpy as np

    layer, part, kind = re.fullmatch(r"(?:transformer/layer_(\d+)/)?(.+)/(\w+)", name).groups()
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
        # Earlier checkpoints have the encoder as `model`.
        restored = tf.train.Checkpoint(**({"encoder": encoder} if "encoder" in roots else {"model": encoder}))
    restored.read(checkpoint).assert_existing_objects_matched().expect_partial()
    names = (variable.name.removesuffix(":0").removeprefix("bert/") for variable in variables)
    save_file({name: variable.numpy() for name, variable in zip(names, variables, strict=True)}, out_file)


if __name__ == "__main__":
    _restore(*sys.argv[1:])
