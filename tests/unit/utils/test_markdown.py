from tfhub_ft.utils.markdown import plain, python_string


def test_plain_replaces_markup_of_tables_code_and_tags():
    assert plain("a|b `c`\n<script>") == "a¦b 'c' ‹script>"
    assert plain(5) == "5"


def test_python_string_is_a_literal():
    text = 'my "model" \\ é\n'
    assert eval(python_string(text)) == text
