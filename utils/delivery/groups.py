"""Load recordings in groups that are decoded together. Count the work that is done."""

from collections.abc import Callable, Iterator, Sequence

from utils.audio.flac import AudioError
from utils.audio.reading import decode_audio
from utils.delivery.inputs import GivenFile
from utils.delivery.transcribing import LoadedRecording, load_recording
from utils.runtime.progress import AudioProgress

LONGEST_RECORDING = 12 * 3600.0  # seconds; 12 h take 2.8 GB of memory

GROUP_SECONDS = 600.0  # recordings that are decoded together; a longer one is alone

Group = dict[GivenFile, LoadedRecording]


def load_groups(
    files: Sequence[GivenFile], language: str, on_failure: Callable[[GivenFile, str], None]
) -> Iterator[Group]:
    """Decode the files and yield them in groups of about ten minutes.

    Args:
        files: Files of audio or video.
        language: Language of files that have none. With `auto`, the model detects it.
        on_failure: Function that is called with each file that cannot be decoded, and the reason.
    """
    group: Group = {}
    for file in files:
        spoken = file.language or language
        try:
            samples = decode_audio(file.read(), max_seconds=LONGEST_RECORDING)
        except AudioError as error:
            on_failure(file, str(error))
            continue
        recording = load_recording(samples, None if spoken == "auto" else spoken)
        seconds = sum(other.duration for other in group.values())
        if group and seconds + recording.duration > GROUP_SECONDS:
            yield group
            group = {}
        group[file] = recording
    if group:
        yield group


def work_of(file: GivenFile) -> int:
    """Return the work of a file for the progress bar.

    It is the number of bytes, because the duration is not known yet.
    """
    return 1 if file.state is None else max(file.state[1], 1)


def count_failure(
    progress: AudioProgress, failed: dict[GivenFile, str], file: GivenFile, reason: str
) -> None:
    """Add a file to `failed`, and count its work, so that the progress bar reaches its end."""
    failed[file] = reason
    progress.skip(work_of(file))


class GroupCounter:
    """Counts the transcribed seconds of a group as work of its files."""

    def __init__(self, progress: AudioProgress, group: Group) -> None:
        self._progress = progress
        self._rates = [work_of(file) / recording.duration for file, recording in group.items()]
        self._left = [recording.duration for recording in group.values()]

    def count(self, number: int, seconds: float) -> None:
        """Count seconds of the recording with this number."""
        self._left[number] -= seconds
        self._progress.advance(self._rates[number] * seconds, seconds)

    def finish(self) -> None:
        """Count the parts that have no speech."""
        for number, seconds in enumerate(self._left):
            self.count(number, seconds)
