"""Compares texts with the transcripts of a model, to find wrong texts, other languages, and decoding without
an end.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from transformers import WhisperForConditionalGeneration, WhisperProcessor

from utils.audio.flac import decode_flac
from utils.data.clips.block_files import findings_file, read_block_clips, write_findings
from utils.model.context import FULL_CONTEXT
from utils.model.decoding import decode_greedily, detect_languages
from utils.model.encoded_clips import EncodedClips
from utils.model.encoder import encode_clips
from utils.model.languages import language_codes
from utils.model.loading import load_model
from utils.model.whisper import eval_mode, whisper_of
from utils.runtime.devices import pick_device, pick_dtype
from utils.runtime.problems import Problem
from utils.runtime.progress import audio_progress, silence_libraries
from utils.scoring.error_rates import count_errors
from utils.text.label_tokens import prompt_tokens
from utils.text.loops import find_loop
from utils.text.normalizing import normalize_text
from utils.text.scripts import has_spaceless_script

TOKENS_PER_TOKEN = 2.5  # a hypothesis longer than this times the text, plus TOKENS_TO_SPARE, is a runaway

TOKENS_TO_SPARE = 20

LANGUAGE_CERTAINTY = 0.9  # a language detected with less is not trusted: clips are short

SHOWN_CHARACTERS = 60


@dataclass(frozen=True)
class ScreenedClip:
    """The transcript that a model made of one clip, compared with its text.

    `error_rate` is the normalised WER as a fraction, or the CER if the text's script has no spaces between
    words. `language` is the most likely language and `language_probability` its probability. They are None
    and 0 if the model knows only one language. `is_runaway` means that decoding looped, or that the
    transcript is much longer than the text.
    """

    heard: str
    error_rate: float
    error_unit: str  # WER or CER
    language: str | None
    language_probability: float
    is_runaway: bool


def screen_clips(
    model: torch.nn.Module,
    processor: WhisperProcessor,
    clips: Sequence[bytes],
    texts: Sequence[str],
    languages: Sequence[str | None],
    *,
    batch_size: int = 8,
) -> list[ScreenedClip]:
    """Transcribe clips in the full context, and compare the result with their texts.

    Args:
        model: Whisper, or a PEFT model around it, on any device.
        clips: FLAC bytes of at most 30 s, 16 kHz mono; at least one clip.
        texts: Transcript of each clip.
        languages: Language code of each clip. If it is None, the model detects the language.
        batch_size: Number of clips that are decoded at once.
    """
    encoded = processor.tokenizer([" " + text for text in texts], add_special_tokens=False)["input_ids"]
    lengths = [len(tokens) for tokens in encoded]
    order = sorted(range(len(clips)), key=lengths.__getitem__)  # so that few clips wait for a longer one
    results: dict[int, ScreenedClip] = {}
    with eval_mode(model), torch.inference_mode():
        for start in range(0, len(order), batch_size):
            batch = order[start : start + batch_size]
            heard = _hear(
                whisper_of(model),
                processor,
                [clips[index] for index in batch],
                [languages[index] for index in batch],
                longest=lengths[batch[-1]],
            )
            for index, hypothesis in zip(batch, heard, strict=True):
                results[index] = _compare(hypothesis, texts[index], lengths[index])
    return [results[index] for index in range(len(clips))]


_Heard = tuple[str, int, str | None, float]
"""A hypothesis, its number of tokens, the most likely language and its probability."""


def _hear(
    model: WhisperForConditionalGeneration,
    processor: WhisperProcessor,
    clips: Sequence[bytes],
    languages: Sequence[str | None],
    longest: int,
) -> list[_Heard]:
    """Decode a batch. Stop a hypothesis when it is too long even for the longest text of the batch."""
    samples = [decode_flac(clip) for clip in clips]
    states = encode_clips(model, processor.feature_extractor, samples, FULL_CONTEXT)
    detected = detect_languages(model, states)
    spoken = [given or found for given, (found, _) in zip(languages, detected, strict=True)]
    if not language_codes(model):
        spoken = [None] * len(clips)
    prompts = torch.tensor(
        [prompt_tokens(processor.tokenizer, language) for language in spoken], device=states.device
    )
    limit = prompts.shape[1] + _most_tokens(longest) + 1
    tokens = decode_greedily(model, EncodedClips(states), prompts, limit)
    decoded = processor.tokenizer.batch_decode(tokens, skip_special_tokens=True)
    return [
        (text.strip(), len(row), *found) for text, row, found in zip(decoded, tokens, detected, strict=True)
    ]


def _most_tokens(text_tokens: int) -> int:
    """Return the largest number of tokens that a hypothesis may have. A longer one is a runaway."""
    return round(TOKENS_PER_TOKEN * text_tokens) + TOKENS_TO_SPARE


def _compare(heard: _Heard, text: str, text_tokens: int) -> ScreenedClip:
    hypothesis, num_tokens, language, probability = heard
    unit, name = ("char", "CER") if has_spaceless_script(text) else ("word", "WER")
    said, told = normalize_text(text, "script-safe"), normalize_text(hypothesis, "script-safe")
    errors = count_errors([said], [told], unit)[0]  # type: ignore[arg-type]
    return ScreenedClip(
        heard=hypothesis,
        error_rate=errors.rate,
        error_unit=name,
        language=language,
        language_probability=probability,
        is_runaway=num_tokens > _most_tokens(text_tokens) or find_loop(hypothesis) is not None,
    )


def screen_block(
    index: Path, model: torch.nn.Module, processor: WhisperProcessor, *, max_wer: float
) -> float:
    """Screen the clips of a finished block and write the problems beside it.

    Do nothing if the block was screened before.

    Returns:
        Seconds of audio that the model transcribed in this call.
    """
    if findings_file(index).is_file():
        return 0.0
    rows = list(read_block_clips(index))
    languages = [row["language"] for row in rows]
    audio, texts = [row["audio"] for row in rows], [row["text"] for row in rows]
    clips = screen_clips(model, processor, audio, texts, languages) if rows else []
    problems = {
        place: problem
        for place, (clip, language) in enumerate(zip(clips, languages, strict=True))
        if (problem := screening_problem(clip, max_wer, language))
    }
    write_findings(index, problems)
    return sum(row["duration"] for row in rows)


def screening_problem(clip: ScreenedClip, max_wer: float, language: str | None) -> Problem | None:
    """Return why a clip should not be used for training, or None if it can be used.

    If the text agrees with the transcript, the detected language is ignored, because models often get the
    language of short clips wrong.

    Args:
        clip: The transcript of the model, compared with the text.
        max_wer: Highest normalised WER (CER for scripts without spaces) as a fraction.
        language: Language code of the text; None if unknown.
    """
    if clip.error_rate <= max_wer:
        return None
    shown = clip.heard if len(clip.heard) <= SHOWN_CHARACTERS else f"{clip.heard[: SHOWN_CHARACTERS - 1]}…"
    heard = f"the model wrote '{shown}'"
    if clip.is_runaway:
        return Problem(
            "endless decoding", f"decoding looped, or the transcript is much longer than the text; {heard}"
        )
    sure = clip.language_probability >= LANGUAGE_CERTAINTY
    if language and clip.language and clip.language != language and sure:
        share = f"{clip.language_probability:.2f}"
        return Problem(
            "other language", f"the model detects {clip.language} ({share}), expected {language}; {heard}"
        )
    rate = f"{clip.error_unit} {clip.error_rate:.2f}"
    return Problem("far from the model's transcript", f"{rate}, expected at most {max_wer:g}; {heard}")


def screen_blocks(indexes: Sequence[Path], model: str, *, max_wer: float) -> None:
    """Screen every clip of finished blocks with a model.

    Clips with problems are rejected later, when blocks are joined.

    Args:
        indexes: Index files of the blocks.
        model: Folder or Hub id of the model.
        max_wer: See `screening_problem`.
    """
    silence_libraries()
    device = pick_device()
    loaded = load_model(model, dtype=pick_dtype(device))
    whisper = whisper_of(loaded.model).to(device).eval()  # type: ignore[arg-type]
    with audio_progress("Hearing", len(indexes)) as progress:
        for index in indexes:
            progress.advance(1, screen_block(index, whisper, loaded.processor, max_wer=max_wer))
