"""Records by hand from four short utterances; the keys are those that the documentation gives."""

import json
from dataclasses import asdict, replace

import jiwer
import pytest
from datasets import Dataset

from utils.evaluation.comparison import compare_models, rank_candidates, write_verdict
from utils.evaluation.material import build_evaluation_set
from utils.evaluation.records import Analysis, Decoding, EvaluationSet, Gate, ScoredDecoding
from utils.evaluation.results_file import read_analysis, read_results
from utils.evaluation.scoring import list_predictions, score_decoding
from utils.evaluation.timed_decoding import count_made_up_words

REFERENCES = ["Premere uno.", "Il  numero è occupato", "[bip]", "Grazie"]
BASELINE = ["premere un", "Il numero è", "bip bip", "Grazie"]
CANDIDATE = ["Premere uno", "Il numero è occupato", "", "Grazie"]
RESULT_KEYS = {"model", "dataset", "split", "audio_context", "normalizer", "num_utterances", "audio_seconds"}
RESULT_KEYS |= {
    "backend",
    "measure",
    "is_guard",
    "confusions",
    "failures",
    "hallucination",
    "rtfx",
    "raw",
    "normalized",
    "groups",
    "trainable_parameters",
    "total_parameters",
    "detected_languages",
    "terms",
    "is_prompted",
}
COMPARISON_KEYS = {"baseline", "candidate", "dataset", "split", "text", "audio_context", "wer_reduction"}
COMPARISON_KEYS |= {"relative_reduction", "ci95", "test", "p_value", "wins", "losses", "ties"}
SCORE_KEYS = {"wer", "cer", "mer", "wil", "num_words", "substitutions", "insertions", "deletions"}
SCORE_KEYS |= {"ci95", "ci95_unit"}


@pytest.fixture
def evaluation_set() -> EvaluationSet:
    return EvaluationSet(
        dataset="data/it",
        split="test",
        ids=["p1", "p2", "p3", "p4"],
        references=REFERENCES,
        durations=[1.0, 2.0, 0.5, 1.5],
        groups={"speaker": ["B", "A", None, "A"]},
        languages=["it"] * 4,
    )


def score(
    evaluation_set: EvaluationSet, model: str, hypotheses: list[str], context: str = "full"
) -> ScoredDecoding:
    sizes = {"trainable_parameters": 7, "total_parameters": 100}
    decoding = Decoding(model, context, hypotheses, seconds=2.0, **sizes)
    return score_decoding(evaluation_set, decoding, "basic", bootstrap_samples=200, seed=1)


def test_raw_scores_by_hand(evaluation_set):
    raw = score(evaluation_set, "base", BASELINE).result.raw
    # p1: both words differ; p2: one deletion; p3: "[bip]" substituted, one insertion; p4: none
    # words: 2 + 4 + 1 + 1
    assert (raw.num_words, raw.substitutions, raw.insertions, raw.deletions) == (8, 3, 1, 1)
    assert raw.wer == pytest.approx(5 / 8)
    cleaned = ["Premere uno.", "Il numero è occupato", "[bip]", "Grazie"]
    assert raw.cer == pytest.approx(jiwer.cer(cleaned, BASELINE))


def test_normalised_scores_by_hand(evaluation_set):
    normalized = score(evaluation_set, "base", BASELINE).result.normalized
    # p1: "uno" substituted; p2: one deletion; p3: the bracketed remark goes, two insertions
    # words: 2 + 4 + 0 + 1
    assert (normalized.num_words, normalized.substitutions) == (7, 1)
    assert (normalized.insertions, normalized.deletions) == (2, 1)
    assert normalized.wer == pytest.approx(4 / 7)
    assert normalized.ci95[0] <= normalized.wer <= normalized.ci95[1]


