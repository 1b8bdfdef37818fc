import json
import shutil

import pytest

from tests.conftest import make_reviews, write_csv


@pytest.mark.sample
def test_benchmark_measures_an_export(tiny_export, tmp_path, here):
    shutil.copytree(tiny_export, tmp_path / "reviews")
    write_csv(tmp_path / "rows.csv", make_reviews(16))
    done = here("benchmark", "reviews", "--data", "rows.csv", "--json")
    assert done.returncode == 0, done.stderr
    measured = json.loads(done.stdout)
    assert [each["reads"] for each in measured] == ["text", "tokens"]
    assert [each["agreement"] for each in measured] == [1, 1]
    assert (tmp_path / "reviews" / "benchmark.png").is_file()
