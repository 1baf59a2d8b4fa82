"""Timed transcripts: files written by hand as the real programs write them, their quirks, and damage."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from utils.data.segmentation.pieces import BadPiece, Piece
from utils.data.transcripts.pieces import fit_words, is_sound_note, read_seconds
from utils.data.transcripts.timed_text import decode_transcript, is_timed, read_transcript
from utils.data.utterance import TimedText
from utils.runtime.problems import BadItem


def read(text: str, extension: str, tier: str | None = None) -> list[Piece | BadPiece]:
    return list(read_transcript(text, extension, tier=tier))


def brief(items: list[Piece | BadPiece]) -> list[tuple]:
    """(position, start, end, text), or (position, kind of reject)."""
    return [
        (item.position, item.start, item.end, item.text)
        if isinstance(item, Piece)
        else (item.position, item.problem.kind)
        for item in items
    ]


# ---- encodings ---------------------------------------------------------------------------------------------


def test_utf8_and_utf16_are_read():
    assert decode_transcript("\ufeffperché".encode()) == "perché"
    assert decode_transcript("perché".encode("utf-16")) == "perché"  # with a mark
    assert decode_transcript(b"\xfe\xff" + "perché".encode("utf-16-be")) == "perché"


@pytest.mark.parametrize("data", [b"perch\xe9", "perché".encode("utf-32"), b"ooBinaryFile\x08TextGrid\x00"])
def test_other_encodings_are_refused(data):
    with pytest.raises(BadItem, match=r"unreadable transcript: .*save it"):
        decode_transcript(data)


# ---- lines with tabs ---------------------------------------------------------------------------------------


def test_lines_become_pieces():
    text = "0.0\t1.5\tciao\n1.5\t3\tbella  gente\n3\t5\tuno\tdue\ttre"
    assert brief(read(text, ".txt")) == [
        (1, 0.0, 1.5, "ciao"),
        (2, 1.5, 3.0, "bella gente"),
        (3, 3.0, 5.0, "uno due tre"),
    ]


def test_blank_lines_and_line_ends_count_as_lines_but_not_as_items():
    assert [item.position for item in read("0\t1\ta\r\n\r\n \n1\t2\tb\r2\t3\tc", ".txt")] == [1, 4, 5]


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("0.0 1.5 ciao", "malformed line: found 0 tabs"),
        ("0.0\t1.5", "malformed line: found 1 tabs"),
        ("zero\t1.5\tciao", "malformed line: times 'zero'"),
        ("-1\t1.5\tciao", "malformed line"),
        ("nan\t1.5\tciao", "malformed line"),
        ("0\tinf\tciao", "malformed line"),
        ("0\t1e9\tciao", "time out of range"),
        ("2\t1\tciao", "end not after start"),
        ("1\t1\tciao", "end not after start"),
        ("0\t1\t  ", "empty text"),
        ("0\t1\t[Music]", "no speech"),
        ("0\t1\tciao <|endoftext|>", "control token"),
    ],
)
def test_unfit_lines_say_why(line, reason):
    (item,) = read(line, ".txt")
    assert isinstance(item, BadPiece) and str(item.problem).startswith(reason)


def test_decimal_commas():
    assert brief(read("0\t1,5\tciao, 2\n1,500\t2,25\tbella\n", ".txt")) == [
        (1, 0.0, 1.5, "ciao, 2"),
        (2, 1.5, 2.25, "bella"),
    ]
    (first, second) = read("998\t999\tciao\n999\t1,003\tbella\n", ".txt")  # 1003, or 1.003
    assert first.start == 998 and "'1,003', expected seconds with a point" in str(second.problem)


def test_audacity_labels():
    # a region, a spectral selection with its line of frequencies, a point label; Audacity writes six decimals
    text = "0.000000\t2.350000\tciao\n2.500000\t4.000000\tbella\n"
    text += "\\\t120.500000\t4000.000000\n5.000000\t5.000000\tqui\n"
    assert brief(read(text, ".labels")) == [
        (1, 0.0, 2.35, "ciao"),
        (2, 2.5, 4.0, "bella"),
        (4, "end not after start"),
    ]


@pytest.mark.parametrize(
    ("transcript", "timed"),
    [
        ("0.0\t1.5\tciao", True),
        ("ciao\tbella", True),
        ("0.0 1.5 ciao", True),
        ("0,0 1,5 ciao", True),
        ("ciao a tutti", False),
        ("3 2 1 via", False),
        ("ciao\t\n", False),
    ],
)
def test_is_timed(transcript, timed):
    assert is_timed(transcript) is timed


def test_read_seconds():
    assert [read_seconds(text) for text in ("1.5", " 2 ", "1e1", "-1", "inf", "x", "")] == [
        1.5, 2.0, 10.0, None, None, None, None,
    ]  # fmt: skip


@given(st.text())
def test_any_text_is_read_and_no_line_lost(transcript):
    lines = transcript.replace("\r\n", "\n").replace("\r", "\n").split("\n")
    expected = [n for n, line in enumerate(lines, 1) if line.strip() and not line.startswith("\\\t")]
    assert [item.position for item in read(transcript, ".txt")] == expected


times = st.floats(-5, 100) | st.sampled_from([float("nan"), float("inf")])


@given(st.lists(st.tuples(times, times, st.text(alphabet="ab \t", max_size=5))))
def test_every_line_keeps_the_rules(rows):
    items = read("\n".join(f"{start!r}\t{end!r}\t{text}" for start, end, text in rows), ".txt")
    assert len(items) == len(rows)
    for item, (start, end, text) in zip(items, rows, strict=True):
        assert isinstance(item, Piece) == (0 <= start < end < 1e9 and text.strip() != "")
        if isinstance(item, Piece):
            assert (item.start, item.end, item.text) == (start, end, " ".join(text.split()))


@pytest.mark.parametrize(
    "note", ["[Music]", "(laughter)", "*coughs*", "♪ la la la ♪", "♫", "(risate) [applausi]", "...", "- -"]
)
def test_sound_notes(note):
    assert is_sound_note(note)


@pytest.mark.parametrize(
    "text", ["ciao", "100 %", "(forse) sì", "[Anna] ciao", "你好", "ไทย", "*no* sì", "€"]
)
def test_speech_is_no_sound_note(text):
    assert not is_sound_note(text)


# ---- SubRip ------------------------------------------------------------------------------------------------

SRT = """1
00:00:01,000 --> 00:00:02,500
<i>Ciao</i>, {\\an8}bella
gente &amp; amici.

