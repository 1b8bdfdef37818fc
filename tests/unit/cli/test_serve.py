from pathlib import Path

import pytest
from click.testing import CliRunner

from tfhub_ft.cli.serve import command


def test_serve_passes_ports_and_exit_code(monkeypatch):
    calls = []
    monkeypatch.setattr(
        "tfhub_ft.exports.serving.server.serve", lambda *folder, **ports: calls.append((*folder, ports)) or 3
    )
    assert CliRunner().invoke(command, ["exports/one", "--port", "9000"]).exit_code == 3
    assert calls == [(Path("exports/one"), {"port": 9000, "rest_port": 8501})]


@pytest.mark.parametrize("port", ["0", "65536"])
def test_serve_refuses_invalid_ports(port):
    assert CliRunner().invoke(command, ["exports/one", "--rest-port", port]).exit_code == 2