def test_result_row_has_the_documented_keys(evaluation_set):
    row = asdict(score(evaluation_set, "base", BASELINE).result)
    assert row.keys() == RESULT_KEYS
    assert row["raw"].keys() == row["normalized"].keys() == SCORE_KEYS
    assert (row["num_utterances"], row["audio_seconds"], row["rtfx"]) == (4, 5.0, 2.5)
    assert (row["trainable_parameters"], row["total_parameters"]) == (7, 100)
    assert (row["model"], row["dataset"], row["split"], row["audio_context"], row["normalizer"]) == (
        "base",
        "data/it",
        "test",
        "full",
        "basic",
    )


def test_groups_score_their_own_utterances_and_leave_out_unknown_values(evaluation_set):
    speakers = score(evaluation_set, "base", BASELINE).result.groups["speaker"]
    assert list(speakers) == ["A", "B"]
    assert (speakers["A"].num_utterances, speakers["A"].audio_seconds) == (2, 3.5)
    assert speakers["A"].normalized.wer == pytest.approx(1 / 5)
    assert speakers["B"].raw.wer == 1.0


def test_prediction_lines(evaluation_set):
    predictions = list_predictions(score(evaluation_set, "base", BASELINE))
    assert predictions[1].as_line() == {
        "model": "base",
        "dataset": "data/it",
        "audio_context": "full",
        "id": "p2",
        "reference": "Il  numero è occupato",
        "hypothesis": "Il numero è",
        "raw_word_errors": 1,
        "normalized_word_errors": 1,
        "measure": "wer",
        "normalized_errors": 1,
        "duration": 2.0,
        "alignment": [
            ("equal", "il", "il"),
            ("equal", "numero", "numero"),
            ("equal", "è", "è"),
            ("delete", "occupato", None),
        ],
        "failures": [],
    }
    assert predictions[2].failures == ["insertion run"]  # words where only a beep is
    assert [prediction.raw_word_errors for prediction in predictions] == [2, 1, 2, 0]
    assert [prediction.normalized_word_errors for prediction in predictions] == [1, 1, 2, 0]


def test_comparison_by_hand(evaluation_set):
    scored = [score(evaluation_set, "base", BASELINE), score(evaluation_set, "tuned", CANDIDATE)]
    raw, normalized = compare_models(scored, 200, 1)
    assert (raw.text, normalized.text) == ("raw", "normalized")
    assert (raw.baseline, raw.candidate, raw.dataset, raw.split) == ("base", "tuned", "data/it", "test")
    assert normalized.wer_reduction == pytest.approx(4 / 7)
    assert normalized.relative_reduction == 1
    assert (normalized.wins, normalized.losses, normalized.ties) == (3, 0, 1)
    # raw: "uno" lacks its full stop and "[bip]" is missing, so 2 of 8
    assert raw.wer_reduction == pytest.approx(3 / 8)
    assert asdict(raw).keys() == COMPARISON_KEYS


def of_speakers(wrong: list[bool], speakers: list[str | None] | None) -> tuple[EvaluationSet, list[str]]:
    """One-word utterances, and hypotheses of which some are wrong."""
    size = len(wrong)
    evaluation_set = EvaluationSet(
        *("data/it", "test", [str(number) for number in range(size)]),
        *(["si"] * size, [1.0] * size, {}, ["it"] * size),
        speakers=speakers,
    )
    return evaluation_set, ["no" if is_wrong else "si" for is_wrong in wrong]