2
00:00:03,000 --> 00:00:04,000 X1:117 X2:619 Y1:042 Y2:428
- Come va?
- Bene. [ride]

3
00:00:05,000 --> 00:00:06,000
[MUSIC]

4
100:00:00,000 --> 100:00:01,500
<font color="#ffff00">Tardi</font>\\Ndavvero
"""

SRT_PIECES = [
    (2, 1.0, 2.5, "Ciao, bella gente & amici."),
    (7, 3.0, 4.0, "Come va? Bene."),
    (12, "no speech"),
    (16, 360000.0, 360001.5, "Tardi davvero"),
]


@pytest.mark.parametrize("line_end", ["\n", "\r\n", "\r"])
def test_srt(line_end):
    text = decode_transcript(b"\xef\xbb\xbf" + SRT.replace("\n", line_end).encode())
    assert brief(read(text, ".srt")) == SRT_PIECES


def test_srt_without_blank_lines_or_numbers():
    assert [row[1:] for row in brief(read(SRT.replace("\n\n", "\n"), ".srt"))] == [
        row[1:] for row in SRT_PIECES
    ]
    bare = "00:01.5 --> 00:02.5\nuno\n00:03,000-->00:04,000\ndue"
    assert brief(read(bare, ".srt")) == [(1, 1.5, 2.5, "uno"), (3, 3.0, 4.0, "due")]


def test_srt_text_with_empty_lines_and_numbers():
    text = "1\n00:00:01,000 --> 00:00:02,000\nuno\n\ndue\n\n2\n00:00:03,000 --> 00:00:04,000\n1984\n\n"
    assert brief(read(text, ".srt")) == [(2, 1.0, 2.0, "uno due"), (8, 3.0, 4.0, "1984")]


def test_damaged_srt_loses_nothing_silently():
    text = (
        "Titolo\n\n1\n00:00:01,000 -> 00:00:02,000\nfreccia\n\n2\n00:00:x3,000 --> 00:00:04,000\ntempo\n\n"
        "3\n00:00:05,000 --> 00:00:06,000\n\n4\n00:00:08,000 --> 00:00:07,000\nindietro\n\n"
        "5\n00:00:09,000 --> 00:00:10,000\nbuono <3 sempre\n\n6\n"
    )
    assert brief(read(text, ".srt")) == [
        (1, "malformed cue"),
        (4, "malformed line"),
        (8, "malformed line"),
        (12, "empty text"),
        (15, "end not after start"),
        (19, 9.0, 10.0, "buono <3 sempre"),
        (22, "malformed cue"),
    ]


def test_dashes_that_are_spoken_stay():
    text = "1\n00:00:01,000 --> 00:00:02,000\n-5 gradi\n>> Dice -\n— «Sì»"
    assert [item.text for item in read(text, ".srt")] == ["-5 gradi Dice - «Sì»"]


# ---- WebVTT ------------------------------------------------------------------------------------------------

VTT = """WEBVTT - Prova
Kind: captions
Language: it

