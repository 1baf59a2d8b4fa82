"""Words that Whisper makes up where nobody speaks: untuned, tuned, and tuned with windows without speech.

Every kind of silence and noise below is generated in every duration; whatever a model writes for it is made
up. Some kinds, such as hum and knocks, are in no training. Each model decodes them greedily in the full and
the dynamic context; its WER on the test split says what the cure costs. A training that was interrupted goes
on when the command is given again.

    python preprocess.py --config recipes/starter.preprocess.yaml
    python benchmarks/hallucination.py
"""

import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.arguments import HallucinationArguments
from benchmarks.side_by_side import evaluate_command, run_logged, train_model
from utils.arguments.parsing import parse_arguments
from utils.audio.non_speech import Probe, build_probes
from utils.runtime.errors import user_errors_end_the_script

if TYPE_CHECKING:
    from utils.evaluation.records import EvaluationResult

UNTUNED, TUNED, WITH_WINDOWS = "untuned", "tuned", "tuned with windows without speech"
FOLDERS = {TUNED: "tuned", WITH_WINDOWS: "tuned-non-speech"}
CONTEXTS = ("full", "dynamic")


@dataclass(frozen=True)
class MadeUp:
    """What a model wrote for all windows of a kind in one context."""

    model: str
    audio_context: str
    kind: str
    seconds: float
    windows: int
    windows_with_text: int
    words: int  # after Whisper's basic normalisation
    texts: list[str]


@dataclass(frozen=True)
class Score:
    """WER on the test split; fractions."""

    model: str
    audio_context: str
    normalized_wer: float
    ci95: tuple[float, float]


def main(argv: list[str] | None = None) -> None:
    args = parse_arguments(HallucinationArguments, argv, __doc__)
    from utils.evaluation.results_file import read_results
    from utils.runtime.files import write_json, write_text
    from utils.runtime.progress import silence_libraries

    silence_libraries()
    folder = Path(args.output_dir)
    models = {UNTUNED: args.model_name_or_path}
    models[TUNED] = train(args, folder / FOLDERS[TUNED], share=0.0)
    models[WITH_WINDOWS] = train(args, folder / FOLDERS[WITH_WINDOWS], share=args.non_speech_share)
    evaluate(args, list(models.values()), folder / "report")
    sounds = build_probes(args.durations, args.seed)
    found = [
        item
        for name, path in models.items()
        for context in CONTEXTS
        for item in transcribe_sounds(args, name, path, sounds, context)
    ]
    scores = read_scores(read_results(folder / "report" / "evaluation_results.json"), models)
    values = {"arguments": asdict(args), "scores": [asdict(item) for item in scores]}
    write_json(folder / "hallucination.json", values | {"made_up": [asdict(item) for item in found]})
    table = markdown_tables(found, scores)
    write_text(folder / "hallucination.md", table)
    print(f"{table}\nEvery text: {folder / 'hallucination.json'}")


def train(args: HallucinationArguments, folder: Path, share: float) -> str:
    """Train with the recipe, or go on where that stopped; the model of the last step counts."""
    return train_model(
        folder,
        config=args.recipe,
        model_name_or_path=args.model_name_or_path,
        dataset=args.dataset,
        language=args.language,
        per_device_train_batch_size=args.batch_size,
        max_steps=args.max_steps,
        non_speech_share=share,
        save_steps=25,
        seed=args.seed,
    )


def transcribe_sounds(
    args: HallucinationArguments, name: str, path: str, sounds: Sequence[Probe], context: str
) -> list[MadeUp]:
    """What one model writes for all sounds in one context, kind by kind."""
    from utils.audio.flac import encode_flac
    from utils.model.decoding import ready_to_decode, transcribe_batch
    from utils.model.loading import load_model
    from utils.model.transcription import transcribe_clips
    from utils.text.normalizing import normalize_text

    loaded = load_model(path)
    options = {"max_length": 225, "silence_run": loaded.decoding_silence_run}
    with ready_to_decode(loaded.model):
        heard = transcribe_clips(
            partial(transcribe_batch, loaded.model, loaded.processor, **options),
            [encode_flac(sound.samples) for sound in sounds],
            [sound.duration for sound in sounds],
            [args.language] * len(sounds),
            audio_context=context,
            batch_size=args.batch_size,
        )
    texts = [hypothesis.text for hypothesis in heard.values()]
    found = []
    for kind in dict.fromkeys(sound.kind for sound in sounds):
        own = [(sound, text) for sound, text in zip(sounds, texts, strict=True) if sound.kind == kind]
        words = [len(normalize_text(text).split()) for _, text in own]
        seconds = sum(sound.duration for sound, _ in own)
        with_text = sum(bool(text) for _, text in own)
        written = [text for _, text in own]
        found.append(MadeUp(name, context, kind, seconds, len(own), with_text, sum(words), written))
    return found


def evaluate(args: HallucinationArguments, models: list[str], folder: Path) -> None:
    """Score speech, the tuned models in both contexts; a report with equal arguments is reused."""
    command = evaluate_command(
        models,
        dataset=args.dataset,
        split="test",
        language=args.language,
        per_device_eval_batch_size=args.batch_size,
        seed=args.seed,
        output_dir=str(folder),
    )
    run_logged(command, folder)


def read_scores(results: "list[EvaluationResult]", models: dict[str, str]) -> list[Score]:
    names = {path: name for name, path in models.items()}
    return [
        Score(names[item.model], item.audio_context, item.normalized.wer, item.normalized.ci95)
        for item in results
    ]


def words_per_minute(found: Sequence[MadeUp]) -> float:
    return 60 * sum(item.words for item in found) / sum(item.seconds for item in found)


def markdown_tables(found: Sequence[MadeUp], scores: Sequence[Score]) -> str:
    """A row for each model and context; then made-up words a minute by kind."""
    kinds = list(dict.fromkeys(item.kind for item in found))
    minutes = sum(item.seconds for item in found) / 60
    groups: dict[tuple[str, str], list[MadeUp]] = {}
    for item in found:
        groups.setdefault((item.model, item.audio_context), []).append(item)
    wers = {(score.model, score.audio_context): score for score in scores}
    lines = [
        f"{minutes / len(groups):.1f} minutes without speech; WER normalised, in percent, on the test split.",
        "",
        "| model | context | made-up words a minute | windows with text | WER |",
        "|---|---|---|---|---|",
    ]
    for (model, context), items in groups.items():
        score = wers.get((model, context))
        wer = ""
        if score:
            low, high = score.ci95
            wer = f"{100 * score.normalized_wer:.1f} [{100 * low:.1f}, {100 * high:.1f}]"
        share = f"{sum(item.windows_with_text for item in items)} of {sum(item.windows for item in items)}"
        lines.append(f"| {model} | {context} | {words_per_minute(items):.1f} | {share} | {wer} |")
    lines += ["", f"| words a minute | {' | '.join(kinds)} |", "|---" * (len(kinds) + 1) + "|"]
    for (model, context), items in groups.items():
        cells = [f"{words_per_minute([item]):.0f}" for item in items]
        lines.append(f"| {model}, {context} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    with user_errors_end_the_script():
        main()
