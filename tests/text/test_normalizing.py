"""Cleaning keeps what is spelt and drops what is not; normalising agrees with published examples."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from utils.runtime.errors import UserError
from utils.text.cleaning import CONTROL_TOKEN, clean_text
from utils.text.normalizing import normalize_text
from utils.text.scripts import has_spaceless_script
from utils.text.token_counter import load_token_counter


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("  due   parole ", "due parole"),
        ("a\tb\r\nc\u00a0d\u2028e", "a b c d e"),
        ("perche\u0301", "perch\u00e9"),
        ("\ufeffciao", "ciao"),
        ("a\x00b\x07c", "abc"),
        (" \n\t ", ""),
        ("… ½ ﬁ Ⅻ", "… ½ ﬁ Ⅻ"),  # composed, not made plain: NFC, not NFKC
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


# what openai/whisper's own tests, tests/test_normalizer.py, hold its English normaliser to
PUBLISHED_NUMBERS = {
    "two": "2",
    "thirty one": "31",
    "five twenty four": "524",
    "nineteen ninety nine": "1999",
    "twenty nineteen": "2019",
    "two point five million": "2500000",
    "four point two billions": "4200000000s",
    "200 thousand": "200000",
    "200 thousand dollars": "$200000",
    "$20 million": "$20000000",
    "€52.4 million": "€52400000",
    "£77 thousands": "£77000s",
    "two double o eight": "2008",
    "three thousand twenty nine": "3029",
    "forty three thousand two hundred sixty": "43260",
    "forty three thousand two hundred and sixty": "43260",
    "nineteen fifties": "1950s",
    "thirty first": "31st",
    "thirty three thousand and three hundred and thirty third": "33333rd",
    "three billion": "3000000000",
    "millions": "1000000s",
    "july third twenty twenty": "july 3rd 2020",
    "august twenty sixth twenty twenty one": "august 26th 2021",
    "3 14": "3 14",
    "3.14": "3.14",
    "3 point 2": "3.2",
    "3 point 14": "3.14",
    "fourteen point 4": "14.4",
    "two point two five dollars": "$2.25",
    "two hundred million dollars": "$200000000",
    "$20.1 million": "$20100000",
    "ninety percent": "90%",
    "seventy six per cent": "76%",
    "double oh seven": "007",
    "double zero seven": "007",
    "nine one one": "911",
    "nine double one": "911",
    "one triple oh one": "10001",
    "two thousandth": "2000th",
    "thirty two thousandth": "32000th",
    "minus 500": "-500",
    "positive twenty thousand": "+20000",
    "two dollars and seventy cents": "$2.70",
    "3 cents": "¢3",
    "$0.36": "¢36",
    "three euros and sixty five cents": "€3.65",
    "three and a half million": "3500000",
    "forty eight and a half dollars": "$48.5",
    "b747": "b 747",
    "10 th": "10th",
    "10th": "10th",
}
PUBLISHED_TEXTS = {
    "mobilisation": "mobilization",
    "cancelation": "cancellation",
    "Let's": "let us",
    "he's like": "he is like",
    "she's been like": "she has been like",
    "10km": "10 km",
    "10mm": "10 mm",
    "RC232": "rc 232",
    "Mr. Park visited Assoc. Prof. Kim Jr.": "mister park visited associate professor kim junior",
}


@pytest.mark.parametrize(("text", "expected"), [*PUBLISHED_NUMBERS.items(), *PUBLISHED_TEXTS.items()])
def test_english_normalizer_does_as_published(text, expected):
    assert normalize_text(text, "english") == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        # Hindi: vowel signs, virama, nukta and candrabindu stay, the danda goes; the nukta is composed
        # where Unicode has it so, and never the other way round
        ("नमस्ते, दुनिया!", "नमस्ते दुनिया"),
        ("हाँ, मैं लड़की हूँ।", "हाँ मैं लड\u093cकी हूँ"),
        ("क्‍या", "क्या"),  # a joiner steers only the shape
        # Tamil: the dot on a consonant, vowel signs on both sides
        ("வணக்கம்! எப்படி இருக்கிறீர்கள்?", "வணக்கம் எப்படி இருக்கிறீர்கள்"),
        # Bengali
        ("আমি বাংলায় কথা বলি।", "আমি বাংলা\u09af\u09bc কথা বলি"),
        # Malayalam: a chillu spelt with a joiner and the letter of today are one
        ("അവന്\u200d വന്നു", "അവ\u0d7b വന്നു"),
        ("അവ\u0d7b വന്നു.", "അവ\u0d7b വന്നു"),
        # Thai: no spaces between words, tone marks and vowels above and below stay
        ("สวัสดี ครับ!", "สวัสดีครับ"),
        ("ผู้ใหญ่ (หัวเราะ) ที่นี่", "ผู้ใหญ่ที่นี่"),
        ("ที่\u200bนี่", "ที่นี่"),
        # Arabic: harakat stay, the tatweel and direction marks go
        ("اَلسَّلَامُ عَلَيْكُم،", "اَلسَّلَامُ عَلَيْكُم"),
        ("كتـــاب\u200f!", "كتاب"),
        # Persian: the half-space, a zero-width non-joiner, is a space
        ("می\u200cخواهم کتاب\u200cها را؟", "می خواهم کتاب ها را"),
        ("«می خواهم»", "می خواهم"),
        # Hebrew: niqqud stays
        ("שָׁלוֹם, עוֹלָם!", "שָׁלוֹם עוֹלָם"),
        # Chinese and Japanese: punctuation leaves no gap, wide letters become plain
        ("你好，世界！", "你好世界"),
        ("我买了 ３ 个 ｉＰｈｏｎｅ，都很贵。", "我买了3个iphone都很贵"),
        ("New York 很大，很远。", "new york 很大很远"),
        ("これは、ペンです。", "これはペンです"),
        # Latin scripts: as Whisper's basic one, apostrophes too; a mark without a letter of its own stays
        ("L'acqua è (forse) [rumore] fredda.", "l acqua è fredda"),
        ("don’t", "don t"),
        ("ọ̀nà", "ọ̀nà"),
        ("perche\u0301", "perché"),
        ("Il signor 王 è qui", "il signor 王 è qui"),
        ("안녕하세요, 세계!", "안녕하세요 세계"),
        ("✔️ fatto 1️⃣ \u25cc\u093f ¸", "fatto 1"),
        # Turkish: a capital that lower() makes two characters of
        ("İyi günler, İstanbul!", "iyi günler istanbul"),
        ("...", ""),
    ],
)
def test_script_safe_normalizer(text, expected):
    assert normalize_text(text, "script-safe") == expected


def test_basic_normalizer_cuts_what_the_script_safe_one_keeps():
    # six consonants and nothing else: Whisper's published behaviour, https://arxiv.org/abs/2409.02449
    assert normalize_text("नमस्ते दुनिया", "basic") == "नमस त द न य"


@given(st.text())
def test_script_safe_normalising_leaves_single_spaces(text):
    normalized = normalize_text(text, "script-safe")
    assert normalized == " ".join(normalized.split())


# up to Latin Extended-A the two differ in the soft hyphen, in control characters and in the dot that
# lower case leaves beside i
@given(st.text(st.characters(min_codepoint=32, max_codepoint=0x17F, exclude_categories=["Cc", "Cf"])))
def test_script_safe_is_basic_where_there_are_no_marks(text):
    text = text.replace("İ", "I")
    assert normalize_text(text, "script-safe") == normalize_text(text, "basic")


def test_scripts_without_spaces():
    assert has_spaceless_script("これは OK です")
    assert has_spaceless_script("ภาษาไทย")
    assert has_spaceless_script("ភាសាខ្មែរ")
    assert has_spaceless_script("မြန်မာဘာသာ")
    assert has_spaceless_script("ພາສາລາວ")
    assert has_spaceless_script("བོད་སྐད")
    assert not has_spaceless_script("Il signor 王 è qui")
    assert not has_spaceless_script("한국어 문장")  # Korean has spaces
    assert not has_spaceless_script("हिन्दी") and not has_spaceless_script("")


def test_unknown_normalizer():
    with pytest.raises(ValueError, match="basic, english or script-safe"):
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