STYLE
::cue { color: lime }

NOTE una nota
su due righe

intro
00:01.000 --> 00:02.500 align:start position:0%
<v Anna>Ciao <b>bella</b> &lt;gente&gt;</v>

NOTE

1
100:00:03.000 --> 100:00:04.000 line:0
<v.loud Bruno Rossi>Come va?

00:05.000 --> 00:06.000
<v Anna>Bene.</v>
<v Bruno Rossi>Anch'io.</v>

00:07.000 --> 00:08.000
♪ canzone ♪
"""


def test_vtt():
    found = read(VTT, ".vtt")
    assert brief(found) == [
        (12, 1.0, 2.5, "Ciao bella <gente>"),
        (18, 360003.0, 360004.0, "Come va?"),
        (21, 5.0, 6.0, "Bene. Anch'io."),
        (25, "no speech"),
    ]
    assert [item.speaker for item in found if isinstance(item, Piece)] == ["Anna", "Bruno Rossi", None]


def test_damaged_vtt_loses_nothing_silently():
    text = "WEBVTT\n\nsenza tempi\n\n00:01.000 --> 00:02.000\nuno\n\nperso\n\n00:03.000 --> nie\ndue\n"
    assert brief(read(text, ".vtt")) == [
        (3, "malformed cue"),
        (5, 1.0, 2.0, "uno"),
        (8, "malformed cue"),
        (10, "malformed line"),
    ]


YOUTUBE = """WEBVTT
Kind: captions
Language: en

00:00:00.160 --> 00:00:02.230 align:start position:0%
 
hello<00:00:00.640><c> everyone</c><00:00:01.120><c> welcome</c>

00:00:02.230 --> 00:00:02.240 align:start position:0%
hello everyone welcome
 

00:00:02.240 --> 00:00:04.150 align:start position:0%
hello everyone welcome
&gt;&gt; to<00:00:02.560><c> the</c><00:00:02.800><c> show</c>

00:00:04.150 --> 00:00:04.160 align:start position:0%
&gt;&gt; to the show
 

00:00:04.160 --> 00:00:05.000 align:start position:0%
&gt;&gt; to the show
okay

00:00:05.000 --> 00:00:06.000 align:start position:0%
okay
[Music]

00:00:06.000 --> 00:00:07.000 align:start position:0%
[Music]
bye<00:00:06.500><c> bye</c>
"""  # noqa: W293


@pytest.mark.parametrize("stripped", [False, True])
def test_rolling_captions_are_read_once(stripped):
    text = YOUTUBE.replace("\n \n", "\n\n") if stripped else YOUTUBE
    found = read(text, ".vtt")
    assert [row[1:] for row in brief(found)] == [
        (0.16, 2.23, "hello everyone welcome"),
        ("repeated text",),
        (2.24, 4.15, "to the show"),
        ("repeated text",),
        (4.16, 5.0, "okay"),
        ("no speech",),
        (6.0, 7.0, "bye bye"),
    ]
    assert [(w.start, w.end, w.text.strip()) for w in found[0].words] == [
        (0.16, 0.64, "hello"),
        (0.64, 1.12, "everyone"),
        (1.12, 2.23, "welcome"),
    ]
    assert [w.text.strip() for w in found[2].words] == ["to", "the", "show"]


# as yt-dlp --convert-subs srt writes them
CONVERTED = """1
00:00:00,160 --> 00:00:02,230
 
