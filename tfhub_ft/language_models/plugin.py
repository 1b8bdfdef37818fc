"""The interface of dialogues to the rooms that train, predict, evaluate and export; see `Task.plugin`."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from tfhub_ft.data.rows import Row
from tfhub_ft.evaluation.report.plots import shorten
from tfhub_ft.evaluation.report.report_tables import ROWS_SHOWN, ReportTable
from tfhub_ft.evaluation.scored import Scored, scoring_precision
from tfhub_ft.language_models.chat_template import USER, Message
from tfhub_ft.language_models.evaluation import ReplyEvaluator
from tfhub_ft.language_models.generation import ReplyWriter, Sampling
from tfhub_ft.language_models.presets import preset_folder
from tfhub_ft.language_models.task import Dialogue, default_max_tokens
from tfhub_ft.settings import DialogueSettings

if TYPE_CHECKING:
    import keras

    from tfhub_ft.language_models.export import DialogueExportContext


def fetch(settings: DialogueSettings) -> None:
    """Download and convert the language model, if it is not in the cache."""
    preset_folder(settings.language_model)


def pretrained_layer(network: "keras.Model") -> "keras.layers.Layer":
    """Return the pretrained layer of a network, which LoRA updates."""
    return network.get_layer("language_model")


def make_predict_fn(model: "keras.Model") -> Callable[[Sequence[tuple[str | list[Message]]]], list[dict[str, str]]]:
    """Return a function from prompts, texts or messages, to {"reply"}, of up to 128 tokens or half of the window."""
    writer = ReplyWriter(model)
    sampling = Sampling(max_tokens=default_max_tokens(writer.window))

    def predict(rows: Sequence[tuple[str | list[Message]]]) -> list[dict[str, str]]:
        dialogues = [[{"role": USER, "content": prompt}] if isinstance(prompt, str) else prompt for (prompt,) in rows]
        return [{"reply": reply} for reply in writer.write(dialogues, sampling)]

    return predict


def export_context() -> "type[DialogueExportContext]":
    """Return the class of the export context of dialogues."""
    from tfhub_ft.language_models.export import DialogueExportContext

    return DialogueExportContext


def measure_artifacts(*arguments: Any) -> tuple[list[dict[str, object]], int]:
    """Measure artifacts that generate replies, as `tfhub_ft.benchmarking.benchmark.measure_artifacts` does."""
    from tfhub_ft.language_models.benchmark import measure_dialogue_artifacts

    return measure_dialogue_artifacts(*arguments)


def generation_evaluator(model: "keras.Model", rows: Sequence[Row], settings: DialogueSettings) -> ReplyEvaluator:
    """Return a callable that scores the replies of the model with its current weights to some rows."""
    precision = scoring_precision(Dialogue(), settings.precision)
    return ReplyEvaluator(model, rows, seed=settings.seed, precision=precision)


def report_parts(scored: Scored) -> list[ReportTable]:
    """Return the tables of a report: replies to some prompts, side by side."""
    if not scored.written:
        return []
    columns = list(scored.written[0])
    rows = [[shorten(row[name]) for name in columns] for row in scored.written[:ROWS_SHOWN]]
    return [ReportTable("Replies", "Generated with the most likely tokens.", columns, rows)]
