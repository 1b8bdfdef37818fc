from pathlib import Path

import pytest
from click.testing import CliRunner

from tfhub_ft.cli.copy import command


@pytest.mark.parametrize(("file", "named"), [("mine.py", "./mine.py"), ("/a b/mine.py", "'/a b/mine.py'")])
def test_copy_prints_the_train_command(replace, file, named):
    call = replace("tfhub_ft.recipe.copy_recipe", Path(file))
    shown = CliRunner().invoke(command, ["spam", file], catch_exceptions=False).output
    assert call.args == ("spam", Path(file))
    assert f"{file}: a copy of spam" in shown
    assert f"tfhub-ft train {named} --data FILE" in shown
