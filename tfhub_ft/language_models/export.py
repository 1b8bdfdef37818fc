"""Exporting a language model that writes replies: SavedModels with weights in several forms, each proven."""

from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

from tfhub_ft.exports.context import MADE_UP, ExportContext
from tfhub_ft.exports.saved_model import next_version
from tfhub_ft.utils.console import log
from tfhub_ft.utils.errors import InputError
from tfhub_ft.utils.files import atomic_write, folder_bytes

if TYPE_CHECKING:
    import numpy as np

    from tfhub_ft.language_models.verify import RunReplies
    from tfhub_ft.run import Run

# A batch of replies takes as long as its longest one, and as much memory as all of them together.
MOST_ROWS, WARM_UP_TOKENS = 16, 16


def check_dialogue_forms(run: "Run", formats: Sequence[str], vocabulary: str) -> None:
    """Raise an InputError where a run that writes replies cannot have one of the forms."""
    if other := next((each for each in formats if each != "saved_model"), None):
        raise InputError(
            f"--format {other}: the recipe {run.recipe.name} writes replies token by token: export a saved_model"
        )
    if vocabulary != "all":
        raise InputError(f"--vocabulary {vocabulary}: a language model keeps all of its words; leave it out")


class DialogueExportContext(ExportContext):
    """An export in progress, of a run that writes replies."""

    @cached_property
    def replies(self) -> "RunReplies":
        """What the run's model writes and scores."""
        from tfhub_ft.language_models.verify import RunReplies

        return RunReplies(self.run, self.model, self.rows.inputs)

    @cached_property
    def feeds(self) -> "dict[str, list[dict[str, np.ndarray]]]":
        """Prompts, and pairs of a prompt and its reply, in batches as each signature takes them."""
        return self.replies.feeds

    @cached_property
    def example_feeds(self) -> "dict[str, list[dict[str, np.ndarray]]]":
        """One made-up prompt, and one made-up reply, as each signature takes them."""
        return {
            name: [{each: _made_up(column[:1]) for each, column in batches[0].items()}]
            for name, batches in self.feeds.items()
        }

    @cached_property
    def warmup_feeds(self) -> "dict[str, dict[str, np.ndarray]]":
        """Some rows for each signature, which a server asks before it takes requests: short replies, and one long."""
        rows = {"serving_default": 1, "generate": MOST_ROWS // 2, "score": MOST_ROWS // 2}
        keep = (lambda column: column) if self.warmup_rows else _made_up
        warm = {
            name: {each: keep(column[: rows[name]]) for each, column in batches[0].items()}
            for name, batches in self.feeds.items()
        }
        warm["generate"]["max_tokens"] = warm["generate"]["max_tokens"].clip(max=WARM_UP_TOKENS)
        return warm


def export_dialogue(work: DialogueExportContext, quantization: str) -> dict[str, Any]:
    """The next version of a SavedModel, proven, or nothing: in the export folder itself, or in `bfloat16` or `int8`.

    Returns:
        What export.json says of it.

    Raises:
        RunError: it answers differently from the model.
    """
    from tfhub_ft.exports.serving.config import model_name, prepare_for_serving, write_serving_files
    from tfhub_ft.language_models.saved_model import write_dialogue_model
    from tfhub_ft.language_models.verify import prove_dialogue

    inside = "" if quantization == "none" else quantization
    folder = work.folder / inside
    version = next_version(folder)
    named = "" if quantization == "none" else f" with {quantization} weights"
    with atomic_write(folder / str(version)) as aside:
        log(f"Writing the SavedModel{named}")
        write_dialogue_model(work.model, quantization, aside)
        operations = prepare_for_serving(aside, work.warmup_feeds, model_name(work.folder))
        log("Comparing what it writes and scores with the model, in a fresh process")
        proof = prove_dialogue(aside, work.replies, quantization)
        size = folder_bytes(aside)
        write_serving_files(work.folder, inside, most_rows=MOST_ROWS)
    path = str((folder / str(version)).relative_to(work.folder))
    form = {"form": "saved_model", "quantization": quantization, "version": version, "path": path, "bytes": size}
    proof["verified_on"] = work.rows.described(proof["rows"], labels=len(work.rows.inputs) > 0)
    return {**form, **operations, **proof}


def _made_up(column: "np.ndarray") -> "np.ndarray":
    """A short made-up text in place of each text; numbers stay."""
    import numpy as np

    return np.array([MADE_UP.strip()] * len(column)) if column.dtype.kind in "US" else column
