"""A byte-pair tokenizer of KerasHub's kind that cuts a text into words as the model's own tokenizer does.

KerasHub cuts in one way in Python (Llama 3's) and in another one in TensorFlow graphs (nearly GPT-2's), whatever the
model was trained with: a model would read other tokens than it has learnt, and others in an export than in training.
"""

import re
from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf
from keras_hub.tokenizers import BytePairTokenizer, GPT2Tokenizer
from tokenizers import pre_tokenizers

from tfhub_ft.utils.keras_compat import BytePairHooks

# Bytes that no UTF-8 text has: the end of a word, and the start of a special token.
_END, _SPECIAL = b"\xff", b"\xfe"

# White space in Unicode; RE2's own \s is that of ASCII alone.
_SPACE = r"\x{9}-\x{d}\x{20}\x{85}\x{a0}\x{1680}\x{2000}-\x{200a}\x{2028}\x{2029}\x{202f}\x{205f}\x{3000}"

# Replacements that put an end behind each word. GPT-2's pattern looks ahead, to leave the last space to the word behind
# it, which RE2 cannot: here a first replacement cuts that space off.
_LAST_SPACE = (rf"([{_SPACE}])([{_SPACE}][^{_SPACE}])", rb"\1" + _END + rb"\2")
_WORD = (
    rf"('s|'t|'re|'ve|'m|'ll|'d| ?\p{{L}}+| ?\p{{N}}+| ?[^{_SPACE}\p{{L}}\p{{N}}]+|[{_SPACE}]+)",
    rb"\1" + _END,
)
_DIGIT = (r"(\p{N})", _END + rb"\1" + _END)

# By llama.cpp's names, which a GGUF file has as tokenizer.ggml.pre.
_CUTS = {"gpt-2": (_LAST_SPACE, _WORD), "smollm": (_DIGIT, _LAST_SPACE, _WORD)}
PRE_TOKENIZERS = tuple(_CUTS)

# The characters that stand for bytes in a vocabulary.
_BYTES = set(pre_tokenizers.ByteLevel.alphabet())


