"""Write tests/data/runs_0_1_0.zip: two runs and an export of version 0.1.0 with a tiny random encoder.

Run it in a checkout of commit 9cda3e8, the last one before the modules moved:

    python make_runs_0_1_0.py /path/to/runs_0_1_0.zip
"""

import json
import os
import shutil
import sys
import tempfile
from pathlib import Path

from tfhub_ft.encoders.conversion import convert_checkpoint

import tfhub_ft
from tests.conftest import TINY_SETTINGS, make_checkpoint, make_reviews, write_csv

archive = Path(sys.argv[1]).resolve().with_suffix("")
os.chdir(tempfile.mkdtemp())
make_checkpoint(Path("checkpoint"))
convert_checkpoint("checkpoint", "pair")
reviews = make_reviews(80)
write_csv(Path("rows.csv"), reviews)
Path("rows.jsonl").write_text("".join(json.dumps({"prompt": t, "reply": f"{t} it is"}) + "\n" for t, _ in reviews))
settings = {**TINY_SETTINGS, "encoder": "pair", "epochs": 1, "min_steps": 0}
tfhub_ft.train("sentiment", data="rows.csv", output_dir="data/sentiment", **settings)
tfhub_ft.train(
    "chat", data="rows.jsonl", output_dir="data/chat", **{k: v for k, v in settings.items() if k != "dropout"}
)
tfhub_ft.export("data/sentiment", output_dir="data/export", formats=["saved_model", "tflite"], quantize=["none"])
texts = [text for text, _ in reviews[:5]]
predictions = {name: tfhub_ft.predict(f"data/{name}", texts) for name in ("sentiment", "chat", "export")}
Path("data/predictions.json").write_text(json.dumps({"texts": texts, **predictions}))
for run in ("sentiment", "chat"):
    shutil.rmtree(f"data/{run}/logs")
    Path(f"data/{run}/report.html").unlink()
shutil.make_archive(str(archive), "zip", "data")
