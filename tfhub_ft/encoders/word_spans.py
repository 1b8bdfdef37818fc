"""Find the words of a text that a preprocessor's tokens belong to."""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, NamedTuple

from tfhub_ft.encoders.hub_preprocessor import HubPreprocessor, flat_tokens
from tfhub_ft.encoders.window_preprocessor import split_with_offsets

if TYPE_CHECKING:
    import tensorflow as tf

_PUNCTUATION = r"!-/:-@\[-`{-~\p{P}\p{Han}"
# Words, punctuation marks and Han characters, as BERT's tokenizer separates them; then everything between spaces.
PATTERNS = (rf"[{_PUNCTUATION}]|[^\s\p{{Z}}{_PUNCTUATION}]+", r"[^\s\p{Z}]+")


class WordSpan(NamedTuple):
    """A word: its first character in the text, the one after its last, and its number of tokens."""

    start: int
    end: int
    tokens: int


def word_spans(preprocessor: HubPreprocessor, texts: Sequence[str]) -> list[list[WordSpan]]:
    """Return the words of each text, whose tokens, in this order, are those of the text.

    Where a tokenizer does not separate words at punctuation, everything between two spaces is a word. A text that it
    does not separate at spaces either is a single word.
    """
    import tensorflow as tf

    if not texts:
        return []
    batch = tf.constant(list(texts))
    token_ids = flat_tokens(preprocessor.tokenize(batch)).to_list()
    spans: list[list[WordSpan] | None] = [None] * len(texts)
    for pattern in PATTERNS:
        missing = [number for number, each in enumerate(spans) if each is None]
        if missing:
            candidates = _split(preprocessor, tf.gather(batch, missing), pattern)
            for number, (row_spans, row_ids) in zip(missing, candidates, strict=True):
                if row_ids == token_ids[number]:
                    spans[number] = row_spans
    return [
        [WordSpan(0, len(text), len(ids))] if row_spans is None else row_spans
        for text, ids, row_spans in zip(texts, token_ids, spans, strict=True)
    ]


def _split(
    preprocessor: HubPreprocessor, texts: "tf.Tensor", pattern: str
) -> Iterator[tuple[list[WordSpan], list[int]]]:
    """Yield the words of each text that a pattern separates, and their tokens in one list."""
    words, starts, ends = split_with_offsets(texts, pattern)
    pieces = flat_tokens(preprocessor.tokenize(words.flat_values))
    lengths = words.with_flat_values(pieces.row_lengths())
    rows = words.with_flat_values(pieces).merge_dims(1, 2)
    for row, *columns in zip(rows.to_list(), starts.to_list(), ends.to_list(), lengths.to_list(), strict=True):
        yield [WordSpan(*word) for word in zip(*columns, strict=True)], row
