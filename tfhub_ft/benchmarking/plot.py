"""Plot the score of each artifact against its size and its latency."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tfhub_ft.evaluation.console_tables import artifact_title
from tfhub_ft.utils.files import atomic_write

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MIN_SPAN = 0.02
MARKERS = {"text": "o", "tokens": "s"}


def draw_comparison(results: Sequence[dict[str, Any]], file: Path, *, title: str) -> None:
    """Write a plot of what `benchmark` returned; without scores, of the agreement with the original."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

    score = next(iter(results[0]["scores"]), None)
    heights = [result["scores"].get(score) if score else result["agreement"] for result in results]
    titles = list(dict.fromkeys(artifact_title(result) for result in results))
    colors = {title: f"C{number}" for number, title in enumerate(titles)}
    figure = Figure(figsize=(12, 5.5), dpi=150, layout="constrained")
    FigureCanvasAgg(figure)
    figure.suptitle(title)
    by_size, by_time = figure.subplots(1, 2, sharey=True)
    by_size.set_ylabel((score or "agreement with the original").replace("_", " "))
    for axes, label in ((by_size, "size (MB)"), (by_time, "median latency of one row (ms)")):
        axes.set_xscale("log")
        axes.set_xlabel(label)
        axes.margins(x=0.15)
        axes.grid(alpha=0.3)
        axes.xaxis.set_major_formatter("{x:g}")
        axes.xaxis.set_minor_formatter("{x:g}")
        axes.tick_params(axis="x", which="both", labelsize=8)
    for result, height in zip(results, heights, strict=True):
        if height is not None:
            style = {"color": colors[artifact_title(result)], "marker": MARKERS[result["reads"]], "alpha": 0.7}
            by_size.plot(result["bytes"] / 1e6, height, **style)
            by_time.plot(result["latency_ms"]["p50"], height, **style)
    _scale_heights(by_size, [height for height in heights if height is not None])
    handles = [Line2D([], [], color=color, marker="o", linestyle="", label=title) for title, color in colors.items()]
    handles += [
        Line2D([], [], color="gray", marker=marker, linestyle="", label=f"reads {reads}")
        for reads, marker in MARKERS.items()
    ]
    figure.legend(handles=handles, loc="outside lower center", ncols=4)
    with atomic_write(file) as aside:
        figure.savefig(aside)


def _scale_heights(axes: "Axes", heights: Sequence[float]) -> None:
    """Do not magnify tiny differences."""
    low, high = min(heights, default=1), max(heights, default=1)
    middle, span = (high + low) / 2, max(high - low, MIN_SPAN)
    axes.set_ylim(middle - span, middle + span)
    # Scores are at most 1, a perplexity is at least 1.
    top = middle + span if high > 1 else min(1, middle + span)
    axes.set_yticks([tick for tick in axes.get_yticks() if middle - span <= tick <= top])
