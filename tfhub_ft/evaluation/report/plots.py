"""Plots of a report, drawn by matplotlib as SVG in the colors of the page."""

import logging
import re
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from tfhub_ft.metrics import LOWER_IS_BETTER

if TYPE_CHECKING:
    from markupsafe import Markup
    from matplotlib.axes import Axes

# Placeholders for the colors of the page. The palette is that of Okabe and Ito, made for color-blind readers:
# https://jfly.uni-koeln.de/color/
INK, BLUE, ORANGE, GREEN, PINK = "#010101", "#010102", "#010103", "#010104", "#010105"
PAGE_COLORS = {
    INK: "currentColor",
    BLUE: "var(--blue)",
    ORANGE: "var(--orange)",
    GREEN: "var(--green)",
    PINK: "var(--pink)",
}
LINES = ((BLUE, "-"), (ORANGE, "--"), (GREEN, "-."), (PINK, ":"))
STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",
    # Labels are data, in which a dollar sign does not start a formula.
    "text.parse_math": False,
    "font.size": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    **dict.fromkeys(("text.color", "axes.edgecolor", "axes.labelcolor", "xtick.color", "ytick.color"), INK),
    "legend.frameon": False,
}
MATRIX_NUMBERS, MATRIX_NAMES, CURVES = 12, 40, 4
POINTS = 400
# Ratio of the largest and the smallest count from which the axis is logarithmic.
LOG_FROM = 1000


