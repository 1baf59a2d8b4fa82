"""The page made of results by hand and real prompts; a real browser opens it."""

import base64
import re
from dataclasses import asdict, replace

import numpy as np
import pytest

from tests.support.made_up_results import (
    BASE,
    CURVE,
    TUNED,
    build_analysis,
    build_comparison,
    build_prediction,
    build_predictions,
    build_result,
    build_results,
    failures,
    group,
    hostile_inputs,
)
from tests.support.pages import BROWSER_FLAGS, HOSTILE, RIGHT_TO_LEFT, Page, looked_at, tone
from tests.support.scored_results import TERMS
from utils.audio.flac import SAMPLE_RATE, decode_flac, encode_flac
from utils.evaluation.records import Analysis, Gate
from utils.evaluation.results_file import read_analysis, read_results
from utils.report.evaluation_charts import draw_evaluation_charts
from utils.report.evaluation_page import write_evaluation_page
from utils.report.utterance_cards import CASES_IN_A_LIST, MOST_CHARACTERS
from utils.runtime.files import write_json
from utils.scoring.term_scores import TermCounts
from utils.scoring.word_alignment import Confusion, Edit
from utils.training.evaluation_history import LoggedEvaluation

TITLES = ["summary", "scores", "before-after", "groups", "duration", "learning", "failures", "confusions"]
TITLES += ["utterances", "notes"]


@pytest.fixture
def written(tmp_path):
    """A function that writes a page and reads it back."""

    def write(results=None, analysis=None, predictions=(), clip_of=lambda *_: None, curves=()) -> Page:
        path = tmp_path / "report" / "report.html"
        results = results or build_results()
        charts = draw_evaluation_charts(results, curves)
        write_evaluation_page(path, results, analysis, predictions, clip_of, charts)
        assert [file.name for file in path.parent.iterdir()] == ["report.html"]
        return Page(path.read_text(encoding="utf-8"))

    return write


def shown(page: Page) -> str:
    return re.sub(r"\s+", " ", "".join(page.texts))


def sections(page: Page) -> list[str]:
    return [section["id"] for section in page.find("section")]


def test_foreign_text_is_only_text(written):
    page = written(*hostile_inputs())
    assert not page.find("script") and not page.find("img") and not page.find("link")
    names = {name for _, attributes in page.elements for name in attributes}
    assert not {name for name in names if name.startswith("on")} and "style" not in names
    text = "".join(page.texts)
    # verdict, reason, check, group, confusion, failure, hallucination, test, normaliser, backend, id, words
    assert text.count(HOSTILE) >= 12 and RIGHT_TO_LEFT in text


def test_foreign_text_does_not_turn_what_stands_around_it(written):
    strange = {"model": RIGHT_TO_LEFT, "dataset": RIGHT_TO_LEFT, "detected_languages": [RIGHT_TO_LEFT]}
    strange |= {"groups": {RIGHT_TO_LEFT: {RIGHT_TO_LEFT: group(0.1)}}}
    strange |= {"confusions": [Confusion(RIGHT_TO_LEFT, None, 3)]}
    strange |= {"terms": replace(TERMS, by_term={RIGHT_TO_LEFT: TermCounts(1, 0, 0)})}
    results = [build_result(**strange), build_result(**strange | {"audio_context": "dynamic"})]
    line = {"id": RIGHT_TO_LEFT, "dataset": RIGHT_TO_LEFT, "reference": RIGHT_TO_LEFT}
    gate = Gate(RIGHT_TO_LEFT, False, [RIGHT_TO_LEFT], [RIGHT_TO_LEFT])
    comparison = build_comparison(baseline=RIGHT_TO_LEFT, candidate=RIGHT_TO_LEFT, dataset=RIGHT_TO_LEFT)
    analysis = Analysis([comparison], [gate], [RIGHT_TO_LEFT], RIGHT_TO_LEFT)
    page = written(results, analysis, [build_prediction(1, RIGHT_TO_LEFT, 2, **line)])
    assert page.is_isolated(RIGHT_TO_LEFT)


