"""Plots of a report, drawn by matplotlib as SVG in the colors of the page."""

import logging
import re
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    from markupsafe import Markup
    from matplotlib.axes import Axes

# What stands for a colour of the page until the picture is done. The palette is Okabe and Ito's, which people who see
# few colours tell apart: https://jfly.uni-koeln.de/color/
INK, BLUE, ORANGE, GREEN, PINK = "#010101", "#010102", "#010103", "#010104", "#010105"
PAGE_COLORS = {
    INK: "currentColor",
    BLUE: "var(--blue)",
    ORANGE: "var(--orange)",
    GREEN: "var(--green)",
    PINK: "var(--pink)",
}
LINES = ((BLUE, "-"), (ORANGE, "--"), (GREEN, "-."), (PINK, ":"))
STYLE = {
    "svg.fonttype": "none",
    # Labels are people's own words, where a dollar sign is no formula.
    "text.parse_math": False,
    "font.size": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    **dict.fromkeys(("text.color", "axes.edgecolor", "axes.labelcolor", "xtick.color", "ytick.color"), INK),
    "legend.frameon": False,
}
MATRIX_NUMBERS, MATRIX_NAMES, CURVES = 12, 40, 4
POINTS = 400
# Counts that differ by so much are drawn on a logarithmic axis.
LOG_FROM = 1000


