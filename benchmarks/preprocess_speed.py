"""How much faster preprocess.py is than `Dataset.map` with features of 30 s, and what disk both take.

The same MP3 files on both sides, as many processes; each run is a process of its own, the sides take turns,
medians count. A figure is the clips' audio seconds by the wall-clock seconds of the whole command, start
included. Disk is what training reads afterwards.

    python benchmarks/preprocess_speed.py --dataset data/demo
"""

import json
import shutil
import sys
import time
from dataclasses import dataclass
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import soundfile

from benchmarks.side_by_side import (
    PEER,
    Measurement,
    Option,
    measure_in_turns,
    python_command,
    report,
    run_alone,
)
from utils.arguments.fields import ScriptArguments
from utils.arguments.parsing import parse_arguments
from utils.audio.flac import SAMPLE_RATE, decode_flac
from utils.data.prepared_dataset import read_split
from utils.runtime.errors import user_errors_end_the_script
from utils.runtime.files import write_jsonl
from utils.runtime.flags import argument

OURS = "preprocess.py"


@dataclass(frozen=True, kw_only=True)
class PreprocessSpeedArguments(ScriptArguments):
    output_dir: str = argument("Folder for corpora, runs and results.", default="runs/bench/preprocess")
    dataset: str = argument(
        "Folder written by preprocess.py; its clips are copied as MP3.", default="data/demo"
    )
    copies: int = argument(
        "How often each clip is copied, each time at another level.", default=4, at_least=1
    )
    num_proc: int = argument("Processes, on both sides.", default=2)
    rounds: int = argument("Repetitions, the sides taking turns; the median counts.", default=3, at_least=1)


def main(argv: list[str] | None = None) -> Path:
    args = parse_arguments(PreprocessSpeedArguments, argv, __doc__)
    folder = Path(args.output_dir)
    manifest, seconds = write_corpus(Path(args.dataset), folder / "corpus", args.copies)
    shared: dict[str, Option] = {"num_proc": args.num_proc, "seed": args.seed}
    shared["output_dir"] = str(folder / "run" / "data")
    peer = python_command("benchmarks/peer_feature_map.py", manifest=str(manifest), **shared)
    source = {"source": "manifest", "input": str(manifest), "language": "auto"}
    ours = python_command("preprocess.py", **source, **shared)
    sides = {
        PEER: partial(measure, peer, folder / "run", seconds),
        OURS: partial(measure, ours, folder / "run", seconds),
    }
    measurements = measure_in_turns(sides, ["mp3"], args.rounds)
    title = f"Preparing {seconds / 3600:.1f} h of clips as MP3 with {args.num_proc} processes"
    return report(title, measurements, folder / "preprocess_speed.json")


def measure(
    command: list[str], folder: Path, audio_seconds: float, side: str, form: str, number: int
) -> Measurement:
    """Run the command in an empty folder, which is deleted afterwards."""
    began = time.perf_counter()
    run_alone(command, folder)
    rate = audio_seconds / (time.perf_counter() - began)
    size = sum(file.stat().st_size for file in (folder / "data").rglob("*.arrow"))
    shutil.rmtree(folder)
    return Measurement(side, form, number, rate, disk_bytes=size)


def write_corpus(dataset: Path, folder: Path, copies: int) -> tuple[Path, float]:
    """Write the clips of a prepared dataset as MP3 files, each several times at different levels.

    Returns:
        The manifest, and the audio seconds of all.
    """
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    seconds, lines = 0.0, []
    for split in json.loads((dataset / "dataset_dict.json").read_text(encoding="utf-8"))["splits"]:
        for row in read_split(dataset / split):
            samples = decode_flac(row["audio"])
            for copy in range(copies):
                name, loudness = f"{len(lines):06d}.mp3", 1 - 0.5 * copy / copies
                soundfile.write(folder / name, samples * loudness, SAMPLE_RATE, format="MP3")
                lines.append({"audio": name, "text": row["text"]})
                seconds += row["duration"]
    write_jsonl(folder / "corpus.jsonl", lines)
    return folder / "corpus.jsonl", seconds


if __name__ == "__main__":
    with user_errors_end_the_script():
        main()
