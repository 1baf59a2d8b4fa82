"""Names and terms from end to end: a tiny model is trained with prompts, and scored with and without them."""

import json
import shutil
from collections import Counter
from pathlib import Path

import pytest
from datasets import load_from_disk

import evaluate
import train
from tests.support.training_runs import assert_same_course, values_of

pytestmark = pytest.mark.usefixtures("fresh_accelerator")


@pytest.fixture(scope="module")
def terms(prepared, tmp_path_factory) -> Path:
    """Ten words of the texts to test on, nine of those to train on, and one that nobody says."""
    splits, words = load_from_disk(prepared), list[str]()
    for split, count in (("test", 10), ("train", 9)):
        found = {word for text in splits[split]["text"] for word in text.split() if 3 <= len(word) <= 6}
        words += sorted(found - {*words})[:count]
    file = tmp_path_factory.mktemp("terms") / "terms.txt"
    file.write_text("\n".join([*words, "Zara"]))
    return file


def test_a_run_with_prompts_resumes_where_it_stopped(tiny_whisper, prepared, terms, tmp_path, capsys):
    straight = tmp_path / "straight"
    words = f"--model_name_or_path {tiny_whisper} --dataset {prepared} --report_to none --max_steps 4"
    words += f" --eval_steps 0 --save_steps 2 --logging_steps 1 --learning_rate 1e-3 --output_dir {straight}"
    with_terms = [*words.split(), "--prompt_terms_file", str(terms)]
    train.main(with_terms)
    assert f"{terms}: " in (told := capsys.readouterr().out) and " of 20 terms said in " in told
    resumed = shutil.copytree(straight, tmp_path / "resumed")
    for name in ("checkpoint-4", "final"):
        shutil.rmtree(resumed / name)
    train.main([word if word != str(straight) else str(resumed) for word in with_terms])
    assert_same_course(straight, resumed)
    plain = tmp_path / "plain"
    train.main([word if word != str(straight) else str(plain) for word in words.split()])
    assert values_of(plain, "loss")[0] != values_of(straight, "loss")[0]


def test_terms_are_scored_with_and_without_a_prompt(spelling_whisper, prepared, terms, tmp_path, capsys):
    found, terms = {}, Path(shutil.copy(terms, tmp_path))
    for name, more in (("plain", ""), ("prompted", f"--prompt_terms_file {terms}")):
        words = f"--models {spelling_whisper} --dataset {prepared} --language it --terms_file {terms} {more}"
        words += f" --generation_max_length 240 --bootstrap_samples 50 --output_dir {tmp_path / name}"
        evaluate.main([*words.split(), "--no_probe_hallucination", "--audio_context", "dynamic"])
        lines = (tmp_path / name / "predictions.jsonl").read_text().splitlines()
        (row,) = json.loads((tmp_path / name / "evaluation_results.json").read_text())["results"]
        found[name] = [json.loads(line)["hypothesis"] for line in lines]
        check_counts(row["terms"], [json.loads(line) for line in lines], terms.read_text().lower().split())
        assert row["is_prompted"] == bool(more)
    assert found["plain"] != found["prompted"]
    assert "Names and terms (listed: 20)" in capsys.readouterr().out
    assert "Names and terms" in (tmp_path / "plain" / "report.html").read_text()
    evaluate.main([*words.split(), "--no_probe_hallucination", "--audio_context", "dynamic"])
    assert "already evaluated" in capsys.readouterr().out
    terms.write_text(terms.read_text() + "\nOtranto")
    evaluate.main([*words.split(), "--no_probe_hallucination", "--audio_context", "dynamic"])
    assert "already evaluated" not in capsys.readouterr().out


def check_counts(score: dict, lines: list[dict], terms: list[str]) -> None:
    """Compare with counts of the words; the texts are lower case without punctuation."""
    said = [Counter(word for word in line["reference"].split() if word in terms) for line in lines]
    written = [Counter(word for word in line["hypothesis"].split() if word in terms) for line in lines]
    assert score["spoken"] == sum(map(Counter.total, said)) > 0
    assert score["found"] == sum((one & other).total() for one, other in zip(said, written, strict=True))
    assert score["false_alarms"] == sum((o - s).total() for s, o in zip(said, written, strict=True))
    assert score["recall"] == pytest.approx(score["found"] / score["spoken"])
