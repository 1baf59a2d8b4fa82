"""Results of one model before and after tuning, made by hand."""

from dataclasses import replace

from utils.evaluation.records import EvaluationResult, TextScore
from utils.scoring.term_scores import TermCounts, TermScore

SCORE = TextScore(0.3026, 0.12, 0.29, 0.41, 1000, 200, 60, 42, (0.25, 0.36), "utterance")
BASE = EvaluationResult(
    model="openai/whisper-base",
    dataset="data/it",
    split="test",
    audio_context="full",
    backend="transformers",
    normalizer="basic",
    measure="wer",
    is_guard=False,
    num_utterances=139,
    audio_seconds=330.0,
    rtfx=4.25,
    raw=replace(SCORE, wer=0.45873, ci95=(0.4, 0.52)),
    normalized=SCORE,
    groups={},
    confusions=[],
    failures={},
    hallucination=None,
    trainable_parameters=None,
    total_parameters=72_000_000,
)
TERMS = TermScore(
    listed=30,
    spoken=40,
    found=30,
    false_alarms=2,
    recall=0.75,
    ci95=(0.6, 0.9),
    by_term={"=Zara": TermCounts(39, 30, 0), "Otranto": TermCounts(0, 0, 2), "Torino": TermCounts(1, 0, 0)},
)
TUNED = replace(
    BASE,
    model="runs/[it]/best",
    raw=replace(SCORE, wer=0.219, ci95=(0.17, 0.26)),
    normalized=replace(SCORE, wer=0.116, ci95=(0.08, 0.15)),
)
