"""The warning that tuning may harm: when it comes, and what it names."""

from pathlib import Path

import pytest

import train
from tests.support.scripted_decoding import script_decoding, short_run, write_short_clips, wrong
from utils.training.harm import describe_harm

pytestmark = pytest.mark.usefixtures("fresh_accelerator")

WARNING = "Warning: before training, the normalised WER on validation is 12.5 %. Below 20 %"


@pytest.mark.parametrize(("wer", "warns"), [(0.199, True), (0.2, False), (1.3, False), (None, False)])
def test_the_line_is_a_wer_of_20_percent(wer, warns):
    assert (describe_harm(wer) is not None) is warns


@pytest.fixture(scope="module")
def clips(tmp_path_factory) -> Path:
    return write_short_clips(tmp_path_factory.mktemp("clips") / "it", {"train": 2, "validation": 2})


@pytest.mark.parametrize(
    ("words", "errors", "warns", "advises"),
    [
        ("--eval_on_start", 1, True, True),  # one word of eight
        ("--eval_on_start", 2, False, False),
        ("", 1, False, False),  # the untuned model is not scored
        ("--eval_on_start --interpolation_alphas 1 --guard_datasets {clips}", 1, True, False),
    ],
)
def test_a_run_warns_before_its_first_step(
    tiny_whisper, clips, tmp_path, monkeypatch, capsys, words, errors, warns, advises
):
    script_decoding(monkeypatch, *[wrong(errors)] * 6)
    more = ["--max_steps 1", words.format(clips=clips)]
    train.main(short_run(tiny_whisper, clips, tmp_path / "run", *more))
    lines = [line for line in capsys.readouterr().out.splitlines() if "Warning: before" in line]
    assert [line.startswith(WARNING) for line in lines] == [True] * warns
    assert any("recipes/preserve.yaml" in line for line in lines) is advises
    assert ((f"* {WARNING}") in (tmp_path / "run/best/README.md").read_text()) is warns
