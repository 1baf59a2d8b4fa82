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
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.arguments import PreprocessSpeedArguments
from benchmarks.side_by_side import PEER, Measurement, python_command, report, run_alone, turns
from utils.arguments.parsing import parse_arguments
from utils.runtime.errors import user_errors_end_the_script

OURS = "preprocess.py"
TARGETS = {(OURS, "mp3"): 3.0}


def main(argv: list[str] | None = None) -> None:
    args = parse_arguments(PreprocessSpeedArguments, argv, __doc__)
    folder = Path(args.output_dir)
    manifest, audio_seconds = write_corpus(Path(args.dataset), folder / "corpus", args.copies)
    commands = {
        PEER: python_command(
            "benchmarks/peer_feature_map.py",
            manifest=str(manifest),
            num_proc=args.num_proc,
            seed=args.seed,
            output_dir=str(folder / "peer" / "data"),
        ),
        OURS: python_command(
            "preprocess.py",
            source="manifest",
            input=str(manifest),
            num_proc=args.num_proc,
            seed=args.seed,
            output_dir=str(folder / "ours" / "data"),
        ),
    }
    measurements = []
    for number, side in turns([PEER, OURS], args.rounds):
        run_folder = folder / ("peer" if side == PEER else "ours")
        began = time.perf_counter()
        run_alone(commands[side], run_folder)
        rate = audio_seconds / (time.perf_counter() - began)
        size = sum(file.stat().st_size for file in (run_folder / "data").rglob("*.arrow"))
        measurements.append(Measurement(side, "mp3", number, rate, disk_bytes=size))
        print(f"round {number + 1}, {side}: {rate:.0f} audio s/s, {size / 1e6:.1f} MB", flush=True)
        shutil.rmtree(run_folder)
    title = f"Preparing {audio_seconds / 3600:.1f} h of clips as MP3 with {args.num_proc} processes"
    report(title, measurements, TARGETS, folder / "preprocess_speed.json")


def write_corpus(dataset: Path, folder: Path, copies: int) -> tuple[Path, float]:
    """Write the clips of a prepared dataset as MP3 files, each several times at different levels.

    Returns:
        The manifest, and the audio seconds of all.
    """
    import soundfile

    from utils.audio.flac import SAMPLE_RATE, decode_flac
    from utils.data.prepared_dataset import read_split

    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    seconds, number = 0.0, 0
    with (folder / "corpus.jsonl").open("w", encoding="utf-8") as manifest:
        for split in json.loads((dataset / "dataset_dict.json").read_text(encoding="utf-8"))["splits"]:
            for row in read_split(dataset / split):
                samples = decode_flac(row["audio"])
                for copy in range(copies):
                    name = f"{number:06d}.mp3"
                    soundfile.write(
                        folder / name, samples * (1 - 0.5 * copy / copies), SAMPLE_RATE, format="MP3"
                    )
                    manifest.write(
                        json.dumps({"audio": name, "text": row["text"]}, ensure_ascii=False) + "\n"
                    )
                    seconds, number = seconds + row["duration"], number + 1
    return folder / "corpus.jsonl", seconds


if __name__ == "__main__":
    with user_errors_end_the_script():
        main()
