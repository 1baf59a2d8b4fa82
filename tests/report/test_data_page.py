"""The page and the summary made of numbers by hand and real prompts; a real browser opens the page."""

import base64
import io
import json
import re
import unicodedata
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from tests.support.pages import BROWSER_FLAGS, HOSTILE, RIGHT_TO_LEFT, Page, looked_at, tone
from utils.audio.flac import SAMPLE_RATE, decode_flac, encode_flac
from utils.data.data_report import (
    CharacterCount,
    Characters,
    DataReport,
    Distribution,
    NamedHours,
    SplitReport,
    Statistics,
    read_data_report,
    write_data_report,
)
from utils.data.dataset_statistics import StatisticsCounter
from utils.report.advice import OTHER_ADVICE, advice_for
from utils.report.data_page import EXAMPLES_PER_REASON, KEPT_EXAMPLES, write_html
from utils.report.data_summary import print_summary, text_histogram, trimmed
from utils.report.players import MOST_AUDIO_CHARACTERS, AudioExample

BROWSER_FLAGS += ["--disable-background-networking", "--disable-component-update"]


@cache
def build_statistics() -> Statistics:
    """600 clips of 0.5 to 12 s, most of them short, of nine speakers and two groups."""
    counter, random = StatisticsCounter(), np.random.default_rng(7)
    sentence = "buongiorno il numero chiamato non è raggiungibile, la preghiamo di attendere. Città più"
    words = sentence.split()
    for number in range(600):
        duration = float(np.clip(random.lognormal(1.0, 0.6), 0.5, 29))
        text = " ".join(random.choice(words, max(1, round(duration * 2.2))))
        counter.add(
            text=text + ("\u200c" if number == 3 else ""),
            duration=duration,
            split=("train", "train", "train", "validation", "test")[number % 5],
            num_tokens=4 + round(len(text) / 2.8),
            language="it",
            speaker=HOSTILE if number % 40 == 0 else f"speaker {number % 9}" if number % 7 else None,
            group=("telefono", RIGHT_TO_LEFT)[number % 2],
        )
    return counter.describe()


def build_report(**changes) -> DataReport:
    split = SplitReport(
        utterances=360, hours=0.31, mean_duration=3.1, longest=14.23, distinct_texts=351, speakers=9
    )
    values = {
        "seen": 660,
        "kept": 600,
        "rejected": 60,
        "hours": 0.512,
        "splits": dict.fromkeys(("train", "validation", "test"), split),
        "reasons": {"too long": 40, "no such file": 17, HOSTILE: 3},
        "split_by": "speaker",
        "shared_speakers": 2,
        "shared_recordings": 0,
        "shared_texts": 5,
        "leaked_utterances": 7,
        "credit": f"Carlo Flora (CC BY 3.0) {HOSTILE}",
        "notes": ("The split test.other was left out.",),
        "statistics": build_statistics(),
    }
    return DataReport(**(values | changes))


def rejects(flac: bytes | None) -> dict[str, list[AudioExample]]:
    long = [
        AudioExample(
            f"clips/{n}.wav, line {n}", "Una frase molto lunga.", flac, f"too long: {31 + n} s, expected 30 s"
        )
        for n in range(8)
    ]
    missing = AudioExample(f"missing\udcff{HOSTILE}.wav", None, None, "no such file: missing.wav")
    broken = AudioExample("x.wav", HOSTILE, b"not audio", f"{HOSTILE}: details")
    return {"too long": long, "no such file": [missing], HOSTILE: [broken]}


@pytest.fixture
def written(tmp_path):
    """A function that writes a page and reads it back."""

    def write(report=None, kept=(), rejected=None, name="it", next_command="train") -> Page:
        write_html(
            tmp_path / "it" / "data_report.html",
            report or build_report(),
            kept,
            rejected or {},
            name=name,
            next_command=next_command,
        )
        assert [path.name for path in (tmp_path / "it").iterdir()] == ["data_report.html"]
        return Page((tmp_path / "it/data_report.html").read_text(encoding="utf-8"))

    return write


def test_foreign_text_is_only_text(written):
    page = written(
        kept=[AudioExample(RIGHT_TO_LEFT, HOSTILE, tone(1), HOSTILE)],
        rejected=rejects(tone(1)),
        name=HOSTILE,
        next_command=f"python train.py {HOSTILE}",
    )
    assert not page.find("script") and not page.find("img") and not page.find("link")
    names = {name for _, attributes in page.elements for name in attributes}
    assert not {name for name in names if name.startswith("on")} and "style" not in names
    # title, heading, kept text and detail, reason and example, speaker, command, credit
    assert "".join(page.texts).count(HOSTILE) >= 9
    shown = "".join(page.texts)
    assert RIGHT_TO_LEFT in shown and "missing?" in shown


