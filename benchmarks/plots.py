"""Pictures of what was measured."""

import statistics

OURS, PEER, DOT = "#0072B2", "#E69F00", "#000000"  # of Okabe and Ito: told apart by everybody


def plot_bars(path, bars, *, title, axis, center=statistics.median):
    """A bar a side, as long as its median, with a dot for each round.

    Args:
        path: the png file.
        bars: what each round measured, by the side's label; tfhub_ft's start with its name.
        title: what was measured.
        axis: its unit.
        center: what of the rounds the bar shows.
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
