"""A byte-pair tokenizer that splits texts into the words of the model's own tokenizer."""

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import keras
import tensorflow as tf
from keras_hub.tokenizers import BytePairTokenizer, GPT2Tokenizer
from tokenizers import pre_tokenizers

from tfhub_ft.utils.keras_compat import BytePairHooks

if TYPE_CHECKING:
    import tokenizers

# Bytes that UTF-8 text never contains: the end of a word, and the start of a special token.
_END, _SPECIAL = b"\xff", b"\xfe"

# White space in Unicode; RE2's \s matches ASCII only.
_SPACE = r"\x{9}-\x{d}\x{20}\x{85}\x{a0}\x{1680}\x{2000}-\x{200a}\x{2028}\x{2029}\x{202f}\x{205f}\x{3000}"

# Replacements that mark the end of each word. GPT-2's pattern has a lookahead, which RE2 lacks, to leave the last space
# to the next word: here the first replacement splits that space off.
_LAST_SPACE = (rf"([{_SPACE}])([{_SPACE}][^{_SPACE}])", rb"\1" + _END + rb"\2")
_WORD = (
    rf"('s|'t|'re|'ve|'m|'ll|'d| ?\p{{L}}+| ?\p{{N}}+| ?[^{_SPACE}\p{{L}}\p{{N}}]+|[{_SPACE}]+)",
    rb"\1" + _END,
)
_DIGIT = (r"(\p{N})", _END + rb"\1" + _END)

# By llama.cpp's names, the values of tokenizer.ggml.pre in GGUF files.
_REPLACEMENTS = {"gpt-2": (_LAST_SPACE, _WORD), "smollm": (_DIGIT, _LAST_SPACE, _WORD)}
PRE_TOKENIZERS = tuple(_REPLACEMENTS)


