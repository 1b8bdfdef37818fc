"""Plots of measurements."""

import statistics

OURS, PEER, DOT = "#0072B2", "#E69F00", "#000000"  # colorblind-safe colors of Okabe and Ito


def plot_bars(path, bars, *, title, axis, center=statistics.median):
    """Plot a bar per side, with its median, and a dot per round.

    Args:
        path: PNG file to write.
        bars: The figure of each round by the label of the side; labels of tfhub_ft start with its name.
        title: Title of the plot.
        axis: Label of the axis.
        center: Function that returns the length of a bar from its rounds.
    """
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(8, 1 + 0.5 * len(bars)), layout="constrained")
    for place, (label, values) in enumerate(bars.items()):
        middle = center(values)
        axes.barh(place, middle, color=OURS if label.startswith("tfhub_ft") else PEER)
        axes.plot(values, [place] * len(values), "o", color=DOT, markersize=4)
        axes.annotate(f"{middle:.3g}", (max(values), place), xytext=(6, 0), textcoords="offset points", va="center")
    axes.set_yticks(range(len(bars)), bars)
    axes.invert_yaxis()
    axes.margins(x=0.12)
    axes.set_xlabel(axis)
    figure.suptitle(title)
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=150)
    pyplot.close(figure)