@pytest.mark.parametrize(
    ("wrong", "ratio"),
    [
        # all wrong or all right: 400 utterances tell as much as 25, the interval is 4 times as wide
        ([speaker % 4 == 0 for speaker in range(25) for _ in range(16)], 4),
        # a quarter of each speaker's: every resample of speakers has the same rate
        ([number % 4 == 0 for _ in range(25) for number in range(16)], 0),
    ],
)
def test_speakers_are_drawn_whole_for_rates_and_for_comparisons(wrong, ratio):
    widths = []
    for speakers in (None, [f"s{number // 16}" for number in range(400)]):
        evaluation_set, hypotheses = of_speakers(wrong, speakers)
        scored = [score(evaluation_set, "base", hypotheses), score(evaluation_set, "tuned", ["si"] * 400)]
        rate, compared = scored[0].result.normalized, compare_models(scored, 2000, 1)[1]
        assert rate.ci95_unit == ("speaker" if speakers else "utterance")
        widths.append([high - low for low, high in (rate.ci95, compared.ci95)])
    over_utterances, over_speakers = widths
    assert over_speakers == pytest.approx([ratio * width for width in over_utterances], rel=0.2)


def test_dynamic_candidate_is_held_against_the_full_baseline_only_where_there_is_no_other(evaluation_set):
    full = score(evaluation_set, "base", BASELINE)
    dynamic = score(evaluation_set, "base", ["x", "x", "x", "x"], "dynamic")
    tuned = [score(evaluation_set, "tuned", CANDIDATE, context) for context in ("full", "dynamic")]
    without = [c for c in compare_models([full, *tuned], 100, 1) if c.text == "normalized"]
    assert [(c.audio_context, round(c.wer_reduction, 6)) for c in without] == [
        ("full", round(4 / 7, 6)),
        ("dynamic", round(4 / 7, 6)),
    ]
    own = [c for c in compare_models([full, dynamic, *tuned], 100, 1) if c.text == "normalized"]
    # x for each of four clips: seven reference words lost, one word heard in the empty reference
    assert own[1].audio_context == "dynamic"
    assert own[1].wer_reduction == pytest.approx(8 / 7)


def test_every_later_model_is_compared_with_the_first_on_each_dataset(evaluation_set):
    other = replace(evaluation_set, dataset="data/it2")
    scored = [score(s, m, CANDIDATE) for m in ("zero", "one", "two") for s in (evaluation_set, other)]
    rows = {(c.baseline, c.candidate, c.dataset) for c in compare_models(scored, 100, 1)}
    assert rows == {("zero", m, d) for m in ("one", "two") for d in ("data/it", "data/it2")}


def test_one_model_leaves_nothing_to_compare(evaluation_set):
    scored = [score(evaluation_set, "base", BASELINE)]
    assert compare_models(scored, 100, 1) == []
    assert write_verdict([scored[0].result], []) == "There is nothing to compare."
    assert compare_models([], 100, 1) == []


def verdict_on(evaluation_set: EvaluationSet, hypotheses_of: dict[str, list[str]]) -> str:
    scored = [score(evaluation_set, model, hypotheses) for model, hypotheses in hypotheses_of.items()]
    return write_verdict([s.result for s in scored], compare_models(scored, 300, 1))


def test_verdict_says_better_worse_or_undecided():
    texts = [f"parola numero {n}" for n in range(40)]
    wrong = ["parola x x"] * 40
    one_better = [texts[0], *wrong[1:]]
    large = EvaluationSet("data/it", "test", [str(n) for n in range(40)], texts, [1.0] * 40, {}, ["it"] * 40)
    better = verdict_on(large, {"base": wrong, "tuned": texts})
    assert better == (
        "tuned makes 100 % fewer errors than base on data/it (test, full context): normalised WER "
        "66.7 % before and 0.0 % after, a reduction of 66.7 points with a 95 % interval from 66.7 to 66.7."
    )
    assert "tuned makes 100 % more errors than base" in verdict_on(
        large, {"base": ["parola numero x"] * 40, "tuned": wrong}
    )
    assert "tuned is not shown to differ from base" in verdict_on(large, {"base": wrong, "tuned": one_better})
    assert verdict_on(large, {"base": wrong, "a": one_better, "b": texts}).startswith(
        "Best of 2 candidates: b makes"
    )


