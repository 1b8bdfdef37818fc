import pytest

from tfhub_ft.encoders.freezing import depth_of, frozen_names
from tfhub_ft.utils.errors import InputError

EMBEDDINGS = ["word_embeddings/embeddings", "position_embedding/embeddings", "embeddings/layer_norm/gamma"]
LAYERS = [f"transformer/layer_{i}/self_attention/query/kernel" for i in range(12)]
POOLER = ["pooler_transform/kernel", "pooler_transform/bias"]
NAMES = [*EMBEDDINGS, *LAYERS, *POOLER]


@pytest.mark.parametrize(
    ("name", "depth"),
    [
        ("transformer/layer_11/output/kernel", 11),
        ("tf_distil_bert/distilbert/transformer/layer_._3/attention/q_lin/kernel", 3),
        ("bert/encoder/layer_0/output_layer_norm/beta", 0),
        ("embeddings/layer_norm/gamma", None),
        ("pooler_transform/kernel", None),
    ],
)
def test_depth_of_parses_variable_names(name, depth):
    assert depth_of(name) == depth


@pytest.mark.parametrize(
    ("freeze", "frozen"),
    [
        ("none", []),
        ("embeddings", EMBEDDINGS),
        ("0", EMBEDDINGS),
        ("2", [*EMBEDDINGS, *LAYERS[:2]]),
        ("all-but-2", [*EMBEDDINGS, *LAYERS[:10]]),
        ("all-but-0", [*EMBEDDINGS, *LAYERS]),
        ("all-but-pooler", [*EMBEDDINGS, *LAYERS]),
        ("all", NAMES),
    ],
)
def test_frozen_names_supports_every_value(freeze, frozen):
    assert frozen_names(NAMES, freeze) == set(frozen)


@pytest.mark.parametrize(
    ("freeze", "message"),
    [("13", "has 12 layers"), ("all-but-13", "has 12 layers"), ("-1", "not one of"), ("top", "not one of")],
)
def test_frozen_names_refuses_invalid_values(freeze, message):
    with pytest.raises(InputError, match=message):
        frozen_names(NAMES, freeze)


def test_frozen_names_refuses_depths_of_shared_layers():
    shared = [*EMBEDDINGS, "transformer/self_attention/query/kernel", *POOLER]
    with pytest.raises(InputError, match="share their weights"):
        frozen_names(shared, "2")
    assert frozen_names(shared, "all-but-pooler") == set(shared) - set(POOLER)
