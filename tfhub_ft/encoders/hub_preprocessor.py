"""The Keras layer of a TF Hub text preprocessor."""

import functools
import hashlib
import json
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import keras

from tfhub_ft.encoders import MASK
from tfhub_ft.encoders.default_names import DefaultNamed
from tfhub_ft.encoders.packing import TOKEN_INPUTS, pack_segments, split_head_and_tail
from tfhub_ft.encoders.resolve import resolve_preprocessor
from tfhub_ft.encoders.saved_module import open_module
from tfhub_ft.encoders.text_layer import TextLayer, flat
from tfhub_ft.utils.cache import load_cached
from tfhub_ft.utils.devices import pin_to_cpu
from tfhub_ft.utils.errors import InputError
from tfhub_ft.utils.files import copy_folder, sha256_of_files
from tfhub_ft.utils.keras_compat import is_building, is_reading_legacy_file

if TYPE_CHECKING:
    import tensorflow as tf

# [CLS], a token and [SEP].
MIN_SEQ_LENGTH = 3
# Seconds of eager calls after which a graph, which takes about as long to build, is worth it.
GRAPH_AFTER = 1.0
# Entries of the config that do not affect tokens. The digest has the module's files in place of their names.
_IRRELEVANT_FOR_TOKENS = ("name", "dtype", "trainable", "encoder", "preprocessor", "padding", "module_sha256")