def test_guards_do_not_make_the_best_candidate_and_a_promoted_one_goes_first(evaluation_set):
    guard = replace(evaluation_set, dataset="data/en", is_guard=True)
    scored = [
        score(one, model, hypotheses)
        for model, of_data, of_guard in (
            ("base", BASELINE, ["x"] * 4),
            ("a", BASELINE, CANDIDATE),  # better on the guard alone
            ("b", CANDIDATE, ["x"] * 4),
        )
        for one, hypotheses in ((evaluation_set, of_data), (guard, of_guard))
    ]
    results, comparisons = [s.result for s in scored], compare_models(scored, 100, 1)
    assert write_verdict(results, comparisons).startswith("Best of 2 candidates: b ")
    assert write_verdict(results, comparisons, ["a"]).startswith("Best of 2 candidates: a ")


def test_guards_do_not_push_out_a_dataset_of_the_dynamic_context(evaluation_set):
    """Guards are decoded in the full context alone; the data here were in the dynamic one."""
    guard = replace(evaluation_set, dataset="data/en", is_guard=True)
    scored = [score(guard, model, BASELINE) for model in ("base", "a", "b")] + [
        score(evaluation_set, model, hypotheses, "dynamic")
        for model, hypotheses in (("base", BASELINE), ("a", BASELINE), ("b", CANDIDATE))
    ]
    results, comparisons = [s.result for s in scored], compare_models(scored, 100, 1)
    assert rank_candidates(results, comparisons) == ["b", "a"]
    verdict = write_verdict(results, comparisons)
    assert "data/it (test, dynamic context)" in verdict and "data/en (test, full context)" in verdict


def test_the_full_context_ranks_the_candidates(evaluation_set):
    """In the full context b is better; a, which was decoded in both, may not count twice."""
    half = [CANDIDATE[0], *BASELINE[1:]]
    scored = [
        score(evaluation_set, model, hypotheses, context)
        for model, context, hypotheses in (
            ("base", "full", BASELINE),
            ("a", "full", half),
            ("a", "dynamic", CANDIDATE),
            ("b", "full", CANDIDATE),
        )
    ]
    results, comparisons = [s.result for s in scored], compare_models(scored, 100, 1)
    assert rank_candidates(results, comparisons) == ["b", "a"]
    assert rank_candidates(results, comparisons, ["a"]) == ["a", "b"]


def test_three_utterances_show_nothing(evaluation_set):
    """An interval over three utterances is their range: it leaves out 0 for one in four equal pairs."""
    texts = ["a b c d e f g h i j k l"] * 4
    wrong = ["x x c d e f x h i j k l"] * 4  # two stretches, of 2 errors and 1: p = 0.003 in one utterance
    for number, is_shown in ((1, False), (3, False), (4, True)):
        said = texts[:number]
        few = EvaluationSet(
            "data/it", "test", [str(n) for n in range(number)], said, [4.0] * number, {}, ["it"] * number
        )
        scored = [score(few, "base", wrong[:number]), score(few, "tuned", said)]
        _, normalized = compare_models(scored, 300, 1)
        assert normalized.is_significant is is_shown and normalized.has_too_few is not is_shown


def test_a_language_that_the_model_must_detect_is_still_the_one_spoken():
    spoken = "dúirt an fear go dtiocfadh sé ar ais go dtí an teach amárach leis an mbean"
    heard = "the man said that he would come back to the house tomorrow with the woman"
    irish = EvaluationSet("data/ga", "test", ["1"], [spoken], [5.0], {}, ["ga"], detected_languages=["ga"])
    assert irish.told_languages == [None]
    assert score(irish, "base", [heard]).result.failures["wrong language"] == 1


def test_characters_are_the_measure_where_words_have_no_spaces():
    chinese = EvaluationSet("data/zh", "test", ["1"], ["請再說一次"], [1.0], {}, ["zh"])
    (line,) = list_predictions(score(chinese, "base", ["請說兩次"]))
    # 再 left out, 一 substituted; one word, wrong
    assert (line.measure, line.normalized_errors, line.normalized_word_errors) == ("cer", 2, 1)


