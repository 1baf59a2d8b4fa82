"""Lists of sentences: lines, tables, and files that are something else."""

import pytest

from utils.delivery.app.sentences import Sentence, read_sentences
from utils.runtime.errors import UserError


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        ("a.txt", "\ufeff# one\n\nCiao a tutti.\r\n  # two\nÈ  tardi.\n", ["Ciao a tutti.", "È tardi."]),
        ("a.txt", "Ciao.\nA presto.\nCiao.", ["Ciao.", "A presto."]),
        ("a.txt", "Il 3\u2028per cento.", ["Il 3 per cento."]),
        ("a.tsv", 'sentence\tid\nUn "sì.\t7\nUn no.\t\n', [Sentence('Un "sì.', "7"), "Un no."]),
        ("a.CSV", 'text,id\n"Ciao, Anna.",g-1\n', [Sentence("Ciao, Anna.", "g-1")]),
    ],
)  # fmt: skip
def test_sentences_are_read(tmp_path, name, content, expected):
    (tmp_path / name).write_text(content, encoding="utf-8", newline="")
    wanted = tuple(Sentence(line) if isinstance(line, str) else line for line in expected)
    assert read_sentences(tmp_path / name, "it") == wanted


@pytest.mark.parametrize(
    ("name", "data", "message"),
    [
        ("a.txt", "Ciao.\nÈ tardi.".encode("latin-1"), "found a byte that is not UTF-8 in line 2. Save"),
        ("a.txt", "Ciao.".encode("utf-16"), "found UTF-16. Save the file as UTF-8 text."),
        ("a.tsv", "text\nÈ tardi.".encode("latin-1"), "not UTF-8 in line 2"),
        ("a.txt", b"Ciao.\0", "NUL character"),
        ("a.txt", b"# nothing\n\n", "no sentences. Write a sentence on each line."),
        ("a.tsv", b"phrase\nCiao.\n", "found the columns 'phrase'; expected one with the name text"),
        ("a.csv", b"text,id\nCiao.\n", "line 2: malformed row: found 1 fields, expected 2"),
        ("a.txt", b"Ciao.\n[ride]\n" + b"...\n" * 6, "line 2: markup: a note, '[ride]'; write only"),
        ("a.txt", b"...\n" * 7, "and 2 more."),
        ("a.txt", "Привет.".encode(), "line 1: wrong script"),
        ("a.txt", b"Ciao <|it|>", "line 1: control token"),
        ("a.txt", b"x" * ((16 << 20) + 1), "over 16 MiB"),
    ],
)  # fmt: skip
def test_an_unusable_list_is_one_error(tmp_path, name, data, message):
    (tmp_path / name).write_bytes(data)
    with pytest.raises(UserError) as error:
        read_sentences(tmp_path / name, "it")
    assert message in str(error.value) and str(error.value).startswith(str(tmp_path / name))


def test_a_list_that_is_not_there(tmp_path):
    with pytest.raises(UserError, match="no such file"):
        read_sentences(tmp_path / "a.txt", "it")
