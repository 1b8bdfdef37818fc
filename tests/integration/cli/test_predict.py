"""`tfhub-ft predict` with a dialogue run: files of prompts, folders, standard input and bad rows."""

import json
import subprocess
import sys

import pytest
from click.testing import CliRunner

from tests.conftest import write_csv
from tfhub_ft.cli.predict import command
from tfhub_ft.utils.errors import InputError

PROMPTS = ["the nest", "my goose", "you"]


def predicted(*arguments, lines=()):
    done = CliRunner().invoke(
        command, [str(argument) for argument in arguments], input="".join(f"{line}\n" for line in lines)
    )
    if done.exception and not isinstance(done.exception, SystemExit):
        raise done.exception
    return done.stdout


@pytest.mark.parametrize("suffix", ["txt", "csv", "jsonl"])
def test_predict_writes_replies_to_prompts(tiny_dialogue_run, tmp_path, suffix):
    source, target = tmp_path / f"prompts.{suffix}", tmp_path / "replies.jsonl"
    if suffix == "csv":
        write_csv(source, [(prompt, "x") for prompt in PROMPTS], header=("said", "prompt"))
    else:
        as_line = (lambda prompt: json.dumps({"prompt": prompt})) if suffix == "jsonl" else str
        source.write_text("\n".join(map(as_line, PROMPTS)))
    options = ["--prompt-column", "said"] if suffix == "csv" else []
    predicted(tiny_dialogue_run, "--input", source, "--output", target, *options)
    column, others = ("said", {"prompt": "x"}) if suffix == "csv" else ("prompt", {})
    assert list(map(json.loads, target.read_text().splitlines())) == [
        {column: prompt, **others, "reply": "use é"} for prompt in PROMPTS
    ]


def test_predict_keeps_messages_that_end_with_the_user(tiny_dialogue_run, tmp_path):
    source, target = tmp_path / "dialogues.jsonl", tmp_path / "replies.jsonl"
    turns = [{"role": role, "content": role} for role in ("system", "user", "assistant", "user")]
    source.write_text(json.dumps({"messages": turns}))
    predicted(tiny_dialogue_run, "--input", source, "--output", target)
    assert json.loads(target.read_text()) == {"messages": turns, "reply": "use é"}
    assert predicted(tiny_dialogue_run, "--input", source) == "use é\tuser\n"
    for messages, said in ((turns[:3], "has the role assistant in the last message"), ([], "is not a list")):
        source.write_text(json.dumps({"messages": messages}))
        with pytest.raises(InputError, match=f"dialogues.jsonl, line 1: column 'messages' {said}"):
            predicted(tiny_dialogue_run, "--input", source)


def test_predict_keeps_order_and_columns(tiny_dialogue_run, tmp_path):
    source, target = tmp_path / "prompts.csv", tmp_path / "replies.csv"
    source.write_text("id;prompt;reply\nA-1;;x\nA-2;the nest\nA-3;the nest;y\n")
    said = predicted(tiny_dialogue_run, "--input", source, "--output", target, "--keep-columns", "--skip-bad-rows")
    assert said == f"{target}: 2 predictions\n"
    assert target.read_text().splitlines() == ["id,prompt,input_reply,reply", "A-1,,x,", "A-3,the nest,y,use é"]
    assert predicted(tiny_dialogue_run, lines=["", "you", "", ""]).splitlines() == ["-\t", "use é\tyou", "-\t", "-\t"]
    with pytest.raises(InputError, match=r"prompts\.csv, line 3: has 2 of 3 fields"):
        predicted(tiny_dialogue_run, "--input", source)


def test_predict_reads_folders_and_lines(tiny_dialogue_run, tmp_path):
    for part in (1, 2):
        (tmp_path / f"part-{part}.txt").write_text("\n".join(PROMPTS))
    predicted(tiny_dialogue_run, "--input", tmp_path / "part-*.txt", "--output", tmp_path / "replies")
    assert len((tmp_path / "replies" / "part-2.jsonl").read_text().splitlines()) == 3
    assert predicted(tiny_dialogue_run, lines=PROMPTS).splitlines() == [f"use é\t{prompt}" for prompt in PROMPTS]


