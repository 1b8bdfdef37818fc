"""Plot the score of each artifact against its size and its latency."""

import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tfhub_ft.evaluation.console_tables import artifact_title
from tfhub_ft.utils.files import atomic_write

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.text import Annotation
    from matplotlib.transforms import Bbox

Point = tuple[float, float, str, str]

MIN_SPAN = 0.02
COLORS = {"saved_model": "#1f77b4", "tflite": "#d95f02", "tflite_text": "#7a3b9e", "onnx": "#2a8a4a"}
OTHER_COLOR = "#555555"
# Vertical offsets of labels from their points, in the order in which they are tried.
OFFSETS = [0, *itertools.chain.from_iterable((step, -step) for step in range(14, 170, 14))]


def draw_comparison(results: Sequence[dict[str, Any]], file: Path, *, title: str) -> None:
    """Write a picture of what `benchmark` returned; without scores, of the agreement with the original."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    score = next(iter(results[0]["scores"]), None)
    sizes: dict[str, Point] = {}
    times: list[Point] = []
    for result in results:
        height = result["scores"].get(score) if score else result["agreement"]
        if height is not None:
            color, name = COLORS.get(result["form"], OTHER_COLOR), artifact_title(result)
            tokenizer = ", with tokenizer" if result["form"] == "tflite_text" else ""
            sizes.setdefault(result["path"], (result["bytes"] / 1e6, height, name + tokenizer, color))
            times.append((result["latency_ms"]["p50"], height, f"{name}, reads {result['reads']}", color))

    figure = Figure(figsize=(12, 5.5), dpi=150, layout="constrained")
    FigureCanvasAgg(figure)
    figure.suptitle(title)
    by_size, by_time = figure.subplots(1, 2, sharey=True)
    by_size.set_ylabel((score or "agreement with the original").replace("_", " "))
    _scale_heights(by_size, [height for _, height, _, _ in times])
    panels = [(by_size, "size (MB)", list(sizes.values())), (by_time, "median latency of one row (ms)", times)]
    for axes, label, points in panels:
        _plot(axes, label, points)
    # Fix the layout before the labels are placed.
    figure.draw_without_rendering()
    figure.set_layout_engine("none")
    for axes, _, points in panels:
        _write_labels(axes, points)
    with atomic_write(file) as aside:
        figure.savefig(aside)


def _scale_heights(axes: "Axes", heights: Sequence[float]) -> None:
    """Leave room for labels, and do not magnify tiny differences."""
    low, high = min(heights, default=1), max(heights, default=1)
    middle, span = (high + low) / 2, max(high - low, MIN_SPAN)
    axes.set_ylim(middle - span, middle + span)
    # Scores are at most 1, a perplexity is at least 1.
    top = middle + span if high > 1 else min(1, middle + span)
    axes.set_yticks([tick for tick in axes.get_yticks() if middle - span <= tick <= top])


def _plot(axes: "Axes", label: str, points: Sequence[Point]) -> None:
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    axes.set_xscale("log")
    axes.set_xlabel(label)
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.grid(alpha=0.3)
    for x, height, _, color in points:
        axes.plot(x, height, "o", color=color, markersize=7)
    if points:
        xs = [x for x, *_ in points]
        axes.set_xlim(min(xs) / 2, max(xs) * 2)


def _write_labels(axes: "Axes", points: Sequence[Point]) -> None:
    """Write the labels of points without overlaps, if there is room."""
    from matplotlib.transforms import Bbox

    centers = [axes.transData.transform((x, height)) for x, height, _, _ in points]
    occupied = [Bbox.from_extents(x - 9, y - 9, x + 9, y + 9) for x, y in centers]
    for point in sorted(points):
        boxes = []
        for offset, side in itertools.product(OFFSETS, (1, -1)):
            label, box = _add_label(axes, point, offset, side)
            if axes.bbox.containsx(box.x0) and axes.bbox.containsx(box.x1) and not box.count_overlaps(occupied):
                boxes = [box]
                break
            label.remove()
        occupied += boxes or [_add_label(axes, point, OFFSETS[-1], -1)[1]]


def _add_label(axes: "Axes", point: Point, offset: int, side: int) -> "tuple[Annotation, Bbox]":
    """Write a label beside or above a point; return it with the extent of its text."""
    from matplotlib.text import Text

    x, height, text, color = point
    label = axes.annotate(
        text,
        (x, height),
        xytext=(side * (9 if offset == 0 else 4), offset),
        textcoords="offset points",
        ha="left" if side > 0 else "right",
        va="center",
        fontsize=8,
        color=color,
        arrowprops={"arrowstyle": "-", "color": color, "lw": 0.6, "shrinkB": 3} if offset else None,
    )
    renderer = axes.figure.canvas.get_renderer()  # pyright: ignore[reportAttributeAccessIssue]
    label.update_positions(renderer)
    # Without the line to the point, which the extent of the annotation includes.
    return label, Text.get_window_extent(label, renderer)