hello everyone welcome

2
00:00:02,230 --> 00:00:02,240
hello everyone welcome
 

3
00:00:02,240 --> 00:00:04,150
hello everyone welcome
to the show

4
00:00:04,150 --> 00:00:04,160
to the show
 

5
00:00:04,160 --> 00:00:05,000
to the show
okay
"""  # noqa: W293


@pytest.mark.parametrize("stripped", [False, True])
def test_rolling_captions_in_srt_are_read_once(stripped):
    text = CONVERTED.replace("\n \n", "\n\n") if stripped else CONVERTED
    assert [row[1:] for row in brief(read(text, ".srt"))] == [
        (0.16, 2.23, "hello everyone welcome"),
        ("repeated text",),
        (2.24, 4.15, "to the show"),
        ("repeated text",),
        (4.16, 5.0, "okay"),
    ]


@pytest.mark.parametrize(
    "lines",
    [
        ["no", "no", "vieni qui", "vieni qui\nda me", "no", "che cosa", "no", "addio"],
        ["la la la", "la la la", "la la la", "la la la", "la la la", "ciao"],
    ],
)
def test_a_line_said_twice_is_no_rolling_caption(lines):
    cues = [f"{n}\n00:00:{n:02},000 --> 00:00:{n:02},900\n{line}\n" for n, line in enumerate(lines)]
    said = [line.replace("\n", " ") for line in lines]
    assert [row[3] for row in brief(read("\n".join(cues), ".srt"))] == said


# fmt: off
subtitle_lines = st.sampled_from([
    "", " ", "1", "22", "ciao", "NOTE x", "WEBVTT", "00:01.000 --> 00:02.000", "[x]", "<v Anna>sì", "STYLE",
    "00:00:03,000 --> 00:00:04,000", "00:05.000 --> x", "00:00:01,000 -> 00:00:02,000", "una<00:01.500> cosa",
])
# fmt: on


@given(st.lists(subtitle_lines, max_size=15), st.sampled_from([".srt", ".vtt"]))
def test_every_time_line_is_an_item(lines, extension):
    found = read("\n".join(lines), extension)
    positions = [item.position for item in found]
    timed = [number for number, line in enumerate(lines, 1) if "->" in line]
    assert positions == sorted(set(positions)) and set(timed) <= set(positions)


# ---- Praat -------------------------------------------------------------------------------------------------

LONG_TEXTGRID = """File type = "ooTextFile"
Object class = "TextGrid"

xmin = 0 
xmax = 6.5 
tiers? <exists> 
size = 3 
item []: 
    item [1]:
        class = "IntervalTier" 
        name = "Anna" 
        xmin = 0 
        xmax = 6.5 
        intervals: size = 3 
        intervals [1]:
            xmin = 0 
            xmax = 1.25 
            text = "" 
        intervals [2]:
            xmin = 1.25 
            xmax = 2.5 
            text = "Ha detto ""ciao"" e item [2]: 
xmin = 7 su due righe" 
        intervals [3]:
            xmin = 2.5 
            xmax = 6.5 
            text = "   " 
    item [2]:
        class = "TextTier" 
        name = "eventi" 
        xmin = 0 
        xmax = 6.5 
        points: size = 1 
        points [1]:
            number = 3.3 
            mark = "porta" 
    item [3]:
        class = "IntervalTier" 
        name = "Bruno" 
        xmin = 0 
        xmax = 6.5 
        intervals: size = 2 
        intervals [1]:
            xmin = 0 
            xmax = 3.5 
            text = "sp" 
        intervals [2]:
            xmin = 3.5 
            xmax = 6.5 
            text = "Sì!" 
"""  # noqa: W291

SHORT_TEXTGRID = """File type = "ooTextFile"
Object class = "TextGrid"

