from types import SimpleNamespace

import pytest

from tfhub_ft.data.formats.source import ReadOptions, Source, delimiter_advice
from tfhub_ft.utils.errors import InputError

RUN = SimpleNamespace(delimiter=";", encoding="cp1252", header=False)


@pytest.mark.parametrize("name", ["tab", r"\t", "\t"])
def test_read_options_accept_names_of_the_tab(name):
    assert ReadOptions(delimiter=name).delimiter == "\t"


@pytest.mark.parametrize("delimiter", ["", ";;", '"', "\n"])
def test_read_options_reject_bad_delimiters(delimiter):
    with pytest.raises(InputError, match="--delimiter .* must be one character"):
        ReadOptions(delimiter=delimiter)


@pytest.mark.parametrize("encoding", ["none", "hex", "a\0b"])
def test_read_options_reject_bad_encodings(encoding):
    with pytest.raises(InputError, match="--encoding .*: not known"):
        ReadOptions(encoding=encoding)


def test_read_options_of_other_files_fall_back_on_the_run():
    assert ReadOptions.of(RUN) == ReadOptions(delimiter=";", encoding="cp1252", header=False)
    other = ReadOptions.of_other_file(RUN, delimiter=",", header=True)
    assert other == ReadOptions(delimiter=",", header=True, usual_delimiter=";", usual_encoding="cp1252")
    assert not ReadOptions.of_other_file(RUN).header


@pytest.mark.parametrize(("delimiter", "option"), [("\t", "--delimiter tab"), (";", "--delimiter ';'")])
def test_delimiter_advice_can_be_pasted(delimiter, option):
    assert delimiter_advice(delimiter).endswith(option)


def test_source_location_names_file_and_record():
    source = Source("rows.json", lambda: iter([]), unit="question")
    assert source.location(3) == "rows.json, question 3"
