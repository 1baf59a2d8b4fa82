"""The search of alignment heads: on made-up attention, and where those of a real model were set wrong."""

import base64
import gzip
import json
import re
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from datasets import Dataset, DatasetDict

import export
from tests.support.real_vocabulary import build_source
from utils.audio.flac import encode_flac
from utils.data.forced_alignment.word_timing import Led
from utils.delivery import heads
from utils.delivery.heads import HeadSearch, search_alignment_heads, set_alignment_heads
from utils.delivery.parity import material
from utils.delivery.parity.sounds import JoinedClip, ParitySound
from utils.model.languages import language_ids
from utils.model.loading import load_model
from utils.model.resolving import resolve_model
from utils.text.label_tokens import encode_texts

EVERYONE = [[layer, head] for layer in range(4) for head in range(8)]
WRONG = [[0, 0], [0, 1]]
OWN = [[3, 1], [4, 2], [4, 3], [4, 7], [5, 1], [5, 2], [5, 4], [5, 6]]  # of base, in openai/whisper
SECONDS, PAUSE = 2.0, 0.4  # of each clip, and after it


@pytest.fixture(scope="module")
def loaded():
    """A random model of 32 heads, with the tokens of Whisper base."""
    return build_source(decoder_attention_heads=8).loaded


def recording(*texts: str, language: str | None = "it") -> ParitySound:
    """Silence with known edges: what is heard does not matter to made-up attention."""
    starts = [(SECONDS + PAUSE) * number for number in range(len(texts))]
    pieces = [JoinedClip(text, start, start + SECONDS) for text, start in zip(texts, starts, strict=True)]
    samples = np.zeros(round((SECONDS + PAUSE) * len(texts) * 16_000), dtype=np.float32)
    return ParitySound(texts[0], samples, language, pieces)


RECORDINGS = [
    recording(f"{word} due tre", f"quattro {word}", "sei sette otto") for word in ("a", "b", "c", "d")
]


@pytest.fixture
def attention(loaded, monkeypatch) -> Callable[..., list[tuple]]:
    """A function that lets each head look at where a token is spoken, so many seconds too late.

    `lag_of` gets the head and the number of the recording. Returns what the decoder is given, one after
    another: prompt, tokens, frames.
    """

    def make_up(lag_of: Callable[[list[int], int], float], sounds: Sequence[ParitySound] = RECORDINGS):
        encoded = [
            encode_texts(loaded.processor.tokenizer, [piece.text for piece in sound.pieces])
            for sound in sounds
        ]
        calls: list[tuple] = []

        def lead_through(model, states, prompts, tokens, num_frames, heads):
            calls.append((prompts[0], tokens[0], num_frames[0]))
            number = next(n for n, texts in enumerate(encoded) if texts[0] == tokens[0][: len(texts[0])])
            centres = [
                piece.start + SECONDS * (place + 0.5) / len(text)
                for piece, text in zip(sounds[number].pieces, encoded[number], strict=True)
                for place in range(len(text))
            ]
            expected = np.array([*centres[: len(tokens[0])], num_frames[0] * 0.02])[:, None]
            frames = 0.02 * np.arange(num_frames[0])
            late = [frames - expected - lag_of(head, number) for head in heads]
            weights = np.exp(-((np.stack(late) / 0.1) ** 2)) + 1e-3
            return [Led(np.ones(len(tokens[0])), torch.tensor(weights))]

        monkeypatch.setattr(heads, "lead_through", lead_through)
        return calls

    return make_up


def test_the_heads_that_look_where_a_word_is_spoken_are_found(loaded, attention):
    right = [[0, 3], [1, 0], [2, 7], [3, 2]]
    attention(lambda head, _: 0.0 if head in right else 0.9)
    found = search_alignment_heads(loaded, RECORDINGS, "transcribe")
    assert found.heads == right
    # half a pause is 0.2 s, and the model's own heads, those of the upper half, are 0.9 s late
    assert found.after == 0 and found.before == pytest.approx(0.7, abs=0.15)
    assert found.is_worth_it
    attention(lambda head, _: 0.0 if head in right else 3.0)
    assert search_alignment_heads(loaded, RECORDINGS, "transcribe").before == 1.0  # no edge is further off
    assert loaded.model.generation_config.alignment_heads is None


def test_of_many_that_are_nearly_as_good_ten_are_taken(loaded, attention):
    right = [[3, 7], [0, 5], [2, 2], *([1, head] for head in range(8))]
    attention(lambda head, _: 0.22 + 0.004 * right.index(head) if head in right else 0.9)
    assert search_alignment_heads(loaded, RECORDINGS, "transcribe").heads == sorted(right[:10])