0
6.5
<exists>
3
"IntervalTier"
"Anna"
0
6.5
3
0
1.25
""
1.25
2.5
"Ha detto ""ciao"" e item [2]: 
xmin = 7 su due righe"
2.5
6.5
"   "
"TextTier"
"eventi"
0
6.5
1
3.3
"porta"
"IntervalTier"
"Bruno"
0
6.5
2
0
3.5
"sp"
3.5
6.5
"Sì!"
"""  # noqa: W291


@pytest.mark.parametrize("text", [LONG_TEXTGRID, SHORT_TEXTGRID, LONG_TEXTGRID.replace("\n", "\r\n")])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
def test_textgrid(text, encoding):
    found = read(decode_transcript(text.encode(encoding)), ".textgrid")
    assert brief(found) == [
        ("tier 'eventi'", "tier not read"),
        ("tier 'Anna', interval 2", 1.25, 2.5, 'Ha detto "ciao" e item [2]: xmin = 7 su due righe'),
        ("tier 'Bruno', interval 2", 3.5, 6.5, "Sì!"),
    ]
    assert [item.speaker for item in found[1:]] == ["Anna", "Bruno"]


def test_tiers_of_a_textgrid_by_name():
    (piece,) = read(LONG_TEXTGRID, ".textgrid", tier="Bruno")
    assert piece.text == "Sì!" and piece.speaker is None
    assert len(read(LONG_TEXTGRID, ".textgrid", tier="[AB]*")) == 2
    assert brief(read(LONG_TEXTGRID, ".textgrid", tier="eventi")) == [("tier 'eventi'", "tier not read")]
    with pytest.raises(BadItem, match="no such tier: 'Carla'; found 'Anna', 'eventi', 'Bruno'"):
        read(LONG_TEXTGRID, ".textgrid", tier="Carla")


def test_sounds_of_an_aligner_are_not_read():
    aligned = LONG_TEXTGRID.replace('"Anna"', '"Anna - words"').replace('"Bruno"', '"Anna - phones"')
    found = read(aligned, ".textgrid")
    assert [item.position for item in found if isinstance(item, BadPiece)] == [
        "tier 'eventi'",
        "tier 'Anna - phones'",
    ]
    assert [item.speaker for item in found if isinstance(item, Piece)] == [None]
    assert [item.text for item in read(aligned, ".textgrid", tier="Anna - phones")] == ["Sì!"]


def test_textgrid_as_elan_writes_it():
    # no colon behind the number of an item, no header comments, a tier that begins after 0
    text = LONG_TEXTGRID.replace("item [1]:", "item[1]:").replace("intervals [2]:", "intervals [2]")
    assert len(read(text, ".textgrid")) == 3


def test_damaged_textgrids():
    cut = LONG_TEXTGRID[: LONG_TEXTGRID.index("            xmin = 3.5")]
    assert brief(read(cut, ".textgrid"))[-1] == ("tier 'Bruno'", "damaged tier")
    assert "expected 2 intervals as in its head, found 1" in str(read(cut, ".textgrid")[-1].problem)
    with pytest.raises(BadItem, match="not a TextGrid"):
        read("ciao", ".textgrid")
    with pytest.raises(BadItem, match="damaged TextGrid: tier 1 has no name or no times"):
        read('"ooTextFile"\n"TextGrid"\n0 1 <exists> 1 "IntervalTier" 3', ".textgrid")
    hostile = '"ooTextFile" "TextGrid" 0 1 <exists> 1 "IntervalTier" "a" 0 1 1e300 0 1 "x" ' + '"' * 1001
    assert brief(read(hostile, ".textgrid"))[0] == ("tier 'a', interval 1", 0.0, 1.0, "x")


# ---- ELAN --------------------------------------------------------------------------------------------------

EAF = """<?xml version="1.0" encoding="UTF-8"?>
<ANNOTATION_DOCUMENT AUTHOR="" DATE="2024-05-06T10:00:00+01:00" FORMAT="3.0" VERSION="3.0"
    xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance"
    xsi:noNamespaceSchemaLocation="http://www.mpi.nl/tools/elan/EAFv3.0.xsd">
    <HEADER MEDIA_FILE="" TIME_UNITS="milliseconds">
        <MEDIA_DESCRIPTOR MEDIA_URL="file:///a.wav" MIME_TYPE="audio/x-wav"/>
        <PROPERTY NAME="lastUsedAnnotationId">9</PROPERTY>
    </HEADER>
    <TIME_ORDER>
        <TIME_SLOT TIME_SLOT_ID="ts1" TIME_VALUE="780"/>
        <TIME_SLOT TIME_SLOT_ID="ts2"/>
        <TIME_SLOT TIME_SLOT_ID="ts3" TIME_VALUE="1590"/>
        <TIME_SLOT TIME_SLOT_ID="ts4" TIME_VALUE="2000"/>
        <TIME_SLOT TIME_SLOT_ID="ts5" TIME_VALUE="3500"/>
    </TIME_ORDER>
    <TIER LINGUISTIC_TYPE_REF="utt" PARTICIPANT="Anna" TIER_ID="ref@A">
        <ANNOTATION>
            <ALIGNABLE_ANNOTATION ANNOTATION_ID="a1" TIME_SLOT_REF1="ts1" TIME_SLOT_REF2="ts3">
                <ANNOTATION_VALUE>perché &quot;no&quot; &lt;eh&gt;</ANNOTATION_VALUE>
            </ALIGNABLE_ANNOTATION>
        </ANNOTATION>
    </TIER>
    <TIER LINGUISTIC_TYPE_REF="utt" TIER_ID="ref@B">
        <ANNOTATION>
            <ALIGNABLE_ANNOTATION ANNOTATION_ID="a2" TIME_SLOT_REF1="ts4" TIME_SLOT_REF2="ts5">
                <ANNOTATION_VALUE>sì</ANNOTATION_VALUE>
            </ALIGNABLE_ANNOTATION>
        </ANNOTATION>
        <ANNOTATION>
            <ALIGNABLE_ANNOTATION ANNOTATION_ID="a3" TIME_SLOT_REF1="ts5" TIME_SLOT_REF2="ts5">
                <ANNOTATION_VALUE></ANNOTATION_VALUE>
            </ALIGNABLE_ANNOTATION>
        </ANNOTATION>
    </TIER>
    <TIER LINGUISTIC_TYPE_REF="tx" PARENT_REF="ref@A" TIER_ID="words@A">
        <ANNOTATION>
            <REF_ANNOTATION ANNOTATION_ID="a5" ANNOTATION_REF="a1" PREVIOUS_ANNOTATION="a4">
                <ANNOTATION_VALUE>no</ANNOTATION_VALUE>
            </REF_ANNOTATION>
        </ANNOTATION>
        <ANNOTATION>
            <REF_ANNOTATION ANNOTATION_ID="a4" ANNOTATION_REF="a1">
                <ANNOTATION_VALUE>perché</ANNOTATION_VALUE>
            </REF_ANNOTATION>
        </ANNOTATION>
    </TIER>
    <TIER LINGUISTIC_TYPE_REF="gl" PARENT_REF="words@A" TIER_ID="gloss@A">
        <ANNOTATION>
            <REF_ANNOTATION ANNOTATION_ID="a6" ANNOTATION_REF="a5">
                <ANNOTATION_VALUE>NEG</ANNOTATION_VALUE>
            </REF_ANNOTATION>
        </ANNOTATION>
    </TIER>
    <TIER LINGUISTIC_TYPE_REF="parts" PARENT_REF="ref@A" TIER_ID="parts@A">
        <ANNOTATION>
            <ALIGNABLE_ANNOTATION ANNOTATION_ID="a7" TIME_SLOT_REF1="ts1" TIME_SLOT_REF2="ts2">
                <ANNOTATION_VALUE>per</ANNOTATION_VALUE>
            </ALIGNABLE_ANNOTATION>
        </ANNOTATION>
        <ANNOTATION>
            <ALIGNABLE_ANNOTATION ANNOTATION_ID="a8" TIME_SLOT_REF1="ts2" TIME_SLOT_REF2="ts3">
                <ANNOTATION_VALUE>ché</ANNOTATION_VALUE>
            </ALIGNABLE_ANNOTATION>
        </ANNOTATION>
    </TIER>
    <TIER LINGUISTIC_TYPE_REF="utt" TIER_ID="vuoto"/>
    <LINGUISTIC_TYPE GRAPHIC_REFERENCES="false" LINGUISTIC_TYPE_ID="utt" TIME_ALIGNABLE="true"/>
