"""Which words of a vocabulary a domain needs."""

import itertools
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from tfhub_ft.data.batches import tokenize
from tfhub_ft.encoders import MASK

if TYPE_CHECKING:
    from tfhub_ft.encoders.hub_preprocessor import HubPreprocessor

MARGIN = 0.02
SPECIAL_TOKENS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", MASK)


def domain_vocabulary(
    texts: Sequence[tuple[str, ...]], preprocessor: "HubPreprocessor", *, margin: float = MARGIN
) -> list[str]:
    """The tokens that texts of a domain are made of, and some more.

    Kept are the tokens of the texts, which are split as before; the special tokens; every single character, at a word's
    start and inside, so that a word that was never seen is spelled out where it would be; and, as a margin, the first
    remaining whole words of the vocabulary. BERT's vocabularies have the frequent words first.

    Args:
        texts: the segments of each row.
        preprocessor: a preprocessing layer with a WordPiece vocabulary.
        margin: how many more words, as a share of the tokens kept without them.

    Returns:
        The tokens, in the order of the whole vocabulary.

    Raises:
        InputError: the preprocessor has no WordPiece vocabulary.

    Example:
        domain_vocabulary([("a warm, funny film",)], preprocessor)
    """
    words = preprocessor.vocabulary
    used = {words[number] for number in np.unique(tokenize(preprocessor, texts).word_ids)}
    kept = used | {word for word in words if word in SPECIAL_TOKENS or len(word.removeprefix("##")) == 1}
    others = (word for word in words if word not in kept and not re.match(r"##|\[unused\d+\]$", word))
    kept.update(itertools.islice(others, round(margin * len(kept))))
    return [word for word in words if word in kept]