def test_words_made_up_in_silence():
    texts = ["", "Grazie a tutti.", None, "नमस्ते दुनिया"]
    found = count_made_up_words(["silence"] * 3 + ["noise"], [10.0] * 4, texts, "script-safe")
    silence, noise = found["silence"], found["noise"]
    assert (silence.clips, silence.clips_with_text, silence.words, silence.errors) == (3, 1, 3, 1)
    assert silence.words_per_minute == 6 and noise.words == 2
    # nobody's word count: fourteen characters
    assert count_made_up_words(["noise"], [4.0], ["ご視聴ありがとうございました"])["noise"].words == 14


def test_recordings_are_what_several_utterances_were_cut_from():
    columns = {"id": ["1", "2"], "text": ["a", "b"], "duration": [1.0, 1.0], "language": ["it", "it"]}
    columns |= {"source": ["a.wav", "b.wav"]}
    own_files = build_evaluation_set(Dataset.from_dict(columns), "data/it", "test")
    assert own_files.recordings == [None, None]
    cut = Dataset.from_dict(columns | {"start": [0.5, None]})
    assert build_evaluation_set(cut, "data/it", "test").recordings == ["a.wav", None]
    named = Dataset.from_dict(columns | {"start": [0.5, None], "recording": ["r", "r"]})
    assert build_evaluation_set(named, "data/it", "test").recordings == ["r", "r"]


def test_records_survive_the_files(evaluation_set, tmp_path):
    scored = [score(evaluation_set, "base", BASELINE), score(evaluation_set, "tuned", CANDIDATE)]
    results, gate = [s.result for s in scored], Gate("tuned", False, ["Too few."], [])
    analysis = Analysis(compare_models(scored, 100, 1), [gate], ["tuned"], "Better.")
    (tmp_path / "r.json").write_text(json.dumps({"results": [asdict(r) for r in results]}))
    (tmp_path / "c.json").write_text(json.dumps(asdict(analysis)))
    assert read_results(tmp_path / "r.json") == results
    assert read_analysis(tmp_path / "c.json") == analysis


def test_groups_come_from_known_columns_and_text_extras_of_2_to_50_values():
    size = 60
    rows = Dataset.from_dict(
        {
            "id": [str(n) for n in range(size)],
            "audio": [b""] * size,
            "text": ["a" if n % 2 else "b" for n in range(size)],
            "duration": [1.0] * size,
            "language": ["it"] * size,  # one value: no breakdown
            "speaker": [f"speaker {n % 50}" for n in range(size)],
            "group": [None if n < 3 else f"accent {n % 2}" for n in range(size)],
            "source": ["a.wav" if n % 2 else "b.wav" for n in range(size)],
            "device": ["phone" if n % 2 else "laptop" for n in range(size)],
            "take": [n % 2 for n in range(size)],  # a number is no group
            "sentence_id": [f"s{n % 51}" for n in range(size)],  # 51 values: too many
        }
    )
    found = build_evaluation_set(rows, "data/it", "test")
    assert set(found.groups) == {"speaker", "group", "device"}
    assert found.groups["group"][:4] == [None, None, None, "accent 1"]
    assert (found.dataset, found.split, found.ids[:2], found.durations[0]) == (
        "data/it",
        "test",
        ["0", "1"],
        1,
    )


def test_the_interval_is_of_characters_where_these_are_the_measure():
    """A character of five is wrong in each of 20 clips, and so is the one word that each is."""
    material = EvaluationSet(
        *("data/zh", "test", [str(number) for number in range(20)]),
        *(["我们在说话"] * 20, [1.0] * 20, {}, ["zh"] * 20),
    )
    result = score(material, "base", ["我们在说活"] * 20).result
    assert (result.measure, result.normalized.wer) == ("cer", 1.0)
    assert result.normalized.ci95 == (0.2, 0.2)
