"""Screening: verdicts by hand, a tiny model through the whole pass, real speech with Whisper base."""

import io
import json
from pathlib import Path

import numpy as np
import pytest
import soundfile

from utils.audio.flac import encode_flac
from utils.data.blocks import MOST_ITEMS, cut_blocks
from utils.data.building import build_dataset
from utils.data.clips.block_encoding import encode_blocks
from utils.data.clips.encoding import ClipSettings
from utils.data.screening import (
    ScreenedClip,
    _compare,
    screen_block,
    screen_clips,
    screening_problem,
)
from utils.data.selection import SplitSettings
from utils.data.utterance import Reject, Utterance
from utils.model.loading import load_model
from utils.runtime.problems import Problem


def clip(**values) -> ScreenedClip:
    common = {
        "heard": "ciao a tutti",
        "error_rate": 1.4,
        "error_unit": "WER",
        "language": "it",
        "language_probability": 0.99,
        "is_runaway": False,
    }
    return ScreenedClip(**(common | values))


def test_reasons():
    assert screening_problem(clip(error_rate=0.8), 0.8, "it") is None
    assert (
        str(screening_problem(clip(), 0.8, "it"))
        == "far from the model's transcript: WER 1.40, expected at most 0.8; the model wrote 'ciao a tutti'"
    )
    assert str(screening_problem(clip(error_unit="CER"), 0.8, None)).startswith(
        "far from the model's transcript: CER 1.40"
    )
    assert (
        str(screening_problem(clip(language="en", language_probability=0.95), 0.8, "it"))
        == "other language: the model detects en (0.95), expected it; the model wrote 'ciao a tutti'"
    )
    assert str(screening_problem(clip(is_runaway=True), 0.8, "it")).startswith("endless decoding: ")


def test_a_doubtful_language_or_a_right_text_is_no_reason():
    unsure = clip(language="en", language_probability=0.5)
    assert str(screening_problem(unsure, 0.8, "it")).startswith("far from the model's transcript: ")
    assert screening_problem(clip(language="en", error_rate=0.1), 0.8, "it") is None
    assert screening_problem(clip(is_runaway=True, error_rate=0.0), 0.8, "it") is None


def test_words_said_again_and_again_are_no_reason_where_the_text_has_them():
    text = "no no no no no no no no no no no no"
    result = _compare((text, 12, "it", 0.9), text, 12)
    assert result.is_runaway and screening_problem(result, 0.8, "it") is None


def test_a_long_hypothesis_is_shortened():
    reason = str(screening_problem(clip(heard="a" * 500), 0.8, "it"))
    assert reason.endswith("…'") and len(reason) < 150


@pytest.mark.parametrize(
    ("text", "heard", "unit", "rate"),
    [
        ("मेरी किताब", "मेरा किताब।", "WER", 1 / 2),
        ("สวัสดีครับ", "สวัสดี ครับ", "CER", 0),
        ("น้ำ", "นำ", "CER", 1 / 4),  # น, mai tho and the two of sara am; the tone is lost
        ("Perché no?", "perche no", "WER", 1 / 2),
    ],
)
def test_vowel_signs_and_tones_are_compared(text, heard, unit, rate):
    result = _compare((heard, 5, "it", 0.9), text, 5)
    assert (result.error_unit, result.error_rate) == (unit, pytest.approx(rate))


def test_results_come_in_order_and_one_for_each(tiny_whisper):
    loaded = load_model(str(tiny_whisper))
    random = np.random.default_rng(0)
    clips = [encode_flac(random.normal(scale=0.1, size=8_000)) for _ in range(5)]
    texts = ["a", "una frase molto più lunga", "due", "", "数字です"]
    results = list(
        screen_clips(
            loaded.model, loaded.processor, clips, texts, ["it", None, "it", "it", "ja"], batch_size=2
        )
    )
    assert [result.error_unit for result in results] == ["WER", "WER", "WER", "WER", "CER"]
    alone = list(screen_clips(loaded.model, loaded.processor, clips[1:2], texts[1:2], [None]))
    assert alone[0].heard[:20] == results[1].heard[:20]
    assert all(0 < result.language_probability <= 1 for result in results)


def test_what_was_found_falls_on_the_clip_it_was_found_in(tmp_path, monkeypatch):
    """Two blocks with rejects of their own; a stub finds one wrong text in each."""
    monkeypatch.setattr(
        "utils.data.screening.screen_clips",
        lambda model, processor, clips, texts, languages: [
            clip(heard=text, error_rate=float("sbagliata" in text)) for text in texts
        ],
    )
    wav = io.BytesIO()
    soundfile.write(wav, np.sin(np.arange(3_200) / 9), 16_000, format="WAV")
    items: list[Utterance | Reject] = [
        Utterance(f"u-{n}", wav.getvalue(), f"frase {n}", "corpus", n) for n in range(MOST_ITEMS + 8)
    ]
    for number in (10, MOST_ITEMS + 5):
        items[number] = Utterance("u", wav.getvalue(), f"frase sbagliata {number}", "corpus", number)
    for number in (3, 4, MOST_ITEMS + 1):
        items[number] = Reject("corpus", number, Problem("empty text", "nothing"))
    blocks = list(cut_blocks(items, ""))
    assert len(blocks) == 2
    settings = ClipSettings(0.1, 30.0, rules=frozenset(), language="it", tokenizer=None)
    list(encode_blocks(blocks, tmp_path, settings, num_proc=1))
    indexes = [tmp_path / f"{block.name}.json" for block in blocks]
    heard = sum(screen_block(index, None, None, max_wer=0.8) for index in indexes)
    assert heard == pytest.approx(0.2 * (len(items) - 3))
    assert [screen_block(index, None, None, max_wer=0.8) for index in indexes] == [0.0, 0.0]
    (tmp_path / "data").mkdir()
    build_dataset(tmp_path / "data", indexes, SplitSettings(validation_share=0.1, test_share=0.1, seed=0))
    assert late_rejects(tmp_path / "data") == {
        10: "sbagliata 10",
        MOST_ITEMS + 5: f"sbagliata {MOST_ITEMS + 5}",
    }


def late_rejects(folder: Path) -> dict[int, str]:
    """What is rejected for what a model hears: its place, and the last two words heard."""
    rejects = map(json.loads, (folder / "rejects.jsonl").read_text().splitlines())
    return {
        reject["position"]: " ".join(reject["reason"].strip("'").split()[-2:])
        for reject in rejects
        if reject["reason"].startswith("far from the model's transcript: ")
    }


def test_right_texts_pass_and_wrong_ones_do_not(italian_prompts):
    from utils.model.resolving import resolve_model

    loaded = load_model(resolve_model("openai/whisper-base"))
    clips = [encode_flac(samples) for samples, _ in italian_prompts[1:4]]
    texts = [text for _, text in italian_prompts[1:4]]
    right = list(screen_clips(loaded.model, loaded.processor, clips, texts, ["it"] * 3))
    assert sum(screening_problem(result, 0.8, "it") is None for result in right) >= 2
    assert {result.language for result in right} == {"it"}
    # the same words heard, beside a text that nobody says
    other = "Il gatto dorme tutto il giorno sul divano rosso della nonna."
    for result in right:
        heard = (result.heard, 10, result.language, result.language_probability)
        assert screening_problem(_compare(heard, other, 20), 0.8, "it")