def test_the_page_needs_nothing_else(written):
    page = written(kept=[AudioExample("a", "ciao", tone(1), "train")], rejected=rejects(tone(1)))
    addresses = [
        a[key]
        for _, a in page.elements
        for key in ("src", "href", "action", "data", "xlink:href")
        if key in a
    ]
    assert addresses and all(re.match(r"#|data:audio/flac;base64,", address) for address in addresses)
    policy = next(m["content"] for m in page.find("meta") if m.get("http-equiv") == "Content-Security-Policy")
    rules = dict(rule.strip().split(" ", 1) for rule in policy.split(";"))
    assert rules["default-src"] == "'none'" and rules["media-src"] == "data:"
    assert rules["base-uri"] == rules["form-action"] == "'none'"
    assert re.fullmatch(r"'sha256-[A-Za-z0-9+/]{43}='", rules["style-src"])


def test_foreign_text_does_not_turn_what_stands_around_it(written):
    names = replace(build_statistics().languages, distinct=2, largest=[NamedHours(RIGHT_TO_LEFT, 1.0)] * 2)
    report = build_report(
        statistics=replace(build_statistics(), languages=names),
        credit=RIGHT_TO_LEFT,
        notes=(RIGHT_TO_LEFT,),
        reasons={RIGHT_TO_LEFT: 60},
    )
    example = AudioExample(RIGHT_TO_LEFT, RIGHT_TO_LEFT, tone(1), RIGHT_TO_LEFT)
    page = written(report, [example], {RIGHT_TO_LEFT: [example]}, name=RIGHT_TO_LEFT)
    assert page.is_isolated(RIGHT_TO_LEFT)
    assert all(a["dir"] == "auto" for a in page.find("p") if a.get("class") == "text")
    assert "2 languages" in page.cells


def test_one_language_has_no_table(written):
    assert "language" not in [heading.lower() for heading in written().cells.split("|")]


def test_the_commonest_reasons_are_unfolded(written):
    reasons = {f"reason {n}": 20 - n for n in range(6)}
    rejected = {kind: [AudioExample("a", "b", None, "c")] for kind in reasons if kind != "reason 1"}
    page = written(build_report(reasons=reasons, rejected=sum(reasons.values())), rejected=rejected)
    folds = [a for a in page.find("details") if a["class"] == "reason"]
    assert ["open" in fold for fold in folds] == [True, True, True, False, False]


def test_rare_characters_are_marked_where_there_are_many(written):
    def marked(total: int) -> list[str]:
        counts = [CharacterCount("a", total - 4), CharacterCount("b", 4), CharacterCount("ñ", 3)]
        characters = Characters(distinct=3, total=total, counts=counts, count_of_others=0)
        page = written(build_report(statistics=replace(build_statistics(), characters=characters)))
        return [a["title"].split()[0] for a in page.find("li") if a.get("class") == "rare"]

    assert marked(5000) == ["U+00F1"] and marked(4999) == []


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({}, "If splits share speakers or sentences, the model seems better than it is."),
        ({"shared_texts": 0, "shared_speakers": 0, "seen": 660}, "Listen to some of the clips below"),
        ({"shared_texts": 0, "shared_speakers": 0, "seen": 599}, "More than a tenth was rejected."),
    ],
)
def test_the_next_step_fits_what_was_found(written, changes, words):
    steps = ("If splits share", "Listen to some", "More than a tenth")
    cells = written(build_report(**changes)).cells
    assert words in cells and sum(step in cells for step in steps) == 1


def test_advice_fits_the_beginning_of_the_kind():
    assert advice_for("label too long") != advice_for("too long") == advice_for("too long: x")
    assert advice_for("far too long") == OTHER_ADVICE


def test_players_wait_to_be_asked(written):
    (player,) = written(kept=[AudioExample("a", "ciao", tone(1), "")]).find("audio")
    assert set(player) == {"controls", "preload", "aria-label", "src"} and player["preload"] == "metadata"


