"""Check that the tokenizer of a TFLite file tokenizes as the model's preprocessor."""

import random
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tfhub_ft.export_folder import Entry, read_description
from tfhub_ft.inference.runtimes.preprocessor import tflite_preprocessor
from tfhub_ft.utils.errors import RunError

if TYPE_CHECKING:
    import tensorflow as tf

    from tfhub_ft.encoders.hub_preprocessor import HubPreprocessor

TEXTS_SHOWN = 3
VARIED_TEXTS = 2000
SCRIPTS = "のはをひらカタカナー한국어글กขคงامرحباनमस्ते"
CONTROLS = ("\t", "\n", "\r\n", "\x00", "\x07", "\x1b", "\x7f", "\x85", "\u200b", "\u200d", "\ufeff")


def check_tokenizer(file: Path, preprocessor: "HubPreprocessor", texts: Sequence[str], *, seed: int) -> Entry:
    """Compare the tokenizer of a file with the preprocessor, on varied texts and on single characters.

    Returns the number of "texts" and the "other_characters", which belong to another Unicode category in the Unicode
    version of the tokenizer. Raises a RunError if the tokens of a text differ.
    """
    description = read_description(file)
    if description["reads_texts"]:
        tokenize = fast_tokenizer(preprocessor.vocabulary, lowercase=description["lowercase"]).tokenize
    else:
        tokenize = tflite_preprocessor(file).tokenize
    characters = {f"a{chr(code)}b": chr(code) for code in range(1, 0x30000) if not 0xD800 <= code < 0xE000}
    other_characters = [characters[text] for text in _different(tokenize, preprocessor, list(characters))]
    compared = varied_texts(texts, without=other_characters, seed=seed)
    if different := _different(tokenize, preprocessor, compared):
        examples = ", ".join(repr(text[:40]) for text in different[:TEXTS_SHOWN])
        raise RunError(
            f"its tokenizer returns other tokens than the encoder's preprocessor for {len(different):,} of"
            f" {len(compared):,} texts, such as {examples}"
        )
    return {"texts": len(compared), "other_characters": [f"U+{ord(character):04X}" for character in other_characters]}


def fast_tokenizer(vocabulary: Sequence[str], *, lowercase: bool) -> Any:
    """Return TF Text's FastBertTokenizer, which also strips accents if it converts to lower case."""
    import tensorflow as tf
    import tensorflow_text

    return tensorflow_text.FastBertTokenizer(
        vocabulary,
        token_out_type=tf.int32,  # pyright: ignore[reportArgumentType]
        lower_case_nfd_strip_accents=lowercase,
    )


def _different(tokenize: "Callable[[tf.Tensor], Any]", preprocessor: "HubPreprocessor", texts: list[str]) -> list[str]:
    """Return the texts with different tokens."""
    import tensorflow as tf

    ragged = (function(tf.constant(texts)) for function in (tokenize, preprocessor.tokenize))
    actual, expected = ((ids.merge_dims(1, 2) if ids.shape.rank == 3 else ids).to_list() for ids in ragged)
    return [text for text, one, other in zip(texts, actual, expected, strict=True) if one != other]


def varied_texts(sample: Sequence[str], *, without: Sequence[str] = (), seed: int = 0) -> list[str]:
    """Return a sample of texts, and 2,000 made from its words that tokenizers are likely to disagree on.

    They contain composed and decomposed accents; Chinese, Japanese, Korean, Thai, Arabic and Devanagari; emoji with
    modifiers; URLs; control characters; zero-width and unusual spaces; and words of hundreds of letters. The characters
    of `without` are removed.
    """
    rng = random.Random(seed)
    words = sorted({word for text in sample for word in text.split()}) or ["word"]
    code_points = [*range(0x20, 0xD7FF), *range(0x1F000, 0x1FAFF)]
    makers = [
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
        lambda: "".join(chr(rng.choice(code_points)) for _ in range(4)),
        lambda: str(rng.randint(0, 10**12)),
        lambda: rng.choice(["[CLS]", "[SEP]", "[MASK]", "[UNK]", "[PAD]", "[unused1]", "##ing", "#", "'s", "..."]),
    ]
    separators = ["", " ", " ", " ", "  "]
    varied = ["", " ", "\n"]
    while len(varied) < VARIED_TEXTS:
        parts = [rng.choice(makers)() for _ in range(rng.randint(1, 12))]
        varied.append("".join(part + rng.choice(separators) for part in parts))
    omitted = dict.fromkeys(map(ord, without))
    return [text.translate(omitted) for text in [*varied, *sample]]