def test_the_first_lists_of_the_best_candidate_are_unfolded(written):
    results = [build_result(), build_result(TUNED, 0.2), build_result("other", 0.3)]
    gates = [Gate("other", False, ["Worse."], []), *build_analysis().gates]
    analysis = replace(build_analysis(), gates=gates, candidates=[TUNED, "other"])
    others = [build_prediction(n, "other", 4) for n in range(6)]
    page = written(results, analysis, [*build_predictions(), *others])
    folds = [a for a in page.find("details") if a.get("class") == "reason"]
    assert ["open" in fold for fold in folds] == [True, True, False, False, False]


def test_more_errors_than_before_are_a_plus(written):
    page = written([build_result(), build_result(TUNED, 0.404)], build_analysis(promote=False))
    assert "word errors|+33 %" in page.cells  # (40.4 - 30.3) / 30.3
    none_before = [build_result(wer=0.0), build_result(TUNED, 0.1)]
    assert "word errors|" not in written(none_before, build_analysis()).cells


def test_the_page_needs_nothing_else(written):
    page = written(build_results(), build_analysis(), build_predictions(), lambda *_: tone(1), [CURVE])
    keys = ("src", "href", "action", "data", "xlink:href")
    addresses = [a[key] for _, a in page.elements for key in keys if key in a]
    assert addresses and all(re.match(r"#|data:audio/flac;base64,", address) for address in addresses)
    policy = next(m["content"] for m in page.find("meta") if m.get("http-equiv") == "Content-Security-Policy")
    rules = dict(rule.strip().split(" ", 1) for rule in policy.split(";"))
    assert rules["default-src"] == "'none'" and rules["media-src"] == "data:"
    assert re.fullmatch(r"'sha256-[A-Za-z0-9+/]{43}='", rules["style-src"])


def test_identifiers_and_labels_fit(written):
    page = written(build_results(), build_analysis(), build_predictions(), lambda *_: tone(1), [CURVE])
    ids = [attributes["id"] for _, attributes in page.elements if "id" in attributes]
    assert len(ids) == len(set(ids))
    for _, attributes in page.elements:
        assert set(attributes.get("aria-labelledby", "").split()) <= set(ids)
        if attributes.get("href", "").startswith("#"):
            assert attributes["href"][1:] in ids
    charts = [a for a in page.find("svg") if a.get("role") == "img"]
    assert len(charts) == 4 and all(chart["aria-labelledby"] for chart in charts)
    assert [chart.title for chart in page.charts()] == [
        "Error rate before and after",
        "WER by accent on data/it (test)",
        "WER by duration on data/it (test)",
        "Validation and training loss by step",
    ]
    assert len(page.find("caption")) == len(page.find("table"))
    assert sections(page) == TITLES


def test_words_say_what_the_numbers_say(written):
    page = written(build_results(), build_analysis(), build_predictions(), curves=[CURVE])
    text = shown(page)
    assert "It got better on data/it." in text and f"✓ Promote {TUNED}" in text
    assert "1 check passed" in text and "The error rate fell." in text
    # before, after, and the change: (30.3 - 11.6) / 30.3
    assert all(figure in text for figure in ("WER before30.3 %", "WER after11.6 %", "word errors−62 %"))
    assert "clips, 5.5 min139" in text and "times real time4.2" in text
    assert "data/en (test, guard)" in text and "30.3" in text and "27.3 to 34.3" in text
    assert "18.7" in text and "14.0 to 23.0" in text and "< 0.001" in text and "60 / 5 / 74" in text
    assert "The lowest normalised rate is 15.0 % at step 40" in text
    assert "fewer than 20 speakers or recordings are known" in text and "MAPSSWE" in text
    assert "every clip is padded to 30 seconds" in text and "begins to repeat itself" in text
    assert "9.0" in text and "6 of 20 clips" in text  # 30 words in 200 s are 9 a minute
    assert "In no clip of any model: insertion run, wrong language" in text
    assert "nothing" in text and "grazie" in text and "– / 72.6 M" in text