@keras.saving.register_keras_serializable("tfhub_ft")
class HubPreprocessor(TextLayer, DefaultNamed):
    """Tokenizes and packs texts with the TF Hub preprocessor of an encoder.

    The layer includes the preprocessor's graph and vocabulary: a `.keras` file with the layer loads without cache and
    network. A layer made by `from_config`, as in clones and `.h5` files, reads them from `encoder` or `preprocessor`,
    if they are the original's.

    Args:
        encoder: string. The encoder: a catalog name, a handle, a URL or a folder.
        preprocessor: string. Handle, URL or folder of a preprocessor, if not the encoder's own.
        seq_length: int. Maximum sequence length, including [CLS] and [SEP]. Longer rows are truncated; of two segments
            the longer one.
        lowercase: boolean. Whether to lower-case texts first, for a cased vocabulary.
        padding: string. "longest" pads to the longest row of the batch, "max_length" to `seq_length`, for static shapes
            (XLA, TPU).
        long_texts: string. What is kept of a longer text: "truncate" keeps its first tokens, "head-tail" a quarter of
            `seq_length` from its start and the rest from its end (not for pairs).

    Call arguments:
        inputs: A batch of texts, or a list or tuple of two batches for pairs. A batch is a string tensor of shape
            (batch,) or (batch, 1), a list of strings, an array or a Series.

    Returns:
        A dict with "input_word_ids", "input_mask" and "input_type_ids", int32 tensors of shape (batch, length).

    Raises:
        InputError: The preprocessor is not found, `seq_length` is less than 3, or the inputs are not texts, or are
            pairs for "head-tail".

    Example:
        tokens = HubPreprocessor("minilm-l6", seq_length=64)(["a warm, funny film"])

    Reference:
        - https://www.tensorflow.org/hub/common_saved_model_apis/text#preprocessing
        - [Sun et al., 2019](https://arxiv.org/abs/1905.05583), section 5.3 ("head-tail")
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
        long_texts: str = "truncate",
        **kwargs: Any,
    ):
        if seq_length < MIN_SEQ_LENGTH:
            raise InputError(f"--seq-length {seq_length}: must be at least {MIN_SEQ_LENGTH} ([CLS], a token and [SEP])")
        if padding not in ("longest", "max_length"):
            raise ValueError(f"padding: expected 'longest' or 'max_length', got {padding!r}")
        if long_texts not in ("truncate", "head-tail"):
            raise ValueError(f"long_texts: expected 'truncate' or 'head-tail', got {long_texts!r}")
        attach, self._expected_digest = kwargs.pop("attach", True), kwargs.pop("module_sha256", None)
        super().__init__(**{"trainable": False, **kwargs})
        self.encoder, self.preprocessor = str(encoder), preprocessor and str(preprocessor)
        self.seq_length, self.lowercase, self.padding, self.long_texts = seq_length, lowercase, padding, long_texts
        self.module: Any = None
        self._graphs = Graphs()
        self.built = True
        if attach:
            load_cached(lambda: resolve_preprocessor(encoder, preprocessor), self._attach)

    def _require_module(self) -> None:
        """Load the module of a layer made from its config; raise an InputError if it is not the original's."""
        if self.module is not None:
            return
        import tensorflow as tf

        remedy = "load the model from a .keras file, or copy it with copy.deepcopy"
        try:
            folder = resolve_preprocessor(self.encoder, self.preprocessor)
            with tf.init_scope():
                self._attach(folder)
        except InputError as error:
            raise InputError(f"{self.name}: created without its vocabulary ({error}); {remedy}") from None
        if self._expected_digest not in (None, self._module_digest()):
            self.module = None
            raise InputError(
                f"{self.name}: created from the config of a layer with another vocabulary than"
                f" {self.preprocessor or self.encoder}; {remedy}"
            )

    def _module_digest(self) -> str:
        return hashlib.sha256(json.dumps(self._digests_of_files(), sort_keys=True).encode()).hexdigest()

    def _attach(self, folder: Path, name: str | None = None) -> None:
        module, workspace = open_module(folder, keep_values=True, name=name)
        for method in ("tokenize", "bert_pack_inputs"):
            if not hasattr(module, method):
                raise InputError(f"{folder}: not a TF Hub text preprocessor ({method} not found)")
        self.set_module(module, Path(workspace.name), workspace)

    def set_module(self, module: Any, folder: Path, workspace: object = None) -> None:
        """Use a loaded module, whose files stay in a folder as long as `workspace` lives."""
        self.module, self._folder, self._workspace = module, folder, workspace
        self._pack = _pack_function(module)
        # The files never change.
        self._digests_of_files = functools.cache(lambda: sha256_of_files(folder))

    @property
    def vocabulary(self) -> list[str]:
        """The WordPiece tokens, in the order of their ids."""
        self._require_module()
        return read_vocabulary(self._folder, self.encoder)

    @property
    def vocabulary_size(self) -> int | None:
        """The number of token ids, if known."""
        self._require_module()
        special = getattr(self.module.tokenize, "get_special_tokens_dict", None)
        if special and "vocab_size" in (ids := special()):
            return int(ids["vocab_size"])
        try:
            return len(self.vocabulary)
        except InputError:
            return None

    @property
    def mask_id(self) -> int:
        """The id of the mask token, [MASK]; raises an InputError if the vocabulary lacks it."""
        self._require_module()
        special = getattr(self.module.tokenize, "get_special_tokens_dict", None)
        if special and "mask_id" in (ids := special()):
            return int(ids["mask_id"])
        vocabulary = self.vocabulary
        if MASK not in vocabulary:
            raise InputError(f"{self.encoder}: its vocabulary lacks {MASK}, which explanations need")
        return vocabulary.index(MASK)

    @property
    def is_uncased(self) -> bool:
        """Whether the module's tokenizer lower-cases and strips accents."""
        import tensorflow as tf

        self._require_module()
        upper, lower = self.module.tokenize(tf.constant(["AN ÉCLAIR", "an eclair"])).to_list()
        return upper == lower

    @property
    def max_tokens(self) -> int:
        """The number of tokens, including [CLS] and [SEP], above which texts are truncated."""
        return self.seq_length

    @property
    def truncation(self) -> str:
        """What truncated rows are, as warnings describe it."""
        read = "the rest of their text is not read"
        if self.long_texts == "head-tail":
            head, tail = split_head_and_tail(self.seq_length - 2)
            read = f"only their first {head:,} and last {tail:,} tokens are read"
        return f"longer than --seq-length {self.seq_length} tokens; {read}"

    @pin_to_cpu
    def call(self, inputs: "tf.Tensor | list[tf.Tensor] | tuple[tf.Tensor, ...]") -> "dict[str, tf.Tensor]":
        import tensorflow as tf

        if self.module is None and is_building():
            return {name: tf.zeros((1, self.seq_length), tf.int32) for name in TOKEN_INPUTS}
        segments = inputs if isinstance(inputs, list | tuple) else [inputs]
        return self._tokens([flat(segment) for segment in segments])

    def _tokens(self, segments: "list[tf.Tensor]") -> "dict[str, tf.Tensor]":
        return self._packed([self.tokenize(segment) for segment in segments])

    def without_padding(self, segments: "Sequence[tf.Tensor]") -> "tuple[tf.Tensor, ...]":
        """Return the tokens of one or two string tensors (batch,) without padding, the rows concatenated.

        These are the word ids, int32 (tokens,), the segment of each token, int8 (tokens,), the length of each row,
        int64 (batch,), and whether each row was truncated, bool (batch,).
        """
        return self._graphs.run(self._without_padding, *segments)

    def _without_padding(self, *segments: "tf.Tensor") -> "tuple[tf.Tensor, ...]":
        import tensorflow as tf

        tokens = [flat_tokens(self.tokenize(segment)) for segment in segments]
        packed = self._packed(tokens)
        is_token = packed["input_mask"] > 0
        ids, types = (tf.boolean_mask(packed[name], is_token) for name in ("input_word_ids", "input_type_ids"))
        truncated = self._row_lengths(tokens) > self.seq_length
        return ids, tf.cast(types, tf.int8), tf.math.count_nonzero(is_token, -1), truncated

    def _row_lengths(self, segments: "list[tf.RaggedTensor]") -> "tf.Tensor":
        """Return the length of each row before truncation, including [CLS] and [SEP], int64 (batch,)."""
        import tensorflow as tf

        return tf.add_n([segment.row_lengths() for segment in segments]) + len(segments) + 1

    def digest(self) -> str:
        """Return a SHA-256 of everything that affects the tokens: the module's files and the layer's settings."""
        self._require_module()
        settings = {k: v for k, v in self.get_config().items() if k not in _IRRELEVANT_FOR_TOKENS}
        content = json.dumps([type(self).__name__, settings, self._digests_of_files()], sort_keys=True, default=str)
        return hashlib.sha256(content.encode()).hexdigest()

    def tokenize(self, texts: "tf.Tensor") -> "tf.RaggedTensor":
        """Return the token ids of texts, ragged (texts, tokens) or (texts, words, tokens)."""
        import tensorflow as tf

        self._require_module()
        if self.lowercase:
            # tf.strings.lower stops at a NUL, which tokenizers treat as white space.
            texts = tf.strings.lower(tf.strings.regex_replace(texts, r"\x00", " "), encoding="utf-8")
        return self.module.tokenize(texts)

    def _packed(self, segments: "list[tf.RaggedTensor]") -> "dict[str, tf.Tensor]":
        """Pack one or two segments of tokens into an encoder's inputs."""
        segments = [flat_tokens(segment) for segment in segments]
        if self.long_texts == "head-tail":
            if len(segments) > 1:
                raise InputError(f"{self.name}: long_texts 'head-tail' needs one text in a row, got {len(segments)}")
            segments = [self._head_and_tail(segments[0])]
        packed = self._pack(segments, self._length(segments))
        if self.padding == "max_length":
            for ids in packed.values():
                ids.set_shape([None, self.seq_length])
        return packed

    def _head_and_tail(self, tokens: "tf.RaggedTensor") -> "tf.RaggedTensor":
        """Remove tokens from the middle of long rows of ragged (texts, tokens)."""
        import tensorflow as tf

        head, tail = split_head_and_tail(self.seq_length - 2)
        counts, rows = tokens.row_lengths(), tokens.value_rowids()
        position = tf.range(tf.size(rows, tf.int64)) - tf.gather(tokens.row_starts(), rows)
        is_kept = (position < head) | (position >= tf.gather(counts, rows) - tail)
        kept, lengths = tf.boolean_mask(tokens.flat_values, is_kept), tf.minimum(counts, head + tail)
        return tf.RaggedTensor.from_row_lengths(kept, lengths)  # pyright: ignore[reportAttributeAccessIssue]

    def _length(self, segments: "list[tf.RaggedTensor]") -> "tf.Tensor":
        import tensorflow as tf

        if self.padding == "max_length":
            return tf.constant(self.seq_length)
        longest = tf.reduce_max(self._row_lengths(segments))
        return tf.cast(tf.clip_by_value(longest, MIN_SEQ_LENGTH, self.seq_length), tf.int32)

    def compute_output_spec(
        self, inputs: keras.KerasTensor | Sequence[keras.KerasTensor]
    ) -> dict[str, keras.KerasTensor]:
        batch = (inputs if isinstance(inputs, keras.KerasTensor) else inputs[0]).shape[0]
        length = self.seq_length if self.padding == "max_length" else None
        return {name: keras.KerasTensor((batch, length), dtype="int32", name=name) for name in TOKEN_INPUTS}

    def get_config(self) -> dict[str, Any]:
        options = {n: getattr(self, n) for n in ("encoder", "preprocessor", "seq_length", "lowercase", "padding")}
        # Without the default, digests are those of earlier versions.
        if self.long_texts != "truncate":
            options["long_texts"] = self.long_texts
        digest = self._expected_digest if self.module is None else self._module_digest()
        return {**super().get_config(), **options, "module_sha256": digest}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "HubPreprocessor":
        layer = super().from_config({**config, "attach": False})
        if is_reading_legacy_file():
            layer._require_module()
        return layer

    def write_module(self, folder: Path) -> None:
        """Write the preprocessor as a TF Hub SavedModel into a new folder."""
        self._require_module()
        copy_folder(self._folder, folder)

    def save_assets(self, dir_path: str) -> None:
        self.write_module(Path(dir_path))

    def load_assets(self, dir_path: str) -> None:
        self._attach(Path(dir_path), f"the layer {self.name}")