def test_a_head_that_is_worse_by_more_is_left_out(loaded, attention):
    """An edge comes 0.2 s after the start of a pause of 0.4 s, if a head is right."""
    lags = {(2, 2): 0.0, (1, 1): 0.22, (3, 3): 0.28}
    attention(lambda head, _: lags.get(tuple(head), 0.9))
    assert search_alignment_heads(loaded, RECORDINGS, "transcribe").heads == [[1, 1], [2, 2]]


def test_heads_are_judged_on_other_recordings_than_they_were_chosen_on(loaded, attention):
    """The first and third recording are fooled by one head; in the others it is no better."""
    attention(lambda head, number: 0.0 if head == [2, 5] and number in (0, 2) else 0.9)
    found = search_alignment_heads(loaded, RECORDINGS, "transcribe")
    assert found.heads == [[2, 5]]
    assert found.after == pytest.approx(found.before, abs=0.1) and not found.is_worth_it


def test_where_in_a_pause_an_edge_is_does_not_count(loaded, attention):
    attention(lambda head, _: 0.15 if head == [0, 0] else -0.15 if head == [0, 1] else 0.9)
    set_alignment_heads(loaded, [[0, 1]])
    try:
        found = search_alignment_heads(loaded, RECORDINGS, "transcribe")
    finally:
        set_alignment_heads(loaded, None)
    assert (found.before, found.after) == (0, 0)


def test_a_change_must_be_worth_a_twentieth_of_a_second():
    assert HeadSearch(WRONG, before=0.30, after=0.25).is_worth_it
    assert not HeadSearch(WRONG, before=0.30, after=0.26).is_worth_it


@pytest.mark.parametrize(("room", "clips"), [(4 + 12, 2), (4 + 17, 2), (4 + 18, 3)])
def test_a_text_that_is_too_long_for_the_decoder_is_cut_after_a_clip(
    loaded, attention, monkeypatch, room, clips
):
    """Each clip has six tokens, and the prompt four."""
    monkeypatch.setattr(loaded.model.config, "max_target_positions", room)
    sounds = [recording(f"{word} a a a a a", *2 * ["a a a a a a"]) for word in ("c", "d")]
    calls = attention(lambda head, _: 0.0, sounds)
    assert search_alignment_heads(loaded, sounds, "transcribe").after == 0
    assert {(len(tokens), frames) for _, tokens, frames in calls} == {(6 * clips, 120 * clips)}


def test_recordings_of_one_clip_show_nothing(loaded, attention):
    attention(lambda head, _: 0.0)
    alone = [recording("uno"), recording("due")]
    assert search_alignment_heads(loaded, [*alone, RECORDINGS[0]], "transcribe") is None
    assert search_alignment_heads(loaded, [], "transcribe") is None


def test_the_decoder_is_asked_in_the_language_and_task_of_the_model(loaded, attention):
    sounds = [recording("a uno", "due"), recording("b uno", "due", language=None)]
    calls = attention(lambda head, _: 0.0, sounds)
    search_alignment_heads(loaded, sounds, "translate")
    known, detected = calls[0][0], calls[-1][0]
    name = loaded.processor.tokenizer.convert_ids_to_tokens
    assert name(known) == ["<|startoftranscript|>", "<|it|>", "<|translate|>", "<|notimestamps|>"]
    assert detected[1] in language_ids(loaded.model).values() and len(detected) == 4


def test_weights_in_half_precision_are_searched(tiny_whisper):
    loaded = load_model(str(tiny_whisper), dtype=torch.bfloat16)
    found = search_alignment_heads(loaded, RECORDINGS[:2], "transcribe")
    assert 0 <= found.after <= 1 and {tuple(head) for head in found.heads} <= {(0, 0), (0, 1), (1, 0), (1, 1)}


# ---- in export.py ------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def trained(spelling_whisper, prepared, tmp_path_factory) -> Path:
    """A model of which train.py says that it has learnt from a dataset."""
    folder = shutil.copytree(spelling_whisper, tmp_path_factory.mktemp("trained") / "best")
    (folder / "train.yaml").write_text(f"dataset: ['{prepared}']\nlanguage: it\n")
    return folder


def export_to(folder: Path, model: Path, *more: str) -> Path:
    export.main(["--model", str(model), "--output_dir", str(folder), "--no_parity", *more])
    return folder


def heads_in(path: Path) -> list[list[int]]:
    return json.loads(path.read_text())["alignment_heads"]


@pytest.fixture(autouse=True)
def few_windows(monkeypatch) -> None:
    monkeypatch.setattr(material, "NUM_WINDOWS", 2)


