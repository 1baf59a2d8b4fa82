"""How fast transcribe.py reads a recording beside faster-whisper, `transformers.pipeline` or OpenVINO GenAI.

Clips of a dataset make one recording of about `--minutes`. All sides decode greedily with timestamps, and in
batches of eight if they can; transcribe.py and faster-whisper also tell the times of words. Each run is a
process of its own, the sides take turns, medians count. Loading and converting the model does not count.

    python benchmarks/transcribe_speed.py --model_name_or_path openai/whisper-base --dataset data/demo
    python benchmarks/transcribe_speed.py --peer pipeline --dtypes float32
    python benchmarks/transcribe_speed.py --peer openvino --dtypes int8
"""

import contextlib
import json
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import numpy as np
import torch

from benchmarks.recordings import Recording, join_clips, read_dataset_clips
from benchmarks.side_by_side import PEER, Measurement, measure_in_turns, python_command, report, run_alone
from utils.arguments.fields import ScriptArguments
from utils.arguments.parsing import parse_arguments
from utils.audio.flac import encode_flac
from utils.delivery.exports.ctranslate2 import CTRANSLATE2
from utils.delivery.exports.export_format import ExportFormat, load_export_source
from utils.delivery.exports.hugging_face import HUGGING_FACE
from utils.delivery.parity.rendering import Opener, Trial, render
from utils.delivery.parity.sounds import JoinedClip, ParitySound
from utils.delivery.runtimes.faster_whisper import (
    BATCH_SIZE,
    open_batched_faster_whisper,
    open_faster_whisper_runtime,
)
from utils.delivery.runtimes.runtime import Rendition, Way
from utils.delivery.runtimes.transformers import TransformersRuntime, open_transformers_runtime
from utils.runtime.errors import UserError, user_errors_end_the_script
from utils.runtime.files import write_bytes
from utils.runtime.flags import argument
from utils.scoring.error_rates import error_rates, score_utterances

PAUSES = (0.4, 1.2)  # seconds between two clips


@contextlib.contextmanager
def open_batched_pipeline(folder: Path, threads: int, task: str) -> Iterator[TransformersRuntime]:
    """transformers.pipeline over windows of 30 s that overlap, in batches."""
    with open_transformers_runtime(folder, threads, task) as runtime:
        yield replace(runtime, batch_size=BATCH_SIZE)


@dataclass(frozen=True)
class OpenVinoRuntime:
    """OpenVINO GenAI's pipeline: greedy, window after window, as openai/whisper reads a recording."""

    engine: Any  # openvino_genai.WhisperPipeline
    task: str
    ways: tuple[Way, ...] = (Way(timestamps=True),)
    finds_windows: bool = False

    def transcribe(self, samples: np.ndarray, language: str | None, way: Way) -> Rendition:
        found = self.engine.generate(
            samples.tolist(), language=f"<|{language}|>", task=self.task, return_timestamps=way.timestamps
        )
        return Rendition(found.texts[0].strip())


@contextlib.contextmanager
def open_openvino(folder: Path, threads: int, task: str) -> Iterator[OpenVinoRuntime]:
    """A folder that `optimum-cli export openvino` has written."""
    from openvino_genai import WhisperPipeline

    yield OpenVinoRuntime(WhisperPipeline(str(folder), "CPU", INFERENCE_NUM_THREADS=threads), task)


@dataclass(frozen=True)
class Peer:
    """A program beside transcribe.py: how it is opened, what it is asked for, the form of its models."""

    opener: Opener
    way: Way
    format: ExportFormat | None = None  # None: the user has exported the model


WITH_WORDS = Way(timestamps=True, words=True)
PEERS = {
    "faster-whisper": Peer(open_batched_faster_whisper, WITH_WORDS, CTRANSLATE2),
    "faster-whisper-unbatched": Peer(open_faster_whisper_runtime, WITH_WORDS, CTRANSLATE2),
    "pipeline": Peer(open_batched_pipeline, Way(timestamps=True), HUGGING_FACE),
    "openvino": Peer(open_openvino, Way(timestamps=True)),
}