@keras.saving.register_keras_serializable("tfhub_ft")
class ByteLevelTokenizer(BytePairHooks, BytePairTokenizer):
    """KerasHub's byte-pair tokenizer with the right words, the same ones in Python and in a TensorFlow graph.

    After `import tfhub_ft`, `keras_hub.models.CausalLM.from_preset` reads a preset that holds it.

    In Python it is Hugging Face's `tokenizers` with the right pre-tokenizer. In a graph it consists of TensorFlow's own
    operations and of tables that never change, so a SavedModel can hold it, many requests can use it at once, and its
    memory does not grow: KerasHub's cache of words is replaced by a table of the words that are one token.

    Args:
        vocabulary: token to id, or a JSON file of it.
        merges: the pairs that are joined, the most urgent first, or a file of them.
        pre_tokenizer: how a text is cut into words, one of `PRE_TOKENIZERS`: as GPT-2 does, or with each digit alone
            first ("smollm").
        start_token: the token that a text begins with; None where there is none. (KerasHub's `generate` puts it there
            whatever `add_start_token` of the preprocessor says.)
        end_token: the token that a text ends with. KerasHub's `generate` stops there.
        pad_token_id: what fills up short texts. It must not be `end_token`: `generate` takes padding for the end.
        unsplittable_tokens: further special tokens. All are found in a text as they are, and stand for themselves.
        **kwargs: of `keras_hub.tokenizers.BytePairTokenizer`.

    Example:
        tokenizer = ByteLevelTokenizer(
            vocabulary, merges, pre_tokenizer="smollm", end_token="<|im_end|>", unsplittable_tokens=["<|im_start|>"]
        )
        ids = tokenizer(["It costs 12 euros.", "Good."])

    Reference:
        Radford et al., Language Models are Unsupervised Multitask Learners (GPT-2); the pattern of words is that of
        https://github.com/openai/gpt-2/blob/master/src/encoder.py
    """

    def __init__(
        self,
        vocabulary: Any = None,
        merges: Any = None,
        *,
        pre_tokenizer: str,
        start_token: str | None = None,
        end_token: str,
        pad_token_id: int = 0,
        unsplittable_tokens: Sequence[str] = (),
        **kwargs: Any,
    ) -> None:
        self.pre_tokenizer = pre_tokenizer
        self.pad_token_id = pad_token_id
        self.start_token = self.start_token_id = None
        named = {"end_token": end_token} | ({"start_token": start_token} if start_token else {})
        for name, token in named.items():
            self.add_special_token(token, name)
        special = [*dict.fromkeys([*named.values(), *unsplittable_tokens])]
        for number, token in enumerate(special):
            self.add_special_token(token, f"special_token_{number:03d}")
        super().__init__(vocabulary, merges, unsplittable_tokens=special, **kwargs)

    def get_config(self) -> dict[str, Any]:
        """The arguments, without the vocabulary and the merges, which are assets."""
        return {
            **super().get_config(),
            "pre_tokenizer": self.pre_tokenizer,
            "start_token": self.start_token,
            "end_token": self.end_token,
            "pad_token_id": self.pad_token_id,
        }

    def prepare_tokenizer(self, tokenizer: Any) -> None:
        """Let Hugging Face's tokenizer split texts into the right words."""
        words = pre_tokenizers.ByteLevel(add_prefix_space=self.add_prefix_space, use_regex=True)
        if self.pre_tokenizer == "smollm":
            words = pre_tokenizers.Sequence([pre_tokenizers.Digits(individual_digits=True), words])
        tokenizer.pre_tokenizer = words

    def prepare_graph(self, vocabulary: dict[str, int], model: Any) -> None:
        """Make a table of the words that are one token in place of KerasHub's cache of words."""
        special = {token: vocabulary[token] for token in self.unsplittable_tokens}
        alone = {}
        for token in vocabulary.keys() - special.keys():
            parts = model.tokenize(token)
            if len(parts) == 1 and _BYTES.issuperset(token):
                alone[token] = parts[0].id
        as_written = tf.strings.unicode_split(list(alone), "UTF-8")
        as_written = tf.strings.reduce_join(self.unicode2byte.lookup(as_written), axis=-1)
        keys = tf.concat([as_written, [_SPECIAL + token.encode() for token in special]], axis=0)
        table = tf.lookup.KeyValueTensorInitializer(keys, [*alone.values(), *special.values()], value_dtype=tf.int32)
        # The words that are one token, and the special tokens.
        self.words = tf.lookup.StaticHashTable(table, default_value=-1)
        # A cache that grows has no place in a SavedModel.
        self.cache = ()

    def tokenize_in_graph(self, inputs: Any) -> Any:
        """Return the ids of texts by TensorFlow operations alone."""
        texts = tf.convert_to_tensor(inputs)
        words = self._words_of(tf.reshape(texts, [-1]))
        ids = self._ids_of(words.flat_values)
        tokens = tf.RaggedTensor.from_row_splits(ids.flat_values, tf.gather(ids.row_splits, words.row_splits))
        if self.sequence_length:
            tokens = tokens.to_tensor(self.pad_token_id, shape=[None, self.sequence_length])
        if texts.shape.rank == 0:
            return tokens[0]
        return tokens

    def _words_of(self, texts: tf.Tensor) -> tf.RaggedTensor:
        """The words of each text, and its special tokens, which begin with a byte of their own."""
        if self.add_prefix_space:
            texts = tf.strings.join([" ", texts])
        # As Python reads bytes that are no UTF-8.
        texts = tf.strings.unicode_transcode(texts, "UTF-8", "UTF-8")
        special = "|".join(re.escape(token) for token in sorted(self.unsplittable_tokens, key=len, reverse=True))
        parts = tf.strings.split(tf.strings.regex_replace(texts, f"({special})", _END + rb"\1" + _END), _END)
        cut = parts.flat_values
        for pattern, replacement in _CUTS[self.pre_tokenizer]:
            cut = tf.strings.regex_replace(cut, pattern, replacement)
        is_special = tf.strings.regex_full_match(parts.flat_values, special)
        words = tf.strings.split(tf.where(is_special, _SPECIAL + parts.flat_values, cut), _END)
        return parts.with_flat_values(tf.ragged.boolean_mask(words, words != "")).merge_dims(1, 2)

    def _ids_of(self, words: tf.Tensor) -> tf.RaggedTensor:
        """The ids of each word: of one that is a token from the table, of another one by merging its bytes."""
        known = self.words.lookup(words)
        is_new = known < 0
        new, places = tf.unique(tf.boolean_mask(words, is_new))
        merged = self._bpe_merge_tf(self.byte2unicode.lookup(tf.strings.bytes_split(new)))
        merged = tf.ragged.map_flat_values(self.token_to_id_map.lookup, merged)
        # A vocabulary may lack bytes; they are left out, as Hugging Face's does.
        merged = tf.ragged.boolean_mask(merged, merged >= 0)
        rows = tf.concat([tf.RaggedTensor.from_tensor(known[:, None]), merged], axis=0)
        count = tf.size(words)
        return tf.gather(rows, tf.tensor_scatter_nd_update(tf.range(count), tf.where(is_new), count + places))


def with_own_words(tokenizer: BytePairTokenizer) -> BytePairTokenizer:
    """A tokenizer that cuts a text into words as its model does.

    Args:
        tokenizer: any of KerasHub's, with its vocabulary.

    Returns:
        For GPT-2's, a `ByteLevelTokenizer` of the same vocabulary, as KerasHub's cuts numbers and white space in
        another way. Any other one as it is.
    """
    if type(tokenizer) is not GPT2Tokenizer:
        return tokenizer
    return ByteLevelTokenizer(
        tokenizer.vocabulary,
        tokenizer.merges,
        pre_tokenizer="gpt-2",
        start_token=tokenizer.start_token,
        end_token=tokenizer.end_token,
        pad_token_id=tokenizer.pad_token_id,
        unsplittable_tokens=tokenizer.unsplittable_tokens,
        add_prefix_space=tokenizer.add_prefix_space,
    )