def test_heads_that_are_found_arrive_in_every_folder(trained, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(heads, "WORTH_A_CHANGE", -2.0)  # whatever is found
    monkeypatch.setattr(heads, "MOST_HEADS", 1)
    out = export_to(tmp_path / "out", trained, "--format", "huggingface", "ctranslate2")
    found = heads_in(out / "huggingface/generation_config.json")
    assert len(found) == 1 and found == heads_in(out / "ctranslate2/config.json")
    told = capsys.readouterr().out
    assert f"Other attention heads give better times of words: {found}." in told
    before, after = re.findall(r"by (\d\.\d{3}) s", told)
    for name in ("huggingface", "ctranslate2"):
        readme = (out / name / "README.md").read_text()
        assert f"of training: {found}." in readme
        assert f"by {after} s with them, and by {before} s without" in readme


def test_heads_that_are_no_better_are_not_taken(trained, tmp_path, monkeypatch):
    monkeypatch.setattr(heads, "WORTH_A_CHANGE", 2.0)
    out = export_to(tmp_path / "out", trained, "--format", "huggingface")
    assert heads_in(out / "generation_config.json") == [[1, 0], [1, 1]]  # the upper of two layers
    assert "Training had moved" not in (out / "README.md").read_text()
    out = export_to(tmp_path / "all", trained, "--format", "huggingface", "--no_search_alignment_heads")
    monkeypatch.setattr(heads, "WORTH_A_CHANGE", -2.0)
    assert heads_in(out / "generation_config.json") == [[1, 0], [1, 1]]


@pytest.mark.parametrize("split", ["test", "validation"])
def test_data_without_training_clips_are_no_fault(trained, build_prepared, tmp_path, monkeypatch, split):
    monkeypatch.setattr(heads, "WORTH_A_CHANGE", -2.0)
    data = build_prepared(tmp_path / "data", {split: 4})
    out = export_to(tmp_path / "out", trained, "--format", "huggingface", "--dataset", str(data))
    assert heads_in(out / "generation_config.json") == [[1, 0], [1, 1]]


def test_an_adapter_gets_the_heads_and_else_stays_as_it_is(trained, tmp_path, monkeypatch):
    from peft import LoraConfig, get_peft_model

    loaded, adapter = load_model(str(trained)), tmp_path / "adapter"
    model = get_peft_model(loaded.model, LoraConfig(r=2, target_modules=["q_proj"]))
    model.save_pretrained(adapter)
    loaded.processor.save_pretrained(adapter)
    loaded.model.generation_config.save_pretrained(adapter)
    shutil.copyfile(trained / "train.yaml", adapter / "train.yaml")
    monkeypatch.setattr(heads, "WORTH_A_CHANGE", -2.0)
    monkeypatch.setattr(heads, "MOST_HEADS", 1)
    out = export_to(tmp_path / "out", adapter, "--format", "adapter")
    changed = {file.name for file in adapter.iterdir() if file.read_bytes() != (out / file.name).read_bytes()}
    assert changed == {"generation_config.json", "README.md"}
    before = json.loads((adapter / "generation_config.json").read_text())
    after = json.loads((out / "generation_config.json").read_text())
    assert len(after.pop("alignment_heads")) == 1 and after == before
    readme = (out / "README.md").read_text()
    assert "Training had moved" in readme and "base.generation_config = GenerationConfig" in readme


@pytest.mark.slow
def test_the_heads_of_the_real_model_are_found_again(italian_prompts, tmp_path, monkeypatch):
    """Base whose list names two heads that look nowhere; of what is found, openai/whisper lists most."""
    monkeypatch.setattr(material, "NUM_WINDOWS", 4)
    model = shutil.copytree(resolve_model("openai/whisper-base"), tmp_path / "model")
    settings = json.loads((model / "generation_config.json").read_text())
    assert settings["alignment_heads"] == OWN
    (model / "generation_config.json").write_text(json.dumps(settings | {"alignment_heads": WRONG}))
    (model / "train.yaml").write_text(f"dataset: ['{tmp_path / 'data'}']\nlanguage: it\n")
    rows = [
        {"id": str(number), "audio": encode_flac(samples), "text": text, "language": "it"}
        | {"duration": len(samples) / 16_000}
        for number, (samples, text) in enumerate(italian_prompts)
    ]
    DatasetDict({"train": Dataset.from_list(rows)}).save_to_disk(tmp_path / "data")
    out = export_to(tmp_path / "out", model, "--format", "huggingface", "ctranslate2", "openai")
    found = heads_in(out / "huggingface/generation_config.json")
    assert found == heads_in(out / "ctranslate2/config.json")
    assert len([head for head in found if head in OWN]) > len(found) / 2
    stored = torch.load(out / "openai/model.pt", weights_only=True)["alignment_heads"]
    mask = np.frombuffer(gzip.decompress(base64.b85decode(stored)), dtype=bool).reshape(6, 8)
    assert np.argwhere(mask).tolist() == found
    after, before = re.findall(r"by (\d\.\d{3}) s with", (out / "openai/README.md").read_text())
    print(found, before, after)
    assert float(after) < 0.1 and float(before) > 0.3
