"""The Keras layer that turns texts into the token ids that an encoder reads."""

import functools
import hashlib
import json
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import keras

from tfhub_ft.encoders.default_names import DefaultNamed
from tfhub_ft.encoders.packing import TOKEN_INPUTS, pack_segments
from tfhub_ft.encoders.resolve import resolve_preprocessor
from tfhub_ft.encoders.saved_module import open_module
from tfhub_ft.encoders.text_layer import TextLayer, flat
from tfhub_ft.utils.cache import load_cached
from tfhub_ft.utils.devices import pin_to_cpu
from tfhub_ft.utils.errors import InputError
from tfhub_ft.utils.files import copy_folder, sha256_of_files
from tfhub_ft.utils.keras_compat import is_building, is_reading_legacy_file

MIN_SEQ_LENGTH = 3
# Seconds, about what making a graph takes: once a function has run for so long without one, it is worth it.
GRAPH_AFTER = 1.0
# The rest of a layer's config; the module's files say what `encoder` and `preprocessor` only name.
_NO_MATTER_FOR_TOKENS = ("name", "dtype", "trainable", "encoder", "preprocessor", "padding", "module_sha256")


@keras.saving.register_keras_serializable("tfhub_ft")
class HubPreprocessor(TextLayer, DefaultNamed):
    """Tokenizes and packs texts with the TF Hub preprocessor that belongs to an encoder.

    The layer carries the preprocessor's graph and vocabulary: a `.keras` file that holds it reloads without the cache
    and without a network. A layer made by `from_config`, as clones and models in `.h5` files have it, reads them from
    where `encoder` and `preprocessor` say, and refuses others than the original had.

    Args:
        encoder: the encoder whose preprocessor is wanted: a catalogue name, a handle, a URL or a folder.
        preprocessor: a preprocessor's handle, URL or folder, where it is not the one known for the encoder.
        seq_length: the most tokens of a row, [CLS] and [SEP] included; what is longer is cut (two segments in turn).
        lowercase: whether texts are lower-cased first, for a vocabulary that keeps case.
        padding: "longest" pads a batch to its longest row, "max_length" every row to `seq_length`, as static shapes
            (XLA, TPU) need it.

    Call arguments:
        inputs: texts, or a list or tuple of two batches of texts for pairs of segments; see `TextLayer`.

    Returns:
        {"input_word_ids", "input_mask", "input_type_ids"}, each int32 of shape (batch, length).

    The loaded SavedModel is the layer's `module`.

    Raises:
        InputError: no such preprocessor, a `seq_length` under 3, or inputs that are not texts.

    Example:
        tokens = HubPreprocessor("minilm-l6", seq_length=64)(["a warm, funny film"])

    Reference:
        https://www.tensorflow.org/hub/common_saved_model_apis/text#preprocessing
    """

    default_name = "preprocessor"

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
        attach, self._expected_digest = kwargs.pop("attach", True), kwargs.pop("module_sha256", None)
        super().__init__(**{"trainable": False, **kwargs})
        self.encoder, self.preprocessor = str(encoder), preprocessor and str(preprocessor)
        self.seq_length, self.lowercase, self.padding = seq_length, lowercase, padding
        self.module = None
        self._graphs = Graphs()
        self.built = True
        if attach:
            load_cached(lambda: resolve_preprocessor(encoder, preprocessor), self._attach)

    def _require_module(self) -> None:
        """Load the module of a layer that was made from its config, once it is needed.

        Raises:
            InputError: there is no such preprocessor, or it is not the one that the layer's original had.
        """
        if self.module is not None:
            return
        import tensorflow as tf

        remedy = "load the model from a .keras file, or copy it by copy.deepcopy"
        try:
            folder = resolve_preprocessor(self.encoder, self.preprocessor)
            with tf.init_scope():
                self._attach(folder)
        except InputError as error:
            raise InputError(f"{self.name}: was made without its vocabulary ({error}); {remedy}") from None
        if self._expected_digest not in (None, self._module_digest()):
            self.module = None
            raise InputError(
                f"{self.name}: was made from the config of a layer with another vocabulary than"
                f" {self.preprocessor or self.encoder} has now; {remedy}"
            )

    def _module_digest(self) -> str:
        return hashlib.sha256(json.dumps(self._digests_of_files(), sort_keys=True).encode()).hexdigest()

    def _attach(self, folder: Path, name: str | None = None) -> None:
        module, workspace = open_module(folder, keep_values=True, name=name)
        for name in ("tokenize", "bert_pack_inputs"):
            if not hasattr(module, name):
                raise InputError(f"{folder} is not a TF Hub text preprocessor: it has no {name}")
        self.take(module, workspace)

    def take(self, module: Any, workspace: Any) -> None:
        """Read texts by a loaded module, whose files stand in the folder `workspace.name`."""
        self.module, self._workspace, self._pack = module, workspace, _pack_function(module)
        # Nobody writes into the workspace.
        self._digests_of_files = functools.cache(lambda: sha256_of_files(Path(workspace.name)))

    @property
    def vocabulary(self) -> list[str]:
        """The tokens, in the order of their ids.

        Raises:
            InputError: the preprocessor has no WordPiece vocabulary.
        """
        self._require_module()
        return read_vocabulary(Path(self._workspace.name), self.encoder)

    @property
    def vocabulary_size(self) -> int | None:
        """How many token ids there are, as far as the module says it."""
        self._require_module()
        special = getattr(self.module.tokenize, "get_special_tokens_dict", None)
        if special and "vocab_size" in (ids := special()):
            return int(ids["vocab_size"])
        try:
            return len(self.vocabulary)
        except InputError:
            return None

    @property
    def is_uncased(self) -> bool:
        """Whether the module's own tokenizer lower-cases and strips accents."""
        import tensorflow as tf

        self._require_module()
        upper, lower = self.module.tokenize(tf.constant(["AN ÉCLAIR", "an eclair"])).to_list()
        return upper == lower

    @pin_to_cpu
    def call(self, inputs: Any) -> dict[str, Any]:
        import tensorflow as tf

        if self.module is None and is_building():
            return {name: tf.zeros((1, self.seq_length), tf.int32) for name in TOKEN_INPUTS}
        segments = inputs if isinstance(inputs, list | tuple) else [inputs]
        return self._tokens([flat(segment) for segment in segments])

    def _tokens(self, segments: list[Any]) -> dict[str, Any]:
        return self._packed([self.tokenize(segment) for segment in segments])

    def without_padding(self, segments: Sequence[Any]) -> tuple[Any, Any, Any, Any]:
        """The tokens that `call` returns, without the padding, the rows one after the other.

        Args:
            segments: one or two string tensors of shape (batch,).

        Returns:
            The word ids, int32 (tokens,); the segment of each token, int8 (tokens,); the tokens of each row, int64
            (batch,); and whether a row had more of them, bool (batch,).
        """
        return self._graphs.run(self._without_padding, *segments)

    def _without_padding(self, *segments: Any) -> tuple[Any, Any, Any, Any]:
        import tensorflow as tf

        tokens = [flat_tokens(self.tokenize(segment)) for segment in segments]
        packed = self._packed(tokens)
        here = packed["input_mask"] > 0
        ids, types = (tf.boolean_mask(packed[name], here) for name in ("input_word_ids", "input_type_ids"))
        truncated = self._row_tokens(tokens) > self.seq_length
        return ids, tf.cast(types, tf.int8), tf.math.count_nonzero(here, -1), truncated

    def _row_tokens(self, tokens: list[Any]) -> Any:
        """The tokens of each row before truncation, [CLS] and [SEP] included, int64 (batch,)."""
        import tensorflow as tf

        return tf.add_n([each.row_lengths() for each in tokens]) + len(tokens) + 1

    def digest(self) -> str:
        """What tokens follow from, the module's files and the layer's settings, as a hexadecimal number."""
        self._require_module()
        settings = {k: v for k, v in self.get_config().items() if k not in _NO_MATTER_FOR_TOKENS}
        described = json.dumps([type(self).__name__, settings, self._digests_of_files()], sort_keys=True, default=str)
        return hashlib.sha256(described.encode()).hexdigest()

    def tokenize(self, texts: Any) -> Any:
        """Return the tokens of texts, ragged (texts, tokens) or (texts, words, tokens)."""
        import tensorflow as tf

        self._require_module()
        if self.lowercase:
            # tf.strings.lower drops what follows a NUL, which tokenizers take for white space.
            texts = tf.strings.lower(tf.strings.regex_replace(texts, r"\x00", " "), encoding="utf-8")
        return self.module.tokenize(texts)

    def _packed(self, tokens: list[Any]) -> dict[str, Any]:
        """One or two segments of tokens as an encoder reads them."""
        tokens = [flat_tokens(each) for each in tokens]
        packed = self._pack(tokens, self._length(tokens))
        if self.padding == "max_length":
            for ids in packed.values():
                ids.set_shape([None, self.seq_length])
        return packed

    def _length(self, tokens: list[Any]) -> Any:
        import tensorflow as tf

        if self.padding == "max_length":
            return tf.constant(self.seq_length)
        longest = tf.reduce_max(self._row_tokens(tokens))
        return tf.cast(tf.clip_by_value(longest, MIN_SEQ_LENGTH, self.seq_length), tf.int32)

    def compute_output_spec(self, inputs: Any) -> dict[str, keras.KerasTensor]:
        batch = (inputs[0] if isinstance(inputs, list | tuple) else inputs).shape[0]
        length = self.seq_length if self.padding == "max_length" else None
        return {name: keras.KerasTensor((batch, length), dtype="int32", name=name) for name in TOKEN_INPUTS}

    def get_config(self) -> dict[str, Any]:
        own = {name: getattr(self, name) for name in ("encoder", "preprocessor", "seq_length", "lowercase", "padding")}
        digest = self._expected_digest if self.module is None else self._module_digest()
        return {**super().get_config(), **own, "module_sha256": digest}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "HubPreprocessor":
        layer = super().from_config({**config, "attach": False})
        if is_reading_legacy_file():
            layer._require_module()
        return layer

    def write_module(self, folder: Path) -> None:
        """Write the preprocessor as a TF Hub SavedModel.

        Args:
            folder: a folder that does not exist yet.
        """
        self._require_module()
        copy_folder(Path(self._workspace.name), folder)

    def save_assets(self, dir_path: str) -> None:
        self._require_module()
        copy_folder(Path(self._workspace.name), Path(dir_path))

    def load_assets(self, dir_path: str) -> None:
        self._attach(Path(dir_path), f"the layer {self.name}")


