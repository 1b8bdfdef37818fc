"""Check that the tokenizer of a TFLite file splits texts as the preprocessor does that the model was trained with."""

import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tfhub_ft.export_folder import read_description
from tfhub_ft.inference.runtimes.preprocessor import tflite_preprocessor
from tfhub_ft.utils.errors import RunError

SHOWN = 3
VARIED_TEXTS = 2000
SCRIPTS = "のはをひらカタカナー한국어글กขคงامرحباनमस्ते"
CONTROLS = ("\t", "\n", "\r\n", "\x00", "\x07", "\x1b", "\x7f", "\x85", "\u200b", "\u200d", "\ufeff")


def check_tokenizer(file: Path, preprocessor: Any, texts: Sequence[str], *, seed: int) -> dict[str, Any]:
    """Compare the tokenizer of a file with the preprocessor, on 2,000 texts and on each character by itself.

    Args:
        file: a file that contains a vocabulary. The tokenizer of one that reads texts is TF Text's fast tokenizer, that
            of others is varied from the vocabulary by `predict`.
        preprocessor: the model's preprocessing layer.
        texts: texts of the model's own kind.
        seed: of the mixture of texts.

    Returns:
        {"texts": how many were compared, "other_characters": characters that it treats as another kind, such as as
        letters: Unicode's tables grow, and tokenizers have them from different years}.

    Raises:
        RunError: it splits texts differently.
    """
    tokenize = _tokenizer(file, preprocessor)
    characters = {f"a{chr(code)}b": chr(code) for code in range(1, 0x30000) if not 0xD800 <= code < 0xE000}
    others = [characters[text] for text in _different(tokenize, preprocessor, list(characters))]
    compared = varied_texts(texts, without=others, seed=seed)
    if different := _different(tokenize, preprocessor, compared):
        shown = ", ".join(repr(text[:40]) for text in different[:SHOWN])
        raise RunError(
            f"its tokenizer splits {len(different):,} of {len(compared):,} texts differently from the encoder's"
            f" preprocessor, such as {shown}"
        )
    return {"texts": len(compared), "other_characters": [f"U+{ord(character):04X}" for character in others]}


def _tokenizer(file: Path, preprocessor: Any) -> Any:
    description = read_description(file)
    if not description["reads_texts"]:
        return tflite_preprocessor(file).tokenize
    import tensorflow as tf
    import tensorflow_text

    return tensorflow_text.FastBertTokenizer(
        preprocessor.vocabulary, token_out_type=tf.int32, lower_case_nfd_strip_accents=description["lowercase"]
    ).tokenize


def _different(tokenize: Any, preprocessor: Any, texts: list[str]) -> list[str]:
    """Return the texts that a tokenizer splits into other tokens than the preprocessor."""
    import tensorflow as tf

    tokens, expected = (_tokens(each(tf.constant(texts))) for each in (tokenize, preprocessor.tokenize))
    return [text for text, one, other in zip(texts, tokens, expected, strict=True) if one != other]


def _tokens(ragged: Any) -> list[list[int]]:
    return (ragged.merge_dims(1, 2) if ragged.shape.rank == 3 else ragged).to_list()


def varied_texts(sample: Sequence[str], *, without: Sequence[str] = (), seed: int = 0) -> list[str]:
    """Return 2,000 texts that tokenizers are likely to disagree on, besides those of a sample.

    Accents, composed and not; Chinese, Japanese, Korean, Thai, Arabic and Devanagari; emoji with modifiers; addresses;
    control characters; zero-width and unusual spaces; words of hundreds of letters; empty texts.

    Args:
        sample: texts of the model's own kind, whose words are mixed in.
        without: characters that do not occur.
        seed: of the mixture.
    """
    rng = random.Random(seed)
    words = sorted({word for text in sample for word in text.split()}) or ["word"]
    codes = [*range(0x20, 0xD7FF), *range(0x1F000, 0x1FAFF)]
    kinds = [
        lambda: rng.choice(words),
        lambda: rng.choice(words).upper(),
        lambda: rng.choice(words) + rng.choice(words),
        lambda: "".join(rng.choice("áàâäãåçéèêëíïñóôöøúüýßœæłğşİıſ") for _ in range(rng.randint(1, 9))),
        lambda: "".join(rng.choice("aeiounc") + rng.choice("\u0301\u0300\u0308\u0327\u0303") for _ in range(4)),
        lambda: "".join(chr(rng.randint(0x4E00, 0x9FFF)) for _ in range(rng.randint(1, 6))),
        lambda: "".join(rng.choice(SCRIPTS) for _ in range(rng.randint(1, 8))),
        lambda: rng.choice(["😀", "👍🏽", "👨‍👩‍👧", "🇨🇭", "❤️", "☕", "™", "½", "ﬁ", "①", "𝓗", "Ⅷ"]),
        lambda: f"https://{rng.choice(words)}.example/{rng.randint(0, 9999)}?q={rng.choice(words)}&x=%20#a_b",
        lambda: rng.choice(CONTROLS),
        lambda: rng.choice(["\xa0", "\u2003", "\u3000", "\u2028", "\u00ad", "\ufffd", "\ue000", "\U0010fffd"]),
        lambda: rng.choice("abcxyz") * rng.randint(90, 400),
        lambda: rng.choice(words) * rng.randint(10, 40),
        lambda: "".join(chr(rng.randint(0x21, 0x7E)) for _ in range(rng.randint(1, 12))),
        lambda: "".join(chr(rng.choice(codes)) for _ in range(4)),
        lambda: str(rng.randint(0, 10**12)),
        lambda: rng.choice(["[CLS]", "[SEP]", "[MASK]", "[UNK]", "[PAD]", "[unused1]", "##ing", "#", "'s", "..."]),
    ]
    joints = ["", " ", " ", " ", "  "]
    varied = ["", " ", "\n"]
    while len(varied) < VARIED_TEXTS:
        parts = [rng.choice(kinds)() for _ in range(rng.randint(1, 12))]
        varied.append("".join(part + rng.choice(joints) for part in parts))
    omitted = dict.fromkeys(map(ord, without))
    return [text.translate(omitted) for text in [*varied, *sample]]
