"""Kinds of failure, each on hypotheses written by hand."""

import pytest

from utils.scoring.failures import FAILURE_KINDS, count_failures, find_failures
from utils.scoring.word_alignment import align_words
from utils.text.scripts import main_script

ENGLISH = "The number you called cannot be reached, please try again later."
SENTENCE = "Il numero chiamato non è al momento raggiungibile, la preghiamo di riprovare."


@pytest.mark.parametrize(
    ("reference", "hypothesis", "language", "expected"),
    [
        (SENTENCE, SENTENCE, "it", []),
        (SENTENCE, "Il numero chiamato non e raggiungibile, la preghiamo riprovare.", "it", []),
        (SENTENCE, SENTENCE + " grazie" * 12, "it", ["loop", "insertion run"]),
        (SENTENCE, "Il numero chiamato non è, " * 4, "it", ["loop"]),
        ("ha ha ha ha ha ha ha ha", "ha ha ha ha ha ha ha ha", "it", []),
        (SENTENCE, SENTENCE + " Sottotitoli creati dalla comunità Amara.org", "it", ["insertion run"]),
        (SENTENCE, "Il numero chiamato non è.", "it", ["truncated"]),
        (SENTENCE, "", "it", ["truncated"]),
        ("sì", "", "it", []),
        (
            SENTENCE,
            ENGLISH,
            "it",
            ["wrong language"],
        ),
        (SENTENCE, ENGLISH, None, []),
        ("Try it, please do it now", "please leave me a message, Tom", "it", []),  # spoken English
        ("привет как дела", "privet kak dela", "ru", ["wrong script"]),
        ("你好吗", "こんにちは", "zh", []),
        (SENTENCE, SENTENCE.lower(), "it", ["no casing"]),
        (SENTENCE, SENTENCE.replace(",", "").replace(".", ""), "it", ["no punctuation"]),
        (SENTENCE.lower().replace(",", "").replace(".", ""), SENTENCE, "it", []),
        ("", "Grazie.", "it", ["insertion run"]),
        ("", "", "it", []),
    ],
)
def test_failures(reference, hypothesis, language, expected):
    assert find_failures(reference, hypothesis, align_words(reference, hypothesis), language) == expected


@pytest.mark.parametrize(
    ("reference", "hypothesis", "language", "expected"),
    [
        ("ขอบคุณ", "ขอบคุณครับผม", "th", []),  # six characters more are one polite word
        ("請再說一次", "請再說一次" + "感謝觀看本影片敬請訂閱我們頻道", "zh", ["insertion run"]),
        ("您撥的號碼現在無法接通請稍後再撥", "您撥的號碼現在", "zh", ["truncated"]),
        ("您撥的號碼", "您撥的號", "zh", []),
        ("您撥的號碼無法接通", "您撥的號碼無", "zh", []),  # three characters are one word
        (
            "您所撥打的電話目前無法接通請稍後再撥",
            "おかけになった電話は現在つながりません",
            "zh",
            ["wrong language"],
        ),
    ],
)
def test_characters_where_words_have_no_spaces(reference, hypothesis, language, expected):
    alignment = align_words(reference, hypothesis, unit="char")
    assert find_failures(reference, hypothesis, alignment, language, measure="cer") == expected


def test_counts_name_every_kind():
    counts = count_failures([["loop"], [], ["loop", "truncated"]])
    assert counts == dict.fromkeys(FAILURE_KINDS, 0) | {"loop": 2, "truncated": 1}


@pytest.mark.parametrize(
    ("text", "script"),
    [
        ("ciao", "LATIN"),
        ("привет", "CYRILLIC"),
        ("नमस्ते दुनिया", "DEVANAGARI"),
        ("東京タワーへ行く", "CJK"),
        ("안녕하세요", "CJK"),
        ("ab вг", None),
        ("123 …", None),
        ("", None),
    ],
)
def test_main_script(text, script):
    assert main_script(text) == script
