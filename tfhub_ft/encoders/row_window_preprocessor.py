"""The Keras layer that reads each text in overlapping windows."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import keras

from tfhub_ft.encoders.hub_preprocessor import HubPreprocessor, flat_tokens
from tfhub_ft.encoders.packing import MAX_WINDOWS, TOKEN_INPUTS, max_text_overlap
from tfhub_ft.encoders.window_preprocessor import split_rows
from tfhub_ft.utils.errors import InputError

if TYPE_CHECKING:
    import tensorflow as tf


@keras.saving.register_keras_serializable("tfhub_ft")
class RowWindowPreprocessor(HubPreprocessor):
    """Tokenizes texts, and splits the tokens of each text into overlapping windows.

    Each window has [CLS] and [SEP]. A text that fits into one window has the tokens of a `HubPreprocessor`.

    Args:
        encoder: string. The encoder, as in `HubPreprocessor`, like all other arguments.
        seq_length: int. Maximum length of a window, including [CLS] and [SEP].
        overlap: int. Number of tokens that neighboring windows share. Defaults to a quarter of `seq_length`.
        max_windows: int. Maximum number of windows of a text; the rest of a longer text is truncated.

    Call arguments:
        inputs: A batch of texts, as in `HubPreprocessor`.

    Returns:
        A dict with "input_word_ids", "input_mask" and "input_type_ids", int32 tensors of shape (batch, windows,
        length). Texts with fewer windows than others have windows of padding.

    Raises:
        InputError: The preprocessor is not found, the windows overlap by more than half, or the inputs are pairs.

    Example:
        tokens = RowWindowPreprocessor("minilm-l6", seq_length=64, overlap=16)(["a warm, funny film"])
    """

    def __init__(
        self,
        encoder: str = "minilm-l6",
        *,
        seq_length: int = 128,
        overlap: int | None = None,
        max_windows: int = MAX_WINDOWS,
        **kwargs: Any,
    ):
        super().__init__(encoder, seq_length=seq_length, **kwargs)
        max_overlap = max_text_overlap(seq_length)
        if overlap is not None and not 0 <= overlap <= max_overlap:
            raise InputError(f"--overlap {overlap}: must be 0 to {max_overlap} with --seq-length {seq_length}")
        if max_windows < 1:
            raise InputError(f"--max-windows {max_windows}: must be at least 1")
        self.overlap = min(seq_length // 4, max_overlap) if overlap is None else overlap
        self.max_windows = max_windows

    @property
    def max_tokens(self) -> int:
        """The number of tokens, including [CLS] and [SEP], above which texts are truncated."""
        return self.seq_length + (self.max_windows - 1) * (self.seq_length - 2 - self.overlap)

    @property
    def truncation(self) -> str:
        """What truncated rows are, as warnings describe it."""
        return (
            f"longer than --max-windows {self.max_windows} windows of --seq-length {self.seq_length} tokens; the rest"
            " of their text is not read"
        )

    def _tokens(self, segments: "list[tf.Tensor]") -> "dict[str, tf.Tensor]":
        import tensorflow as tf

        packed, row, number = self._windows(self._tokens_of_text(segments))

        def by_row(windows: "tf.Tensor") -> "tf.Tensor":
            ragged = tf.RaggedTensor.from_value_rowids(windows, row, tf.size(number, tf.int64))  # pyright: ignore[reportAttributeAccessIssue]
            return ragged.to_tensor()

        return {name: by_row(packed[name]) for name in TOKEN_INPUTS}

    def _without_padding(self, *segments: "tf.Tensor") -> "tuple[tf.Tensor, ...]":
        """Return the values of `HubPreprocessor.without_padding`, and more.

        The fifth value is the length of each window, int64 (windows,), and the sixth the number of windows of each row,
        int64 (batch,).
        """
        import tensorflow as tf

        tokens = self._tokens_of_text(list(segments))
        packed, row, number = self._windows(tokens)
        is_token = packed["input_mask"] > 0
        ids, types = (tf.boolean_mask(packed[name], is_token) for name in ("input_word_ids", "input_type_ids"))
        window_lengths = tf.math.count_nonzero(is_token, -1)
        lengths = tf.math.segment_sum(window_lengths, row)
        truncated = self._row_lengths([tokens]) > self.max_tokens
        return ids, tf.cast(types, tf.int8), lengths, truncated, window_lengths, number

    def _tokens_of_text(self, segments: "list[tf.Tensor]") -> "tf.RaggedTensor":
        if len(segments) > 1:
            raise InputError(f"{self.name}: expected one text in a row, got {len(segments)}")
        return flat_tokens(self.tokenize(segments[0]))

    def _windows(self, tokens: "tf.RaggedTensor") -> "tuple[dict[str, tf.Tensor], tf.Tensor, tf.Tensor]":
        """Return packed windows, the row of each window, and the number of windows of each row."""
        import tensorflow as tf

        room = tf.fill(tf.shape(tokens.row_splits)[:1] - 1, tf.constant(self.seq_length - 2, tf.int64))
        number, row, _, start, end = split_rows(tokens.row_splits, room, self.overlap, max_windows=self.max_windows)
        windows = tf.gather(tokens.flat_values, tf.ragged.range(start, end))
        return self._packed([windows]), row, number

    def compute_output_spec(
        self, inputs: keras.KerasTensor | Sequence[keras.KerasTensor]
    ) -> dict[str, keras.KerasTensor]:
        batch = (inputs if isinstance(inputs, keras.KerasTensor) else inputs[0]).shape[0]
        length = self.seq_length if self.padding == "max_length" else None
        return {name: keras.KerasTensor((batch, None, length), dtype="int32", name=name) for name in TOKEN_INPUTS}

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "overlap": self.overlap, "max_windows": self.max_windows}
