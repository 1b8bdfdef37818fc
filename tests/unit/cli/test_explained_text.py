import pytest

from tfhub_ft.cli.explained_text import format_words, print_in_colors

TEXT = "not\ta [b]good[/b]\x1b film"
WORDS = [
    {"text": "not", "start": 0, "end": 3, "attribution": -2.0},
    {"text": "good", "start": 9, "end": 13, "attribution": 1.0},
    {"text": "film", "start": 19, "end": 23, "attribution": 0.001},
]


def test_format_words_sorts_by_strength():
    assert format_words([WORDS[1], WORDS[0], WORDS[2]]) == "not -2.00  good +1.00"
    assert (
        format_words([{**WORDS[0], "label": "joy"}, {**WORDS[1], "label": "fear"}])
        == "joy: not -2.00; fear: good +1.00"
    )
    assert format_words([]) == ""


@pytest.fixture
def terminal(monkeypatch):
    for name in ("NO_COLOR", "COLORTERM", "TERM"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("FORCE_COLOR", "1")
    return monkeypatch


def test_print_in_colors_shades_words_by_strength(terminal, capsys):
    terminal.setenv("COLORTERM", "truecolor")
    print_in_colors(["negative"], [TEXT], ("text",), WORDS)
    printed = capsys.readouterr().out
    assert printed == (
        "negative        \x1b[30;48;2;240;161;58mnot\x1b[0m a [b]\x1b[30;48;2;170;218;244mgood\x1b[0m[/b]\\x1b film\n"
    )


def test_print_in_colors_uses_two_colors_of_sixteen(terminal, capsys):
    terminal.setenv("TERM", "xterm")
    print_in_colors(["x"], [TEXT], ("text",), WORDS)
    assert "\x1b[30;103mnot\x1b[0m" in (printed := capsys.readouterr().out)
    assert "\x1b[30;106mgood\x1b[0m" in printed


def test_print_in_colors_prints_a_line_for_each_label(terminal, capsys):
    print_in_colors(["0.9"], ["a b"], ("text",), [{**WORDS[0], "label": "joy"}, {**WORDS[1], "label": "fear"}])
    assert [line.split()[1] for line in capsys.readouterr().out.splitlines()] == ["joy", "fear"]
    print_in_colors(["-"], [""], ("text",), [])
    assert capsys.readouterr().out.strip() == "-"
