"""Fuzz a format reader with atheris, which searches for inputs that reach new code.

pip install atheris
python tests/fuzz_readers.py csv -runs=25000   # or jsonl, conll, json (SQuAD); any option of libFuzzer

Every file is read, or rejected by one line that names it; anything else stops the run and saves the file as crash-*.
"""

import sys
import tempfile
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["tfhub_ft"]):
    from tfhub_ft.data.rows import read_rows
    from tfhub_ft.recipe import load_recipe
    from tfhub_ft.utils.errors import InputError

# The recipe that reads each format, and initial files for formats that its demo rows do not have.
RECIPES = {"csv": "sentiment", "jsonl": "multilabel", "conll": "ner", "json": "qa"}
CONLL = "-DOCSTART- -X- O O\n\nEU NNP B-ORG\nrejects VBZ O\n\nPeter NNP B-PER\nBlackburn NNP I-PER\n"
SQUAD = (
    '{"data": [{"title": "t", "paragraphs": [{"context": "Ada was born in London.", "qas": [{"question": "Who?",'
    ' "is_impossible": true}, {"question": "Where?", "answers": [{"text": "London", "answer_start": 16}]}]}]}]}'
)


def main() -> None:
    kind = sys.argv.pop(1)
    recipe = load_recipe(RECIPES[kind])
    columns = recipe.task.columns(recipe.settings)
    start = {"conll": CONLL, "json": SQUAD}.get(kind) or "".join(recipe.demo.open(encoding="utf-8").readlines()[:4])
    # libFuzzer exits the process, so a temporary folder would not be removed.
    folder = Path(tempfile.gettempdir()) / f"fuzz-{kind}"
    (folder / "seeds").mkdir(parents=True, exist_ok=True)
    (folder / "seeds" / "start").write_text(start, encoding="utf-8")
    file = folder / f"rows.{kind}"

    def read(content: bytes) -> None:
        file.write_bytes(content)
        try:
            for row in read_rows(file, columns):
                assert row.line >= 1
                assert row.values.keys() == {column.name for column in columns}
        except InputError as error:
            assert "\n" not in str(error)
            assert str(file) in str(error)

    atheris.Setup([*sys.argv, "-timeout=10", str(folder / "seeds")], read)
    atheris.Fuzz()


main()
