"""The preprocessing layer of an exported artifact."""

from pathlib import Path
from typing import Any

from tfhub_ft.export_folder import read_description, read_tokenizer_vocabulary
from tfhub_ft.utils.errors import InputError
from tfhub_ft.utils.files import temporary_folder
from tfhub_ft.utils.saved_graph import load_graph


def saved_preprocessor(saved_model: Path, loaded: Any = None) -> Any:
    """Return the preprocessing layer that a SavedModel contains.

    Args:
        saved_model: its folder.
        loaded: the loaded SavedModel, if it is loaded.
    """
    layer = _unloaded_layer(read_description(saved_model)["preprocessor"])
    modules = (loaded or load_graph(saved_model)).modules
    module = next(module for module in modules if hasattr(module, "bert_pack_inputs"))
    layer.set_module(module, saved_model)
    return layer


def tflite_preprocessor(file: Path) -> Any:
    """Return the preprocessing layer that reads the vocabulary in a TFLite file.

    Raises:
        InputError: the file contains no vocabulary.
    """
    description, vocabulary = read_description(file), read_tokenizer_vocabulary(file)
    if vocabulary is None:
        raise InputError(f"{file}: contains no WordPiece vocabulary; predict with the run that it was exported from")
    layer, workspace = _unloaded_layer(description["preprocessor"]), temporary_folder()
    path = Path(workspace.name) / "assets" / "vocab.txt"
    path.parent.mkdir()
    path.write_text(vocabulary, encoding="utf-8")
    layer.set_module(_WordPieceModule(path, lowercase=description["lowercase"]), Path(workspace.name), workspace)
    return layer


def _unloaded_layer(description: dict[str, Any]) -> Any:
    """Return a layer without a module, from {"class", "config"}."""
    from tfhub_ft.encoders.hub_preprocessor import HubPreprocessor
    from tfhub_ft.encoders.window_preprocessor import WindowPreprocessor

    kinds = {kind.__name__: kind for kind in (HubPreprocessor, WindowPreprocessor)}
    return kinds[description["class"]].from_config(description["config"])


class _WordPieceModule:
    """The two functions of a TF Hub text preprocessor, made from a vocabulary.

    Args:
        vocabulary: a file, a token a line.
        lowercase: whether texts are lower-cased and stripped of accents.
    """

    def __init__(self, vocabulary: Path, *, lowercase: bool):
        import tensorflow as tf
        import tensorflow_text

        words = vocabulary.read_text(encoding="utf-8").rstrip("\n").split("\n")
        self._first, self._last = words.index("[CLS]"), words.index("[SEP]")
        self._tokenizer = tensorflow_text.BertTokenizer(str(vocabulary), token_out_type=tf.int32, lower_case=lowercase)

    def tokenize(self, texts: Any) -> Any:
        """Return the tokens of texts, string (batch,): int32, ragged (batch, words, tokens)."""
        return self._tokenizer.tokenize(texts)

    def bert_pack_inputs(self, segments: list[Any], seq_length: Any) -> dict[str, Any]:
        """Pack segments of tokens between [CLS] and [SEP], cut in turn and padded to `seq_length`."""
        from tfhub_ft.encoders.packing import pack_segments

        return pack_segments(segments, seq_length, first=self._first, last=self._last)
