"""Scripts (alphabets): their names, their languages, and whether they have spaces between words."""

import re
import unicodedata
from collections import Counter
from functools import lru_cache

# Thai, Lao, Tibetan, Burmese, Khmer, kana, Han: no spaces between words
SPACELESS_SCRIPTS = (
    "\u0e00-\u0fff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u31f0-\u31ff"
    "\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
)

SPACELESS_CHARACTER = re.compile(f"[{SPACELESS_SCRIPTS}]")

SPACE_BESIDE_SPACELESS = re.compile(f"(?<=[{SPACELESS_SCRIPTS}]) | (?=[{SPACELESS_SCRIPTS}])")

SPACE_IN_SPACELESS = re.compile(f"(?<=[{SPACELESS_SCRIPTS}]) (?=[{SPACELESS_SCRIPTS}])")


def has_spaceless_script(text: str) -> bool:
    """Check whether most letters of a text belong to a script without spaces between words.

    There, the text between two spaces counts as a word, so the character error rate is more useful than the
    word error rate.
    """
    letters = sum(character.isalpha() for character in text)
    return 2 * len(SPACELESS_CHARACTER.findall(text)) > letters


def drop_layout_spaces(text: str) -> str:
    """Remove spaces between characters of scripts without spaces.

    If most of the text is in one, also remove spaces beside its words of other scripts.
    """
    return (SPACE_BESIDE_SPACELESS if has_spaceless_script(text) else SPACE_IN_SPACELESS).sub("", text)


def main_script(text: str) -> str | None:
    """Return the script of most letters. None if there are none, or if no script has more than half.

    Chinese characters, kana and hangul count as one script, because Japanese and Korean mix them.
    """
    scripts = Counter(filter(None, map(script_of, unicodedata.normalize("NFKC", text))))
    east_asian = sum(scripts.pop(name, 0) for name in ("CJK", "HIRAGANA", "KATAKANA", "HANGUL"))
    scripts["CJK"] = east_asian
    script, count = scripts.most_common(1)[0]
    return script if 2 * count > scripts.total() else None


# scripts, by the first word of their letters' Unicode names, and Whisper's languages written in them
SCRIPTS = dict(
    re.findall(
        "([A-Z]+) ([a-z ]+)",
        "LATIN en de es fr pt tr pl ca nl sv it id fi vi ms cs ro da hu no hr lt la mi cy sk lv sr az sl et "
        "br eu is bs kk sq sw gl sn yo so af oc uz fo ht tk nn mt lb tl mg tt haw ln ha jw su "
        "CYRILLIC ru uk bg sr mk mn bs kk be tg az uz tk tt ba ARABIC ar fa ur ps sd ms pa az kk uz ha "
        "DEVANAGARI hi mr ne sa sd BENGALI bn as GURMUKHI pa GUJARATI gu TAMIL ta TELUGU te KANNADA kn "
        "MALAYALAM ml SINHALA si THAI th LAO lo KHMER km MYANMAR my TIBETAN bo HEBREW he yi GREEK el "
        "ARMENIAN hy GEORGIAN ka ETHIOPIC am MONGOLIAN mn JAVANESE jw SUNDANESE su HANGUL ko HIRAGANA ja "
        "KATAKANA ja BOPOMOFO zh yue CJK zh yue ja ko",
    )
)


@lru_cache
def expected_scripts(language: str) -> frozenset[str]:
    """Return the scripts in which a language is written. Empty for a code that Whisper does not know."""
    return frozenset(script for script, codes in SCRIPTS.items() if language in codes.split())


@lru_cache(maxsize=1 << 16)
def script_of(character: str) -> str | None:
    """Return the script of a letter. None if the character is not a letter, or belongs to several scripts."""
    if not unicodedata.category(character).startswith("L"):
        return None
    script = re.split(r"[ -]", unicodedata.name(character, ""))[0]
    return None if script in ("", "MODIFIER", "IDEOGRAPHIC") else script


def is_right_to_left(text: str) -> bool:
    """Check whether most letters of a text are written from right to left, as Arabic and Hebrew ones are."""
    directions = Counter(map(unicodedata.bidirectional, text))
    return directions["R"] + directions["AL"] > directions["L"]
