"""Names of languages, also other ones than Whisper's, and misspelt ones."""

import pytest

from utils.text.languages import nearest_language, whisper_language


@pytest.mark.parametrize(
    ("names", "code"),
    [
        (("it", "IT", " Italian ", "it-IT", "it_it"), "it"),
        (("sv-SE", "Swedish"), "sv"),
        (("farsi", "Farsi", "dari", "fa_ir", "pes"), "fa"),
        (("flemish", "nl-BE"), "nl"),
        (("castilian", "es_419"), "es"),
        (("mandarin", "cmn_hans_cn", "zh-TW", "putonghua"), "zh"),
        (("burmese",), "my"),
        (("valencian",), "ca"),
        (("bangla", "Bengali"), "bn"),
        (("filipino", "fil_ph"), "tl"),
        (("nb_no", "bokm\u00e5l"), "no"),
        (("jv", "jw"), "jw"),
        (("isizulu", "tlh", "xx", ""), None),
    ],
)
def test_names_and_codes(names, code):
    assert [whisper_language(name) for name in names] == [code] * len(names)


def test_misspelt_names():
    misspelt = ("itallian", "portugese", "farsii", "espanol", "swe", "est", "klingon", "isizulu")
    assert [nearest_language(name) for name in misspelt] == ["it", "pt", "fa", *[None] * 5]
