"""Compare converted pairs with those of the exporter of tf-models-official."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_text  # noqa: F401  registers the operations of preprocessors

from tfhub_ft.encoders.checkpoint import read_checkpoint
from tfhub_ft.encoders.convert import convert_checkpoint
from tfhub_ft.utils.errors import InputError
from tfhub_ft.utils.processes import child_environment, python_command

pytest.importorskip("official", reason="needs tf-models-official, the extra [models]")

# Relative to the largest value, up to 10 in hidden states: the float32 rounding errors of both exporters.
TOLERANCE = 1e-6
TEXTS = [
    "a good film",
    "",
    "   ",
    "Terrible FOOD!!! 1,000 times... (worse)",
    "Café naïve Zürich Ελλάδα 東京 \u200b zero\u00a0width",
    "unbelievablyantidisestablishmentarian don't it's",
    "\x00 NUL and \t tab \n line",
    "emoji 🎬🍿 e\u0301 combining",
    "[CLS] [MASK] [SEP] a ##s b",
    "the film was good and the food was bad " * 30,
]


def official_pair(checkpoint: Path, pair: Path, folder: Path) -> Path:
    script = Path(__file__).with_name("official_pair.py")
    folder.mkdir()
    environment = child_environment(TF_USE_LEGACY_KERAS="1", CUDA_VISIBLE_DEVICES="-1", TF_CPP_MIN_LOG_LEVEL="3")
    command = [sys.executable, str(script), str(checkpoint), str(pair), str(folder)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    return folder


def assert_equal_pairs(ours: Path, theirs: Path) -> None:
    encoders, preprocessors = (
        [tf.saved_model.load(str(pair / name)) for pair in (ours, theirs)] for name in ("encoder", "preprocessor")
    )
    names = [{variable.name for variable in encoder.trainable_variables} for encoder in encoders]
    unused = {"type_embeddings/embeddings:0", "pooler_transform/kernel:0", "pooler_transform/bias:0"}
    assert names[0] <= names[1]
    assert names[1] - names[0] <= unused
    tokens = [preprocessor.tokenize(tf.constant(TEXTS)) for preprocessor in preprocessors]
    assert tokens[0].to_list() == tokens[1].to_list()
    special = [preprocessor.tokenize.get_special_tokens_dict() for preprocessor in preprocessors]
    assert {k: int(v) for k, v in special[0].items()} == {k: int(v) for k, v in special[1].items()}
    defaults = [preprocessor(tf.constant(TEXTS)) for preprocessor in preprocessors]
    two = [tokens[0], tokens[0][::-1]]
    for length in (3, 7, 8, 40, 64):
        for segments in ([tokens[0]], [tokens[0].merge_dims(1, -1)], two):
            packed = [each.bert_pack_inputs(segments, seq_length=tf.constant(length)) for each in preprocessors]
            assert_equal(*packed, tolerance=0)
    assert_equal(*defaults, tolerance=0)
    types = next((v.shape[0] for v in encoders[0].variables if v.name.startswith("type_embeddings")), 2)
    other_batch = preprocessors[0].bert_pack_inputs(two if types > 1 else two[:1], seq_length=tf.constant(33))
    for batch in (defaults[0], other_batch):
        outputs = [encoder(batch, training=False) for encoder in encoders]
        if hasattr(encoders[1], "mlm"):
            positions = tf.zeros((len(TEXTS), 3), tf.int32) + tf.constant([0, 1, 5])
            outputs = [encoder.mlm({**batch, "masked_lm_positions": positions}) for encoder in encoders]
        here = batch["input_mask"].numpy() > 0
        assert outputs[0].keys() == outputs[1].keys()
        hidden = [[*each.pop("encoder_outputs"), each.pop("sequence_output")] for each in outputs]
        for one, other in zip(*hidden, strict=True):
            assert_close(one.numpy()[here], other.numpy()[here], TOLERANCE)
        assert_equal(*outputs, tolerance=TOLERANCE)


def assert_equal(one: dict, other: dict, tolerance: float) -> None:
    assert one.keys() == other.keys()
    for name in one:
        assert one[name].dtype == other[name].dtype
        assert_close(one[name].numpy(), other[name].numpy(), tolerance)


def assert_close(one: np.ndarray, other: np.ndarray, tolerance: float) -> None:
    np.testing.assert_allclose(one, other, atol=tolerance * max(1.0, np.abs(other).max()), rtol=0)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("bert", {}),
        ("bert", {"masked_lm": True}),
        ("bert", {"pooler": False, "hidden_act": "gelu_new", "layer_norm_eps": 1e-5, "type_vocab_size": 1}),
        ("distilbert", {"activation": "relu"}),
    ],
    ids=["bert", "masked_lm", "unusual", "distilbert"],
)
def test_pairs_match_the_official_exporter(checkpoint_maker, tmp_path, kind, options):
    checkpoint = checkpoint_maker(tmp_path / "checkpoint", kind, **options)
    convert_checkpoint(checkpoint, tmp_path / "ours")
    assert_equal_pairs(tmp_path / "ours", official_pair(checkpoint, tmp_path / "ours", tmp_path / "theirs"))


MODEL_GARDEN = """
import json, sys
import numpy as np, tensorflow as tf
from official.legacy.bert.configs import BertConfig
from official.modeling import tf_utils
from official.nlp.modeling import models
from official.nlp.tools import export_tfhub_lib

