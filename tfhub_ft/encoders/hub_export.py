"""Write a BERT and its WordPiece preprocessor as TF Hub SavedModels."""

import contextlib
import functools
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tfhub_ft.encoders.bert_forward import Architecture, activate, dense, encode, norm, role_of
from tfhub_ft.encoders.packing import TOKEN_INPUTS, pack_segments
from tfhub_ft.utils.devices import pin_to_cpu
from tfhub_ft.utils.files import temporary_folder

if TYPE_CHECKING:
    import numpy as np
    import tensorflow as tf

# The weights of a masked-LM head, by their names in tf-models.
MASKED_LM = (
    "cls/predictions/transform/dense/kernel",
    "cls/predictions/transform/dense/bias",
    "cls/predictions/transform/LayerNorm/gamma",
    "cls/predictions/transform/LayerNorm/beta",
    "cls/predictions/output_bias/bias",
)
SPECIAL_TOKENS = {
    "start_of_sequence_id": "[CLS]",
    "end_of_segment_id": "[SEP]",
    "padding_id": "[PAD]",
    "mask_id": "[MASK]",
}


@pin_to_cpu
def write_encoder(
    folder: Path,
    values: Mapping[str, "np.ndarray"],
    architecture: Architecture,
    *,
    masked_lm: Mapping[str, "np.ndarray"] | None = None,
    vocabulary: Sequence[str] | None = None,
    do_lower_case: bool = True,
) -> None:
    """Write a trainable encoder with dropout, for any batch size and sequence length, into a new or empty folder.

    `values` are float32 weights by their names in TF Hub's encoders. `masked_lm`, by the names of `MASKED_LM`, adds
    `mlm`, which takes also `masked_lm_positions`, int32 (batch, predictions), and returns also `mlm_logits`, float32
    (batch, predictions, vocabulary). `vocabulary` becomes the asset `vocab_file`.

    https://www.tensorflow.org/hub/common_saved_model_apis/text#transformer-encoders
    """
    import tensorflow as tf

    module = _encoder_module(values, architecture, masked_lm or {})
    tokens = {name: tf.TensorSpec((None, None), tf.int32, name=name) for name in TOKEN_INPUTS}
    positions = {"masked_lm_positions": tf.TensorSpec((None, None), tf.int32, name="masked_lm_positions")}
    for training in (False, True):
        module.__call__.get_concrete_function(tokens, training=training)
        if masked_lm:
            module.mlm.__call__.get_concrete_function({**tokens, **positions}, training=training)
    serve = tf.function(
        lambda **inputs: {k: v for k, v in module(inputs).items() if k != "encoder_outputs"}, autograph=False
    )
    with _vocabulary_file(vocabulary or ()) as vocab_file:
        if vocabulary:
            module.vocab_file = tf.saved_model.Asset(str(vocab_file))
            module.do_lower_case = tf.Variable(tf.constant(do_lower_case), trainable=False, name="do_lower_case")
        signatures = {"serving_default": serve.get_concrete_function(**tokens)}
        tf.saved_model.save(module, str(folder), signatures=signatures)


@pin_to_cpu
def write_preprocessor(folder: Path, vocabulary: Sequence[str], *, do_lower_case: bool, seq_length: int) -> None:
    """Write a WordPiece preprocessor with `tokenize` and `bert_pack_inputs` into a new or empty folder.

    `seq_length` is the default length of rows.

    https://www.tensorflow.org/hub/common_saved_model_apis/text#preprocessing
    """
    import tensorflow as tf

    with _vocabulary_file(vocabulary) as vocab_file, _ragged_tensors_unchecked():
        module = _preprocessor_module(vocab_file, vocabulary, do_lower_case, seq_length)
        tf.saved_model.save(module, str(folder), signatures={"serving_default": module.__call__})


def _encoder_module(
    values: Mapping[str, "np.ndarray"], architecture: Architecture, masked_lm: Mapping[str, "np.ndarray"]
) -> Any:
    import tensorflow as tf

    roles = {name: role_of(name) or name for name in values}

    class Encoder(tf.train.Checkpoint):
        def __init__(self):
            super().__init__()
            self.variables = [tf.Variable(tf.convert_to_tensor(value), name=name) for name, value in values.items()]
            self.trainable_variables = list(self.variables)
            self.regularization_losses = []

        @tf.function(autograph=False)
        def __call__(self, inputs: "dict[str, tf.Tensor]", training: bool = False) -> dict[str, Any]:
            weights = {roles[name]: v.read_value() for name, v in zip(values, self.variables, strict=True)}
            dropout = (lambda x, rate, _: tf.nn.dropout(x, rate)) if training else None
            outputs = encode(weights, architecture, inputs, dtype="float32", dropout=dropout, custom_gradients=False)
            del outputs["first_token"]
            return {**outputs, "default": outputs["pooled_output"]}

    class MaskedLM(tf.train.Checkpoint):
        def __init__(self, encoder: Encoder):
            super().__init__()
            self.encoder = encoder
            self.head = [tf.Variable(tf.convert_to_tensor(masked_lm[name]), name=name) for name in MASKED_LM]
            self.variables = [*encoder.variables, *self.head]
            self.trainable_variables = list(self.variables)
            self.regularization_losses = []

        @tf.function(autograph=False)
        def __call__(self, inputs: "dict[str, tf.Tensor]", training: bool = False) -> dict[str, Any]:
            tokens = {name: inputs[name] for name in TOKEN_INPUTS}
            outputs = self.encoder(tokens, training=training)
            del outputs["default"]
            word_embeddings = self.encoder.variables[list(values).index("word_embeddings/embeddings")]
            states = tf.gather(outputs["sequence_output"], inputs["masked_lm_positions"], batch_dims=1)
            logits = masked_lm_head(states, word_embeddings, self.head, architecture)
            return {**outputs, "mlm_logits": logits}

    encoder = Encoder()
    if masked_lm:
        encoder.mlm = MaskedLM(encoder)
    return encoder