@keras.saving.register_keras_serializable("tfhub_ft")
class ByteLevelTokenizer(BytePairHooks, BytePairTokenizer):
    """KerasHub's byte-pair tokenizer with the pre-tokenizer of the model, in Python and in TensorFlow graphs.

    KerasHub splits texts in one way in Python (Llama 3's) and in another in graphs (almost GPT-2's), whatever the model
    was trained with. Here Hugging Face's `tokenizers` does it in Python. A graph contains only TensorFlow's operations
    and a constant table of the words that are one token, in place of KerasHub's growing cache of words: a SavedModel
    can contain it, and many requests can use it at once.

    Args:
        vocabulary: Ids by token, or a JSON file of them.
        merges: The pairs that are merged, the first ones first, or a file of them.
        pre_tokenizer: One of `PRE_TOKENIZERS`: "gpt-2", or "smollm", which also splits numbers into digits.
        start_token: The token that a text starts with, or None. KerasHub's `generate` adds it, whatever
            `add_start_token` of the preprocessor is.
        end_token: The token that a text ends with, and at which KerasHub's `generate` stops.
        pad_token_id: The id of the padding, which `generate` takes for the end; it must differ from `end_token`.
        unsplittable_tokens: Further special tokens, which are not split.
        **kwargs: Arguments of `keras_hub.tokenizers.BytePairTokenizer`.

    Reference:
        Radford et al., Language Models are Unsupervised Multitask Learners (GPT-2); the pattern of words is that of
        https://github.com/openai/gpt-2/blob/master/src/encoder.py
    """

    unicode2byte: tf.lookup.StaticHashTable
    byte2unicode: tf.lookup.StaticHashTable
    token_to_id_map: tf.lookup.StaticHashTable

    def __init__(
        self,
        vocabulary: dict[str, int] | str | None = None,
        merges: list[str] | str | None = None,
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
        self.add_special_token(end_token, "end_token")
        if start_token:
            self.add_special_token(start_token, "start_token")
        special = list(dict.fromkeys(filter(None, (end_token, start_token, *unsplittable_tokens))))
        for number, token in enumerate(special):
            self.add_special_token(token, f"special_token_{number:03d}")
        super().__init__(vocabulary, merges, unsplittable_tokens=special, **kwargs)

    def get_config(self) -> dict[str, Any]:
        """Return the arguments without the vocabulary and the merges, which are assets."""
        names = ("pre_tokenizer", "start_token", "end_token", "pad_token_id")
        return {**super().get_config(), **{name: getattr(self, name) for name in names}}

    def prepare_tokenizer(self, tokenizer: "tokenizers.Tokenizer") -> None:
        """Set the pre-tokenizer of Hugging Face's tokenizer."""
        words = pre_tokenizers.ByteLevel(add_prefix_space=self.add_prefix_space, use_regex=True)
        if self.pre_tokenizer == "smollm":
            words = pre_tokenizers.Sequence([pre_tokenizers.Digits(individual_digits=True), words])
        tokenizer.pre_tokenizer = words

    def prepare_graph(self, vocabulary: dict[str, int], model: "tokenizers.models.BPE") -> None:
        """Create the table of special tokens and of words that are one token."""
        special = {token: vocabulary[token] for token in self.unsplittable_tokens}
        alphabet, id_by_word = set(pre_tokenizers.ByteLevel.alphabet()), {}
        for token in vocabulary.keys() - special.keys():
            parts = model.tokenize(token)
            if len(parts) == 1 and alphabet.issuperset(token):
                id_by_word[token] = parts[0].id
        words = tf.strings.unicode_split(list(id_by_word), "UTF-8")
        words = tf.strings.reduce_join(self.unicode2byte.lookup(words), axis=-1)
        keys = tf.concat([words, [_SPECIAL + token.encode() for token in special]], axis=0)
        ids = [*id_by_word.values(), *special.values()]
        table = tf.lookup.KeyValueTensorInitializer(keys, ids, value_dtype=tf.int32)
        self.words = tf.lookup.StaticHashTable(table, default_value=-1)
        # A SavedModel cannot contain KerasHub's growing cache.
        self.cache = ()

    def tokenize_in_graph(self, inputs: tf.Tensor | Sequence[str]) -> tf.Tensor | tf.RaggedTensor:
        """Return the token ids of texts by TensorFlow operations."""
        texts = tf.convert_to_tensor(inputs)
        words = self._split_words(tf.reshape(texts, [-1]))
        ids = self._word_ids(words.flat_values)
        tokens = words.with_values(ids).merge_dims(1, 2)
        if self.sequence_length:
            tokens = tokens.to_tensor(self.pad_token_id, shape=[None, self.sequence_length])
        return tokens[0] if texts.shape.rank == 0 else tokens

    def _split_words(self, texts: tf.Tensor) -> tf.RaggedTensor:
        """Return the words and special tokens of each text; a special token starts with the byte `_SPECIAL`."""
        if self.add_prefix_space:
            texts = tf.strings.join([" ", texts])
        # Decode invalid UTF-8 as Python does.
        texts = tf.strings.unicode_transcode(texts, "UTF-8", "UTF-8")
        special = "|".join(re.escape(token) for token in sorted(self.unsplittable_tokens, key=len, reverse=True))
        parts = tf.strings.split(tf.strings.regex_replace(texts, f"({special})", _END + rb"\1" + _END), _END)
        marked = parts.flat_values
        for pattern, replacement in _REPLACEMENTS[self.pre_tokenizer]:
            marked = tf.strings.regex_replace(marked, pattern, replacement)
        is_special = tf.strings.regex_full_match(parts.flat_values, special)
        words = tf.strings.split(tf.where(is_special, _SPECIAL + parts.flat_values, marked), _END)
        return parts.with_flat_values(tf.ragged.boolean_mask(words, words != "")).merge_dims(1, 2)

    def _word_ids(self, words: tf.Tensor) -> tf.RaggedTensor:
        """Return the ids of each word: from the table, or by merging its bytes."""
        known = self.words.lookup(words)
        is_unknown = known < 0
        unknown, indices = tf.unique(tf.boolean_mask(words, is_unknown))
        merged = self._bpe_merge_tf(self.byte2unicode.lookup(tf.strings.bytes_split(unknown)))
        merged = tf.ragged.map_flat_values(self.token_to_id_map.lookup, merged)
        # Bytes that the vocabulary lacks are dropped, as in Hugging Face's tokenizer.
        merged = tf.ragged.boolean_mask(merged, merged >= 0)
        rows = tf.concat([known[:, None], merged], axis=0)  # pyright: ignore[reportArgumentType, reportCallIssue]
        count = tf.size(words)
        return tf.gather(rows, tf.tensor_scatter_nd_update(tf.range(count), tf.where(is_unknown), count + indices))


def with_gpt2_words(tokenizer: BytePairTokenizer) -> BytePairTokenizer:
    """Return a `ByteLevelTokenizer` for KerasHub's GPT-2 tokenizer, and other tokenizers unchanged.

    KerasHub's GPT-2 tokenizer splits numbers and white space in other ways than GPT-2.
    """
    if type(tokenizer) is not GPT2Tokenizer:
        return tokenizer
    names = ("start_token", "end_token", "pad_token_id", "unsplittable_tokens", "add_prefix_space")
    arguments = {name: getattr(tokenizer, name) for name in names}
    return ByteLevelTokenizer(tokenizer.vocabulary, tokenizer.merges, pre_tokenizer="gpt-2", **arguments)
