"""Templates of texts over columns."""

import pytest

from tfhub_ft.utils.errors import InputError
from tfhub_ft.utils.templates import Template


@pytest.mark.parametrize(
    ("text", "names", "filled"),
    [
        ("{title}. {body}", ("title", "body"), "A. B"),
        ("{the title}: {body.text}{a:b!r}", ("the title", "body.text", "a:b!r"), "A: BC"),
        ("{{{ title }}} {{x}}", ("title",), "{A} {x}"),
        ("{a}{a}", ("a", "a"), "AB"),
        ("Überschrift\n{größe}", ("größe",), "Überschrift\nA"),
        ("{0}", ("0",), "A"),
    ],
)
def test_template_fills_columns_by_name(text, names, filled):
    template = Template(text, "--text")
    assert template.names == names
    assert template.fill("ABC"[: len(names)]) == filled


def test_template_does_not_fill_values_again():
    assert Template("{a} {b}", "--text").fill(["{b}", r"\1{{"]) == r"{b} \1{{"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{title", "--text '{title': the brace '{' at character 1 is not paired"),
        ("title} {body}", "the brace '}' at character 6 is not paired"),
        ("{a{b}}", "the brace '{' at character 1 is not paired"),
        ("{title} {}", "braces without a column name"),
        ("{ }", "braces without a column name"),
        ("title", "names no column; write column names in braces, such as '{title}. {body}', or name the column of"),
        ("", "--text '': names no column"),
        ("{{title}}", "names no column"),
    ],
)
def test_template_rejects_malformed_texts(text, message):
    with pytest.raises(InputError) as caught:
        Template(text, "--text")
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("option", "column_option"),
    [
        ("--text", "--text-column"),
        ("--test-text", "--test-text-column"),
        ("--first-text", "--first-column"),
        ("--validation-second-text", "--validation-second-column"),
    ],
)
def test_template_names_the_option_of_a_single_column(option, column_option):
    assert Template("{a}", option).column_option == column_option
