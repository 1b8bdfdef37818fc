"""The page predicts like tfhub_ft, in a real browser."""

import functools
import html
import re
import shutil
import subprocess
import threading
import urllib.parse
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

import tfhub_ft
from tests.integration.evaluation.report.test_html_report import CHROMIUM

FOLDER = Path(__file__).parents[3] / "examples" / "browser"
TEXTS = ["good film so nice", "a bad room, and so awful & dull"]
ATTEMPTS = 5

pytestmark = pytest.mark.skipif(not (CHROMIUM and shutil.which("npm")), reason="Chromium or npm is not installed")


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *arguments):
        pass


@pytest.fixture(scope="module")
def lite(tiny_run, tmp_path_factory):
    folder = tmp_path_factory.mktemp("exports") / "page"
    tfhub_ft.export(tiny_run, output_dir=folder, formats=["tflite"], quantize=["none"])
    return folder / "tflite" / "page_fp32.tflite"


@pytest.fixture(scope="module")
def site(lite, tmp_path_factory):
    """Return the address of the page, served with MediaPipe's files and a model."""
    folder = tmp_path_factory.mktemp("site")
    for file in (FOLDER / "index.html", FOLDER / "package.json", lite):
        shutil.copy(file, folder)
    command = ["npm", "install", "--no-audit", "--no-fund", "--fetch-retries=1"]
    if subprocess.run(command, cwd=folder, capture_output=True, timeout=180).returncode:
        pytest.skip("npm cannot fetch @mediapipe/tasks-text")
    with ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=str(folder))) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/index.html"
        server.shutdown()


def shown(address, tmp_path, **asked):
    """Return the page after the model is loaded, and the console log of the browser."""
    flags = ["--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking"]
    command = [
        CHROMIUM, *flags, f"--user-data-dir={tmp_path}/profile", "--enable-logging=stderr",
        "--virtual-time-budget=30000", "--dump-dom", f"{address}?{urllib.parse.urlencode(asked)}",
    ]  # fmt: skip
    for _ in range(ATTEMPTS):
        done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
        # Virtual time passes while WebAssembly compiles, and can run out on a busy machine.
        if 'role="status">Loading' not in done.stdout:
            break
    return done.stdout, done.stderr


@pytest.mark.parametrize("text", TEXTS)
def test_page_predicts_like_the_file(site, lite, tmp_path, text):
    page, said = shown(site, tmp_path, model=lite.name, text=text)
    assert not re.findall(r"CONSOLE.*(?:Uncaught|Refused|violates)", said)
    (answer,) = tfhub_ft.predict(lite, [text])
    found = re.findall(r'<li><span>([^<]*)</span>.*?<span class="score">([^<]*)</span>', page)
    assert found, page
    assert html.unescape(found[0][0]) == answer["label"]
    assert float(found[0][1]) == pytest.approx(answer["score"], abs=2e-3)
    assert len(found) == len(answer["probabilities"])


def test_page_reports_a_missing_model(site, tmp_path):
    page, _ = shown(site, tmp_path, model="none.tflite", text="good")
    assert "Error: none.tflite: 404" in page
