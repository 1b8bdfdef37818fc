"""The Keras layer that splits long texts into overlapping windows."""

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import keras

from tfhub_ft.encoders import MASK
from tfhub_ft.encoders.hub_preprocessor import HubPreprocessor, flat_tokens
from tfhub_ft.encoders.packing import TOKEN_INPUTS
from tfhub_ft.encoders.text_layer import flat
from tfhub_ft.utils.errors import InputError

if TYPE_CHECKING:
    import tensorflow as tf

_LETTER = r"[^\s\p{Z}\p{P}\p{S}\p{Cc}\p{Han}]"
# The words of a text. "words" keeps names, numbers and URLs whole, "parts" splits them at punctuation. Each Han
# character is one word, as in the encoder's tokenizer.
PATTERNS = {
    "words": rf"https?://[^\s]+|[@#]?(?:{_LETTER}|_)+(?:[-.&/]{_LETTER}+)*|['’]{_LETTER}+|[^\s\p{{Z}}]",
    "parts": rf"{_LETTER}+|[^\s\p{{Z}}]",
}

# Replaces [MASK] before texts are split into words: a symbol is one word and one token. This one is rare in texts.
MASK_SIGN = "\N{UNCERTAINTY SIGN}"


@keras.saving.register_keras_serializable("tfhub_ft")
class WindowPreprocessor(HubPreprocessor):
    """Tokenizes texts without truncation: a long text becomes several overlapping windows.

    Of two segments (a question and its passage) the second is split into windows, and each window starts with the
    first, truncated to a third of `seq_length`.

    Args:
        encoder: string. The encoder, as in `HubPreprocessor`, like all other arguments.
        seq_length: int. Maximum length of a window, including [CLS] and [SEP].
        overlap: int. Number of tokens that neighboring windows share. Defaults to a quarter of `seq_length`.
        split: string. How to split texts into words: "words" keeps names, numbers and URLs whole, "parts" splits at all
            punctuation.
        masks: boolean. Whether "[MASK]" in a text is the mask token.

    Call arguments:
        inputs: A batch of texts, or a list or tuple of two batches, as in `HubPreprocessor`.

    Returns:
        A dict with "input_word_ids", "input_mask" and "input_type_ids", int32 tensors of shape (windows, length).
        `windows` returns also where each window comes from.

    Raises:
        InputError: The preprocessor is not found, or the windows overlap by half or more.

    Example:
        layer = WindowPreprocessor("minilm-l6", seq_length=64, overlap=16)
        words, starts, ends = layer.split_words(tf.constant(["Ada Lovelace was born in London."]))
        windows = layer.windows(words)
    """

    def __init__(
        self,
        encoder: str = "minilm-l6",
        *,
        seq_length: int = 128,
        overlap: int | None = None,
        split: str = "words",
        masks: bool = False,
        **kwargs: Any,
    ):
        if split not in PATTERNS:
            raise ValueError(f"split: expected 'words' or 'parts', got {split!r}")
        max_overlap = max(0, (seq_length - 4 - seq_length // 3) // 2)
        if overlap is not None and overlap > max_overlap:
            raise InputError(f"--overlap {overlap}: must be at most {max_overlap} with --seq-length {seq_length}")
        super().__init__(encoder, seq_length=seq_length, **kwargs)
        self.overlap = min(seq_length // 4, max_overlap) if overlap is None else overlap
        self.split, self.masks = split, masks

    def _tokens(self, segments: "list[tf.Tensor]") -> "dict[str, tf.Tensor]":
        *question, text = segments
        windows = self.windows(self.split_words(text)[0], *question)
        return {name: windows[name] for name in TOKEN_INPUTS}

    def split_words(self, texts: "tf.Tensor") -> "tuple[tf.RaggedTensor, ...]":
        """Split texts, string (batch,), into words.

        Returns the words, string, and their starts and ends in characters, int32; each ragged (batch, words).
        """
        return self._graphs.run(self._split_words, texts)

    def _split_words(self, texts: "tf.Tensor") -> "tuple[tf.RaggedTensor, ...]":
        import tensorflow as tf

        texts = flat(texts)
        if self.masks:
            texts = tf.strings.regex_replace(texts, re.escape(MASK), MASK_SIGN)
        return split_with_offsets(texts, PATTERNS[self.split])

    def windows(self, words: "tf.RaggedTensor", question: "tf.Tensor | None" = None) -> "dict[str, tf.Tensor]":
        """Tokenize words and split them into windows.

        Args:
            words: ragged string tensor of shape (batch, words).
            question: string tensor of shape (batch,). The first segment of each window, if any.

        Returns:
            A dict with the three inputs of an encoder, int32 (windows, length), and

            - "row": int32 (windows,), the row that each window belongs to;
            - "word": int32 (windows, length), the index of each token's word in its row, or -1;
            - "starts_word": bool (windows, length), true for the first token of each word, in the one window with the
              most context around it.
        """
        return self._graphs.run(self._windows, words, *([] if question is None else [question]))

    def _windows(self, words: "tf.RaggedTensor", question: "tf.Tensor | None" = None) -> "dict[str, tf.Tensor]":
        import tensorflow as tf

        pieces = self._pieces(words.flat_values)
        first_segment = None if question is None else self._pieces(flat(question))[:, : self.seq_length // 3]
        prefix = tf.ones_like(words.row_lengths()) if first_segment is None else first_segment.row_lengths() + 2
        row, tokens, has_most_context = self._split_rows(tf.gather(pieces.row_splits, words.row_splits), prefix)
        word = pieces.value_rowids()
        is_first = tf.gather(pieces.row_splits, word) == tf.range(tf.shape(word, tf.int64)[0])
        index_in_row = tf.cast(word - tf.gather(words.row_splits, tf.gather(words.value_rowids(), word)), tf.int32)
        ids = pieces.flat_values
        if self.masks:
            ids = tf.where(tf.gather(words.flat_values == MASK_SIGN, word), self.vocabulary.index(MASK), ids)
        segments = [tf.gather(ids, tokens)]
        packed = self._packed(segments if first_segment is None else [tf.gather(first_segment, row), *segments])
        prefixes = tf.gather(prefix, row)

        def aligned(values: "tf.RaggedTensor", filler: int) -> "tf.Tensor":
            fillers = tf.repeat(filler, tf.reduce_sum(prefixes))
            before = tf.RaggedTensor.from_row_lengths(fillers, prefixes)  # pyright: ignore[reportAttributeAccessIssue]
            dense = tf.concat([before, values], 1).to_tensor(filler)
            missing = tf.shape(packed["input_word_ids"])[1] - tf.shape(dense)[1]
            return tf.pad(dense, tf.convert_to_tensor([[0, 0], [0, missing]]), constant_values=filler)

        starts_word = tokens.with_flat_values(tf.gather(is_first, tokens.flat_values) & has_most_context)
        return {
            **packed,
            "row": tf.cast(row, tf.int32),
            "word": aligned(tf.gather(index_in_row, tokens), -1),
            "starts_word": aligned(starts_word, False),
        }

    def _pieces(self, texts: "tf.Tensor") -> "tf.RaggedTensor":
        return flat_tokens(self.tokenize(texts))

    def _split_rows(self, splits: "tf.Tensor", prefix: "tf.Tensor") -> "tuple[tf.Tensor, tf.RaggedTensor, tf.Tensor]":
        """Split rows of concatenated tokens into windows.

        `splits`, int64 (rows + 1,), has the starts of the rows; `prefix`, int64 (rows,), the number of tokens in each
        window before the row's own. Returns the row of each window, int64 (windows,), the indices of its tokens, ragged
        int64 (windows, tokens), and for each of these whether it has the most context in this window, bool.
        """
        import tensorflow as tf

        room = self.seq_length - 1 - prefix
        number, row, index, start, end = split_rows(splits, room, self.overlap)
        tokens = tf.ragged.range(start, end)
        # Of an overlap, each window has the half on its own side.
        half = self.overlap // 2
        own_start = tf.where(index > 0, start + half, start)
        step = tf.gather(room, row) - self.overlap
        own_end = tf.where(index + 1 < tf.gather(number, row), start + step + half, end)
        window, values = tokens.value_rowids(), tokens.flat_values
        return row, tokens, (tf.gather(own_start, window) <= values) & (values < tf.gather(own_end, window))

    def compute_output_spec(
        self, inputs: keras.KerasTensor | Sequence[keras.KerasTensor]
    ) -> dict[str, keras.KerasTensor]:
        return {name: keras.KerasTensor((None, None), dtype="int32", name=name) for name in TOKEN_INPUTS}

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "overlap": self.overlap, "split": self.split, "masks": self.masks}


def split_with_offsets(texts: "tf.Tensor", pattern: str) -> "tuple[tf.RaggedTensor, ...]":
    """Split texts, string (batch,), into words: the matches of a pattern, and what is between them but not space.

    Returns the words, string, and their starts and ends in characters, int32; each ragged (batch, words).
    """
    import tensorflow as tf
    import tensorflow_text

    # A NUL would end the text for the regular expression; a space has the same size.
    texts = tf.strings.regex_replace(texts, r"\x00", " ")
    words, starts, ends = tensorflow_text.regex_split_with_offsets(texts, pattern, pattern)
    is_word = words.with_flat_values(~tf.strings.regex_full_match(words.flat_values, r"[\s\p{Z}]*"))
    words, starts, ends = (tf.ragged.boolean_mask(part, is_word) for part in (words, starts, ends))
    rows = words.value_rowids()
    offsets = (_to_characters(texts, rows, part.flat_values) for part in (starts, ends))
    return words, *(words.with_flat_values(values) for values in offsets)


def split_rows(
    splits: "tf.Tensor", room: "tf.Tensor", overlap: int, *, max_windows: int | None = None
) -> "tuple[tf.Tensor, ...]":
    """Split rows of concatenated tokens into windows, at least one each.

    `splits`, int64 (rows + 1,), has the starts of the rows; `room`, int64 (rows,), the number of a row's tokens in each
    of its windows. Returns the number of windows of each row, int64 (rows,), and for each window its row, its number in
    the row, and where its tokens start and end, int64 (windows,).
    """
    import tensorflow as tf

    counts, step = splits[1:] - splits[:-1], room - overlap
    number = 1 + (tf.maximum(counts - room, 0) + step - 1) // step
    if max_windows is not None:
        number = tf.minimum(number, max_windows)
    row = tf.repeat(tf.range(tf.shape(counts, tf.int64)[0]), number)
    index = tf.range(tf.shape(row, tf.int64)[0]) - tf.gather(tf.cumsum(number, exclusive=True), row)
    start = tf.gather(splits, row) + index * tf.gather(step, row)
    end = tf.minimum(start + tf.gather(room, row), tf.gather(splits, row + 1))
    return number, row, index, start, end


def _to_characters(texts: "tf.Tensor", rows: "tf.Tensor", offsets: "tf.Tensor") -> "tf.Tensor":
    """Convert byte offsets in the texts of ascending `rows`, int64 (offsets,), to characters, int32."""
    import tensorflow as tf

    _, starts = tf.strings.unicode_decode_with_offsets(texts, "UTF-8")
    # One search over all texts, placed on one line at distances larger than any text.
    distance = tf.constant(2**40, tf.int64)
    before = tf.searchsorted(starts.flat_values + starts.value_rowids() * distance, offsets + rows * distance)
    return tf.cast(before, tf.int32) - tf.cast(tf.gather(starts.row_splits, rows), tf.int32)
