import numpy as np
import tensorflow as tf

from tests.conftest import make_reviews
from tfhub_ft import HubPreprocessor
from tfhub_ft.distillation.vocabulary import domain_vocabulary


def test_domain_vocabulary_keeps_used_tokens_and_a_margin(tiny_pair):
    preprocessor = HubPreprocessor(str(tiny_pair))
    words = preprocessor.vocabulary
    kept = domain_vocabulary([("the GOOD pizza", "waiters")], preprocessor, margin=0.1)
    without = domain_vocabulary([("the GOOD pizza", "waiters")], preprocessor, margin=0)
    assert kept == sorted(kept, key=words.index)
    assert {"[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "the", "good", "pizza", "waiter", "##s"} <= set(without)
    assert set("abcxyz0.!") | {f"##{letter}" for letter in "abcxyz"} <= set(without)
    assert {"[unused0]", "terrible"} & set(without) == set()
    margin = [word for word in kept if word not in without]
    assert len(margin) == round(0.1 * len(without))
    assert margin == [word for word in words if word not in without and word != "[unused0]"][: len(margin)]


def test_domain_vocabulary_tokenizes_its_texts_as_before(tiny_pair):
    preprocessor = HubPreprocessor(str(tiny_pair), lowercase=True)
    texts = [text for text, _ in make_reviews(40)]
    kept = domain_vocabulary([(text,) for text in texts], preprocessor)
    tokens = preprocessor(tf.constant(texts))["input_word_ids"].numpy()
    assert len(kept) < len(preprocessor.vocabulary)
    assert {preprocessor.vocabulary[i] for i in np.unique(tokens)} <= set(kept)
