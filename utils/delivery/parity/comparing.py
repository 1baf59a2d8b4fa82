"""Compare exports with their source: both transcribe the same sounds in the same ways."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from utils.delivery.exports.export_format import ExportSource
from utils.delivery.exports.hugging_face import HUGGING_FACE
from utils.delivery.parity.measures import score_renditions
from utils.delivery.parity.rendering import Opener, RuntimeFailure, Trial, render
from utils.delivery.parity.sounds import ParitySound
from utils.delivery.parity.verdict import RuntimeScores, find_export_faults, find_model_faults
from utils.delivery.runtimes.runtime import Way
from utils.delivery.runtimes.transformers import open_transformers_runtime
from utils.runtime.errors import UserError
from utils.runtime.files import scratch_folder

WAYS: Mapping[str, Way] = {
    "plain": Way(),
    "timestamps": Way(timestamps=True),
    "words": Way(timestamps=True, words=True),
    "previous_text": Way(timestamps=True, previous_text=True),
}


@dataclass(frozen=True)
class SourceComparison:
    """What every runtime is asked to do, and the scores of the source."""

    trial: Trial
    source: RuntimeScores

    def try_in(self, runtimes: Mapping[str, Opener], folder: Path) -> list[RuntimeScores]:
        """Let each runtime transcribe with the export in a folder."""
        return [measure(name, opener, folder, self.trial) for name, opener in runtimes.items()]

    def find_faults(
        self, exports: Sequence[RuntimeScores], *, reduced: bool, rough_times: bool = False
    ) -> list[str]:
        """Return how exports differ from the source by more than the tolerances."""
        return [
            fault
            for export in exports
            for fault in find_export_faults(self.source, export, reduced=reduced, rough_times=rough_times)
        ]


def measure_source(
    source: ExportSource, sounds: Sequence[ParitySound], ways: Sequence[str], threads: int, scratch: Path
) -> SourceComparison:
    """Let transformers transcribe with the source, in float32.

    Args:
        source: The model.
        sounds: Clips and recordings.
        ways: Names of `WAYS`.
        threads: Threads of each runtime.
        scratch: A folder with room for the model.

    Raises:
        UserError: The model fails on recordings, but not on clips.
    """
    trial = Trial(sounds, [WAYS[name] for name in ways], threads, source.task)
    with scratch_folder(scratch / "source") as folder:
        HUGGING_FACE.write(source, folder, "float32")
        found = measure("source", open_transformers_runtime, folder, trial)
    if found.failure:
        raise UserError(f"{source.name}: transformers cannot transcribe with it: {found.failure}")
    if faults := find_model_faults(found):
        told = "\n       ".join(faults)
        raise UserError(
            f"{source.name} transcribes clips, but fails on recordings:\n       {told}\n       "
            "Or export it with --ways, without the ways that fail."
        )
    return SourceComparison(trial, found)


def measure(name: str, opener: Opener, folder: Path, trial: Trial) -> RuntimeScores:
    """Let a runtime transcribe, and score it."""
    try:
        return RuntimeScores(name, score_renditions(trial.sounds, render(opener, folder, trial)))
    except RuntimeFailure as failure:
        return RuntimeScores(name, [], str(failure))
