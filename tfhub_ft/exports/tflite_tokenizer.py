"""Whether the tokenizer of a TFLite file cuts texts as the preprocessor does that the model was trained with."""

import random
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from tfhub_ft.inference.runtimes.tflite import LiteModel

if TYPE_CHECKING:
    import keras

VARIED_TEXTS = 2000
SCRIPTS = "のはをひらカタカナー한국어글กขคงامرحباनमस्ते"
CONTROLS = ("\t", "\n", "\r\n", "\x00", "\x07", "\x1b", "\x7f", "\x85", "\u200b", "\u200d", "\ufeff")


def other_tokens(lite: LiteModel, model: "keras.Model", texts: Sequence[str]) -> list[str]:
    """The texts of which the tokenizer of a file gives other tokens than the preprocessor.

    Args:
        lite: a file that carries a vocabulary; of one that reads texts it is TF Text's fast tokenizer, which stands in
            it, of others the one that `predict` makes of the vocabulary.
        model: the text-in model.
        texts: texts.
    """
    import tensorflow as tf

    preprocessor, texts = model.get_layer("preprocessor"), list(texts)
    expected = _tokens(preprocessor.tokenize(tf.constant(texts)))
    if lite.reads_texts:
        import tensorflow_text

        tokenizer = tensorflow_text.FastBertTokenizer(
            preprocessor.vocabulary,
            token_out_type=tf.int32,
            lower_case_nfd_strip_accents=lite.description["lowercase"],
        )
        found = _tokens(tokenizer.tokenize(tf.constant(texts)))
    else:
        found = _tokens(lite.get_layer("preprocessor").tokenize(tf.constant(texts)))
    return [text for text, one, other in zip(texts, found, expected, strict=True) if one != other]


def other_characters(lite: LiteModel, model: "keras.Model") -> list[str]:
    """Every character of Unicode that the tokenizer of a file takes for another kind, such as for a letter.

    Unicode's tables grow, and tokenizers have them from different years.
    """
    texts = {f"a{chr(code)}b": chr(code) for code in range(1, 0x30000) if not 0xD800 <= code < 0xE000}
    return [texts[text] for text in other_tokens(lite, model, list(texts))]


def _tokens(ragged: Any) -> list[list[int]]:
    return (ragged.merge_dims(1, 2) if ragged.shape.rank == 3 else ragged).to_list()


def varied_texts(sample: Sequence[str], *, without: Sequence[str] = (), seed: int = 0) -> list[str]:
    """2,000 texts that tokenizers disagree on, if they do, besides those of a sample.

    Accents, composed and not; Chinese, Japanese, Korean, Thai, Arabic and Devanagari; emoji with modifiers; addresses;
    control characters; zero-width and unusual spaces; words of hundreds of letters; nothing at all.

    Args:
        sample: texts of the model's own kind, whose words are mixed in.
        without: characters that shall not occur.
        seed: of the mixture.
    """
    chance = random.Random(seed)
    words = sorted({word for text in sample for word in text.split()}) or ["word"]
    codes = [*range(0x20, 0xD7FF), *range(0x1F000, 0x1FAFF)]
    kinds = [
        lambda: chance.choice(words),
        lambda: chance.choice(words).upper(),
        lambda: chance.choice(words) + chance.choice(words),
        lambda: "".join(chance.choice("áàâäãåçéèêëíïñóôöøúüýßœæłğşİıſ") for _ in range(chance.randint(1, 9))),
        lambda: "".join(chance.choice("aeiounc") + chance.choice("\u0301\u0300\u0308\u0327\u0303") for _ in range(4)),
        lambda: "".join(chr(chance.randint(0x4E00, 0x9FFF)) for _ in range(chance.randint(1, 6))),
        lambda: "".join(chance.choice(SCRIPTS) for _ in range(chance.randint(1, 8))),
        lambda: chance.choice(["😀", "👍🏽", "👨‍👩‍👧", "🇨🇭", "❤️", "☕", "™", "½", "ﬁ", "①", "𝓗", "Ⅷ"]),
        lambda: f"https://{chance.choice(words)}.example/{chance.randint(0, 9999)}?q={chance.choice(words)}&x=%20#a_b",
        lambda: chance.choice(CONTROLS),
        lambda: chance.choice(["\xa0", "\u2003", "\u3000", "\u2028", "\u00ad", "\ufffd", "\ue000", "\U0010fffd"]),
        lambda: chance.choice("abcxyz") * chance.randint(90, 400),
        lambda: chance.choice(words) * chance.randint(10, 40),
        lambda: "".join(chr(chance.randint(0x21, 0x7E)) for _ in range(chance.randint(1, 12))),
        lambda: "".join(chr(chance.choice(codes)) for _ in range(4)),
        lambda: str(chance.randint(0, 10**12)),
        lambda: chance.choice(["[CLS]", "[SEP]", "[MASK]", "[UNK]", "[PAD]", "[unused1]", "##ing", "#", "'s", "..."]),
    ]
    joints = ["", " ", " ", " ", "  "]
    made = ["", " ", "\n"]
    while len(made) < VARIED_TEXTS:
        parts = [chance.choice(kinds)() for _ in range(chance.randint(1, 12))]
        made.append("".join(part + chance.choice(joints) for part in parts))
    left_out = dict.fromkeys(map(ord, without))
    return [text.translate(left_out) for text in [*made, *sample]]
