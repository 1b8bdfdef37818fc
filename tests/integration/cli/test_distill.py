import pytest

from tfhub_ft.run import Run


@pytest.mark.sample
def test_distill_writes_a_run(tiny_run, tmp_path, here):
    done = here("distill", tiny_run, "--student", "layers:1", "--output-dir", "small", "--epochs", 1)
    assert done.returncode == 0, done.stderr
    assert "Run: small" in done.stdout
    assert Run(tmp_path / "small").finished
