"""Reads Asterisk's telephone prompts."""

import re
from collections.abc import Sequence
from pathlib import Path

from utils.data.fields import usable_text
from utils.data.sources.asterisk_download import fetch_prompts
from utils.data.utterance import Reject, Source, Utterance, check_any_usable
from utils.runtime.problems import BadItem, Problem
from utils.text.cleaning import clean_text

# Tones, which the Italian list describes in words without brackets.
TONE_PROMPTS = frozenset(
    ["beep", "beeperr", "ascending-2tone", "descending-2tone", "confbridge-join", "confbridge-leave"]
)

# Notes of the translators, not spoken: `(in inglese)`, `dollaro [$]`, `Il [suo] messaggio`.
PROMPT_NOTE = re.compile(r"\([^)]*\)|\[[^\]]*\]")


def read_asterisk(*, language: str) -> Source:
    """Read the prompts in a language. They are downloaded only once."""
    prompts = fetch_prompts(language)
    return read_prompts(
        prompts.folder, prompts.transcripts, credit=f"{prompts.credit}. Licence: {prompts.licence}"
    )


def read_prompts(folder: Path, transcripts: Sequence[tuple[str, str]], *, credit: str) -> Source:
    """Pair the Asterisk telephone prompts with their transcripts. Tones and silence are rejected.

    Args:
        folder: Folder of the `.g722` recordings, some in subfolders.
        transcripts: Pairs (key, text). A key is a recording's path in the folder without its extension.
        credit: The speaker and the licence, shown to the user.
    """
    recordings = {
        path.relative_to(folder).with_suffix("").as_posix(): path for path in sorted(folder.rglob("*.g722"))
    }
    keys = "|".join(re.escape(key) for key, _ in transcripts)
    run_together = re.compile(rf"(?<!\S)(?:{keys}): ")
    items = [
        _read_prompt(key, run_together.split(text.removeprefix(f"{key}: ")), recordings.get(key))
        for key, text in dict(transcripts).items()
    ]
    unlisted = sorted(recordings.keys() - dict(transcripts).keys())
    items += [
        Reject(f"{key}.g722", "file", Problem("no transcript", "not in the list of transcripts"))
        for key in unlisted
    ]
    check_any_usable(items, str(folder))
    return Source(items, len(items), credit=credit)


def _read_prompt(key: str, texts: list[str], audio: Path | None) -> Utterance | Reject:
    """Read one prompt.

    If it has several texts, a line of the list has several entries by mistake, and the prompt is rejected.
    """
    written, source = clean_text(texts[0]), f"{key}.g722"
    if audio is None:
        return Reject(source, "file", Problem("no recording", "there is a transcript but no recording"))
    if len(texts) > 1:
        return Reject(source, "file", Problem("faulty transcript", f"{len(texts)} prompts are in one line"))
    if re.fullmatch(r"[\[(<].*[\])>]", written) or key in TONE_PROMPTS or key.split("/")[0] == "silence":
        return Reject(source, "file", Problem("no speech", f"the transcript is {written!r}"))
    try:
        return Utterance(key, audio, usable_text(PROMPT_NOTE.sub(" ", written)), source, "file")
    except BadItem as error:
        return Reject(source, "file", error.problem)
