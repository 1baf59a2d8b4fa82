"""Readers of speech on this machine, a manifest, a folder, telephone prompts: utterances and rejects."""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from utils.audio import AUDIO_EXTENSIONS
from utils.errors import UserError
from utils.segmentation import BadLine, cut_transcript, is_timed, segment_problem
from utils.text import clean_text
from utils.utterances import (
    SPLITS,
    BadItem,
    Reject,
    Source,
    Utterance,
    check_any_usable,
    is_utf8,
    printable,
    read_extras,
    read_language,
    shown,
    split_name,
    text_problem,
)

# ---- manifest ----------------------------------------------------------------------------------------------


def read_manifest(path: Path) -> Source:
    """Read a JSONL manifest: one object a line with `audio` (relative to the manifest), `text` and more.

    Lines of one recording that name `start` and `end` are brought together, at the place of the first of
    them, so that the recording is decoded once.

    Raises:
        UserError: There is no such file, or no line of it is usable.
    """
    if not path.is_file():
        raise UserError(f"{path}: no such manifest. --input must name a JSONL file.")
    items: list[Utterance | Reject] = []
    with path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            if not line.strip():
                continue
            try:
                items.append(_read_manifest_line(line, path, number))
            except BadItem as problem:
                items.append(Reject(str(path), number, str(problem)))
    check_any_usable(items, str(path))
    return Source(_bring_recordings_together(items), len(items))


def _read_manifest_line(line: bytes, path: Path, number: int) -> Utterance:
    row = _parse_json_object(line)
    for key in ("audio", "text"):
        if key not in row:
            raise BadItem(f"missing key {key!r}: found {', '.join(map(repr, row)) or 'none'}")
    audio = _read_string(row, "audio")
    if not audio:
        raise BadItem("empty audio path: expected a path relative to the manifest")
    text = clean_text(_read_string(row, "text") or "")
    start, end = _read_times(row)
    split = _read_string(row, "split")
    if split and split_name(split) is None:
        raise BadItem(f"unknown split: {split!r}, expected {', '.join(SPLITS)}")
    if problem := text_problem(text):
        raise BadItem(problem)
    return Utterance(
        id=f"{printable(path.stem)}-{number:06d}",
        audio=path.parent / audio,
        text=text,
        source=str(path),
        position=number,
        start=start,
        end=end,
        language=read_language(_read_string(row, "language")),
        speaker=_read_string(row, "speaker"),
        group=_read_string(row, "group"),
        split=split_name(split) if split else None,
        extra=read_extras(row),
    )


