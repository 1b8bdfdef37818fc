"""Record the machine of a measurement with its figures."""

import importlib.metadata
import json
import os
import platform
import time
from pathlib import Path

RESULTS = Path(__file__).parent / "results"
PACKAGES = ("tensorflow", "keras", "tensorflow-text", "numpy")


def describe_machine():
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    model = next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), platform.processor())
    flags = next((line.split(":")[1].split() for line in lines if line.startswith("flags")), [])
    return {
        "processor": model,
        "cores": os.cpu_count(),
        "vector_instructions": [f for f in ("avx2", "avx512f", "avx512_bf16", "amx_bf16") if f in flags],
        "system": platform.system(),
        "python": platform.python_version(),
        **{name: importlib.metadata.version(name) for name in PACKAGES},
    }


def keep(name, figures, folder=RESULTS):
    """Write NAME.json, by default to benchmarks/results, and print the figures."""
    result = {"date": time.strftime("%Y-%m-%d"), "machine": describe_machine(), **figures}
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{name}.json").write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    show(name, figures)


def show(name, figures):
    """Print the figures."""
    print(json.dumps({"name": name, **figures}, indent=2))