def test_evaluations_during_training_are_a_table(written):
    known = LoggedEvaluation(20, 0.2, 0.3, 0.1, 0.1, epoch=1.5, training_loss=1.25, validation_loss=0.75)
    unknown = LoggedEvaluation(40, 0.15, 0.31, 0.1, 0.1)  # the log of an earlier version
    curve = replace(CURVE, evaluations=[known, unknown])
    text = written(build_results(), build_analysis(), curves=[curve]).cells
    assert "20|1.50|1.250|0.750|20.0|30.0" in text and "40|–|–|–|15.0|31.0" in text


def test_causes_and_cures_are_shown_where_a_rate_is_over_100_percent(written):
    causes = {"loop": 30, "insertion": 10}
    results = [
        build_result(wer=1.2, error_causes=causes),
        build_result(TUNED, 0.2, error_causes={"case or punctuation": 4}),
    ]
    page = written(results)
    assert "Why an error rate is over 100 %" in shown(page)
    assert "75 %|30|0.0 %|0" in page.cells and "25 %|10|0.0 %|0" in page.cells
    assert "0.0 %|0|100.0 %|4" in page.cells  # of the model below 100 %, too
    assert "train with --non_speech_share 0.1" in shown(page) and "Give --language" not in shown(page)
    assert "over 100 %" not in shown(written([build_result(wer=0.8, error_causes=causes)]))


def test_models_that_differ_only_in_case_are_two(written):
    page = written([build_result(), build_result("runs/IT"), build_result("runs/it")])
    assert f"Models:|{BASE}|,|runs/IT|,|runs/it|. Scored on:|data/it (test)|." in page.cells


def test_a_candidate_that_is_not_to_be_promoted(written):
    text = shown(written(build_results(), build_analysis(promote=False)))
    assert f"✗ Do not promote {TUNED}" in text
    assert "English was forgotten." in text and "It loops on silence." in text


def test_the_best_candidate_comes_first(written):
    results = [build_result(), build_result("worse", 0.4), build_result(TUNED, 0.116)]
    analysis = build_analysis()
    gates = [Gate("worse", False, ["Worse."], []), *analysis.gates]
    analysis = replace(analysis, gates=gates, candidates=[TUNED, "worse"])
    page = written(results, analysis, build_predictions())
    text = shown(page)
    assert text.index(f"Promote {TUNED}") < text.index("Do not promote worse")
    assert page.cells.startswith(f"Evaluation: {TUNED}|Evaluation:|{TUNED}|WER before|30.3 %|")


def test_bars_are_as_long_as_the_rates(written):
    page = written([build_result(), build_result(TUNED, 0.1)], build_analysis())
    marks = page.charts()[0].marks
    assert list(marks) == [
        *(f"{BASE}, normalised text: 30.3 %", f"{BASE}, raw text: 45.3 %"),
        *(f"{TUNED}, normalised text: 10.0 %", f"{TUNED}, raw text: 25.0 %"),
    ]
    lengths = [box.right - box.left for box in marks.values()]
    assert [length / lengths[0] for length in lengths] == pytest.approx(
        [1, 0.453 / 0.303, 0.1 / 0.303, 0.25 / 0.303], abs=0.001
    )


def test_counts_have_bars_of_their_shares(written):
    """Two loops of 139 clips before and none after, five clips cut short both times."""
    results = [build_result(), build_result(TUNED, 0.1)]
    page = written(results, build_analysis())
    bars = [(a["class"], float(a["width"])) for a in page.find("rect") if a.get("height") == "9"]
    bars = [bar for bar in bars if bar[0] != "track"]
    assert bars[:4] == [("series-0", 40.0), ("series-1", 0.0), ("series-0", 100.0), ("series-1", 100.0)]
    # words a minute: 9 and 0 in silence, 1.2 and 1.2 in noise
    assert [width for _, width in bars[4:]] == [100.0, 0.0, 13.33, 13.33]
    assert "loop|the same words again and again|2|1.4 %|0|0.0 %" in page.cells and "0 to 3.6 %" in page.cells