def test_identifiers_and_labels_fit(written):
    page = written(kept=[AudioExample("a", "ciao", tone(1), "train")], rejected=rejects(tone(1)))
    ids = [attributes["id"] for _, attributes in page.elements if "id" in attributes]
    assert len(ids) == len(set(ids))
    for _, attributes in page.elements:
        assert set(attributes.get("aria-labelledby", "").split()) <= set(ids)
        if attributes.get("href", "").startswith("#"):
            assert attributes["href"][1:] in ids
    charts = [a for a in page.find("svg") if a.get("role") == "img"]
    assert len(charts) == 3 and all(chart["aria-labelledby"] for chart in charts)
    assert [chart.title for chart in page.charts()] == [
        "Duration of clips",
        "Tokens of a label",
        "Speech rate",
    ]
    assert len(page.find("caption")) == len(page.find("table"))
    sections = ["summary", "splits", "lengths", "silence", "people", "characters", "rejects", "listen"]
    assert [section["id"] for section in page.find("section")] == sections


def test_a_next_step_that_runs_by_itself_has_no_command(written, monkeypatch):
    monkeypatch.setenv("NEXT_IS_AUTOMATIC", "1")
    assert "accelerate launch train.py" not in "".join(
        written(next_command="accelerate launch train.py").texts
    )


def test_words_say_what_the_numbers_say(written):
    page = written(next_command="accelerate launch train.py")
    shown = "".join(page.texts)
    assert "660 items were read, and 600 of them are in the dataset: 0.51 hours of speech." in shown
    assert "60 were rejected (9.1 %), most often for this reason: too long (40)." in shown
    assert (
        "sentences in more than one of the given splits: 5" in shown
        and "test whose sentence is in train: 7" in shown
    )
    assert "speakers in more than one split: 2" in shown and "recordings in more than one" not in shown
    assert "accelerate launch train.py" in shown and "no speaker is in two of them" in shown
    assert "The split test.other was left out." in shown
    assert advice_for("too long") in shown and OTHER_ADVICE in shown
    assert "U+200C ZERO WIDTH NON-JOINER" in shown
    speed_up = build_statistics().dynamic_context.speed_up
    assert f"× {speed_up:.1f}" in shown and "estimate" in shown


def test_bars_are_as_high_as_the_counts(written):
    duration = build_statistics().duration
    edges, counts = trimmed(duration)
    chart = written().charts()[0]
    assert list(chart.marks) == [
        f"{low:g} to {high:g} seconds: {count:,}"
        for low, high, count in zip(edges[:-1], edges[1:], counts, strict=True)
    ]
    heights = [box.bottom - box.top for box in chart.marks.values()]
    assert np.array(heights) / max(heights) == pytest.approx(np.array(counts) / max(counts), abs=0.01)
    # the dashed line at the median, on the scale of the bars
    boxes = list(chart.marks.values())
    unit = (boxes[2].left - boxes[0].left) / (edges[2] - edges[0])
    dashed = next(path for path in chart.root.iter("path") if "stroke-dasharray" in path.attrib)
    at = float(dashed.get("d").split()[1])
    assert (at - boxes[0].left) / unit + edges[0] == pytest.approx(duration.median, abs=0.01)


def test_numbers_of_a_chart_stand_below_it(written):
    shown = re.sub(r"\s+", " ", "".join(written().texts))
    for counted in (build_statistics().duration, build_statistics().label_tokens):
        edges, counts = trimmed(counted)
        filled = [place for place, count in enumerate(counts) if count]
        rows = [f"{edges[place]:g} to {edges[place + 1]:g}{counts[place]:,}" for place in filled]
        assert " ".join(rows) in shown
    assert "half below" in shown and "(dashed)" in shown and "Whisper's decoder writes 448 tokens" in shown


def test_what_lies_above_is_counted_and_what_was_not_counted_is_not_drawn(written):
    nothing = Distribution("tokens", [0.0, 4.0], [0], 0, None, None, None)
    beyond = replace(build_statistics().speech_rate, above=3)
    changed = replace(build_statistics(), label_tokens=nothing, speech_rate=beyond)
    page = written(build_report(statistics=changed))
    assert [chart.title for chart in page.charts()] == ["Duration of clips", "Speech rate"]
    assert "3 above 40 are not drawn." in "".join(page.texts)


@pytest.mark.parametrize(
    ("counts", "above", "shown"),
    [([1] * 9 + [2, 0, 0], 0, 10), ([3] + [0] * 11, 0, 8), ([1] * 9 + [2, 0, 0], 1, 12), ([0] * 12, 0, 12)],
)
def test_a_histogram_ends_behind_its_last_value(counts, above, shown):
    """With eight bins at least, and all of them where something lies above."""
    edges = [float(edge) for edge in range(13)]
    found = trimmed(Distribution("s", edges, counts, above, 1.0, 2.0, 3.0))
    assert found == (edges[: shown + 1], counts[:shown])


