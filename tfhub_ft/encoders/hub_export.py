"""Write a BERT and its WordPiece preprocessor as SavedModels that follow the TF Hub text API."""

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

# Weights of a masked-LM head, by the names that tf-models gives them.
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
    """Write an encoder: trainable, with dropout, for any batch size and sequence length.

    Args:
        folder: a folder that does not exist yet, or is empty.
        values: float32 weights by the names that TF Hub's encoders have, such as "word_embeddings/embeddings".
        architecture: the rest of the encoder.
        masked_lm: float32 weights of a masked-LM head by the names of `MASKED_LM`. The encoder then has `mlm`, which
            takes `masked_lm_positions`, int32 (batch, predictions), too, and returns `mlm_logits`, float32 (batch,
            predictions, vocabulary).
        vocabulary: the tokens in the order of their ids, which the encoder then carries as the asset `vocab_file`.
        do_lower_case: what the encoder says beside its `vocab_file`.

    Example:
        write_encoder(Path("smaller/encoder"), encoder.values, Architecture(layers=6, shared=False, heads=12))

    Reference:
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
    with _vocabulary_file(vocabulary) as vocab_file:
        if vocab_file:
            module.vocab_file = tf.saved_model.Asset(str(vocab_file))
            module.do_lower_case = tf.Variable(do_lower_case, trainable=False, name="do_lower_case")
        signatures = {"serving_default": serve.get_concrete_function(**tokens)}
        tf.saved_model.save(module, str(folder), signatures=signatures)


@pin_to_cpu
def write_preprocessor(folder: Path, vocabulary: Sequence[str], *, do_lower_case: bool, seq_length: int) -> None:
    """Write a WordPiece preprocessor, with `tokenize` and `bert_pack_inputs`.

    Args:
        folder: a folder that does not exist yet, or is empty.
        vocabulary: the tokens in the order of their ids; [PAD], [UNK], [CLS] and [SEP] are among them.
        do_lower_case: whether texts are lower-cased and stripped of accents.
        seq_length: the length of rows where a caller does not give one.

    Example:
        write_preprocessor(Path("preprocessor"), vocabulary, do_lower_case=True, seq_length=128)

    Reference:
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

    class Encoder(tf.train.Checkpoint):
        def __init__(self):
            super().__init__()
            self.variables = [tf.Variable(value, name=name) for name, value in values.items()]
            self.trainable_variables = list(self.variables)
            self.regularization_losses = []

        @tf.function(autograph=False)
        def __call__(self, inputs: dict[str, Any], training: bool = False) -> dict[str, Any]:
            weights = {role_of(name): held.read_value() for name, held in zip(values, self.variables, strict=True)}
            drop = (lambda x, rate, _: tf.nn.dropout(x, rate)) if training else None
            outputs = encode(weights, architecture, inputs, dtype="float32", drop=drop, own_gradients=False)
            api = {name: outputs[name] for name in ("pooled_output", "sequence_output", "encoder_outputs")}
            return {**api, "default": api["pooled_output"]}

    class MaskedLM(tf.train.Checkpoint):
        def __init__(self, encoder: Encoder):
            super().__init__()
            self.encoder = encoder
            self.head = [tf.Variable(masked_lm[name], name=name) for name in MASKED_LM]
            self.variables = [*encoder.variables, *self.head]
            self.trainable_variables = list(self.variables)
            self.regularization_losses = []

        @tf.function(autograph=False)
        def __call__(self, inputs: dict[str, Any], training: bool = False) -> dict[str, Any]:
            tokens = {name: inputs[name] for name in TOKEN_INPUTS}
            outputs = self.encoder(tokens, training=training)
            del outputs["default"]
            words = self.encoder.variables[list(values).index("word_embeddings/embeddings")]
            states = tf.gather(outputs["sequence_output"], inputs["masked_lm_positions"], batch_dims=1)
            logits = masked_lm_head(states, words, self.head, architecture)
            return {**outputs, "mlm_logits": logits}

    encoder = Encoder()
    if masked_lm:
        encoder.mlm = MaskedLM(encoder)
    return encoder