@dataclass(frozen=True)
class Plot:
    """A plot of a report, with a caption that says what to look for; its size is in inches."""

    title: str
    caption: str
    draw: "Callable[[Axes], None]"
    size: tuple[float, float] = (4.8, 3.4)

    def svg(self) -> "Markup":
        """Return the plot as an element of an HTML page."""
        import io

        import matplotlib
        from markupsafe import Markup, escape
        from matplotlib.backends.backend_svg import FigureCanvasSVG
        from matplotlib.figure import Figure

        file = io.StringIO()
        logging.getLogger("matplotlib.font_manager").setLevel(logging.ERROR)
        with matplotlib.rc_context({**STYLE, "svg.hashsalt": self.title}), warnings.catch_warnings():
            # Browsers have fonts for letters that matplotlib's own lacks.
            warnings.filterwarnings("ignore", "Glyph .* missing")
            figure = Figure(figsize=self.size, layout="constrained")
            FigureCanvasSVG(figure)
            axes = figure.subplots()
            self.draw(axes)
            handles, names = axes.get_legend_handles_labels()
            if handles:
                figure.legend(handles, names, loc="outside lower center", ncols=2)
            figure.savefig(file, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
        svg = file.getvalue()
        svg = svg[svg.index("<svg") :]
        for color, name in PAGE_COLORS.items():
            svg = svg.replace(color, name)
        label = f'role="img" aria-label="{escape(self.title)}: {escape(self.caption)}"'
        return Markup(re.sub(r'width="[^"]*" height="[^"]*"', lambda _: label, svg, count=1))


def training_curves(epochs: Sequence[Mapping[str, float | None]], training: str, validation: str, *, kept: int) -> Plot:
    """Plot a training metric and a validation metric by epoch, and mark the epoch whose weights were kept."""
    names = {"training (running mean)": training, f"validation {validation.replace('_', ' ')}": f"val_{validation}"}
    curves = {
        name: points
        for name, key in names.items()
        if (points := [(int(row["epoch"] or 0), value) for row in epochs if (value := row.get(key)) is not None])
    }
    at_kept = [f"{name} {dict(points)[kept]:.3f}" for name, points in curves.items() if kept in dict(points)]
    numbers = [int(row["epoch"] or 0) for row in epochs]

    def draw(axes: "Axes") -> None:
        for (name, points), (color, line) in zip(curves.items(), LINES):
            axes.plot(*zip(*points), line, color=color, marker="o", markersize=4, label=name)
        axes.axvline(kept, color=INK, linestyle=":", linewidth=0.8, label=f"kept: epoch {kept}")
        axes.set_xlabel("epoch")
        axes.set_ylabel(training.replace("_", " "))
        axes.set_xticks(numbers if len(numbers) <= 12 else numbers[:: len(numbers) // 10])

    caption = f"Kept weights: epoch {kept} of {len(epochs)} ({', '.join(at_kept)}). "
    if validation in LOWER_IS_BETTER:
        caption += "Lower is better. A validation curve that rises while the training curve falls shows overfitting."
    else:
        caption += "Higher is better. If the validation curve still rises at the end, train for more epochs."
    return Plot(training.replace("_", " ").capitalize(), caption, draw)


def token_lengths(lengths: np.ndarray, seq_length: int, truncated: int, unit: str) -> Plot:
    """Plot the number of tokens of the training rows or of their windows; rows above `seq_length` are in windows."""

    def draw(axes: "Axes") -> None:
        counts, _, _ = axes.hist(lengths, bins=np.linspace(0, max(int(lengths.max()), 2) + 1, 40).tolist(), color=BLUE)
        axes.axvline(seq_length, color=ORANGE, linestyle="--", label=f"--seq-length {seq_length}")
        axes.set_xlabel("tokens")
        axes.set_ylabel(f"training {unit}")
        _set_log_scale(axes, counts)

    caption = f"Half of the training {unit} have at most {np.median(lengths):.0f} tokens, 95% at most"
    caption += f" {np.quantile(lengths, 0.95):.0f}."
    is_windowed = unit == "rows" and int(lengths.max()) > seq_length
    if is_windowed:
        caption += f" Rows above {seq_length} tokens are read in windows."
        caption += f" {truncated:,} rows have more than --max-windows and are truncated." if truncated else ""
    elif unit == "rows" and truncated:
        caption += (
            f" {truncated:,} of {len(lengths):,} rows are longer than {seq_length} tokens and truncated. If these"
        )
        caption += " are many, raise --seq-length."
    elif unit == "rows":
        caption += f" All rows fit into {seq_length} tokens."
    return Plot("Tokens", caption, draw)


def _set_log_scale(axes: "Axes", counts: Any) -> None:
    """Use a logarithmic axis for counts that differ by a factor of a thousand."""
    positive = np.asarray(counts)[np.asarray(counts) > 0]
    if positive.size and positive.max() >= LOG_FROM * positive.min():
        axes.set_yscale("log")


def confusion_matrix(matrix: Sequence[Sequence[int]] | np.ndarray, labels: Sequence[str]) -> Plot:
    """Plot the number of rows by true label (rows of the matrix) and prediction (columns)."""
    counts = np.array(matrix)
    shares = counts / np.maximum(counts.sum(-1, keepdims=True), 1)
    errors = counts - np.diag(np.diag(counts))
    true, predicted = np.unravel_index(errors.argmax(), errors.shape)
    caption = "Errors are off the diagonal: there are none."
    if errors.max():
        caption = "Errors are off the diagonal. The most frequent one:"
        caption += f" {labels[int(true)]} predicted as {labels[int(predicted)]}, {errors.max():,} times."
    side = float(np.clip(1.6 + 0.42 * len(labels), 3.4, 9))

    def draw(axes: "Axes") -> None:
        _shade(axes, shares)
        if len(labels) <= MATRIX_NUMBERS:
            for (row, column), count in np.ndenumerate(counts):
                axes.text(column, row, f"{count:,}", ha="center", va="center")
        names = [shorten(label, 18) for label in labels] if len(labels) <= MATRIX_NAMES else []
        ticks, is_long = range(len(names)), len(names) > 2
        axes.set_xticks(ticks, names, rotation=45 if is_long else 0, ha="right" if is_long else "center")
        axes.set_yticks(ticks, names)
        axes.set_xlabel("prediction")
        axes.set_ylabel("true label")

    return Plot("Confusion matrix", caption, draw, (side * 1.15, side))


def _shade(axes: "Axes", shares: np.ndarray) -> None:
    """Fill the cells of a matrix in blue, darker for higher shares."""
    from matplotlib.collections import PolyCollection

    rows, columns = shares.shape
    corners = np.array([(-0.5, -0.5), (0.5, -0.5), (0.5, 0.5), (-0.5, 0.5)])
    # One collection for each of ten shades keeps the file small.
    shades = np.ceil(10 * shares).astype(int)
    for shade in range(1, 11):
        cells = np.argwhere(shades == shade)[:, None, ::-1] + corners
        if len(cells):
            axes.add_collection(PolyCollection(list(cells), facecolor=BLUE, edgecolor="none", alpha=0.06 * shade))
    axes.set_xlim(-0.5, columns - 0.5)
    axes.set_ylim(rows - 0.5, -0.5)
    axes.set_aspect("equal")


def roc_curves(scores: np.ndarray, truth: np.ndarray, names: Sequence[str], threshold: float | None) -> Plot:
    """Plot a ROC curve for each label from scores and bool truth, (rows, labels)."""
    from sklearn import metrics as sk

    areas = [float(sk.roc_auc_score(truth[:, i], scores[:, i])) for i in range(len(names))]

    def draw(axes: "Axes") -> None:
        _draw_curves(axes, lambda i: sk.roc_curve(truth[:, i], scores[:, i]), areas, names, threshold)
        axes.plot([0, 1], [0, 1], ":", color=INK, linewidth=0.8)
        axes.set_xlabel("false positive rate")
        axes.set_ylabel("true positive rate")

    caption = _describe_areas("Area under the curve", areas, names)
    return Plot("ROC", f"{caption} Better curves are closer to the upper left; the dotted line is guessing.", draw)


def precision_recall_curves(
    scores: np.ndarray, truth: np.ndarray, names: Sequence[str], threshold: float | None
) -> Plot:
    """Plot precision by recall for each label; the arguments are those of `roc_curves`."""
    from sklearn import metrics as sk

    areas = [float(sk.average_precision_score(truth[:, i], scores[:, i])) for i in range(len(names))]

    def curve(i: int) -> tuple[np.ndarray, ...]:
        precision, recall, thresholds = sk.precision_recall_curve(truth[:, i], scores[:, i])
        return recall[::-1], precision[::-1], np.append(thresholds, np.inf)[::-1]

    def draw(axes: "Axes") -> None:
        _draw_curves(axes, curve, areas, names, threshold, drawstyle="steps-pre")
        axes.set_xlabel("recall")
        axes.set_ylabel("precision")
        axes.set_ylim(0, 1.03)

    caption = _describe_areas("Average precision", areas, names)
    return Plot("Precision and recall", f"{caption} Better curves are closer to the upper right.", draw)


def _draw_curves(
    axes: "Axes",
    curve: Callable[[int], tuple[np.ndarray, ...]],
    areas: Sequence[float],
    names: Sequence[str],
    threshold: float | None,
    drawstyle: str = "default",
) -> None:
    """Draw the curves (x, y, descending thresholds) with the smallest areas, and mark the threshold on them."""
    for i, (color, line) in zip(sorted(range(len(areas)), key=areas.__getitem__), LINES):
        x, y, thresholds = curve(i)
        points = np.unique(np.linspace(0, len(x) - 1, min(len(x), POINTS)).astype(int))
        label = f"{shorten(names[i], 24)} ({areas[i]:.3f})"
        axes.plot(x[points], y[points], line, color=color, label=label, drawstyle=drawstyle)
        if threshold is not None:
            at = max(int((thresholds >= threshold).sum()) - 1, 0)
            axes.plot(x[at], y[at], "o", color=ORANGE, label=f"threshold {threshold:.3f}")


def _describe_areas(score: str, areas: Sequence[float], names: Sequence[str]) -> str:
    if len(names) == 1:
        return f"{score} {areas[0]:.3f} with {names[0]} as the positive label."
    lowest = min(range(len(names)), key=areas.__getitem__)
    shown = f"; the {CURVES} lowest are drawn" if len(names) > CURVES else ""
    return (
        f"{score} of each label against the rest: mean {sum(areas) / len(areas):.3f}, lowest {areas[lowest]:.3f}"
        f" ({names[lowest]}){shown}."
    )


def reliability_diagram(confidence: np.ndarray, correct: np.ndarray, calibration: Mapping[str, Any]) -> Plot:
    """Plot the share of correct predictions by their confidence, both (rows,)."""
    from tfhub_ft.metrics.calibration import expected_calibration_error, reliability

    mean, share, rows = reliability(confidence, correct)
    caption = "On the dotted line, confidence equals the share that is correct; below it, the model is overconfident."
    error = expected_calibration_error(confidence, correct)
    caption += f" Larger points have more rows. Expected calibration error {error:.3f}."
    if calibration and calibration["temperature"] == 1:
        caption += " The logits are unchanged, because no temperature lowers the error on validation rows."
    elif calibration:
        errors = calibration["expected_calibration_error"]
        caption += f" Dividing the logits by the temperature {calibration['temperature']:.2f} changed it from"
        caption += f" {errors['before']:.3f} to {errors['after']:.3f} on validation rows."

    def draw(axes: "Axes") -> None:
        axes.plot([0, 1], [0, 1], ":", color=INK, linewidth=0.8)
        axes.plot(mean, share, "-", color=BLUE)
        axes.scatter(mean, share, s=12 + 120 * rows / rows.max(), color=BLUE, zorder=3)
        axes.set_xlim(0, 1.03)
        axes.set_ylim(0, 1.03)
        axes.set_xlabel("confidence")
        axes.set_ylabel("share that is correct")

    return Plot("Calibration", caption, draw)


def score_distribution(
    scores: Mapping[str, np.ndarray], *, title: str, axis: str, caption: str, threshold: float | None = None
) -> Plot:
    """Plot overlaid histograms of groups of scores, (rows,), by name, and the threshold."""
    scores = {name: values for name, values in scores.items() if len(values)}
    edges = np.histogram_bin_edges(np.concatenate([*scores.values(), []]), bins=30).tolist()

    def draw(axes: "Axes") -> None:
        all_counts = []
        for (name, values), (color, line) in zip(scores.items(), LINES):
            counts, _, _ = axes.hist(values, bins=edges, color=color, alpha=0.25)
            all_counts += np.asarray(counts).tolist()
            axes.hist(values, bins=edges, histtype="step", edgecolor=color, linestyle=line, label=shorten(name, 24))
        if threshold is not None:
            axes.axvline(threshold, color=INK, linestyle="--", label=f"threshold {threshold:.3f}")
        axes.set_xlabel(axis)
        axes.set_ylabel("rows")
        _set_log_scale(axes, all_counts)

    return Plot(title, caption, draw)


def scatter(predicted: np.ndarray, truth: np.ndarray) -> Plot:
    """Plot predicted and true numbers, both float (rows,)."""
    shown = np.linspace(0, len(truth) - 1, min(len(truth), 2000)).astype(int)
    error = np.median(np.abs(predicted - truth))

    def draw(axes: "Axes") -> None:
        ends = [min(truth.min(), predicted.min()), max(truth.max(), predicted.max())]
        axes.plot(ends, ends, ":", color=INK, linewidth=0.8)
        axes.plot(truth[shown], predicted[shown], "o", color=BLUE, markersize=3, alpha=0.4)
        axes.set_xlabel("score")
        axes.set_ylabel("prediction")

    caption = f"Exact predictions are on the dotted line. Half of the predictions are off by at most {error:.3f}."
    return Plot("Predictions and scores", caption, draw)


def bars(values: Mapping[str, float], *, title: str, axis: str, caption: str) -> Plot:
    """Plot a bar for each value, from 0 to 1."""

    def draw(axes: "Axes") -> None:
        axes.barh([shorten(name, 24) for name in values], list(values.values()), color=BLUE)
        axes.invert_yaxis()
        axes.set_xlim(0, 1)
        axes.set_xlabel(axis)

    return Plot(title, caption, draw, (4.8, max(2.4, 0.8 + 0.3 * len(values))))


def shorten(text: str, length: int = 400) -> str:
    """Return a text cut to a number of characters."""
    return text if len(text) <= length else text[: length - 1] + "…"
