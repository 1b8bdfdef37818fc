"""Choose the tokens of a vocabulary that a domain needs."""

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
    """Return the tokens of a WordPiece vocabulary that a domain needs, in their order.

    The tokens of the texts are kept, so that they are tokenized as before; the special tokens; each single character,
    so that an unseen word is spelled out instead of becoming [UNK]; and the first of the other whole words, their
    number a share `margin` of the kept tokens. The vocabularies of BERT list frequent words first.
    """
    vocabulary = preprocessor.vocabulary
    used = {vocabulary[number] for number in np.unique(tokenize(preprocessor, texts).word_ids)}
    kept = used | {token for token in vocabulary if token in SPECIAL_TOKENS or len(token.removeprefix("##")) == 1}
    others = (token for token in vocabulary if token not in kept and not re.match(r"##|\[unused\d+\]$", token))
    kept.update(itertools.islice(others, round(margin * len(kept))))
    return [token for token in vocabulary if token in kept]