class Graphs:
    """Functions of a layer's strings that run as graphs once many rows have come, which is several times as fast.

    A layer must not hold a tf.function itself: Keras would write it into every SavedModel of the layer.
    """

    def __init__(self):
        self._made: dict[Any, Any] = {}
        self._spent: dict[Any, float] = {}

    @pin_to_cpu
    def run(self, function: Callable[..., Any], *tensors: Any) -> Any:
        """What a function gives for tensors or ragged tensors of rows."""
        import tensorflow as tf

        open_specs = [_of_any_size(tensor) for tensor in tensors]
        key = (function.__name__, *open_specs)
        if not tf.executing_eagerly():
            return function(*tensors)
        if key not in self._made and self._spent.get(key, 0.0) < GRAPH_AFTER:
            began = time.perf_counter()
            answer = function(*tensors)
            self._spent[key] = self._spent.get(key, 0.0) + time.perf_counter() - began
            return answer
        if key not in self._made:
            self._made[key] = tf.function(function, input_signature=open_specs)
        return self._made[key](*tensors)


def flat_tokens(tokens: Any) -> Any:
    """Tokens as ragged (texts, tokens), which may come as ragged (texts, words, tokens)."""
    return tokens.merge_dims(1, 2) if tokens.shape.rank == 3 else tokens