</ANNOTATION_DOCUMENT>
"""


def test_eaf():
    found = read(EAF, ".eaf")
    assert brief(found) == [
        ("tier 'words@A'", "tier not read"),
        ("tier 'gloss@A'", "tier not read"),
        ("tier 'parts@A'", "tier not read"),
        ("a1", 0.78, 1.59, 'perché "no" <eh>'),
        ("a2", 2.0, 3.5, "sì"),
        ("a3", "end not after start"),
    ]
    assert [item.speaker for item in found if isinstance(item, Piece)] == ["Anna", "ref@B"]


def test_dependent_tiers_of_an_eaf():
    assert brief(read(EAF, ".eaf", tier="words@*")) == [("a4", 0.78, 1.59, "perché no")]
    assert brief(read(EAF, ".eaf", tier="gloss@A")) == [("a6", 0.78, 1.59, "NEG")]
    assert brief(read(EAF, ".eaf", tier="parts@A")) == [("a7", "no times"), ("a8", "no times")]
    with pytest.raises(BadItem, match="no such tier: 'x'; found 'ref@A'"):
        read(EAF, ".eaf", tier="x")


def test_eaf_whose_recording_begins_elsewhere():
    shifted = EAF.replace('MIME_TYPE="audio/x-wav"', 'MIME_TYPE="audio/x-wav" TIME_ORIGIN="500"')
    assert read(shifted, ".eaf", tier="ref@A")[0].start == 1.28
    twice = shifted.replace("<PROPERTY", '<MEDIA_DESCRIPTOR MEDIA_URL="b" MIME_TYPE="video/mp4"/><PROPERTY')
    with pytest.raises(BadItem, match="several time origins"):
        read(twice, ".eaf")


def test_references_that_lead_nowhere():
    assert brief(read(EAF.replace('ANNOTATION_REF="a1"', 'ANNOTATION_REF="zz"'), ".eaf", tier="words@A")) == [
        ("a4", "no times"),
        ("a5", "no times"),
    ]
    circle = EAF.replace('ANNOTATION_REF="a1" PREV', 'ANNOTATION_REF="a6" PREV')
    assert brief(read(circle, ".eaf", tier="gloss@A")) == [("a6", "no times")]
    chain = EAF.replace('"a4" ANNOTATION_REF="a1"', '"a4" ANNOTATION_REF="a1" PREVIOUS_ANNOTATION="a5"')
    assert brief(read(chain, ".eaf", tier="words@A")) == [("a5", 0.78, 1.59, "no perché")]


BOMB = '<!DOCTYPE x [<!ENTITY a "ha"><!ENTITY b "&a;&a;&a;&a;">]>'
OUTSIDE = '<!DOCTYPE x [<!ENTITY a SYSTEM "file:///etc/passwd">]>'


@pytest.mark.parametrize("declaration", [BOMB, OUTSIDE, '<!DOCTYPE x SYSTEM "http://localhost/x.dtd">'])
def test_xml_with_a_document_type_is_refused(declaration):
    head, body = EAF.split("?>", 1)
    with pytest.raises(BadItem, match="bad XML: found a document type declaration"):
        read(f"{head}?>{declaration}{body.replace('sì', '&b;')}", ".eaf")


def test_eaf_that_is_none():
    for text, reason in [
        ("", "bad XML"),
        ("<a>", "bad XML"),
        ("<a/>", "not an ELAN file: found <a>"),
        (EAF.replace("milliseconds", "PAL-frames"), "unknown time unit: 'PAL-frames'"),
        (EAF.replace('ANNOTATION_ID="a2"', 'ANNOTATION_ID="a1"'), "damaged ELAN file"),
        (EAF.replace("sì", "&unknown;"), "bad XML"),
    ]:
        with pytest.raises(BadItem, match=reason):
            read(text, ".eaf")
    assert (
        brief(read(f"<ANNOTATION_DOCUMENT>{'<x>' * 9999}{'</x>' * 9999}</ANNOTATION_DOCUMENT>", ".eaf")) == []
    )


# ---- Whisper -----------------------------------------------------------------------------------------------


def test_openai_whisper_json():
    words = [
        {"word": " Ciao,", "start": 0.0, "end": 0.4, "probability": 0.9},
        {"word": " bella.", "start": 0.5, "end": 1.2, "probability": 0.8},
    ]
    segment = {
        "id": 0,
        "seek": 0,
        "start": 0.0,
        "end": 1.2,
        "text": " Ciao, bella.",
        "tokens": [50364],
        "words": words,
    }
    document = {"text": " Ciao, bella. Sì.", "language": "it"}
    document["segments"] = [segment, {"start": 2, "end": 3, "text": " Sì.", "words": []}]
    first, second = read(json.dumps(document), ".json")
    assert first == Piece(
        "segment 1",
        0.0,
        1.2,
        "Ciao, bella.",
        None,
        (TimedText(0, 0.4, " Ciao,"), TimedText(0.5, 1.2, " bella.")),
    )
    assert second == Piece("segment 2", 2.0, 3.0, "Sì.")
    # faster-whisper has no file of its own; people dump its list of segments
    assert read(json.dumps(document["segments"]), ".json") == [first, second]


def test_whisperx_json():
    words = [
        {"word": "In", "start": 0.1, "end": 0.2, "score": 0.9, "speaker": "SPEAKER_01"},
        {"word": "1984"},
        {"word": "nacque.", "start": 1.0, "end": 1.5, "score": 0.9},
    ]
    segment = {"start": 0.1, "end": 1.5, "text": " In 1984 nacque.", "words": words, "speaker": "SPEAKER_01"}
    (piece,) = read(json.dumps({"segments": [segment], "word_segments": words}), ".json")
    assert piece.speaker == "SPEAKER_01"
    assert piece.words == (TimedText(0.1, 0.2, "In 1984"), TimedText(1.0, 1.5, " nacque."))


def test_whisper_cpp_and_transformers_json():
    timed = {
        "timestamps": {"from": "00:00:01,000", "to": "00:00:02,500"},
        "offsets": {"from": 1000, "to": 2500},
    }
    document = {
        "systeminfo": "AVX = 1",
        "result": {"language": "it"},
        "transcription": [timed | {"text": " Ciao"}],
    }
    assert read(json.dumps(document), ".json") == [Piece("segment 1", 1.0, 2.5, "Ciao")]
    chunks = [{"timestamp": [0.0, 2.0], "text": " Ciao"}, {"timestamp": [2.0, None], "text": " poi"}]
    found = read(json.dumps({"text": " Ciao poi", "chunks": chunks}), ".json")
    assert brief(found) == [("segment 1", 0.0, 2.0, "Ciao"), ("segment 2", "malformed segment")]


def test_times_of_json_as_text():
    found = read(
        '[{"start": "0,5", "end": "1.5", "text": "a"}, {"start": 2, "end": "3,000", "text": "b"}]', ".json"
    )
    assert brief(found) == [("segment 1", 0.5, 1.5, "a"), ("segment 2", "malformed segment")]


def test_json_that_is_no_transcript():
    for text in ("{", "[" * 100_000, '{"a": 1}', "3", '{"segments": {}}', "1" * 5000):
        with pytest.raises(BadItem, match=r"bad JSON|not a Whisper transcript"):
            read(text, ".json")
    bad = [
        3,
        {"start": True, "end": 1, "text": "a"},
        {"start": 0, "end": 1},
        {"start": 0, "end": 1e300, "text": "a"},
    ]
    found = read(json.dumps(bad) + "\n", ".json")
    assert [item.problem.kind for item in found] == ["malformed segment"] * 4
    (item,) = read('[{"start": 0, "end": NaN, "text": "a"}]', ".json")
    assert str(item.problem).startswith("malformed segment: keys 'start', 'end', 'text'")


@pytest.mark.parametrize(
    "words",
    [
        [(0, 1, "altro")],  # another text
        [(5, 6, "uno"), (6, 7, "due")],  # far outside the piece
        [(1, 2, "uno"), (0, 1, "due")],  # not in order
        [],
    ],
)
def test_words_that_do_not_fit_are_left_out(words):
    assert fit_words([TimedText(*word) for word in words], 0, 2, "uno due") == ()


def test_words_are_brought_into_their_piece_and_apart():
    words = [TimedText(-0.1, 1.2, "uno"), TimedText(1.0, 2.3, "due")]
    assert fit_words(words, 0, 2, "uno due") == (TimedText(0, 1.0, "uno"), TimedText(1.0, 2, " due"))
