"""Cleaning keeps what is spelt and drops what is not; normalising agrees with published examples."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from utils.errors import UserError
from utils.text import CONTROL_TOKEN, clean_text, load_token_counter, normalize_text, simplify_text


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("  due   parole ", "due parole"),
        ("a\tb\r\nc\u00a0d\u2028e", "a b c d e"),
        ("perche\u0301", "perch\u00e9"),
        ("\ufeffciao", "ciao"),
        ("a\x00b\x07c", "abc"),
        (" \n\t ", ""),
        # the zero-width non-joiner spells Persian words: می‌خواهم
        (
            "\u0645\u06cc\u200c\u062e\u0648\u0627\u0647\u0645",
            "\u0645\u06cc\u200c\u062e\u0648\u0627\u0647\u0645",
        ),
    ],
)
def test_clean_text(text, expected):
    assert clean_text(text) == expected


@given(st.text())
def test_cleaning_twice_is_cleaning_once(text):
    cleaned = clean_text(text)
    assert clean_text(cleaned) == cleaned
    assert cleaned == cleaned.strip() and "  " not in cleaned and "\n" not in cleaned


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Buongiorno, Maria!", "buongiorno maria"),
        ("L'acqua è (forse) [rumore] fredda.", "l acqua è fredda"),
        ("...", ""),
    ],
)
def test_basic_normalizer(text, expected):
    assert normalize_text(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [  # from the tests of openai/whisper, tests/test_normalizer.py
        ("Let's", "let us"),
        ("he's like", "he is like"),
        ("10km", "10 km"),
        ("two hundred and thirty six", "236"),
        ("mobilisation", "mobilization"),
        ("cancelation", "cancellation"),
        ("They're colours", "they are colors"),
    ],
)
def test_english_normalizer(text, expected):
    assert normalize_text(text, "english") == expected


def test_unknown_normalizer():
    with pytest.raises(ValueError, match="basic or english"):
        normalize_text("a", "klingon")


def test_control_tokens():
    assert CONTROL_TOKEN.search("ciao <|endoftext|>") and CONTROL_TOKEN.search("<|0.00|> ciao")
    assert not CONTROL_TOKEN.search("a < b | c > d <> ||")


def test_tokens_are_counted_with_the_leading_space(tiny_whisper):
    # its tokenizer has one token a byte: 1 for the space, 3 letters, 2 bytes for é
    assert load_token_counter(str(tiny_whisper))("abcé") == 6


def test_no_tokenizer(tmp_path):
    with pytest.raises(UserError, match="no tokenizer found"):
        load_token_counter(str(tmp_path))


@pytest.mark.parametrize(
    ("text", "lower", "bare", "both"),
    [
        ("Ciao, come va?", "ciao, come va?", "Ciao come va", "ciao come va"),
        ("L'ora è un po' tarda.", "l'ora è un po' tarda.", "L'ora è un po' tarda", "l'ora è un po' tarda"),
        ("«Sì» — disse", "«sì» — disse", "Sì disse", "sì disse"),
        ("Porta-voce - fine-", "porta-voce - fine-", "Porta-voce fine", "porta-voce fine"),
        ("El col·legi: 3,5", "el col·legi: 3,5", "El col·legi 3 5", "el col·legi 3 5"),
        ("नमस्ते, दुनिया।", "नमस्ते, दुनिया।", "नमस्ते दुनिया", "नमस्ते दुनिया"),
        ("می\u200cخواهم؟", "می\u200cخواهم؟", "می\u200cخواهم", "می\u200cخواهم"),
        ("ΟΔΟΣ!", "οδος!", "ΟΔΟΣ", "οδος"),
        ("…", "…", "", ""),
    ],
)
def test_simplified_texts(text, lower, bare, both):
    assert simplify_text(text, lower_case=False, remove_punctuation=False) == text
    assert simplify_text(text, lower_case=True, remove_punctuation=False) == lower
    assert simplify_text(text, lower_case=False, remove_punctuation=True) == bare
    assert simplify_text(text, lower_case=True, remove_punctuation=True) == both


@given(st.text())
def test_simplifying_twice_changes_nothing_more(text):
    once = simplify_text(text, lower_case=True, remove_punctuation=True)
    assert simplify_text(once, lower_case=True, remove_punctuation=True) == once
