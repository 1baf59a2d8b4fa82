"""Speakers that the paths of recordings name."""

import time
from pathlib import Path

import pytest

from utils.data.archives.members import ArchiveMember
from utils.data.speakers import name_speakers, rule_problems
from utils.data.utterance import Audio, Reject, Source, Utterance
from utils.runtime.errors import UserError
from utils.runtime.problems import Problem

BAD = Reject("x.txt", 1, Problem("empty text", "nothing"))


def source_of(*audio: Audio, speaker: str | None = None) -> Source:
    return Source(
        [BAD, *[Utterance(f"u{n}", a, "ciao", "x", n, speaker=speaker) for n, a in enumerate(audio)]]
    )


def speakers(
    rule: str, *audio: Audio, top: Path = Path("corpus"), own: str | None = None
) -> list[str | None]:
    named = name_speakers(source_of(*audio, speaker=own), rule, top)
    first, *utterances = named.items
    assert first == BAD and named.speaker_rule == rule
    return [item.speaker for item in utterances if isinstance(item, Utterance)]


def test_folders():
    audio = [
        Path("corpus/class1/anna/1.wav"),
        Path("corpus/./class2/../class2/bo/1.wav"),
        Path("corpus/1.wav"),
        ArchiveMember(Path("corpus.zip"), "corpus/jose\u0301/1.wav"),
        Path("/elsewhere/eve/1.wav"),
        Path("corpus/../1.wav"),
        b"RIFF",
    ]
    assert speakers("folder", *audio) == ["anna", "bo", None, "jos\u00e9", "eve", None, None]


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        (r"(child\d+)_", ["child07", None]),
        (r"(class\d)/(?P<speaker>\w+?)_", ["child07", "ida"]),
        (r"^(class\d)", ["class1", "class2"]),
        (r"(x)?class1", [None, None]),  # the group takes no part
    ],
)
def test_patterns(rule, expected):
    audio = [Path("corpus/class1/child07_1.wav"), Path("corpus/class2/ida_1.wav")]
    if not any(expected):
        with pytest.raises(UserError, match=r"names no speaker in 2 paths, such as class1/child07_1\.wav"):
            speakers(rule, *audio)
    else:
        assert speakers(rule, *audio) == expected


def test_the_speakers_of_a_source_stay_where_the_path_names_none():
    audio = [Path("corpus/anna_1.wav"), Path("corpus/1.wav")]
    assert speakers(r"(\w+)_", *audio, own="tier 1") == ["anna", "tier 1"]


def test_paths_count_from_the_folder_of_a_manifest(tmp_path):
    (tmp_path / "corpus.jsonl").touch()
    assert speakers("^([^/]+)/", tmp_path / "anna/1.wav", top=tmp_path / "corpus.jsonl") == ["anna"]


def test_no_speaker_at_all():
    with pytest.raises(UserError, match=r"in 1 paths, such as 1\.wav; expected a folder for each"):
        speakers("folder", Path("corpus/1.wav"))
    with pytest.raises(UserError, match="gives the audio without its path"):
        speakers("folder", b"RIFF")


def test_a_pattern_that_would_take_years_is_refused():
    start = time.monotonic()
    with pytest.raises(UserError, match=r"takes over 1 s for the path a+!\.wav\. Simplify it"):
        speakers(r"^((a|aa)+)+$", Path(f"corpus/{'a' * 80}!.wav"))
    assert time.monotonic() - start < 10


@pytest.mark.parametrize(
    ("rule", "problem"),
    [
        ("(", "expected folder or a regular expression; missing )"),
        ("child", "expected a group in parentheses"),
    ],
)
def test_rules_that_are_none(rule, problem):
    (told,) = rule_problems(rule)
    assert problem in told
    assert rule_problems("folder") == rule_problems(r"(\d+)") == []