def test_examples_are_limited_in_number_length_and_size(written, tmp_path):
    long = tone(24)
    kept = [AudioExample(f"kept {n}", "ciao", long, "train") for n in range(30)]
    many = {
        f"kind {kind}": [AudioExample(f"{kind} {n}", "no", long, f"kind {kind}: x") for n in range(9)]
        for kind in range(4)
    }
    page = written(build_report(reasons=dict.fromkeys(many, 9), rejected=36), kept, many)
    shown = "".join(page.texts)
    assert sum(f"kept {n}" in shown for n in range(30)) == KEPT_EXAMPLES
    assert [sum(f"{kind} {n}" in shown.replace("kept", "") for n in range(9)) for kind in range(4)] == [
        EXAMPLES_PER_REASON
    ] * 4
    players = [attributes["src"] for attributes in page.find("audio")]
    assert 5 < len(players) < KEPT_EXAMPLES + 4 * EXAMPLES_PER_REASON
    for player in players:
        samples = decode_flac(base64.b64decode(player.split(",")[1]))
        assert len(samples) == 10 * SAMPLE_RATE
    assert "The first 10 of 24.0 s." in shown and "The page has no room for its sound." in shown
    assert sum(map(len, players)) <= MOST_AUDIO_CHARACTERS + 100 * len(players)
    assert (tmp_path / "it/data_report.html").stat().st_size < 3_200_000
    # every kind can be heard
    assert all(
        any(a["aria-label"].startswith(f"Play {kind} ") for a in page.find("audio")) for kind in range(4)
    )


def test_what_has_no_sound_has_no_player(written):
    page = written(kept=[AudioExample("a", "ciao", None, ""), AudioExample("b", "ciao", tone(1), "")])
    assert [player["aria-label"] for player in page.find("audio")] == ["Play b"]


def test_names_rejects_and_silence_have_meters_of_their_shares(written):
    page = written(rejected=rejects(tone(1)))
    widths = [float(a["width"]) for a in page.find("rect") if a.get("class") == "series-1"]
    statistics = build_statistics()
    seconds = statistics.dynamic_context
    heard = [30 * (1 - statistics.silence.share_of_window), seconds.mean_context]
    heard += [seconds.mean_seconds_of_work, 30.0]
    assert widths[:4] == pytest.approx([100 * value / 30 for value in heard], abs=0.01)
    speakers = statistics.speakers
    total = sum(named.hours for named in speakers.largest) + speakers.hours_of_others
    assert widths[4] == pytest.approx(100 * speakers.largest[0].hours / total, abs=0.01)
    assert widths[-3:] == pytest.approx([100 * count / 60 for count in (40, 17, 3)], abs=0.01)


def test_short_clips_stay_the_bytes_they_are(written):
    flac = tone(2)
    page = written(kept=[AudioExample("a", "ciao", flac, "train")])
    assert base64.b64decode(page.find("audio")[0]["src"].split(",")[1]) == flac


def test_nothing_rejected(written):
    report = build_report(rejected=0, reasons={}, seen=600, shared_texts=0, shared_speakers=0, credit=None)
    assert "Nothing was rejected." in "".join(written(report).texts)
    assert "600 seen, 600 kept (0.51 h), 0 rejected." in printed(report)


def test_a_report_read_back_gives_the_same_page(written, tmp_path):
    write_data_report(tmp_path, build_report())
    assert read_data_report(tmp_path) == build_report()
    older = json.loads((tmp_path / "data_report.json").read_text())
    older["statistics"]["silence"] |= {"measured_clips": 0, "share_of_clips": None}
    (tmp_path / "data_report.json").write_text(json.dumps(older))
    assert written(read_data_report(tmp_path)).texts == written().texts


def test_every_character_of_unicode_can_be_listed(written):
    counter = StatisticsCounter()
    kinds: dict[str, str] = {}
    for code in range(0x110000):
        kinds.setdefault(unicodedata.category(chr(code)), chr(code))
    counter.add(text="".join(kinds.values()), duration=3.0, split="train")
    characters = counter.describe().characters
    page = written(build_report(statistics=replace(build_statistics(), characters=characters)))
    assert len([li for li in page.find("li") if li.get("title", "").startswith("U+")]) == len(kinds)


# ---- terminal ----------------------------------------------------------------------------------------------


