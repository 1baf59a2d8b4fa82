"""Fields of items: names of languages."""

from utils.data.fields import whisper_language


def test_whisper_language():
    names = ["it", "IT", "Italian", "sv-SE", "zh_CN", "isizulu", ""]
    assert [whisper_language(name) for name in names] == ["it", "it", "it", "sv", "zh", None, None]
