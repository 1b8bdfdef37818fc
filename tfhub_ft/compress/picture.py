"""The picture of a comparison: how good each form is, against its size and its speed."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tfhub_ft.evaluation.tables import form_title
from tfhub_ft.files import written_aside

if TYPE_CHECKING:
    from matplotlib.axes import Axes

LEAST_SPAN = 0.02
COLORS = {"saved_model": "#1f77b4", "tflite": "#d95f02", "tflite_text": "#7a3b9e", "onnx": "#2a8a4a"}
# Where a point's label is tried, in points of the page, one after the other.
PLACES = [(side, rise) for rise in (0, 12, -12, 24, -24, 36, -36, 48, -48, 60, -60, 72, -72) for side in (1, -1)]


def draw_comparison(measured: Sequence[dict[str, Any]], file: Path, *, title: str) -> None:
    """Draw a form's score against its bytes and against the time of one row.

    Where the task has no score, it is the agreement with the original.

    Args:
        measured: what `compare` gave.
        file: where to write it; its suffix tells the format.
        title: stands above.
    """
    from matplotlib.figure import Figure

    score = next(iter(measured[0]["scores"]), None)
    heights = [each["scores"].get(score) if score else each["agreement"] for each in measured]
    shown = [(each, height) for each, height in zip(measured, heights, strict=True) if height is not None]
    figure = Figure(figsize=(12, 5), dpi=150, layout="constrained")
    figure.suptitle(title)
    by_size, by_time = figure.subplots(1, 2, sharey=True)
    by_size.set_ylabel((score or "agreement with the original").replace("_", " "))
    _axis(by_size, "size, MB", [each["bytes"] / 1e6 for each, _ in shown], shown)
    _axis(by_time, "one row, median ms", [each["latency_ms"]["p50"] for each, _ in shown], shown)
    with written_aside(file) as aside:
        figure.savefig(aside)


def _axis(axes: "Axes", label: str, places: Sequence[float], shown: Sequence[tuple[dict[str, Any], float]]) -> None:
    from matplotlib.ticker import LogLocator, NullFormatter, ScalarFormatter

    axes.set_xscale("log")
    axes.set_xlabel(label)
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.xaxis.set_major_formatter(ScalarFormatter())
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.grid(alpha=0.3)
    if not shown:
        return
    heights = [height for _, height in shown]
    middle, span = (max(heights) + min(heights)) / 2, max(max(heights) - min(heights), LEAST_SPAN)
    axes.set_ylim(middle - span, middle + span)
    axes.set_xlim(min(places) / 2, max(places) * 2)
    taken: list[Any] = []
    for place, (each, height) in zip(places, shown, strict=True):
        color = COLORS[each["form"]]
        marker = "o" if each["reads"] == "text" else "s"
        axes.plot(place, height, marker, color=color, markersize=7)
        _label(axes, f"{form_title(each)}, from {each['reads']}", (place, height), color, taken)


def _label(axes: "Axes", text: str, point: tuple[float, float], color: str, taken: list[Any]) -> None:
    """Write a label beside its point, where no label stands yet."""
    for side, rise in PLACES:
        written = axes.annotate(
            text,
            point,
            xytext=(side * (9 if rise == 0 else 14), rise),
            textcoords="offset points",
            ha="left" if side > 0 else "right",
            va="center",
            fontsize=8,
            color=color,
            arrowprops={"arrowstyle": "-", "color": color, "lw": 0.5} if rise else None,
        )
        box = written.get_window_extent()
        if not any(box.overlaps(other) for other in taken):
            break
        if (side, rise) != PLACES[-1]:
            written.remove()
    taken.append(box)
