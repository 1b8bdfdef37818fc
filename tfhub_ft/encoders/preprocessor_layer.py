"""The Keras layer that turns texts into the token ids that an encoder reads."""

import shutil
from pathlib import Path
from typing import Any

import keras

from tfhub_ft.encoders.saved_module import open_module
from tfhub_ft.encoders.sources import resolve_preprocessor
from tfhub_ft.errors import InputError

TOKEN_INPUTS = ("input_word_ids", "input_mask", "input_type_ids")
MIN_SEQ_LENGTH = 3


@keras.saving.register_keras_serializable("tfhub_ft")
class HubPreprocessor(keras.layers.Layer):
    """Tokenizes and packs texts with the TF Hub preprocessor that belongs to an encoder.

    The layer carries the preprocessor's graph and vocabulary: a `.keras` file that holds it reloads without the cache
    and without a network.

    Args:
        encoder: the encoder whose preprocessor is wanted: a catalogue name, a handle, a URL or a folder.
        preprocessor: a preprocessor's handle, URL or folder, where it is not the one known for the encoder.
        seq_length: the most tokens of a row, [CLS] and [SEP] included; what is longer is cut (two segments in turn).
        lowercase: whether texts are lower-cased first, for a vocabulary that keeps case.
        padding: "longest" pads a batch to its longest row, "max_length" every row to `seq_length`, as static shapes
            (XLA, TPU) need it.

    Call arguments:
        inputs: a string tensor of shape (batch,), or a list of two such tensors for pairs of segments.

    Returns:
        {"input_word_ids", "input_mask", "input_type_ids"}, each int32 of shape (batch, length).

    The loaded SavedModel is the layer's `module`.

    Raises:
        InputError: no such preprocessor, or a `seq_length` under 3.

    Example:
        tokens = HubPreprocessor("minilm-l6", seq_length=64)(tf.constant(["a warm, funny film"]))

    Reference:
        https://www.tensorflow.org/hub/common_saved_model_apis/text#preprocessing
    """

    def __init__(
        self,
        encoder: str = "minilm-l6",
        *,
        preprocessor: str | None = None,
        seq_length: int = 128,
        lowercase: bool = False,
        padding: str = "longest",
        **kwargs: Any,
    ):
        if seq_length < MIN_SEQ_LENGTH:
            raise InputError(f"--seq-length {seq_length}: [CLS], a token and [SEP] need at least {MIN_SEQ_LENGTH}")
        if padding not in ("longest", "max_length"):
            raise ValueError(f"padding must be 'longest' or 'max_length', not {padding!r}")
        attach = kwargs.pop("attach", True)
        super().__init__(trainable=False, **{"name": "preprocessor", **kwargs})
        self.encoder, self.preprocessor = str(encoder), preprocessor and str(preprocessor)
        self.seq_length, self.lowercase, self.padding = seq_length, lowercase, padding
        self.module = None
        self.built = True
        if attach:
            self._attach(resolve_preprocessor(encoder, preprocessor))

    def _attach(self, folder: Path) -> None:
        self.module, self._workspace = open_module(folder, keep_values=True)
        for name in ("tokenize", "bert_pack_inputs"):
            if not hasattr(self.module, name):
                raise InputError(f"{folder} is no TF Hub text preprocessor: it has no {name}")

    @property
    def vocabulary(self) -> list[str]:
        """The tokens, in the order of their ids.

        Raises:
            InputError: the preprocessor has no WordPiece vocabulary.
        """
        return read_vocabulary(Path(self._workspace.name), self.encoder)

    def call(self, inputs: Any) -> dict[str, Any]:
        import tensorflow as tf

        segments = inputs if isinstance(inputs, list | tuple) else [inputs]
        return self._packed([self._tokenized(tf.reshape(segment, [-1])) for segment in segments])

    def _tokenized(self, texts: Any) -> Any:
        """The tokens of texts, ragged (texts, tokens) or (texts, words, tokens)."""
        import tensorflow as tf

        if self.module is None:
            raise RuntimeError(
                f"layer {self.name} has no vocabulary: load it by keras.models.load_model, not by a clone"
            )
        return self.module.tokenize(tf.strings.lower(texts, encoding="utf-8") if self.lowercase else texts)

    def _packed(self, tokens: list[Any]) -> dict[str, Any]:
        """One or two segments of tokens as an encoder reads them."""
        packed = self.module.bert_pack_inputs(tokens, seq_length=self._length(tokens))
        # DistilBERT's preprocessors tell no segments; its encoder does not read them, but a bi-encoder does.
        if "input_type_ids" not in packed:
            packed["input_type_ids"] = _segments_by_separator(packed["input_word_ids"], packed["input_mask"])
        return {name: packed[name] for name in TOKEN_INPUTS}

    def _length(self, tokens: list[Any]) -> Any:
        import tensorflow as tf

        if self.padding == "max_length":
            return tf.constant(self.seq_length)
        flat = [t.merge_dims(1, 2) if t.shape.rank == 3 else t for t in tokens]
        longest = tf.reduce_max(tf.add_n([t.row_lengths() for t in flat])) + len(tokens) + 1
        return tf.cast(tf.clip_by_value(longest, MIN_SEQ_LENGTH, self.seq_length), tf.int32)

    def compute_output_spec(self, inputs: Any) -> dict[str, keras.KerasTensor]:
        batch = (inputs[0] if isinstance(inputs, list | tuple) else inputs).shape[0]
        length = self.seq_length if self.padding == "max_length" else None
        return {name: keras.KerasTensor((batch, length), dtype="int32", name=name) for name in TOKEN_INPUTS}

    def get_config(self) -> dict[str, Any]:
        own = {name: getattr(self, name) for name in ("encoder", "preprocessor", "seq_length", "lowercase", "padding")}
        return {**super().get_config(), **own}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "HubPreprocessor":
        return cls(**{k: v for k, v in config.items() if k != "trainable"}, attach=False)

    def save_assets(self, dir_path: str) -> None:
        shutil.copytree(self._workspace.name, dir_path, dirs_exist_ok=True)

    def load_assets(self, dir_path: str) -> None:
        self._attach(Path(dir_path))


def read_vocabulary(folder: Path, encoder: str) -> list[str]:
    """The tokens of a preprocessor's SavedModel folder, in the order of their ids.

    Raises:
        InputError: it has no WordPiece vocabulary.
    """
    files = sorted((folder / "assets").glob("*vocab*.txt"))
    if len(files) != 1:
        raise InputError(f"the preprocessor of {encoder} has no WordPiece vocabulary (assets/vocab.txt)")
    return files[0].read_text(encoding="utf-8").rstrip("\n").split("\n")


def _segments_by_separator(word_ids: Any, mask: Any) -> Any:
    """The segment of each token, int32 (batch, length): 0 up to the first [SEP], which is each row's last token too."""
    import tensorflow as tf

    last = tf.reduce_sum(mask, -1) - 1
    separators = tf.cast(word_ids == tf.gather(word_ids, last, batch_dims=1)[:, None], tf.int32) * mask
    return tf.minimum(tf.cumsum(separators, -1, exclusive=True), 1) * mask