def masked_lm_head(
    states: "tf.Tensor", word_embeddings: "tf.Variable", head: "Sequence[tf.Variable]", architecture: Architecture
) -> "tf.Tensor":
    """Return the logits (batch, predictions, vocabulary) of a masked-LM head for hidden states at masked positions.

    `head` has the weights in the order of `MASKED_LM`. See section 3.1 of https://arxiv.org/abs/1810.04805.
    """
    import tensorflow as tf

    kernel, bias, gamma, beta, output_bias = head
    flat_states = tf.reshape(states, (-1, kernel.shape[0]))
    transformed = norm(
        activate(dense(flat_states, kernel, bias), architecture.activation), gamma, beta, architecture.epsilon
    )
    logits = tf.matmul(transformed, word_embeddings, transpose_b=True) + output_bias
    return tf.reshape(logits, (*tf.unstack(tf.shape(states)[:2]), output_bias.shape[0]))


def _preprocessor_module(vocab_file: Path, vocabulary: Sequence[str], do_lower_case: bool, seq_length: int) -> Any:
    import tensorflow as tf
    import tensorflow_text as tf_text

    lookup = tf.lookup.TextFileIndex
    initializer = tf.lookup.TextFileInitializer(
        str(vocab_file), tf.string, lookup.WHOLE_LINE, tf.int64, lookup.LINE_NUMBER
    )
    table = tf.lookup.StaticHashTable(initializer, default_value=-1)
    tokenizer = tf_text.BertTokenizer(table, lower_case=do_lower_case)
    ids = {token: number for number, token in enumerate(vocabulary)}
    special = {name: ids[token] for name, token in SPECIAL_TOKENS.items() if token in ids}
    sentences = tf.TensorSpec([None], tf.string, name="sentences")

    @tf.function(autograph=False, input_signature=[sentences])
    def tokenize(sentences: "tf.Tensor") -> "tf.RaggedTensor":
        tokens: Any = tokenizer.tokenize(sentences)
        tokens = tf.cast(tokens, tf.int32)
        # TF Text loses the static number of rows.
        splits = tf.reshape(tokens.row_splits, [tf.size(sentences) + 1])
        return tf.RaggedTensor.from_row_splits(tokens.values, splits)  # pyright: ignore[reportAttributeAccessIssue]

    @tf.function(autograph=False)
    def bert_pack_inputs(inputs: Any, seq_length: Any = seq_length) -> "dict[str, tf.Tensor]":
        segments = inputs if isinstance(inputs, list | tuple) else [inputs]
        flat = [segment.merge_dims(1, -1) if segment.ragged_rank > 1 else segment for segment in segments]
        first, last = special["start_of_sequence_id"], special["end_of_segment_id"]
        return pack_segments(flat, seq_length, first=first, last=last, padding=special["padding_id"])

    @tf.function(autograph=False, input_signature=[sentences])
    def preprocess(sentences: "tf.Tensor") -> "dict[str, tf.Tensor]":
        return bert_pack_inputs([tokenize(sentences)], seq_length=tf.constant(seq_length))

    @tf.function(autograph=False, input_signature=[])
    def get_special_tokens_dict() -> "dict[str, tf.Tensor]":
        return {name: tf.constant(number) for name, number in {**special, "vocab_size": len(vocabulary)}.items()}

    length = tf.TensorSpec([], tf.int32)
    pack_ragged: Any = bert_pack_inputs
    for ragged_rank in (1, 2):
        tokens = tf.RaggedTensorSpec([None] * (ragged_rank + 1), tf.int32)
        for segments in (1, 2):
            pack_ragged.get_concrete_function([tokens] * segments, seq_length=length)
    module = _callable(preprocess)
    module.vocab_table, module.vocab_initializer = table, initializer
    module.tokenize, module.bert_pack_inputs = _callable(tokenize), _callable(bert_pack_inputs)
    module.tokenize.get_special_tokens_dict = _callable(get_special_tokens_dict)
    return module


def _callable(function: Any) -> Any:
    """Return an object that is callable after saving and loading."""
    import tensorflow as tf

    module = tf.train.Checkpoint()
    module.__call__ = function
    return module


@contextlib.contextmanager
def _vocabulary_file(vocabulary: Sequence[str]) -> Iterator[Path]:
    with temporary_folder() as folder:
        path = Path(folder) / "vocab.txt"
        path.write_text("\n".join(vocabulary) + "\n", encoding="utf-8", newline="")
        yield path


@contextlib.contextmanager
def _ragged_tensors_unchecked() -> Iterator[None]:
    """Leave assertions on ragged tensors out of graphs: they would triple the time to tokenize."""
    import tensorflow as tf

    names = ("from_row_splits", "from_row_lengths", "from_uniform_row_length")
    methods = {name: vars(tf.RaggedTensor)[name] for name in names}
    for name in names:
        setattr(tf.RaggedTensor, name, functools.partial(getattr(tf.RaggedTensor, name), validate=False))
    try:
        yield
    finally:
        for name, method in methods.items():
            setattr(tf.RaggedTensor, name, method)
