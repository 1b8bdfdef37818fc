import pytest


@pytest.mark.sample
def test_export_of_a_dialogue_run(tiny_dialogue_run, tmp_path, here):
    done = here("export", tiny_dialogue_run, "--output-dir", "bot")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("bot/1: ")
    replied = here("predict", "bot", "the film")
    assert "use é" in replied.stdout