class Graphs:
    """Runs functions of a layer on strings eagerly at first, then as graphs, which are several times faster.

    A layer must not have a tf.function as an attribute: Keras would save it in every SavedModel of the layer.
    """

    def __init__(self):
        self._graphs: dict[tuple, Callable[..., Any]] = {}
        self._eager_seconds: dict[tuple, float] = {}

    @pin_to_cpu
    def run(self, function: Callable[..., Any], *tensors: "tf.Tensor | tf.RaggedTensor") -> Any:
        """Call a function on tensors or ragged tensors of rows."""
        import tensorflow as tf

        specs = [_batch_spec(tensor) for tensor in tensors]
        key = (function.__name__, *specs)
        if not tf.executing_eagerly():
            return function(*tensors)
        if key not in self._graphs:
            if self._eager_seconds.get(key, 0.0) < GRAPH_AFTER:
                start = time.perf_counter()
                output = function(*tensors)
                self._eager_seconds[key] = self._eager_seconds.get(key, 0.0) + time.perf_counter() - start
                return output
            self._graphs[key] = tf.function(function, input_signature=specs)
        return self._graphs[key](*tensors)


def flat_tokens(tokens: "tf.RaggedTensor") -> "tf.RaggedTensor":
    """Merge the words of ragged (texts, words, tokens) into (texts, tokens)."""
    return tokens.merge_dims(1, 2) if tokens.shape.rank == 3 else tokens


