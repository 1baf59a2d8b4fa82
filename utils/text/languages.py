"""Names of languages and their codes in Whisper."""

import difflib
import re
from functools import lru_cache

_OTHER_NAMES = {
    **{"farsi": "fa", "dari": "fa", "bangla": "bn", "filipino": "tl", "pilipino": "tl", "kiswahili": "sw"},
    **{"bokmål": "no", "bokmal": "no", "putonghua": "zh", "galego": "gl", "euskara": "eu"},
    **{"cmn": "zh", "fil": "tl", "pes": "fa", "prs": "fa"},  # ISO 639-3
    **{"nb": "no", "jv": "jw", "iw": "he"},  # ISO 639-1
}
"""Names and codes in use, which Whisper's own table does not have."""

_FEWEST_LETTERS = 5  # of a misspelt name: of shorter ones, another language is as near

_NEAR = 0.75  # of the letters, as `difflib` counts: farsi and faroese agree in 0.67


@lru_cache(maxsize=1024)
def whisper_language(name: str) -> str | None:
    """Return Whisper's code for a code, a locale (`sv-SE`) or an English name (`Swedish`, `Farsi`), or None.

    A few other names and codes are known too, such as `flemish` and `cmn`.
    """
    from transformers.models.whisper.tokenization_whisper import LANGUAGES, TO_LANGUAGE_CODE

    lower = name.strip().lower()
    known = {**dict(zip(LANGUAGES, LANGUAGES, strict=True)), **TO_LANGUAGE_CODE, **_OTHER_NAMES}
    return known.get(lower) or known.get(re.split(r"[-_]", lower)[0])


def nearest_language(name: str) -> str | None:
    """Return Whisper's code for a misspelt name of a language, or None."""
    from transformers.models.whisper.tokenization_whisper import TO_LANGUAGE_CODE

    codes = {**TO_LANGUAGE_CODE, **_OTHER_NAMES}
    names = [known for known in codes if len(known) >= _FEWEST_LETTERS]
    near = difflib.get_close_matches(name.strip().lower(), names, n=1, cutoff=_NEAR)
    return codes[near[0]] if near else None
