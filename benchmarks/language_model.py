"""Measure the default language model: conversion, loading, and its tokenizer compared with KerasHub's on dialogues.

python benchmarks/language_model.py --data-dir DATA
"""

import argparse
import json
import os
import tempfile
import time
from pathlib import Path

from machine import keep

LINES = 20_000


def timed(function, *arguments):
    began = time.perf_counter()
    result = function(*arguments)
    return result, time.perf_counter() - began


def texts_of(folder):
    """Return the first `LINES` pairs of film dialogues as texts with ChatML tokens."""
    with open(folder / "movie_dialog" / "pairs.jsonl", encoding="utf-8") as file:
        pairs = [json.loads(line) for _, line in zip(range(LINES), file)]
    turns = "<|im_start|>user\n{prompt}<|im_end|>\n<|im_start|>assistant\n{reply}<|im_end|>\n"
    return [turns.format(**pair) for pair in pairs]


def reference(kept):
    """Return the Hugging Face tokenizer built from the file."""
    from tokenizers import Tokenizer, models, pre_tokenizers

    vocabulary = {token: number for number, token in enumerate(kept.tokens)}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[tuple(merge.split(" ")) for merge in kept.merges]))
    digits, words = pre_tokenizers.Digits(True), pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([digits, words])
    tokenizer.add_special_tokens(kept.special)
    return lambda texts: [encoding.ids for encoding in tokenizer.encode_batch(texts)]


def tokenizers_compared(kept, exact, texts):
    """Return the number of texts with different tokens, and texts per second, in Python and in a graph."""
    import keras_hub
    import tensorflow as tf

    vocabulary = {token: number for number, token in enumerate(kept.tokens)}
    own = keras_hub.tokenizers.BytePairTokenizer(vocabulary, kept.merges, unsplittable_tokens=kept.special)
    expected = reference(kept)(texts)
    compared = {}
    for name, tokenizer in (("keras_hub", own), ("tfhub_ft", exact)):
        graph = tf.function(tokenizer, input_signature=[tf.TensorSpec([None], tf.string)])
        in_graph = lambda batch, graph=graph: graph(tf.constant(batch)).to_list()  # noqa: E731
        for way, call in (("python", tokenizer), ("graph", in_graph)):
            found = call(texts)
            compared[f"{name}_{way}"] = {
                "other_tokens": sum(list(ids) != wanted for ids, wanted in zip(found, expected)),
                "texts_a_second": round(len(texts) / timed(call, texts)[1]),
            }
    return compared


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data-dir", type=Path, default=os.environ.get("TFHUB_FT_DATA"))
    texts = texts_of(parser.parse_args().data_dir)

    from tfhub_ft.language_models.gguf_conversion import convert_gguf
    from tfhub_ft.language_models.gguf_file import read_gguf
    from tfhub_ft.language_models.presets import CATALOG, fetch_gguf, load_causal_lm
    from tfhub_ft.utils.files import folder_bytes

    with tempfile.TemporaryDirectory() as scratch:
        file, preset = Path(scratch) / "model.gguf", Path(scratch) / "preset"
        fetch_gguf(CATALOG[0], file)
        difference, conversion_seconds = timed(convert_gguf, file, preset)
        causal_lm, seconds = timed(load_causal_lm, str(preset))
        figures = {
            "model": CATALOG[0].name,
            "conversion_seconds": round(conversion_seconds, 1),
            "logits_differ_by_at_most": difference,
            "gguf_bytes": file.stat().st_size,
            "preset_bytes": folder_bytes(preset),
            "load_seconds": round(seconds, 1),
            "texts": len(texts),
            "tokenizers": tokenizers_compared(read_gguf(file).tokenizer, causal_lm.preprocessor.tokenizer, texts),
        }
    keep("language_model", figures)


if __name__ == "__main__":
    main()
