"""Load the preprocessing layer of an artifact."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from tfhub_ft.export_folder import read_description, read_tokenizer_vocabulary
from tfhub_ft.utils.errors import InputError
from tfhub_ft.utils.files import temporary_folder
from tfhub_ft.utils.saved_graph import load_graph

if TYPE_CHECKING:
    import tensorflow as tf

    from tfhub_ft.encoders.hub_preprocessor import HubPreprocessor


def saved_preprocessor(folder: Path, saved_model: Any = None) -> "HubPreprocessor":
    """Return the preprocessing layer of a SavedModel, given its folder and, if it is loaded, the SavedModel."""
    layer = _new_layer(read_description(folder)["preprocessor"])
    modules = (saved_model or load_graph(folder)).modules
    module = next(module for module in modules if hasattr(module, "bert_pack_inputs"))
    layer.set_module(module, folder)
    return layer


def tflite_preprocessor(file: Path) -> "HubPreprocessor":
    """Return a preprocessing layer with the vocabulary of a TFLite file.

    Raises:
        InputError: The file contains no vocabulary.
    """
    description, vocabulary = read_description(file), read_tokenizer_vocabulary(file)
    if vocabulary is None:
        raise InputError(f"{file}: contains no WordPiece vocabulary; predict with the run that it was exported from")
    layer, workspace = _new_layer(description["preprocessor"]), temporary_folder()
    path = Path(workspace.name) / "assets" / "vocab.txt"
    path.parent.mkdir()
    path.write_text(vocabulary, encoding="utf-8")
    layer.set_module(_WordPieceModule(path, lowercase=description["lowercase"]), Path(workspace.name), workspace)
    return layer


def _new_layer(description: dict[str, Any]) -> "HubPreprocessor":
    """Return a layer without a module, from {"class", "config"}."""
    from tfhub_ft.encoders.hub_preprocessor import HubPreprocessor
    from tfhub_ft.encoders.row_window_preprocessor import RowWindowPreprocessor
    from tfhub_ft.encoders.window_preprocessor import WindowPreprocessor

    layer_classes = (HubPreprocessor, RowWindowPreprocessor, WindowPreprocessor)
    classes = {layer_class.__name__: layer_class for layer_class in layer_classes}
    return classes[description["class"]].from_config(description["config"])


class _WordPieceModule:
    """The two functions of a TF Hub text preprocessor, with the vocabulary of a file."""

    def __init__(self, vocabulary: Path, *, lowercase: bool):
        import tensorflow as tf
        import tensorflow_text

        tokens = vocabulary.read_text(encoding="utf-8").rstrip("\n").split("\n")
        self._start_id, self._end_id = tokens.index("[CLS]"), tokens.index("[SEP]")
        self._tokenizer = tensorflow_text.BertTokenizer(
            str(vocabulary),
            token_out_type=tf.int32,  # pyright: ignore[reportArgumentType]
            lower_case=lowercase,
        )

    def tokenize(self, texts: "tf.Tensor") -> Any:
        """Return the token ids of texts, string (batch,): int32, ragged (batch, words, tokens)."""
        return self._tokenizer.tokenize(texts)

    def bert_pack_inputs(self, segments: "list[tf.RaggedTensor]", seq_length: "tf.Tensor") -> "dict[str, tf.Tensor]":
        """Return segments between [CLS] and [SEP], truncated and padded to `seq_length`."""
        from tfhub_ft.encoders.packing import pack_segments

        return pack_segments(segments, seq_length, first=self._start_id, last=self._end_id)
