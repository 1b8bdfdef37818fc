import re
import shutil
import subprocess
from html.parser import HTMLParser

import pytest

import tfhub_ft
from tests.conftest import make_reviews, write_csv
from tfhub_ft.utils.errors import InputError

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


class Page(HTMLParser):
    """The headings, links and plots of a page with balanced tags."""

    VOID = {"meta", "link", "br", "use", "path"}

    def __init__(self, text):
        super().__init__()
        self.headings, self.links, self.plots, self.scripts, self._open = [], [], [], 0, []
        self.feed(text)
        assert self._open == []

    def handle_starttag(self, tag, attributes):
        attributes = dict(attributes)
        self.links += [attributes[name] for name in ("href", "src", "xlink:href") if name in attributes]
        self.scripts += tag == "script"
        if tag == "svg":
            self.plots.append(attributes["aria-label"])
        if tag not in self.VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.handle_starttag(tag, attributes)
        if tag not in self.VOID:
            self._open.pop()

    def handle_endtag(self, tag):
        if tag not in self.VOID:
            assert self._open.pop() == tag

    def handle_data(self, data):
        if self._open and re.fullmatch(r"h[123]", self._open[-1]):
            self.headings.append(data)


def test_train_writes_a_report_that_works_offline(tiny_run):
    text = (tiny_run / "report.html").read_text()
    page = Page(text)
    assert page.headings[0] == f"sentiment: {tiny_run.name}"
    assert {
        "Scores", "Confusion matrix", "ROC", "Precision and recall", "Calibration", "Labels", "Most confident mistakes",
        "Labels that look wrong", "Training", "Loss", "Accuracy", "Tokens", "Reproduce this run",
    } <= set(page.headings)  # fmt: skip
    assert len(page.plots) == 8
    assert all(link.startswith(("#", "data:")) for link in page.links)
    assert page.scripts == 0
    assert "tfhub-ft train sentiment --data" in text
    assert f"tensorflow</th><td>{tfhub_ft_version('tensorflow')}" in text


def tfhub_ft_version(package):
    import importlib.metadata

    return importlib.metadata.version(package)


def test_evaluate_writes_a_report_that_escapes_texts(tiny_run, tmp_path):
    rows = [(f"{text} <script>alert(1)</script> | `x`", label) for text, label in make_reviews(40)]
    rows += [("good film so nice <script>", "negative")]
    write_csv(tmp_path / "rows.csv", rows)
    scores = tfhub_ft.evaluate(tiny_run, data=tmp_path / "rows.csv", report=tmp_path / "other.html")
    text = (tmp_path / "other.html").read_text()
    page = Page(text)
    assert page.scripts == 0
    assert "Training" not in page.headings
    assert f"{scores['accuracy']:.3f}" in text
    assert "&lt;script&gt;" in text


@pytest.mark.parametrize("name", ["report.txt", "folder.html"])
def test_evaluate_rejects_a_bad_report_path(tiny_run, tmp_path, name):
    (tmp_path / "folder.html").mkdir()
    with pytest.raises(InputError, match="--report"):
        tfhub_ft.evaluate(tiny_run, data="none.csv", report=tmp_path / name)


@pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed")
@pytest.mark.parametrize("width", [400, 1400])
def test_report_renders_in_a_browser_without_errors(tiny_run, tmp_path, width):
    flags = ["--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking"]
    result = subprocess.run(
        [CHROMIUM, *flags, f"--user-data-dir={tmp_path}/profile", f"--window-size={width},900",
         "--enable-logging=stderr", "--dump-dom", f"file://{tiny_run}/report.html"],
        capture_output=True, text=True, timeout=120, check=True,
    )  # fmt: skip
    assert "CONSOLE" not in result.stderr
    assert result.stdout.count("<svg") == 8
