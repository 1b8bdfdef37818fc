"""The TFLite files of an export, each proven, or not there."""

from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from tfhub_ft.exports import tflite
from tfhub_ft.exports.context import ExportContext
from tfhub_ft.exports.saved_model import described
from tfhub_ft.exports.tflite_metadata import with_metadata
from tfhub_ft.exports.tflite_tokenizer import other_characters, other_tokens, varied_texts
from tfhub_ft.exports.tflite_verify import prove_lite
from tfhub_ft.inference.runtimes.isolated import token_feed
from tfhub_ft.inference.runtimes.tflite import LiteModel, carries_tokenizer
from tfhub_ft.utils.console import log
from tfhub_ft.utils.errors import InputError, RunError
from tfhub_ft.utils.files import atomic_write

SHOWN = 3


class LiteExport:
    """Makes TFLite files of a run; what they share is computed once.

    Args:
        work: the export.
        forms: the quantizations of each format, "tflite" and "tflite_text", that will be asked for.

    Raises:
        InputError: one of them cannot be made of this run.
    """

    def __init__(self, work: ExportContext, forms: Mapping[str, Sequence[str]]):
        self.work, self.preprocessor = work, work.model.get_layer("preprocessor")
        if "tflite_text" in forms and self.vocabulary is None:
            raise InputError(
                f"--format tflite_text: the encoder {work.run.settings.encoder} has no WordPiece vocabulary, which the"
                " tokenizer of a file needs; use tflite, from tokens on"
            )
        if "int8" in forms.get("tflite", ()) and not self.work.rows.calibration:
            raise InputError(f"--quantize int8 is calibrated with training rows; {work.rows.fault}; restore them")

    @cached_property
    def vocabulary(self) -> str | None:
        """The WordPiece vocabulary, a token a line."""
        try:
            return "\n".join(self.preprocessor.vocabulary)
        except InputError:
            return None

    @cached_property
    def lowercase(self) -> bool:
        """Whether the tokenizer is one of WordPiece that lower-cases."""
        return self.vocabulary is not None and self.preprocessor.is_uncased

    def __call__(self, form: str, quantization: str) -> dict[str, Any]:
        """Write and prove one file.

        Returns:
            What export.json says of it.

        Raises:
            RunError: it cannot be converted, or it is too far off; nothing is left behind.
        """
        reads_texts, name = form == "tflite_text", self.work.folder.name
        kind = tflite.QUANTIZATIONS[quantization]
        path = f"tflite/{name}_{'text_' if reads_texts else ''}{kind}.tflite"
        log(f"Converting to TFLite: {Path(path).name}")
        content = self._content(reads_texts, quantization)
        with atomic_write(self.work.folder / path) as aside:
            self._write(content, aside, reads_texts)
            size = aside.stat().st_size
            log(f"Comparing its answers with the model's on {len(self.work.rows.asked):,} rows")
            try:
                tokenizer = self._check_tokenizer(LiteModel(aside))
                proof = prove_lite(aside, quantization, self.work.answers)
            except RunError as error:
                raise RunError(f"{path} was not kept: {error}") from None
        return {"form": form, "quantization": quantization, "path": path, "bytes": size, **tokenizer, **proof}

    def _content(self, reads_texts: bool, quantization: str) -> bytes:
        model, task = self.work.model, self.work.task
        if reads_texts:
            function = tflite.text_function(model, task, self.vocabulary.split("\n"), lowercase=self.lowercase)
        else:
            function = tflite.token_function(model, task)
        calibration = None
        if quantization == "int8":
            # One row at a time: the mask of padding would widen every range.
            calibration = [token_feed(self.preprocessor, [row]) for row in self.work.rows.calibration]
        return tflite.convert(function, quantization, calibration=calibration)

    def _write(self, content: bytes, file: Path, reads_texts: bool) -> None:
        run, task = self.work.run, self.work.task
        description = {
            **described(self.work.model, task, run.labels, run.decision),
            "name": self.work.folder.name,
            "output": task.tflite_output_name,
            "reads_texts": reads_texts,
            "lowercase": self.lowercase,
        }
        with_metadata(content, file, description, summary=run.recipe.summary, vocabulary=self.vocabulary)

    def _check_tokenizer(self, lite: LiteModel) -> dict[str, Any]:
        """Hold the tokenizer of a file against the preprocessor, on 2,000 texts and on each character by itself."""
        if not carries_tokenizer(lite.file):
            return {}
        model, texts = self.work.model, [row[0] for row in self.work.rows.asked]
        characters = other_characters(lite, model)
        compared = varied_texts(texts, without=characters, seed=self.work.run.settings.seed)
        if other := other_tokens(lite, model, compared):
            shown = ", ".join(repr(text[:40]) for text in other[:SHOWN])
            raise RunError(
                f"its tokenizer cuts {len(other):,} of {len(compared):,} texts differently from the encoder's"
                f" preprocessor, such as {shown}"
            )
        return {"tokenizer": {"texts": len(compared), "other_characters": [f"U+{ord(c):04X}" for c in characters]}}