def _batch_spec(tensor: "tf.Tensor | tf.RaggedTensor") -> "tf.TypeSpec":
    import tensorflow as tf

    shape = [None] * tensor.shape.rank
    if isinstance(tensor, tf.RaggedTensor):
        return tf.RaggedTensorSpec(shape, tensor.dtype, tensor.ragged_rank, tensor.row_splits.dtype)
    return tf.TensorSpec(shape, tensor.dtype)


def read_vocabulary(folder: Path, encoder: str) -> list[str]:
    """Return the WordPiece tokens of a preprocessor's SavedModel folder, in the order of their ids."""
    files = sorted((folder / "assets").glob("*vocab*.txt"))
    if len(files) != 1:
        raise InputError(
            f"{encoder}: its preprocessor is not supported (WordPiece vocabulary assets/vocab.txt not found)"
        )
    return files[0].read_text(encoding="utf-8").rstrip("\n").split("\n")


def _pack_function(module: Any) -> "Callable[[list[tf.RaggedTensor], tf.Tensor], dict[str, tf.Tensor]]":
    """Return a function that packs segments of tokens to a length.

    It is `pack_segments` if that gives the same as the module's own function: newer modules use an operation that
    servers with an older TF Text do not have.
    """
    import tensorflow as tf

    def pack_by_module(segments: "list[tf.RaggedTensor]", length: "tf.Tensor") -> "dict[str, tf.Tensor]":
        packed = dict(module.bert_pack_inputs(segments, seq_length=length))
        # DistilBERT's preprocessors omit segments. Its encoder does not use them, but a bi-encoder does.
        if "input_type_ids" not in packed:
            packed["input_type_ids"] = _segments_by_separator(packed["input_word_ids"], packed["input_mask"])
        return {name: packed[name] for name in TOKEN_INPUTS}

    # An empty row, one that just fits, and rows of which the first, the second, or both segments are truncated.
    one = tf.ragged.constant([[], [7], [8, 9, 7, 8, 9], [8, 9, 7, 8, 9, 7, 8], [7]], tf.int32)
    two = tf.ragged.constant([[7], [8, 9], [7, 9, 8, 9, 8], [9], [9, 8, 9, 8, 7, 9, 8]], tf.int32)
    length = tf.constant(8)
    expected = [pack_by_module(segments, length) for segments in ([one], [one, two])]
    first, last, padding = expected[0]["input_word_ids"][0, :3].numpy().tolist()
    pack = functools.partial(pack_segments, first=first, last=last, padding=padding)
    for segments, reference in zip(([one], [one, two]), expected, strict=True):
        packed = pack(segments, length)
        if any(packed[name].numpy().tolist() != reference[name].numpy().tolist() for name in TOKEN_INPUTS):
            return pack_by_module
    return pack


def _segments_by_separator(word_ids: "tf.Tensor", mask: "tf.Tensor") -> "tf.Tensor":
    """Return the segment of each token, int32 (batch, length): 0 up to the first [SEP], then 1."""
    import tensorflow as tf

    # The last token of each row is [SEP].
    last = tf.reduce_sum(mask, -1) - 1
    separators = tf.cast(word_ids == tf.gather(word_ids, last, batch_dims=1)[:, None], tf.int32) * mask
    return tf.minimum(tf.cumsum(separators, -1, exclusive=True), 1) * mask
