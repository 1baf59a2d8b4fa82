"""Lists of names and terms, and where they are in texts of several scripts."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from utils.runtime.errors import UserError
from utils.text.terms import TermFinder, read_terms


def test_terms_are_read_in_order_each_once(tmp_path):
    file = tmp_path / "terms.txt"
    lines = "\ufeff# names\n\n Anna  Rossi \r\n  # more\nTrenitalia\nanna rossi!\nC++\nSAP R/3\n"
    file.write_text(lines, encoding="utf-8", newline="")
    assert read_terms(file) == ("Anna Rossi", "Trenitalia", "C++", "SAP R/3")


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "no terms. Write a name or a term on each line."),
        (b"# only this\n\n", "no terms. Write"),
        ("Forlì".encode("latin-1"), "a byte that is not UTF-8 in line 1. Save the file as UTF-8 text."),
        ("Roma\n".encode("utf-16"), "found UTF-16. Save the file as UTF-8 text."),
        (b"Roma\n\0\1", "found a NUL character. Expected UTF-8 text with a term on each line."),
        (b"Roma\n***\n", "line 2: '***' has no letter or digit"),
        (b"[ride]\n", "line 1: '[ride]' has no letter or digit, apart from remarks"),
        (b"Roma <|it|>\n", "line 1: found the control token <|it|>; remove it"),
        (b"?\n" * 7, "and 2 more."),
        (b"x" * ((16 << 20) + 1), "over 16 MiB. Expected a list of terms."),
    ],
)
def test_an_unusable_list_is_one_error(tmp_path, data, message):
    file = tmp_path / "terms.txt"
    file.write_bytes(data)
    with pytest.raises(UserError) as error:
        read_terms(file)
    assert message in str(error.value) and str(error.value).startswith(str(file))


@pytest.mark.parametrize("name", ["none.txt", "."])
def test_a_list_that_is_no_file(tmp_path, name):
    with pytest.raises(UserError, match=r"no such file\. Expected a text file with a term on each line"):
        read_terms(tmp_path / name)


@pytest.mark.parametrize(
    ("term", "text", "count"),
    [
        ("Trenitalia", "«TRENITALIA», trenitalia; Trenitalia.", 3),
        ("Ali", "Alice, Alì e Bali", 0),  # whole words, with their accents
        ("Aquila", "L'Aquila, l\u2019aquila", 2),
        ("Anna Rossi", "Anna, Rossi e Anna-Rossi", 2),  # punctuation does not count
        ("Anna Rossi", "Anna e Rossi; Rossi Anna; Anna Rossini", 0),
        ("Anna Rossi", "Anna", 0),
        ("a a", "a a a", 2),
        ("caffè", "caffe\u0300 CAFFÈ", 2),  # one form of each character
        ("Москва", "москва, Москвы", 1),  # other forms are other words
        ("नमस्ते", "नमस्ते नमसते", 1),  # the virama belongs to the spelling
        ("قطر", "قـطر", 1),  # the tatweel does not
        ("東京", "昨日東京に行った", 1),
        ("東京", "東大と京大", 0),
        ("กรุงเทพ", "ไปกรุงเทพวันนี้", 1),
        ("LINE株式会社", "これはline株式会社です", 1),
        ("LINE", "onlineで買う", 0),  # Latin words stay whole in such a script
        ("C++", "c, C# und c", 3),  # signs do not count
    ],
)
def test_terms_are_found_as_whole_words(term, text, count):
    assert TermFinder([term]).count(text) == ({0: count} if count else {})


def test_each_term_is_found_by_itself():
    finder = TermFinder(["York", "New York", "New York City", "Boston"])
    assert finder.count("New York City ist nicht New York.") == {0: 2, 1: 2, 2: 1}


words = st.lists(st.sampled_from(["uno", "due", "tre", "sì"]), min_size=1, max_size=3)


@given(st.lists(words, min_size=1, max_size=6), st.lists(st.sampled_from(["uno", "due", "tre", "sì", "un"])))
def test_the_count_is_that_of_a_search(terms, text):
    found = TermFinder([" ".join(term) for term in terms]).count(", ".join(text).title())
    for number, term in enumerate(terms):
        pattern = rf"(?<!\S)(?={' '.join(term)}(?!\S))"
        assert found[number] == len(re.findall(pattern, " ".join(text)))