def _parse_json_object(line: bytes) -> dict[str, object]:
    try:
        row = json.loads(line.decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        raise BadItem(f"not UTF-8: {error.reason} at byte {error.start}") from None
    except (ValueError, RecursionError) as error:
        raise BadItem(f"bad JSON: {error or 'nested too deeply'}") from None
    if not isinstance(row, dict):
        raise BadItem(f"bad JSON: found a {type(row).__name__}, expected an object {{...}}")
    return row


def _read_string(row: Mapping[str, object], key: str) -> str | None:
    value = row.get(key)
    if value is None and key not in ("audio", "text"):
        return None
    if key in ("speaker", "group") and isinstance(value, int) and not isinstance(value, bool):
        return str(value)  # speakers are often numbered
    if not isinstance(value, str):
        raise BadItem(f"wrong type of {key!r}: found {shown(value)}, expected text")
    if key != "text" and not is_utf8(value):
        raise BadItem(f"broken characters in {key!r}: half of a surrogate pair")
    return value


def _read_times(row: Mapping[str, object]) -> tuple[float | None, float | None]:
    values = {key: row[key] for key in ("start", "end") if row.get(key) is not None}
    for key, value in values.items():
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise BadItem(f"wrong type of {key!r}: found {shown(value)}, expected seconds as a number")
        if not 0 <= value < 1e9:  # also False for NaN
            raise BadItem(f"time out of range: {key} is {shown(value)}, expected seconds from 0")
    if not values:
        return None, None
    if len(values) == 1:
        there, lacking = ("start", "end") if "start" in values else ("end", "start")
        raise BadItem(f"{there} without {lacking}: give both or neither")
    start, end = float(values["start"]), float(values["end"])  # type: ignore[arg-type]
    if problem := segment_problem(start, end):
        raise BadItem(problem)
    return start, end


def _bring_recordings_together(items: list[Utterance | Reject]) -> list[Utterance | Reject]:
    """Stable order by the first line of each recording that is cut into segments."""
    first: dict[Path | bytes, int] = {}
    keys = []
    for index, item in enumerate(items):
        cut = isinstance(item, Utterance) and item.start is not None
        keys.append(first.setdefault(item.audio, index) if cut else index)  # type: ignore[union-attr]
    return [items[index] for index in sorted(range(len(items)), key=keys.__getitem__)]


# ---- folder ------------------------------------------------------------------------------------------------


def read_folder(folder: Path, *, min_segment_duration: float, max_duration: float) -> Source:
    """Read audio files and the `.txt` of the same stem beside each, in all subfolders.

    A text with tabs is a timed transcript and cut into segments (`utils.segmentation`), any other is the text
    of the whole file. Below subfolders named after splits (`train`, `dev`, `test` …) the split is given.

    Raises:
        UserError: There is no such folder, or nothing usable in it.
    """
    if not folder.is_dir():
        raise UserError(f"{folder}: no such folder. --input must name a folder of audio and .txt files.")
    files = sorted(path for path in folder.rglob("*") if not _is_hidden(path, folder) and path.is_file())
    recordings = [path for path in files if path.suffix.lower() in AUDIO_EXTENSIONS]
    transcripts = {path.with_suffix(""): path for path in files if path.suffix.lower() == ".txt"}
    items: list[Utterance | Reject] = []
    stems: dict[Path, Path] = {}
    for audio in recordings:
        stem, name = audio.with_suffix(""), printable(audio.relative_to(folder))
        if stem in stems:
            items.append(Reject(name, "file", f"two recordings of one stem: {stems[stem].name} is used"))
        elif stem not in transcripts:
            items.append(Reject(name, "file", f"no transcript: expected {stem.name}.txt beside it"))
        else:
            stems[stem] = audio
            items += _read_pair(audio, transcripts[stem], folder, min_segment_duration, max_duration)
    for stem, transcript in transcripts.items():
        if stem not in stems:
            name = printable(transcript.relative_to(folder))
            items.append(Reject(name, "file", f"no recording: expected {stem.name}.wav or another format"))
    if not items:
        raise UserError(f"{folder}: no audio and no .txt files found. Expected clip.wav beside clip.txt.")
    check_any_usable(items, str(folder))
    return Source(items, len(items))


def _read_pair(
    audio: Path, transcript: Path, folder: Path, min_segment_duration: float, max_duration: float
) -> Iterator[Utterance | Reject]:
    """The utterances of one recording and its transcript."""
    relative = audio.relative_to(folder)
    source, stem = printable(transcript.relative_to(folder)), printable(relative.with_suffix(""))
    split = split_name(relative.parts[0]) if len(relative.parts) > 1 else None
    try:
        text = transcript.read_bytes().decode("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        yield Reject(source, "file", f"unreadable transcript: {error}; save it as UTF-8")
        return
    if not is_timed(text):
        cleaned = clean_text(text)
        problem = text_problem(cleaned)
        whole = Utterance(stem, audio, cleaned, source, "file", split=split)
        yield Reject(source, "file", problem) if problem else whole
        return
    index = 0  # of the segments, as their clips are numbered
    for line in cut_transcript(text, min_segment_duration=min_segment_duration, max_duration=max_duration):
        problem = line.reason if isinstance(line, BadLine) else text_problem(line.text)
        if problem or isinstance(line, BadLine):
            yield Reject(source, line.line, str(problem))
            continue
        name = f"{stem}_segment_{index:03d}"
        yield Utterance(name, audio, line.text, source, line.line, line.start, line.end, split=split)
        index += 1


def _is_hidden(path: Path, folder: Path) -> bool:
    return any(part.startswith(".") for part in path.relative_to(folder).parts)


# ---- Asterisk prompts --------------------------------------------------------------------------------------


# Beeps, which the Italian list describes in words without brackets.
TONE_PROMPTS = frozenset(
    ["beep", "beeperr", "ascending-2tone", "descending-2tone", "confbridge-join", "confbridge-leave"]
)
# Remarks of the translators that nobody speaks: `(in inglese)`, `dollaro [$]`.
PROMPT_NOTE = re.compile(r"\([^)]*\)|\[\W*\]")


def read_prompts(folder: Path, transcripts: Sequence[tuple[str, str]], *, credit: str) -> Source:
    """Pair the Asterisk telephone prompts with their transcripts; tones and silence are rejected.

    Args:
        folder: Holds the `.g722` recordings, some in subfolders.
        transcripts: (key, text) pairs; a key is a recording's path below the folder without its extension.
        credit: Who spoke, and the licence; shown to the user.
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
    items += [Reject(f"{key}.g722", "file", "no transcript: the list does not name it") for key in unlisted]
    check_any_usable(items, str(folder))
    return Source(items, len(items), credit=credit)


def _read_prompt(key: str, texts: list[str], audio: Path | None) -> Utterance | Reject:
    """One prompt; several texts are several entries of the list that stand in one line."""
    written, source = clean_text(texts[0]), f"{key}.g722"
    if audio is None:
        return Reject(source, "file", "no recording: only the transcript is there")
    if len(texts) > 1:
        return Reject(source, "file", f"faulty transcript: {len(texts)} prompts stand in one line")
    if re.fullmatch(r"[\[(<].*[\])>]", written) or key in TONE_PROMPTS or key.split("/")[0] == "silence":
        return Reject(source, "file", f"no speech: the transcript is {written!r}")
    cleaned = clean_text(PROMPT_NOTE.sub(" ", written))
    if problem := text_problem(cleaned):
        return Reject(source, "file", problem)
    return Utterance(key, audio, cleaned, source, "file")