@dataclass(frozen=True)
class Picture:
    """A picture of a report.

    Args:
        title: a few words, above it.
        says: what it shows, in words, for those who cannot see it and those who can.
        draw: draws it into matplotlib axes.
        size: width and height in inches.
    """

    title: str
    says: str
    draw: "Callable[[Axes], None]"
    size: tuple[float, float] = (4.8, 3.4)

    def svg(self) -> "Markup":
        """The picture as an element of an HTML page."""
        import io

        import matplotlib
        from markupsafe import Markup, escape
        from matplotlib.backends.backend_svg import FigureCanvasSVG
        from matplotlib.figure import Figure

        written = io.StringIO()
        logging.getLogger("matplotlib.font_manager").setLevel(logging.ERROR)
        with matplotlib.rc_context({**STYLE, "svg.hashsalt": self.title}), warnings.catch_warnings():
            # A browser has fonts for letters that matplotlib's own lacks.
            warnings.filterwarnings("ignore", "Glyph .* missing")
            figure = Figure(figsize=self.size, layout="constrained")
            FigureCanvasSVG(figure)
            axes = figure.subplots()
            self.draw(axes)
            handles, names = axes.get_legend_handles_labels()
            if handles:
                figure.legend(handles, names, loc="outside lower center", ncols=2)
            figure.savefig(written, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
        drawn = written.getvalue()
        drawn = drawn[drawn.index("<svg") :]
        for color, name in PAGE_COLORS.items():
            drawn = drawn.replace(color, name)
        label = f'role="img" aria-label="{escape(self.title)}: {escape(self.says)}"'
        return Markup(re.sub(r'width="[^"]*" height="[^"]*"', lambda _: label, drawn, count=1))


def training_curves(
    epochs: Sequence[Mapping[str, float | None]], training: str, validation: str, *, kept: int
) -> Picture:
    """A number by epoch, of training and of validation, as far as the epochs have it.

    Args:
        epochs: a row for each epoch, as history.csv has them.
        training: the number of the training rows, such as "loss".
        validation: the number of the validation rows, such as "log_loss".
        kept: the epoch whose weights were kept, which is marked.
    """
    names = {"training (running mean)": training, f"validation {validation.replace('_', ' ')}": f"val_{validation}"}
    curves = {
        name: [(int(row["epoch"]), row[key]) for row in epochs if row.get(key) is not None]
        for name, key in names.items()
    }
    curves = {name: points for name, points in curves.items() if points}
    at_kept = [f"{name} {dict(points)[kept]:.3f}" for name, points in curves.items() if kept in dict(points)]

    def draw(axes: "Axes") -> None:
        for (name, points), (color, line) in zip(curves.items(), LINES):
            axes.plot(*zip(*points), line, color=color, marker="o", markersize=4, label=name)
        numbers = [int(row["epoch"]) for row in epochs]
        axes.axvline(kept, color=INK, linestyle=":", linewidth=0.8, label=f"kept: epoch {kept}")
        axes.set_xlabel("epoch")
        axes.set_ylabel(training.replace("_", " "))
        axes.set_xticks(numbers if len(numbers) <= 12 else numbers[:: len(numbers) // 10])

    says = f"By epoch. In epoch {kept}, which was kept: {', '.join(at_kept)}."
    return Picture(training.replace("_", " ").capitalize(), says, draw)


def token_lengths(lengths: "np.ndarray", seq_length: int, truncated: int, unit: str) -> Picture:
    """How many tokens rows have.

    Args:
        lengths: int (rows,), at most `seq_length`.
        seq_length: the most tokens of a row.
        truncated: the rows that had more.
        unit: "rows", or the "windows" of long rows.
    """
    import numpy as np

    def draw(axes: "Axes") -> None:
        counts, _, _ = axes.hist(lengths, bins=np.linspace(0, max(int(lengths.max()), 2) + 1, 40), color=BLUE)
        axes.axvline(seq_length, color=ORANGE, linestyle="--", label=f"--seq-length {seq_length}")
        axes.set_xlabel("tokens")
        axes.set_ylabel(f"training {unit}")
        _log_counts(axes, counts)

    says = f"Half of the training {unit} have at most {np.median(lengths):.0f} tokens, 95% at most"
    says += f" {np.quantile(lengths, 0.95):.0f}."
    if unit == "rows":
        says += f" {truncated:,} of {len(lengths):,} rows have more than {seq_length}"
        says += ": the rest of their text is not read." if truncated else "."
    return Picture("Tokens", says, draw)


def _log_counts(axes: "Axes", counts: Any) -> None:
    """Draw counts on a logarithmic axis where the largest are a thousand times the smallest."""
    import numpy as np

    there = np.asarray(counts)[np.asarray(counts) > 0]
    if there.size and there.max() >= LOG_FROM * there.min():
        axes.set_yscale("log")


def confusion_matrix(matrix: Sequence[Sequence[int]], labels: Sequence[str]) -> Picture:
    """What the rows of each label were taken for.

    Args:
        matrix: rows are the true labels, columns the answers.
        labels: their names.
    """
    import numpy as np

    counts = np.array(matrix)
    shares = counts / np.maximum(counts.sum(-1, keepdims=True), 1)
    apart = counts - np.diag(np.diag(counts))
    true, taken = np.unravel_index(apart.argmax(), apart.shape)
    says = "No row was taken for another label."
    if apart.max():
        says = f"Taken for another label most often: {labels[true]} for {labels[taken]}, {apart.max():,} times."
    side = float(np.clip(1.6 + 0.42 * len(labels), 3.4, 9))

    def draw(axes: "Axes") -> None:
        _shade(axes, shares)
        if len(labels) <= MATRIX_NUMBERS:
            for (row, column), count in np.ndenumerate(counts):
                axes.text(column, row, f"{count:,}", ha="center", va="center")
        names = [shortened(label, 18) for label in labels] if len(labels) <= MATRIX_NAMES else []
        places = range(len(names))
        axes.set_xticks(places, names, rotation=45 if len(names) > 2 else 0, ha="right" if len(names) > 2 else "center")
        axes.set_yticks(places, names)
        axes.set_xlabel("answer")
        axes.set_ylabel("label")

    return Picture("Confusion matrix", says, draw, (side * 1.15, side))


def _shade(axes: "Axes", shares: "np.ndarray") -> None:
    """Cells in blue, the more the higher their share."""
    from matplotlib.collections import PolyCollection

    rows, columns = shares.shape
    cells = [(row, column) for row in range(rows) for column in range(columns) if shares[row, column] > 0]
    for strength in range(1, 11):
        corners = [
            [(c - 0.5, r - 0.5), (c + 0.5, r - 0.5), (c + 0.5, r + 0.5), (c - 0.5, r + 0.5)]
            for r, c in cells
            if strength - 1 < 10 * shares[r, c] <= strength
        ]
        if corners:
            axes.add_collection(PolyCollection(corners, facecolor=BLUE, edgecolor="none", alpha=0.06 * strength))
    axes.set_xlim(-0.5, columns - 0.5)
    axes.set_ylim(rows - 0.5, -0.5)
    axes.set_aspect("equal")


def roc_curves(scores: "np.ndarray", truth: "np.ndarray", names: Sequence[str], threshold: float | None) -> Picture:
    """ROC curves, one a label; the threshold's place is marked where there is one label.

    Args:
        scores: float (rows, labels).
        truth: bool (rows, labels), each column with both values.
        names: the labels'.
        threshold: on the score, where one was chosen.
    """
    from sklearn import metrics as sk

    areas = [float(sk.roc_auc_score(truth[:, i], scores[:, i])) for i in range(len(names))]

    def draw(axes: "Axes") -> None:
        for i, (color, line) in zip(_shown(areas), LINES):
            false, true, at = sk.roc_curve(truth[:, i], scores[:, i])
            kept = _thinned(len(false))
            axes.plot(false[kept], true[kept], line, color=color, label=f"{shortened(names[i], 24)} ({areas[i]:.3f})")
            if threshold is not None:
                place = max(int((at >= threshold).sum()) - 1, 0)
                axes.plot(false[place], true[place], "o", color=ORANGE, label=f"threshold {threshold:.3f}")
        axes.plot([0, 1], [0, 1], ":", color=INK, linewidth=0.8)
        axes.set_xlabel("false positive rate")
        axes.set_ylabel("true positive rate")

    return Picture("ROC", _areas_in_words("Area under the curve", areas, names), draw)


def precision_recall_curves(
    scores: "np.ndarray", truth: "np.ndarray", names: Sequence[str], threshold: float | None
) -> Picture:
    """Precision against recall, one curve a label; arguments as for `roc_curves`."""
    from sklearn import metrics as sk

    areas = [float(sk.average_precision_score(truth[:, i], scores[:, i])) for i in range(len(names))]

    def draw(axes: "Axes") -> None:
        for i, (color, line) in zip(_shown(areas), LINES):
            precision, recall, at = sk.precision_recall_curve(truth[:, i], scores[:, i])
            kept = _thinned(len(recall))
            label = f"{shortened(names[i], 24)} ({areas[i]:.3f})"
            axes.step(recall[kept], precision[kept], line, color=color, where="post", label=label)
            if threshold is not None:
                place = min(int((at < threshold).sum()), len(at) - 1)
                axes.plot(recall[place], precision[place], "o", color=ORANGE, label=f"threshold {threshold:.3f}")
        axes.set_xlabel("recall")
        axes.set_ylabel("precision")
        axes.set_ylim(0, 1.03)

    return Picture("Precision and recall", _areas_in_words("Average precision", areas, names), draw)


def _areas_in_words(what: str, areas: Sequence[float], names: Sequence[str]) -> str:
    if len(names) == 1:
        return f"{what} {areas[0]:.3f}, for {names[0]} as the positive label."
    worst = min(range(len(names)), key=areas.__getitem__)
    shown = f"; the {CURVES} lowest are drawn" if len(names) > CURVES else ""
    return f"{what}, one label against the rest: mean {sum(areas) / len(areas):.3f}, lowest {areas[worst]:.3f}{shown}."


def _shown(areas: Sequence[float]) -> list[int]:
    return sorted(range(len(areas)), key=areas.__getitem__)[:CURVES]


def _thinned(count: int) -> "np.ndarray":
    """Some of the points of a curve, its ends among them."""
    import numpy as np

    return np.unique(np.linspace(0, count - 1, min(count, POINTS)).astype(int))


def reliability_diagram(confidence: "np.ndarray", right: "np.ndarray", calibration: Mapping[str, Any]) -> Picture:
    """How often answers of a confidence are right.

    Args:
        confidence: float (rows,).
        right: bool (rows,).
        calibration: what `calibrate` told; empty where nothing was calibrated.
    """
    from tfhub_ft.metrics.calibration import expected_calibration_error, reliability

    mean, share, rows = reliability(confidence, right)
    says = f"Expected calibration error {expected_calibration_error(confidence, right):.3f}."
    if calibration and calibration["temperature"] == 1:
        says += " The logits are as they were: no temperature brings it closer on validation rows."
    elif calibration:
        errors = calibration["expected_calibration_error"]
        says += f" On validation rows it was {errors['before']:.3f} before the logits were divided by the temperature"
        says += f" {calibration['temperature']:.2f}, and {errors['after']:.3f} after."

    def draw(axes: "Axes") -> None:
        axes.plot([0, 1], [0, 1], ":", color=INK, linewidth=0.8)
        axes.plot(mean, share, "-", color=BLUE)
        axes.scatter(mean, share, s=12 + 120 * rows / rows.max(), color=BLUE, zorder=3)
        axes.set_xlim(0, 1.03)
        axes.set_ylim(0, 1.03)
        axes.set_xlabel("confidence")
        axes.set_ylabel("share that is right")

    return Picture("Calibration", says, draw)


def score_distribution(
    scores: Mapping[str, "np.ndarray"], *, title: str, axis: str, says: str, threshold: float | None = None
) -> Picture:
    """Histograms over each other.

    Args:
        scores: float (rows,), by what they are of.
        title: of the picture.
        axis: what a score is.
        says: what is to be seen.
        threshold: is marked, where there is one.
    """
    import numpy as np

    every = np.concatenate(list(scores.values()))
    edges = np.histogram_bin_edges(every, bins=30)

    def draw(axes: "Axes") -> None:
        every_count = []
        for (name, values), (color, line) in zip(scores.items(), LINES):
            counts, _, _ = axes.hist(values, bins=edges, color=color, alpha=0.25)
            every_count += counts.tolist()
            axes.hist(values, bins=edges, histtype="step", edgecolor=color, linestyle=line, label=shortened(name, 24))
        if threshold is not None:
            axes.axvline(threshold, color=INK, linestyle="--", label=f"threshold {threshold:.3f}")
        axes.set_xlabel(axis)
        axes.set_ylabel("rows")
        _log_counts(axes, every_count)

    return Picture(title, says, draw)


def scatter(predicted: "np.ndarray", truth: "np.ndarray") -> Picture:
    """Predicted numbers against the true ones, both float (rows,)."""
    import numpy as np

    kept = np.linspace(0, len(truth) - 1, min(len(truth), 2000)).astype(int)
    error = np.abs(predicted - truth)

    def draw(axes: "Axes") -> None:
        ends = [min(truth.min(), predicted.min()), max(truth.max(), predicted.max())]
        axes.plot(ends, ends, ":", color=INK, linewidth=0.8)
        axes.plot(truth[kept], predicted[kept], "o", color=BLUE, markersize=3, alpha=0.4)
        axes.set_xlabel("score")
        axes.set_ylabel("answer")

    return Picture("Answers and scores", f"Half of the answers are off by at most {np.median(error):.3f}.", draw)


def bars(values: Mapping[str, float], *, title: str, axis: str) -> Picture:
    """A bar for each of some shares of 1."""
    named = ", ".join(f"{name} {value:.3f}" for name, value in values.items())

    def draw(axes: "Axes") -> None:
        axes.barh([shortened(name, 24) for name in values], list(values.values()), color=BLUE)
        axes.invert_yaxis()
        axes.set_xlim(0, 1)
        axes.set_xlabel(axis)

    return Picture(title, f"{named}.", draw, (4.8, max(2.4, 0.8 + 0.3 * len(values))))


def shortened(text: str, most: int) -> str:
    """A text of at most so many characters."""
    return text if len(text) <= most else text[: most - 1] + "…"
