import numpy as np
import pytest

from tfhub_ft.encoders import model_garden
from tfhub_ft.encoders.model_garden import hugging_face_weight, read_weights
from tfhub_ft.utils.errors import InputError


@pytest.mark.parametrize(
    ("name", "shape", "expected_name", "expected_shape"),
    [
        ("word_embeddings/embeddings", (7, 4), "embeddings.word_embeddings.weight", (7, 4)),
        ("embeddings/layer_norm/beta", (4,), "embeddings.LayerNorm.bias", (4,)),
        (
            "transformer/layer_3/self_attention/query/kernel",
            (4, 2, 3),
            "encoder.layer.3.attention.self.query.weight",
            (6, 4),
        ),
        ("transformer/layer_0/self_attention/query/bias", (2, 3), "encoder.layer.0.attention.self.query.bias", (6,)),
        (
            "transformer/layer_0/self_attention/attention_output/kernel",
            (2, 3, 4),
            "encoder.layer.0.attention.output.dense.weight",
            (4, 6),
        ),
        ("transformer/layer_0/intermediate/kernel", (4, 8), "encoder.layer.0.intermediate.dense.weight", (8, 4)),
        ("pooler_transform/kernel", (4, 4), "pooler.dense.weight", (4, 4)),
        ("cls/predictions/output_bias/bias", (7,), "predictions.bias", (7,)),
    ],
)
def test_hugging_face_weight_converts_names_and_shapes(name, shape, expected_name, expected_shape):
    value = np.arange(np.prod(shape), dtype="float32").reshape(shape)
    converted_name, converted = hugging_face_weight(name, value)
    assert (converted_name, converted.shape) == (expected_name, expected_shape)
    if name.endswith("kernel"):
        np.testing.assert_array_equal(converted.T.ravel(), value.ravel())


def test_read_weights_refuses_other_numbers_of_checkpoints(tmp_path):
    with pytest.raises(InputError, match=r"expected one checkpoint .* got 0"):
        read_weights(tmp_path)
    for name in ("a.ckpt.index", "b.ckpt.index"):
        (tmp_path / name).write_bytes(b"")
    with pytest.raises(InputError, match=r"expected one checkpoint .* got 2"):
        read_weights(tmp_path)


def test_read_weights_names_the_missing_extra(tmp_path, monkeypatch):
    (tmp_path / "bert_model.ckpt.index").write_bytes(b"")
    monkeypatch.setattr(model_garden.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"pip install 'tfhub_ft\[models\]'"):
        read_weights(tmp_path)