folder, items = sys.argv[1:]
config = BertConfig.from_json_file(f"{folder}/bert_config.json")
encoder = export_tfhub_lib.get_bert_encoder(config)
pretrainer = models.BertPretrainerV2(encoder, mlm_activation=tf_utils.get_activation(config.hidden_act))
inputs = {"input_word_ids": [[3, 70, 4, 0]], "input_mask": [[1, 1, 1, 0]], "input_type_ids": [[0, 0, 0, 0]]}
inputs = {**{name: tf.constant(value) for name, value in inputs.items()}, "masked_lm_positions": tf.constant([[1]])}
pretrainer(inputs)
random = np.random.default_rng(0)
for variable in pretrainer.variables:
    variable.assign(float("gamma" in variable.name) + random.normal(0, 0.2, variable.shape))
saved = {"pretrainer": pretrainer.checkpoint_items, "encoder": {"encoder": encoder}, "model": {"model": encoder}}[items]
tf.train.Checkpoint(**saved).write(f"{folder}/bert_model.ckpt")
outputs = pretrainer(inputs)
np.savez(f"{folder}/expected.npz", **{name: outputs[name] for name in ("pooled_output", "mlm_logits")})
"""


@pytest.mark.slow
@pytest.mark.parametrize("items", ["pretrainer", "encoder", "model"])
def test_model_garden_checkpoints_are_converted(tiny_checkpoint, tmp_path, items):
    folder = tmp_path / "uncased_L-2_H-32_A-2"
    folder.mkdir()
    config = json.loads((tiny_checkpoint / "config.json").read_text())
    (folder / "bert_config.json").write_text(json.dumps({**config, "hidden_act": "gelu"}))
    shutil.copy(tiny_checkpoint / "vocab.txt", folder)
    environment = child_environment(TF_USE_LEGACY_KERAS="1", CUDA_VISIBLE_DEVICES="-1")
    subprocess.run(python_command(MODEL_GARDEN, str(folder), items), env=environment, check=True, capture_output=True)
    convert_checkpoint(folder, tmp_path / "pair")
    encoder = tf.saved_model.load(str(tmp_path / "pair" / "encoder"))
    expected = np.load(folder / "expected.npz")
    tokens = {"input_word_ids": [[3, 70, 4, 0]], "input_mask": [[1, 1, 1, 0]], "input_type_ids": [[0, 0, 0, 0]]}
    tokens = {name: tf.constant(value) for name, value in tokens.items()}
    np.testing.assert_allclose(encoder(tokens)["pooled_output"], expected["pooled_output"], atol=1e-5)
    assert hasattr(encoder, "mlm") == (items == "pretrainer")
    if items == "pretrainer":
        logits = encoder.mlm({**tokens, "masked_lm_positions": tf.constant([[1]])})["mlm_logits"]
        np.testing.assert_allclose(logits, expected["mlm_logits"], atol=1e-4)
    shutil.copy(folder / "bert_model.ckpt.index", folder / "other.ckpt.index")
    with pytest.raises(InputError, match="got 2"):
        read_checkpoint(folder)


@pytest.mark.slow
def test_default_encoder_matches_the_official_exporter(tmp_path):
    from tfhub_ft.encoders.default_encoder import fetch_checkpoint

    (tmp_path / "download").mkdir()
    checkpoint = fetch_checkpoint(tmp_path / "download")
    convert_checkpoint(checkpoint, tmp_path / "ours")
    assert_equal_pairs(tmp_path / "ours", official_pair(checkpoint, tmp_path / "ours", tmp_path / "theirs"))