@dataclass(frozen=True, kw_only=True)
class TranscribeSpeedArguments(ScriptArguments):
    output_dir: str = argument("Folder for runs and results.", default="runs/bench/transcribe")
    model_name_or_path: str = argument("Model to decode with.", default="openai/whisper-base")
    openvino_model: str = argument(
        "The same model, from `optimum-cli export openvino`.", default="runs/bench/openvino"
    )
    dataset: str = argument("Folder written by preprocess.py.", default="data/demo")
    language: str = argument("Language of the clips.", default="it")
    minutes: float = argument("Length of the recording.", default=20.0)
    peer: Literal[*PEERS] = argument("What is beside us, in batches if it can.", default="faster-whisper")
    backend: Literal["ctranslate2", "transformers"] = argument("What decodes.", default="ctranslate2")
    dtypes: list[str] = argument("Precisions.", default=["float32", "int8"])
    rounds: int = argument("Repetitions, the sides taking turns; the median counts.", default=3, at_least=1)


def main(argv: list[str] | None = None) -> Path:
    args = parse_arguments(TranscribeSpeedArguments, argv, __doc__)
    if args.peer == "openvino" and not (find_spec("openvino_genai") and Path(args.openvino_model).is_dir()):
        raise UserError(
            f"peer openvino: expected openvino-genai and a model in {args.openvino_model}. In an environment "
            "of its own, run: optimum-cli export openvino --model openai/whisper-base FOLDER"
        )
    folder = Path(args.output_dir)
    clips = read_dataset_clips(args.dataset, "train", args.language)
    recording = next(join_clips(clips, 60 * args.minutes, PAUSES, args.seed, again=True))
    write_bytes(folder / "recording.flac", encode_flac(recording.samples))
    sides = {
        PEER: partial(measure_usual, args, recording),
        "transcribe.py": partial(measure_ours, args, recording),
    }
    measurements = measure_in_turns(sides, args.dtypes, args.rounds)
    title = f"Transcribing {args.minutes:g} minutes, {args.backend} beside {args.peer}, batch {BATCH_SIZE}"
    return report(title, measurements, folder / f"{args.backend}-{args.peer}.json")


def measure_usual(
    args: TranscribeSpeedArguments, recording: Recording, _: str, dtype: str, number: int
) -> Measurement:
    """Let the peer transcribe the recording."""
    peer = PEERS[args.peer]
    exported = Path(args.output_dir) / f"{args.peer}-{dtype}" if peer.format else Path(args.openvino_model)
    if peer.format and not exported.exists():
        exported.mkdir()
        peer.format.write(load_export_source(args.model_name_or_path), exported, dtype)
    pieces = [JoinedClip(clip.text, clip.start, clip.end) for clip in recording.clips]
    sound = ParitySound("recording", recording.samples, args.language, pieces)
    (found,) = render(peer.opener, exported, Trial([sound], [peer.way], torch.get_num_threads()))
    wer = word_error_rate(recording, found.rendition.text)
    return Measurement(PEER, dtype, number, sound.duration / found.seconds, normalized_wer=wer)


def measure_ours(
    args: TranscribeSpeedArguments, recording: Recording, side: str, dtype: str, number: int
) -> Measurement:
    """Let transcribe.py transcribe the recording; it tells its own speed."""
    folder = Path(args.output_dir) / f"ours-{dtype}-{number}"
    command = python_command(
        "transcribe.py",
        model=args.model_name_or_path,
        backend=args.backend,
        dtype=dtype,
        language=args.language,
        batch_size=BATCH_SIZE,
        format="json",
        output_dir=str(folder),
    )
    run_alone([*command, str(Path(args.output_dir) / "recording.flac")], folder)
    log = folder.with_name(f"{folder.name}.log").read_text(encoding="utf-8")
    speed = float(re.findall(r"RTFx ([\d.]+)", log)[-1])
    text = json.loads((folder / "recording.json").read_text(encoding="utf-8"))["text"]
    return Measurement(side, dtype, number, speed, normalized_wer=word_error_rate(recording, text))


def word_error_rate(recording: Recording, text: str) -> float:
    return error_rates(score_utterances(["recording"], [recording.text], [text], "basic")).normalized_wer


if __name__ == "__main__":
    with user_errors_end_the_script():
        main()
