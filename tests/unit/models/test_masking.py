import keras
import numpy as np
import pytest

from tfhub_ft.models.masking import MaskWords, token_kinds

VOCABULARY = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "un", "##want", "##ed", "film", "good", "!"]


def mask_words(share, **options):
    layer = MaskWords(len(VOCABULARY), VOCABULARY.index("[MASK]"), share=share, **options)
    layer.kinds.assign(token_kinds(VOCABULARY))
    return layer


def rows(count):
    ids = np.tile([2, 5, 6, 7, 8, 9, 3, 0], (count, 1)).astype("int32")
    ids[:, 5] = np.random.default_rng(0).integers(8, 11, count)
    return {"input_word_ids": ids, "input_mask": (ids > 0).astype("int32"), "input_type_ids": 0 * ids}


def test_mask_words_masks_whole_words_in_given_shares():
    keras.utils.set_random_seed(0)
    tokens = rows(4000)
    hidden = {name: np.asarray(each) for name, each in mask_words(0.15)(tokens, training=True).items()}
    chosen, ids = hidden["chosen"], hidden["input_word_ids"]
    assert not chosen[:, [0, 6, 7]].any()
    assert (chosen[:, 1] == chosen[:, 2]).all() and (chosen[:, 2] == chosen[:, 3]).all()
    assert chosen[:, [1, 4, 5]].mean() == pytest.approx(0.15, abs=0.01)
    masked = (ids == VOCABULARY.index("[MASK]"))[chosen].mean()
    kept = (ids == tokens["input_word_ids"])[chosen].mean()
    assert masked == pytest.approx(0.8 + 0.1 / len(VOCABULARY), abs=0.02)
    assert kept == pytest.approx(0.1 + 0.1 / len(VOCABULARY), abs=0.02)
    np.testing.assert_array_equal(ids[~chosen], tokens["input_word_ids"][~chosen])


def test_mask_words_depends_on_row_outside_training():
    layer, tokens = mask_words(0.5), rows(50)
    one, other = (np.asarray(layer(tokens)["input_word_ids"]) for _ in range(2))
    np.testing.assert_array_equal(one, other)
    alone = layer({name: ids[7:8, :7] for name, ids in tokens.items()})
    np.testing.assert_array_equal(np.asarray(alone["input_word_ids"])[0], one[7, :7])
    first = np.asarray(layer(tokens, training=True)["input_word_ids"])
    assert (first != np.asarray(layer(tokens, training=True)["input_word_ids"])).any()


def test_mask_words_keeps_share_outside_training():
    layer = MaskWords(1000, 1, share=0.3)
    ids = np.random.default_rng(0).integers(2, 1000, (300, 40)).astype("int32")
    chosen = np.asarray(layer({"input_word_ids": ids, "input_mask": np.ones_like(ids)})["chosen"])
    assert chosen.mean() == pytest.approx(0.3, abs=0.01)
    assert chosen.mean(0).std() < 0.05