def test_numbers_of_the_groups_stand_below_their_chart(written):
    cells = written([build_result(), build_result(TUNED, 0.1)], build_analysis()).cells
    assert f"Normalised WER, percent|accent|clips|{BASE}|{TUNED}|" in cells
    assert "|napoletano|40|50.3|47.3 to 54.3|30.0|27.0 to 34.0|" in cells
    assert "|0 to 2 s|40|40.3|37.3 to 44.3|20.0|17.0 to 24.0|" in cells


def test_a_script_without_spaces_is_shown_by_its_characters(written):
    """Rates, bars and intervals are of the CER, which is a third of the WER in these scores."""
    results = [build_result(wer=0.9, measure="cer"), build_result(TUNED, 0.5, measure="cer")]
    page = written(results, build_analysis())
    text = shown(page)
    assert "CER before30.0 %" in text and "CER after16.7 %" in text and "WER after50.0 %" in text
    assert "character errors−44 %" in text
    assert (
        "|CER|95 % interval|WER|MER|WIL|" in page.cells
        and "CER in percentage points" in text
        and "CER by duration" in text
    )
    lengths = [box.right - box.left for box in page.charts()[0].marks.values()]
    assert lengths[2] / lengths[0] == pytest.approx(0.5 / 0.9, abs=0.001)


def test_groups_with_the_highest_rate_come_first(written):
    cells = written(build_results(), build_analysis()).cells
    assert "WER by accent on data/it (test)" in cells
    places = [cells.index(name) for name in ("|napoletano|40|", "|ligure|4|", "|toscano|40|")]
    assert places == sorted(places)


def test_utterances_are_sorted_by_what_changed(written):
    predictions = build_predictions(4)
    predictions[-2:] = [build_prediction(2, TUNED, 0), build_prediction(3, TUNED, 6, failures=["truncated"])]
    page = written(build_results(), build_analysis(), predictions, lambda *_: tone(0.5))
    text = shown(page)
    utterances = text[text.index("Differences from the reference") :]
    worsened, improved = (utterances.index(title) for title in ("Most worsened · 2", "Most improved · 2"))
    worst, failed = (utterances.index(title) for title in ("Most errors · 3", "Failure: truncated · 1"))
    assert worsened < improved < worst < failed
    assert utterances.index("clip 3") < utterances.index("clip 1") < improved < utterances.index("clip 2")
    assert utterances[worst:].index("clip 3") < utterances[worst:].index("clip 1")
    assert f"{BASE}: 3 word errors" in utterances and f"{TUNED}: 0 word errors" in utterances
    # each of the four plays once, and is linked to from where it stands again
    assert len(page.find("audio")) == 4 and utterances.count("Also shown further up") == 4


def test_differences_are_marked_by_elements(written):
    alignment = [Edit("equal", "la", "la"), Edit("substitute", "rosa", "rossa"), Edit("delete", "è", None)]
    alignment += [Edit("insert", None, "non"), Edit("insert", None, "mai"), Edit("equal", "bella", "bella")]
    lines = [build_prediction(1, BASE, 0, alignment=[]), build_prediction(1, TUNED, 4, alignment=alignment)]
    page = written(build_results(), build_analysis(), lines)
    text = shown(page)
    assert "la rosa rossa è non mai bella" in text
    # two in the legend; the utterance stands among the worsened and among those with most errors
    assert (len(page.find("del")), len(page.find("ins"))) == (2 + 2 * 2, 2 + 2 * 2)
    assert "nobody spoke, and the model wrote nothing" in text
    assert all(a["dir"] == "auto" for a in page.find("p") if "differences" in a.get("class", ""))