def _of_any_size(tensor: Any) -> Any:
    import tensorflow as tf

    shape = [None] * tensor.shape.rank
    if isinstance(tensor, tf.RaggedTensor):
        return tf.RaggedTensorSpec(shape, tensor.dtype, tensor.ragged_rank, tensor.row_splits.dtype)
    return tf.TensorSpec(shape, tensor.dtype)


def read_vocabulary(folder: Path, encoder: str) -> list[str]:
    """The tokens of a preprocessor's SavedModel folder, in the order of their ids.

    Raises:
        InputError: it has no WordPiece vocabulary.
    """
    files = sorted((folder / "assets").glob("*vocab*.txt"))
    if len(files) != 1:
        raise InputError(f"the preprocessor of {encoder} has no WordPiece vocabulary (assets/vocab.txt)")
    return files[0].read_text(encoding="utf-8").rstrip("\n").split("\n")


def _pack_function(module: Any) -> Callable[[list[Any], Any], dict[str, Any]]:
    """A function from segments of tokens and a length to what an encoder reads.

    It is `pack_segments` wherever that gives what the module's own packing gives: newer modules pack by an operation
    that servers with an older TF Text lack.
    """
    import tensorflow as tf

    def by_module(tokens: list[Any], length: Any) -> dict[str, Any]:
        packed = dict(module.bert_pack_inputs(tokens, seq_length=length))
        # DistilBERT's preprocessors tell no segments; its encoder does not read them, but a bi-encoder does.
        if "input_type_ids" not in packed:
            packed["input_type_ids"] = _segments_by_separator(packed["input_word_ids"], packed["input_mask"])
        return {name: packed[name] for name in TOKEN_INPUTS}

    # Nothing, what just fits, and what must be cut: the first, the second, both.
    one = tf.ragged.constant([[], [7], [8, 9, 7, 8, 9], [8, 9, 7, 8, 9, 7, 8], [7]], tf.int32)
    two = tf.ragged.constant([[7], [8, 9], [7, 9, 8, 9, 8], [9], [9, 8, 9, 8, 7, 9, 8]], tf.int32)
    length = tf.constant(8)
    theirs = [by_module(segments, length) for segments in ([one], [one, two])]
    first, last, padding = theirs[0]["input_word_ids"][0, :3].numpy().tolist()

    def by_us(tokens: list[Any], length: Any) -> dict[str, Any]:
        return pack_segments(tokens, length, first=first, last=last, padding=padding)

    for segments, packed in zip(([one], [one, two]), theirs, strict=True):
        ours = by_us(segments, length)
        if any(ours[name].numpy().tolist() != packed[name].numpy().tolist() for name in TOKEN_INPUTS):
            return by_module
    return by_us


def _segments_by_separator(word_ids: Any, mask: Any) -> Any:
    """The segment of each token, int32 (batch, length): 0 up to the first [SEP], which is each row's last token too."""
    import tensorflow as tf

    last = tf.reduce_sum(mask, -1) - 1
    separators = tf.cast(word_ids == tf.gather(word_ids, last, batch_dims=1)[:, None], tf.int32) * mask
    return tf.minimum(tf.cumsum(separators, -1, exclusive=True), 1) * mask
