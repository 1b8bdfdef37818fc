"""The Keras layer that cuts long texts into overlapping windows of tokens, and knows each token's word."""

import re
from typing import Any

import keras

from tfhub_ft.encoders import MASK
from tfhub_ft.encoders.hub_preprocessor import HubPreprocessor, flat_tokens
from tfhub_ft.encoders.packing import TOKEN_INPUTS
from tfhub_ft.encoders.text_layer import flat
from tfhub_ft.utils.errors import InputError

_LETTER = r"[^\s\p{Z}\p{P}\p{S}\p{Cc}\p{Han}]"
# How a text is cut into words: in "words" a name, a number or an address stays whole, in "parts" only letters and
# digits do. Each Han character is a word of its own: an encoder's tokenizer parts them too.
PATTERNS = {
    "words": rf"https?://[^\s]+|[@#]?(?:{_LETTER}|_)+(?:[-.&/]{_LETTER}+)*|['’]{_LETTER}+|[^\s\p{{Z}}]",
    "parts": rf"{_LETTER}+|[^\s\p{{Z}}]",
}

# Stands for [MASK] where a text is cut into words: a symbol is a word of one token. This one hardly occurs in texts.
MASK_SIGN = "\N{UNCERTAINTY SIGN}"


@keras.saving.register_keras_serializable("tfhub_ft")
class WindowPreprocessor(HubPreprocessor):
    """Tokenizes and packs texts without cutting anything off: a long text becomes several windows that overlap.

    With two segments (a question and its passage) the second is cut into windows, and each window starts with the
    first, of which at most a third of `seq_length` is read.

    Args:
        encoder: as for `HubPreprocessor`, like all arguments that are not named here.
        overlap: tokens that neighbouring windows share; a quarter of `seq_length` by default.
        split: how texts are cut into words: "words" keeps names, numbers and addresses whole, "parts" splits at every
            punctuation mark.
        masks: whether "[MASK]" in a text is the encoder's token of that name.

    Call arguments:
        inputs: texts, or a list or tuple of two batches of texts; see `TextLayer`.

    Returns:
        {"input_word_ids", "input_mask", "input_type_ids"}, each int32 of shape (windows, length): as many windows as
        the texts need. `windows` tells also where each comes from.

    Raises:
        InputError: no such preprocessor, or windows that overlap by half or more.

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
            raise ValueError(f"split must be 'words' or 'parts', not {split!r}")
        most = max(0, (seq_length - 4 - seq_length // 3) // 2)
        if overlap is not None and overlap > most:
            raise InputError(
                f"--overlap {overlap}: windows of --seq-length {seq_length} tokens may share {most} at most"
            )
        super().__init__(encoder, seq_length=seq_length, **kwargs)
        self.overlap = min(seq_length // 4, most) if overlap is None else overlap
        self.split, self.masks = split, masks

    def _tokens(self, segments: list[Any]) -> dict[str, Any]:
        *question, text = segments
        windows = self.windows(self.split_words(text)[0], *question)
        return {name: windows[name] for name in TOKEN_INPUTS}

    def split_words(self, texts: Any) -> tuple[Any, Any, Any]:
        """Cut texts into words.

        Args:
            texts: string (batch,).

        Returns:
            The words, string, and where they start and end in their text, int32, counted in characters; each ragged
            (batch, words).
        """
        return self._graphs.run(self._split_words, texts)

    def _split_words(self, texts: Any) -> tuple[Any, Any, Any]:
        import tensorflow as tf
        import tensorflow_text

        # A NUL would end the text for the regular expression; a space of the same size leaves all places as they are.
        texts = tf.strings.regex_replace(flat(texts), r"\x00", " ")
        if self.masks:
            texts = tf.strings.regex_replace(texts, re.escape(MASK), MASK_SIGN)
        pattern = PATTERNS[self.split]
        words, starts, ends = tensorflow_text.regex_split_with_offsets(texts, pattern, pattern)
        is_word = words.with_flat_values(~tf.strings.regex_full_match(words.flat_values, r"[\s\p{Z}]*"))
        words, starts, ends = (tf.ragged.boolean_mask(part, is_word) for part in (words, starts, ends))
        rows = words.value_rowids()
        places = (_characters(texts, rows, part.flat_values) for part in (starts, ends))
        return words, *(words.with_flat_values(place) for place in places)

    def windows(self, words: Any, question: Any = None) -> dict[str, Any]:
        """Tokenize rows of words and cut them into windows.

        Args:
            words: string, ragged (batch, words).
            question: string (batch,), what each window starts with; None where there is no such segment.

        Returns:
            The three inputs of an encoder, int32 (windows, length), and
            "row": int32 (windows,), the row that each window comes from;
            "word": int32 (windows, length), the word of each token, counted in its row, and -1 where a token belongs
            to none of them;
            "starts_word": bool (windows, length), true for each word's first token, in the one window in which most is
            seen around it.
        """
        return self._graphs.run(self._windows, words, *([] if question is None else [question]))

    def _windows(self, words: Any, question: Any = None) -> dict[str, Any]:
        import tensorflow as tf

        pieces = self._pieces(words.flat_values)
        asked = None if question is None else self._pieces(flat(question))[:, : self.seq_length // 3]
        lead = 1 + (0 if asked is None else asked.row_lengths() + 1)
        row, place, tokens, own = self._cut(tf.gather(pieces.row_splits, words.row_splits), lead)
        word = pieces.value_rowids()
        first = tf.gather(pieces.row_splits, word) == tf.range(tf.shape(word, tf.int64)[0])
        local = tf.cast(word - tf.gather(words.row_splits, tf.gather(words.value_rowids(), word)), tf.int32)
        ids = pieces.flat_values
        if self.masks:
            ids = tf.where(tf.gather(words.flat_values == MASK_SIGN, word), self.vocabulary.index(MASK), ids)
        segments = [tf.gather(ids, tokens)]
        packed = self._packed(segments if asked is None else [tf.gather(asked, row), *segments])
        leads = tf.zeros_like(row) + (lead if asked is None else tf.gather(lead, row))

        def aligned(values: Any, filler: Any) -> Any:
            before = tf.RaggedTensor.from_row_lengths(tf.repeat(filler, tf.reduce_sum(leads)), leads)
            dense = tf.concat([before, values], 1).to_tensor(filler)
            missing = tf.shape(packed["input_word_ids"])[1] - tf.shape(dense)[1]
            return tf.pad(dense, [[0, 0], [0, missing]], constant_values=filler)

        starts_word = tokens.with_flat_values(tf.gather(first, tokens.flat_values) & own)
        return {
            **packed,
            "row": tf.cast(row, tf.int32),
            "word": aligned(tf.gather(local, tokens), tf.constant(-1)),
            "starts_word": aligned(starts_word, tf.constant(False)),
        }

    def _pieces(self, texts: Any) -> Any:
        return flat_tokens(self.tokenize(texts))

    def _cut(self, splits: Any, lead: Any) -> tuple[Any, Any, Any, Any]:
        """The windows of rows whose tokens stand behind each other.

        Args:
            splits: int64 (rows + 1,), where each row starts among all tokens.
            lead: how many tokens stand before a window's own, int64 (rows,) or one number.

        Returns:
            Of each window its row and its place in it, int64 (windows,), and its tokens, int64 ragged (windows,
            tokens); and of each of these whether this window is the one that sees most around it, bool.
        """
        import tensorflow as tf

        counts = splits[1:] - splits[:-1]
        room = tf.zeros_like(counts) + (self.seq_length - 1 - lead)
        step = room - self.overlap
        number = 1 + (tf.maximum(counts - room, 0) + step - 1) // step
        row = tf.repeat(tf.range(tf.shape(counts, tf.int64)[0]), number)
        place = tf.range(tf.shape(row, tf.int64)[0]) - tf.gather(tf.cumsum(number, exclusive=True), row)
        start = tf.gather(splits, row) + place * tf.gather(step, row)
        end = tf.minimum(start + tf.gather(room, row), tf.gather(splits, row + 1))
        tokens = tf.ragged.range(start, end)
        half = self.overlap // 2
        own_start = tf.where(place > 0, start + half, start)
        own_end = tf.where(place + 1 < tf.gather(number, row), start + tf.gather(step, row) + half, end)
        window = tokens.value_rowids()
        own = (tf.gather(own_start, window) <= tokens.flat_values) & (tokens.flat_values < tf.gather(own_end, window))
        return row, place, tokens, own

    def compute_output_spec(self, inputs: Any) -> dict[str, keras.KerasTensor]:
        return {name: keras.KerasTensor((None, None), dtype="int32", name=name) for name in TOKEN_INPUTS}

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "overlap": self.overlap, "split": self.split, "masks": self.masks}


def _characters(texts: Any, rows: Any, places: Any) -> Any:
    """Places in texts, counted in characters instead of bytes.

    Args:
        texts: string (texts,).
        rows: int64 (places,), ascending: the text that each place is in.
        places: int64 (places,), in bytes.
    """
    import tensorflow as tf

    _, starts = tf.strings.unicode_decode_with_offsets(texts, "UTF-8")
    # One search over all texts: behind each other on one line, far enough apart.
    line = tf.constant(2**40, tf.int64)
    before = tf.searchsorted(starts.flat_values + starts.value_rowids() * line, places + rows * line)
    return tf.cast(before, tf.int32) - tf.cast(tf.gather(starts.row_splits, rows), tf.int32)