def test_a_hypothesis_that_runs_away_does_not_fill_the_page(written, tmp_path):
    loop = [Edit("insert", None, "ancora")] * 5000
    giant = [Edit("insert", None, "a" * 100_000), Edit("equal", "b" * 100_000, "b" * 100_000)]
    many = [Edit("substitute", "a", "b")] * 50_000
    lines = [build_prediction(0, BASE, 0)]
    lines += [build_prediction(n, TUNED, 9, alignment=words) for n, words in enumerate((loop, giant, many))]
    text = shown(written(build_results(), build_analysis(), lines))
    assert "… 4,976 more words" in text and "… the rest is not shown" in text
    assert (tmp_path / "report/report.html").stat().st_size < 300_000


def test_what_is_not_known_leaves_its_part_out(written):
    result = build_result(groups={}, confusions=[], failures=failures(), hallucination=None)
    page = written([result])
    assert sections(page) == ["summary", "scores", "failures", "notes"]
    assert "In no clip of any model: loop" in shown(
        page
    ) and "Words written where nobody speaks" not in shown(page)


def test_listed_terms_have_a_part_of_their_own(written):
    silent = replace(TERMS, spoken=0, found=0, recall=None, by_term={})
    english = build_result(TUNED, dataset="data/en", terms=silent)
    page = written([build_result(terms=TERMS), build_result(TUNED, terms=TERMS, is_prompted=True), english])
    assert sections(page).index("terms") == sections(page).index("failures") - 1
    assert f"|{BASE}|75.0|60.0 to 90.0|30|40|2|{TUNED}|75.0|60.0 to 90.0|30|40|2|" in page.cells
    assert f"|{TUNED}|–|–|0|0|2|" in page.cells
    assert "|=Zara|76.9 %|30 of 39|76.9 %|30 of 39|" in page.cells and "0 to 77 %" in page.cells
    assert "a list of names and terms as the prompt of each clip" in shown(page)
    assert "as the prompt of each clip" not in shown(written())


def test_one_model_alone(written):
    lines = [build_prediction(n, BASE, n) for n in range(3)]
    page = written([build_result()], None, lines)
    assert sections(page) == [title for title in TITLES if title not in ("before-after", "learning")]
    text = shown(page)
    assert "WER, normalised30.3 %" in text and "Most errors · 2" in text and "Most worsened" not in text


def test_a_pair_that_a_model_never_confused_is_0_and_one_it_may_have_is_a_dash(written):
    """A model has at most fifty pairs in its results: one with fewer shows all of its own."""
    many = [Confusion(f"parola{number}", "nulla", 9) for number in range(50)]
    own = [Confusion("cane", "gatto", 7)]
    cells = written([build_result(confusions=many), build_result(TUNED, confusions=own)]).cells
    assert "|cane|gatto|–|7|" in cells and "|parola0|nulla|9|0|" in cells


def test_what_the_decoder_failed_on_is_said_first(written):
    results = [
        build_result(failures=failures(decoder_error=3)),
        build_result(TUNED, failures=failures(decoder_error=4)),
    ]
    text = shown(written(results, build_analysis()))
    assert "Warning: the decoder failed on 7 utterances. Their words count as errors in every score." in text
    assert text.index("Warning") < text.index("Models:")


def test_a_model_that_runs_away_is_shown_with_its_rate(written):
    page = written([build_result(wer=9.64), build_result(TUNED, 0.116)], build_analysis())
    assert "964.0" in shown(page) and "964.0" in page.charts()[0].texts


def test_results_read_back_from_json_give_the_same_page(written, tmp_path):
    results, analysis = build_results(), build_analysis()
    write_json(tmp_path / "r.json", {"results": [asdict(result) for result in results]})
    write_json(tmp_path / "a.json", asdict(analysis))
    first = written(results, analysis).texts
    assert written(read_results(tmp_path / "r.json"), read_analysis(tmp_path / "a.json")).texts == first