def test_predict_names_a_bad_row_and_writes_nothing(tiny_dialogue_run, tmp_path):
    for row, said in (
        ("<|im_end|> hi", "contains .*, which only the chat template may write"),
        ("x" * 200, "is too long"),
    ):
        write_csv(tmp_path / "prompts.csv", [("a",), (row,)], header=("prompt",))
        with pytest.raises(InputError, match=rf"prompts\.csv, line 3: {said}"):
            predicted(tiny_dialogue_run, "--input", tmp_path / "prompts.csv", "--output", tmp_path / "replies.csv")
        assert not (tmp_path / "replies.csv").exists()
        with pytest.raises(InputError, match=f"text 2: {said}"):
            predicted(tiny_dialogue_run, "a", row)
        with pytest.raises(InputError, match=f"standard input, line 2: {said}"):
            predicted(tiny_dialogue_run, lines=["a", row])


def test_predict_refuses_its_input_as_output(tiny_run, tmp_path):
    rows = write_csv(tmp_path / "rows.csv", [("a film",)], header=("text",))
    (tmp_path / "link.csv").symlink_to("rows.csv")
    before = rows.read_bytes()
    for output in (rows, tmp_path / "link.csv", tiny_run / "history.csv"):
        with pytest.raises(InputError, match=f"--output {output}: is the input"):
            predicted(tiny_run, "--input", rows, "--output", output)
    assert rows.read_bytes() == before


def test_predict_refuses_an_empty_file_name(tiny_run):
    with pytest.raises(InputError, match="--input: the name is empty; pass a file"):
        predicted(tiny_run, "--input", "", lines=["a film"])


def test_predict_refuses_columns_of_texts_without_any(tiny_run, tmp_path):
    (tmp_path / "rows.txt").write_text("a film\n")
    with pytest.raises(InputError, match="--text-column: names a column, but texts have none"):
        predicted(tiny_run, "a film", "--text-column", "review")
    with pytest.raises(InputError, match=r"--text: names a column, but .*rows.txt has a text per line"):
        predicted(tiny_run, "--input", tmp_path / "rows.txt", "--text", "{title}. {body}")


def test_predict_refuses_to_add_explanations_to_finished_files(tiny_run, tmp_path):
    write_csv(tmp_path / "part-1.csv", [("a film",)], header=("text",))
    arguments = [tiny_run, "--input", tmp_path / "part-*.csv", "--output", tmp_path / "out"]
    assert [predicted(*arguments), predicted(*arguments)][1].endswith("1 files, 0 predictions\n")
    for options in (["--explain"], ["--text-column", "text"]):
        with pytest.raises(InputError, match="part-1.csv was predicted with other options"):
            predicted(*arguments, *options)


def test_predict_refuses_stdin_file_as_output(tiny_run, tmp_path):
    lines = tmp_path / "lines.csv"
    lines.write_text("a film\n")
    with lines.open() as stdin:
        program = "from tfhub_ft.cli.main import main; main()"
        arguments = [sys.executable, "-c", program, "predict", str(tiny_run), "--output", str(lines)]
        done = subprocess.run(arguments, stdin=stdin, capture_output=True, text=True)
    assert done.returncode == 2
    assert "is the input /dev/stdin" in done.stderr
    assert lines.read_text() == "a film\n"


def test_predict_writes_through_a_link(tiny_run, tmp_path):
    rows = write_csv(tmp_path / "rows.csv", [("a film",)], header=("text",))
    (tmp_path / "answers.csv").write_text("old")
    (tmp_path / "link.csv").symlink_to("answers.csv")
    predicted(tiny_run, "--input", rows, "--output", tmp_path / "link.csv")
    assert (tmp_path / "link.csv").is_symlink()
    assert "a film" in (tmp_path / "answers.csv").read_text()