def masked_lm_head(states: Any, word_embeddings: Any, head: Sequence[Any], architecture: Architecture) -> Any:
    """Logits of a masked-LM head that shares the word embeddings.

    Args:
        states: float32 (batch, predictions, hidden), hidden states at the masked positions.
        word_embeddings: float32 (vocabulary, hidden).
        head: the weights, in the order of `MASKED_LM`.
        architecture: says the activation and the epsilon.

    Returns:
        float32 (batch, predictions, vocabulary).

    Reference:
        Devlin et al. 2019, section 3.1, https://arxiv.org/abs/1810.04805
    """
    import tensorflow as tf

    kernel, bias, gamma, beta, output_bias = head
    flat = tf.reshape(states, (-1, kernel.shape[0]))
    transformed = norm(activate(dense(flat, kernel, bias), architecture.activation), gamma, beta, architecture.epsilon)
    logits = tf.matmul(transformed, word_embeddings, transpose_b=True) + output_bias
    return tf.reshape(logits, tf.concat([tf.shape(states)[:2], [output_bias.shape[0]]], 0))


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
    def tokenize(sentences: Any) -> Any:
        tokens = tf.cast(tokenizer.tokenize(sentences), tf.int32)
        # TF Text loses the number of rows.
        splits = tf.reshape(tokens.row_splits, [tf.size(sentences) + 1])
        return tf.RaggedTensor.from_row_splits(tokens.values, splits)

    @tf.function(autograph=False)
    def bert_pack_inputs(inputs: Any, seq_length: Any = seq_length) -> dict[str, Any]:
        segments = inputs if isinstance(inputs, list | tuple) else [inputs]
        flat = [segment.merge_dims(1, -1) if segment.ragged_rank > 1 else segment for segment in segments]
        first, last = special["start_of_sequence_id"], special["end_of_segment_id"]
        return pack_segments(flat, seq_length, first=first, last=last, padding=special["padding_id"])

    @tf.function(autograph=False, input_signature=[sentences])
    def preprocess(sentences: Any) -> dict[str, Any]:
        return bert_pack_inputs([tokenize(sentences)], seq_length=tf.constant(seq_length))

    @tf.function(autograph=False, input_signature=[])
    def get_special_tokens_dict() -> dict[str, Any]:
        return {name: tf.constant(number) for name, number in {**special, "vocab_size": len(vocabulary)}.items()}

    length = tf.TensorSpec([], tf.int32)
    for ragged_rank in (1, 2):
        tokens = tf.RaggedTensorSpec([None] * (ragged_rank + 1), tf.int32)
        for segments in (1, 2):
            bert_pack_inputs.get_concrete_function([tokens] * segments, seq_length=length)
    module = _callable(preprocess)
    module.vocab_table, module.vocab_initializer = table, initializer
    module.tokenize, module.bert_pack_inputs = _callable(tokenize), _callable(bert_pack_inputs)
    module.tokenize.get_special_tokens_dict = _callable(get_special_tokens_dict)
    return module


def _callable(function: Any) -> Any:
    """An object that is called as a function is, once it is saved and loaded."""
    import tensorflow as tf

    module = tf.train.Checkpoint()
    module.__call__ = function
    return module


@contextlib.contextmanager
def _vocabulary_file(vocabulary: Sequence[str] | None) -> Iterator[Path | None]:
    if vocabulary is None:
        yield None
        return
    with temporary_folder() as folder:
        path = Path(folder) / "vocab.txt"
        path.write_text("\n".join(vocabulary) + "\n", encoding="utf-8", newline="")
        yield path


@contextlib.contextmanager
def _ragged_tensors_unchecked() -> Iterator[None]:
    """Within this context graphs get no assertions about ragged tensors, which would triple the time to tokenize."""
    import tensorflow as tf

    names = ("from_row_splits", "from_row_lengths", "from_uniform_row_length")
    checked = {name: vars(tf.RaggedTensor)[name] for name in names}
    for name in names:
        setattr(tf.RaggedTensor, name, functools.partial(getattr(tf.RaggedTensor, name), validate=False))
    try:
        yield
    finally:
        for name, method in checked.items():
            setattr(tf.RaggedTensor, name, method)
