"""Arguments of preprocess.py."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from utils.arguments.fields import (
    ScriptArguments,
    argument,
    at_least,
    hub_id_problems,
    language_problems,
)
from utils.data.sources.registry import SOURCES

if TYPE_CHECKING:
    SourceName = str
else:
    SourceName = Literal[*SOURCES]


@dataclass(frozen=True, kw_only=True)
class PreprocessArguments(ScriptArguments):
    """Arguments of preprocess.py."""

    source: SourceName = argument(
        "What is read: a JSONL manifest, a folder of recordings with transcripts beside them, anything "
        "`datasets.load_dataset` reads, a corpus as it is released (a folder, or a .zip or .tar of it), or "
        "the Asterisk telephone prompts (downloaded; it, en or ru). docs/data_format.md shows each."
    )
    input: str | None = argument(
        "Manifest file, folder, archive or dataset name; not used by asterisk.", default=None
    )
    language: str = argument(
        "Language code of utterances that do not carry their own; auto leaves it open.", default="auto"
    )

    dataset_config_name: str | None = argument(
        "Configuration of a Hub dataset, or the language of a release that holds several, such as gl.",
        default=None,
    )
    streaming: bool = argument("Read a Hub dataset as it is downloaded, not stored first.", default=False)
    audio_column_name: str | None = argument(
        "Audio column of a Hub dataset; found when not given.", default=None
    )
    text_column_name: str | None = argument(
        "Text column of a Hub dataset; found when not given.", default=None
    )
    accents: list[str] = argument("Keep these accents alone, such as isizulu (afrispeech).", default=[])
    min_net_votes: int | None = argument(
        "Keep clips with at least so many more up-votes than down-votes (common_voice).", default=None
    )
    use_validated: bool = argument(
        "Train on validated.tsv without the clips of dev and test, not on train.tsv (common_voice).",
        default=False,
    )
    fraction: float = argument("Share of the utterances that is used, drawn by the seed.", default=1.0)
    test_fraction: float | None = argument(
        "The same for a test split that is given; not given: fraction.", default=None
    )

    min_duration: float = argument("Shortest utterance kept, in seconds.", default=0.1)
    max_duration: float = argument(
        "Longest utterance kept, in seconds; Whisper hears at most 30.", default=30.0
    )
    min_segment_duration: float = argument(
        "Shortest segment cut from a timed transcript that is kept, in seconds.", default=0.5
    )
    target_duration: float = argument(
        "Join neighbouring segments of a timed transcript up to so many seconds; 0: each on its own.",
        default=0.0,
    )
    max_gap: float = argument("Longest pause across which segments are joined, in seconds.", default=1.0)
    padding: float = argument(
        "Silence kept before and after each segment where there is some, in seconds.", default=0.0
    )
    tier: str | None = argument("Tier of TextGrid and ELAN files; not given: all with text.", default=None)
    align_with_model: str | None = argument(
        "Model that finds the times of a plain transcript of a recording or stretch over max_duration.",
        default=None,
    )
    min_alignment_confidence: float = argument(
        "Aligned segments of a lower confidence, from 0 to 1, are set aside.", default=0.5
    )

    skip_rules: list[str] = argument(
        "Quality rules switched off; docs/data_format.md lists them.", default=[]
    )
    add_rules: list[str] = argument("Quality rules switched on that are off by default.", default=[])
    filter_with_model: str | None = argument(
        "Model that hears every clip; what is far from its text or in another language is set aside.",
        default=None,
    )
    max_filter_wer: float = argument(
        "Normalised WER of that model's text from which a clip is set aside.", default=0.8
    )
    model_name_or_path: str | None = argument(
        "Model whose tokenizer counts label tokens, so that texts over its limit are rejected here.",
        default=None,
    )

    validation_share: float = argument("Share cut off as validation where the source has none.", default=0.1)
    test_share: float = argument("Share cut off as test where the source has none.", default=0.2)
    as_original: bool = argument(
        "Leave given splits as they are, with their leaks and duplicates, to compare with published figures.",
        default=False,
    )

    num_proc: int = argument("Processes that decode and encode audio.", default=1)
    num_shards: int = argument("Parts of the work, for the jobs of a cluster's array.", default=1)
    shard_index: int | None = argument(
        "Do this part alone, from 0; without it all that is missing is done and put together.", default=None
    )
    archive: bool = argument("Write the dataset as one .zip beside the folder as well.", default=False)
    also_write: Literal["audiofolder"] | None = argument(
        "Write every clip as a WAV file too, with a metadata.jsonl for each split.", default=None
    )
    push_to_hub: bool = argument("Push the prepared dataset to the Hugging Face Hub.", default=False)
    hub_dataset_id: str | None = argument("Name of the dataset on the Hub, user/name.", default=None)
    hub_private_repo: bool = argument(
        "Keep the dataset on the Hub from everybody else; false publishes the speech.", default=True
    )
    hub_license: str | None = argument(
        "Licence stated on the Hub, such as cc-by-4.0; only who holds the rights may state one.", default=None
    )

    def problems(self) -> list[str]:
        found = []
        if self.source != "asterisk" and self.input is None:
            found.append(f"--source {self.source} needs --input: the manifest, folder or dataset to read.")
        if not 0 < self.min_duration <= self.max_duration <= 30:
            found.append(
                f"min_duration {self.min_duration} and max_duration {self.max_duration}: expected "
                "0 < min_duration <= max_duration <= 30 seconds, the length of Whisper's window."
            )
        if min(self.validation_share, self.test_share) < 0 or self.validation_share + self.test_share >= 1:
            found.append(
                f"validation_share {self.validation_share} and test_share {self.test_share}: expected "
                "numbers from 0 whose sum stays below 1, so that something is left to train on."
            )
        for name in ("fraction", "test_fraction"):
            value = getattr(self, name)
            if value is not None and not 0 < value <= 1:
                found.append(f"{name} {value}: expected a share above 0 and at most 1.")
        if self.shard_index is not None and not 0 <= self.shard_index < self.num_shards:
            found.append(
                f"shard_index {self.shard_index}: expected 0 to num_shards - 1, {self.num_shards - 1}."
            )
        found += at_least(self, 1, "num_proc", "num_shards")
        found += at_least(self, 0, "min_segment_duration", "target_duration", "max_gap", "padding")
        if self.push_to_hub:
            found += hub_id_problems("hub_dataset_id", self.hub_dataset_id)
        return found + language_problems(self.language)
