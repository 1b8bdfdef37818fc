from click.testing import CliRunner

from tfhub_ft.cli.tune import command

ROWS = [{"trial": 1, "score": 0.75, "freeze": "none"}, {"trial": 0, "score": 0.5, "freeze": "all"}]


def test_tune_passes_the_search_and_prints_the_best(replace):
    call = replace("tfhub_ft.training.tune.tune", ROWS)
    search = ["--search", "learning_rate=1e-5..1e-3", "--search", "freeze=none,all"]
    options = ["spam", "--output-dir", "runs/search", "--trials", "2", *search, "--epochs", "3"]
    shown = CliRunner().invoke(command, options, catch_exceptions=False).output
    assert call.args == ("spam",)
    assert (call.kwargs["output_dir"], call.kwargs["trials"], call.kwargs["epochs"]) == ("runs/search", 2, 3)
    assert tuple(call.kwargs["search"]) == ("learning_rate=1e-5..1e-3", "freeze=none,all")
    assert shown.index("0.75") < shown.index("0.5 ")
    for words in ("Best settings: runs/search/best.yaml", "tfhub-ft train spam --config runs/search/best.yaml"):
        assert words in shown