def printed(report: DataReport, width: int = 120, output_dir="data/it", **options) -> str:
    stream = io.StringIO()
    print_summary(report, Path(output_dir), Console(file=stream, width=width, **options))
    return stream.getvalue()


def test_the_summary_says_what_was_kept_and_what_was_not():
    lines = [line.rstrip() for line in printed(build_report()).splitlines()]
    row = next(line for line in lines if "validation" in line)
    cells = [cell.strip() for cell in row.strip("│ ").split("│")]
    assert cells == ["validation", "360", "0.31", "3.1", "14.2", "351"]
    assert "660 seen, 600 kept (0.51 h), 60 rejected." in lines
    assert "      40 × too long" in lines and "      17 × no such file" in lines
    assert "Each reject and its reason: data/it/rejects.jsonl" in lines
    assert any(
        line.startswith("Warning: sentences in more than one of the given splits: 5;") for line in lines
    )
    assert any(line.startswith("Warning: speakers in more than one split: 2;") for line in lines)
    median = build_statistics().duration.median
    assert next(line for line in lines if line.startswith("  duration ")).endswith(f"half below {median:.1f}")
    assert "The split test.other was left out." in lines
    assert lines[-1].startswith("Carlo Flora")


def test_foreign_text_does_not_steer_the_terminal():
    text = printed(build_report(notes=("[red]note[/red] \x1b[2J",)), output_dir="data/[it]")
    assert "[red]note[/red] \ufffd[2J" in text and "data/[it]" in text and "\x1b" not in text


def test_histogram_in_characters():
    assert text_histogram([0, 1, 4, 8, 0]) == " ▁▄█ "
    assert text_histogram([0, 1, 1000]) == " ▁█"  # what is there can be seen
    assert len(text_histogram(list(range(60)))) == 30
    assert text_histogram([0, 0]) == "  "


def test_a_terminal_without_unicode_gets_ascii():
    class Ascii(io.StringIO):
        encoding = "ascii"

    stream = Ascii()
    print_summary(
        build_report(reasons={}, rejected=0, credit=None), Path("x"), Console(file=stream, width=120)
    )
    line = next(line for line in stream.getvalue().splitlines() if line.startswith("  duration"))
    assert line.isascii() and "#" in line


# ---- browser -----------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_in_a_browser(tmp_path, italian_prompts, require_program):
    """Chromium opens the page: nothing leaves, nothing complains, everything plays, light and dark."""
    chromium = require_program("chromium")
    from playwright.sync_api import sync_playwright

    clips = [(encode_flac(samples), text) for samples, text in italian_prompts]
    kept = [AudioExample(f"prompt {n}", text, flac, "train, 2.4 s") for n, (flac, text) in enumerate(clips)]
    kept.append(AudioExample(RIGHT_TO_LEFT, HOSTILE, tone(12), HOSTILE))
    page_file = tmp_path / "data_report.html"
    command = "accelerate launch train.py"
    write_html(page_file, build_report(), kept, rejects(clips[0][0]), name="it", next_command=command)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=BROWSER_FLAGS)
        for scheme in ("light", "dark"):
            with looked_at(browser, page_file, scheme) as page:
                assert page.locator("audio").count() == len(kept) + EXAMPLES_PER_REASON
                durations = page.evaluate("[...document.querySelectorAll('audio')].map(a => a.duration)")
                assert max(durations) == pytest.approx(10.0, abs=0.1)  # cut from 12 s
                assert page.title() == "Data report: it"
                assert page.locator("script").count() == 0
                assert page.locator(".examples p.text", has_text="onerror=alert(1)").count() == 2
                assert page.get_by_role("heading", level=2).count() == 8
                assert page.get_by_role("img", name="Duration of clips").is_visible()
                wide = page.evaluate(
                    "document.documentElement.scrollWidth - document.documentElement.clientWidth"
                )
                assert wide == 0
                page.set_viewport_size({"width": 390, "height": 800})
                assert page.evaluate("document.documentElement.scrollWidth") <= 390
                page.screenshot(path=tmp_path / f"{scheme}_narrow.png", full_page=True)
                page.set_viewport_size({"width": 1100, "height": 900})
                page.screenshot(path=tmp_path / f"{scheme}.png", full_page=True)
        browser.close()
    # the two schemes differ: a light page and a dark one
    from matplotlib import image

    light, dark = (image.imread(tmp_path / f"{scheme}.png")[..., :3].mean() for scheme in ("light", "dark"))
    assert light > 0.8 and dark < 0.3