def test_five_hundred_utterances_with_real_audio_stay_below_5_mb(written, tmp_path, italian_prompts):
    """Clips of 12 to 24 s, so that the page cannot hold the sound of all that it shows."""
    joined = np.concatenate([samples for samples, _ in italian_prompts])
    clips = [encode_flac(np.resize(joined, round(seconds * SAMPLE_RATE))) for seconds in (12, 16, 20, 24)]
    number_of = {f"clip {n}": n for n in range(500)}
    predictions = [build_prediction(n, BASE, 3 + n % 2) for n in range(500)]
    predictions += [build_prediction(n, TUNED, n % 7, failures=["no casing"]) for n in range(500)]
    asked = []

    def clip_of(dataset: str, name: str) -> bytes:
        asked.append(name)
        return clips[number_of[name] % len(clips)]

    page = written(build_results(), build_analysis(), predictions, clip_of, [CURVE])
    assert (tmp_path / "report/report.html").stat().st_size < 5_000_000
    assert len(asked) == len(set(asked)) <= 4 * CASES_IN_A_LIST
    players = [attributes["src"] for attributes in page.find("audio")]
    assert 6 <= len(players) < len(asked) and sum(map(len, players)) <= MOST_CHARACTERS + 100 * len(players)
    for player in players:
        assert len(decode_flac(base64.b64decode(player.split(",")[1]))) <= 15 * SAMPLE_RATE
    assert "The first 15 of 24.0 s." in shown(page) and "The page has no room for its sound." in shown(page)


# ---- browser -----------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_in_a_browser(tmp_path, italian_prompts, require_program):
    """Chromium opens the page: nothing leaves, nothing complains, sound plays, light and dark."""
    chromium = require_program("chromium")
    from playwright.sync_api import sync_playwright

    clips = {f"clip {n}": encode_flac(samples) for n, (samples, _) in enumerate(italian_prompts)}
    lines = [*build_predictions(len(clips)), *hostile_inputs()[2]]
    page_file = tmp_path / "report.html"
    results = build_results()
    charts = draw_evaluation_charts(results, [CURVE])
    write_evaluation_page(
        page_file, results, build_analysis(), lines, lambda _, name: clips.get(name, tone(20)), charts
    )
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=BROWSER_FLAGS)
        for scheme in ("light", "dark"):
            with looked_at(browser, page_file, scheme) as page:
                assert page.locator("audio").count() == len(clips)
                play(page)
                assert page.title() == f"Evaluation: {TUNED}" and page.locator("script").count() == 0
                assert page.get_by_role("heading", level=2).count() == len(TITLES)
                assert page.get_by_role("img", name="WER by duration").is_visible()
                assert (
                    colour_of_first_bar(page)
                    == {"light": "rgb(125, 125, 125)", "dark": "rgb(154, 161, 169)"}[scheme]
                )
                struck = "getComputedStyle(document.querySelector('.cards .swapped del')).textDecorationLine"
                assert page.evaluate(struck) == "line-through"
                for width in (1100, 390):
                    page.set_viewport_size({"width": width, "height": 900})
                    assert page.evaluate("document.documentElement.scrollWidth") <= width
                    page.screenshot(path=tmp_path / f"{scheme}_{width}.png", full_page=True)
        browser.close()
    from matplotlib import image

    light, dark = (
        image.imread(tmp_path / f"{scheme}_1100.png")[..., :3].mean() for scheme in ("light", "dark")
    )
    assert light > 0.8 and dark < 0.3


def colour_of_first_bar(page) -> str:
    """Of the baseline, as the browser computes it from the property of the style sheet."""
    return page.evaluate("getComputedStyle(document.querySelector('svg.chart g title + path')).fill")


def play(page) -> None:
    """The first player gives sound for as long as the clip lasts."""
    heard = page.evaluate(
        """async () => {
            const audio = document.querySelector("audio");
            audio.muted = true;
            await audio.play();
            await new Promise(resolve => audio.addEventListener("ended", resolve));
            return [audio.currentTime, audio.duration];
        }"""
    )
    assert heard[0] == pytest.approx(heard[1], abs=0.1) and heard[1] > 0.5
