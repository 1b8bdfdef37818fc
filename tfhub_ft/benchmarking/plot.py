"""The picture of a comparison: how good each form is, against its size and its speed."""

import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tfhub_ft.evaluation.console_tables import form_title
from tfhub_ft.utils.files import atomic_write

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Point = tuple[float, float, str, str]

LEAST_SPAN = 0.02
COLORS = {"saved_model": "#1f77b4", "tflite": "#d95f02", "tflite_text": "#7a3b9e", "onnx": "#2a8a4a"}
OTHER_COLOR = "#555555"
# Where a label is tried around its point, in points of the page: the nearest places first.
RISES = [0, *itertools.chain.from_iterable((step, -step) for step in range(14, 170, 14))]


def draw_comparison(measured: Sequence[dict[str, Any]], file: Path, *, title: str) -> None:
    """Draw a form's score against its bytes and against the time of one row.

    Where the task lacks a score, it is the agreement with the original.

    Args:
        measured: what `benchmark` gave.
        file: where to write it; its suffix tells the format.
        title: the title of the picture.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    score = next(iter(measured[0]["scores"]), None)
    sizes: dict[str, Point] = {}
    times: list[Point] = []
    for form in measured:
        height = form["scores"].get(score) if score else form["agreement"]
        if height is not None:
            color, name = COLORS.get(form["form"], OTHER_COLOR), form_title(form)
            inside = ", tokenizer inside" if form["form"] == "tflite_text" else ""
            sizes.setdefault(form["path"], (form["bytes"] / 1e6, height, name + inside, color))
            times.append((form["latency_ms"]["p50"], height, f"{name}, from {form['reads']}", color))

    figure = Figure(figsize=(12, 5.5), dpi=150, layout="constrained")
    FigureCanvasAgg(figure)
    figure.suptitle(title)
    by_size, by_time = figure.subplots(1, 2, sharey=True)
    by_size.set_ylabel((score or "agreement with the original").replace("_", " "))
    _scale_heights(by_size, [height for _, height, _, _ in times])
    panels = [(by_size, "size, MB", list(sizes.values())), (by_time, "one row, median, ms", times)]
    for axes, label, points in panels:
        _plot(axes, label, points)
    # Labels need to know where the points will be, so nothing may move any more.
    figure.draw_without_rendering()
    figure.set_layout_engine("none")
    for axes, _, points in panels:
        _write_labels(axes, points)
    with atomic_write(file) as aside:
        figure.savefig(aside)


def _scale_heights(axes: "Axes", heights: Sequence[float]) -> None:
    """Leave room for labels, and do not make much of tiny differences."""
    low, high = min(heights, default=1), max(heights, default=1)
    middle, span = (high + low) / 2, max(high - low, LEAST_SPAN)
    axes.set_ylim(middle - span, middle + span)
    # A share is at most 1; a perplexity is at least that.
    most = middle + span if high > 1 else min(1, middle + span)
    axes.set_yticks([tick for tick in axes.get_yticks() if middle - span <= tick <= most])


def _plot(axes: "Axes", label: str, points: Sequence[Point]) -> None:
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    axes.set_xscale("log")
    axes.set_xlabel(label)
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.grid(alpha=0.3)
    for place, height, _, color in points:
        axes.plot(place, height, "o", color=color, markersize=7)
    if points:
        places = [place for place, *_ in points]
        axes.set_xlim(min(places) / 2, max(places) * 2)


def _write_labels(axes: "Axes", points: Sequence[Point]) -> None:
    """Write each point's label where it is inside the axes and covers no other label and no point, if there is room."""
    from matplotlib.text import Text
    from matplotlib.transforms import Bbox

    centres = [axes.transData.transform((place, height)) for place, height, _, _ in points]
    taken = [Bbox.from_extents(x - 9, y - 9, x + 9, y + 9) for x, y in centres]
    for place, height, text, color in sorted(points):
        for rise, side in itertools.product(RISES, (1, -1)):
            label = axes.annotate(
                text,
                (place, height),
                xytext=(side * (9 if rise == 0 else 4), rise),
                textcoords="offset points",
                ha="left" if side > 0 else "right",
                va="center",
                fontsize=8,
                color=color,
                arrowprops={"arrowstyle": "-", "color": color, "lw": 0.6, "shrinkB": 3} if rise else None,
            )
            label.update_positions(label.figure.canvas.get_renderer())
            # The text alone: the box of the whole would take in the line to the point.
            box = Text.get_window_extent(label)
            if axes.bbox.containsx(box.x0) and axes.bbox.containsx(box.x1) and not box.count_overlaps(taken):
                break
            label.remove()
        else:
            axes.add_artist(label)
        taken.append(box)
