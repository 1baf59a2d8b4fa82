"""The arguments of preprocess.py, in groups."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

from utils.arguments.fields import ScriptArguments, hub_id_problems, language_problems
from utils.data.sources.registry import SOURCES
from utils.runtime.flags import argument

if TYPE_CHECKING:
    SourceName = str
else:
    SourceName = Literal[*SOURCES]


@dataclass(frozen=True, kw_only=True)
class SourceFlags:
    """The source of the data."""

    group_name: ClassVar = "source"

    source: SourceName | None = argument(
        "Kind of input, see docs/data_format.md. Not given: recognised.", default=None
    )
    input: str | None = argument(
        "Manifest, folder, archive (.zip, .tar) or dataset name to read.", default=None
    )
    language: str | None = argument(
        "Code of utterances that have none. auto: leave it unknown. Not given: all must have one.",
        default=None,
    )
    speaker_from: str | None = argument(
        "Speakers from paths: folder, or a regular expression with a group, such as '(child\\d+)_'.",
        default=None,
    )
    dataset_config_name: str | None = argument(
        "Configuration of a Hub dataset, or one language of a release, such as gl.", default=None
    )
    streaming: bool = argument(
        "Read a Hub dataset while it downloads, without storing it.", default=False, advanced=True
    )
    audio_column_name: str | None = argument(
        "Audio column of a Hub dataset. Not given: detected.", default=None, advanced=True
    )
    text_column_name: str | None = argument(
        "Text column of a Hub dataset. Not given: detected.", default=None, advanced=True
    )
    accents: list[str] = argument("afrispeech: keep only these accents, such as isizulu.", default=[])
    min_net_votes: int | None = argument(
        "common_voice: keep clips with at least this number of up-votes minus down-votes.",
        default=None,
        advanced=True,
    )
    use_validated: bool = argument(
        "common_voice: train on validated.tsv, without the clips of dev and test.",
        default=False,
        advanced=True,
    )
    fraction: float = argument(
        "Use this share of the utterances, drawn at random.", default=1.0, above=0, at_most=1
    )
    test_fraction: float | None = argument(
        "Use this share of the source's own test split. Not given: the value of fraction.",
        default=None,
        advanced=True,
        above=0,
        at_most=1,
    )


@dataclass(frozen=True, kw_only=True)
class SegmentFlags:
    """The lengths of utterances, and how they are cut from recordings."""

    group_name: ClassVar = "segments"

    min_duration: float = argument("Reject utterances shorter than this, in seconds.", default=0.1)
    max_duration: float = argument(
        "Reject utterances longer than this, in seconds, at most 30.", default=30.0
    )
    min_segment_duration: float = argument(
        "Reject segments of timed transcripts that are shorter than this, in seconds.",
        default=0.5,
        advanced=True,
        at_least=0,
    )
    target_duration: float = argument(
        "Join neighbouring segments up to this number of seconds. 0: do not join.", default=0.0, at_least=0
    )
    max_gap: float = argument(
        "Join segments only if the pause is at most this, in seconds.", default=1.0, advanced=True, at_least=0
    )
    padding: float = argument(
        "Keep up to this much silence before and after each segment, in seconds.",
        default=0.0,
        advanced=True,
        at_least=0,
    )
    tier: str | None = argument(
        "Tier of TextGrid and ELAN files. Not given: all tiers with text.", default=None, advanced=True
    )
    align_with_model: str | None = argument(
        "Model that finds the times in long recordings with a plain transcript.", default=None
    )
    min_alignment_confidence: float = argument(
        "Reject aligned segments with a confidence below this, from 0 to 1.", default=0.5, advanced=True
    )


@dataclass(frozen=True, kw_only=True)
class QualityFlags:
    """The rules for rejecting utterances."""

    group_name: ClassVar = "quality"

    skip_rules: list[str] = argument(
        "Turn off these quality rules. docs/data_format.md lists them.", default=[]
    )
    add_rules: list[str] = argument(
        "Turn on these rules, which are off by default.", default=[], advanced=True
    )
    filter_with_model: str | None = argument(
        "Model that transcribes every clip. Reject clips with another text or another language.", default=None
    )
    max_filter_wer: float = argument(
        "Reject clips on which the normalised WER of that model is above this.", default=0.8, advanced=True
    )
    model_name_or_path: str | None = argument(
        "Count tokens with the tokenizer of this model, and reject texts with too many.",
        default=None,
        advanced=True,
    )


@dataclass(frozen=True, kw_only=True)
class SplitFlags:
    """The sizes of the training, validation and test splits."""

    group_name: ClassVar = "splits"

    validation_share: float = argument("Share for validation, if the source has no such split.", default=0.1)
    test_share: float = argument("Share for the test, if the source has no such split.", default=0.2)
    as_original: bool = argument(
        "Keep the source's splits with their leaks and duplicates, to compare with published results.",
        default=False,
        advanced=True,
    )


@dataclass(frozen=True, kw_only=True)
class WorkFlags:
    """How processes and jobs share the work."""

    group_name: ClassVar = "work"

    num_proc: int = argument("Number of processes that decode and encode audio.", default=1, at_least=1)
    num_shards: int = argument(
        "Number of parts of the work, one for each job of a cluster array.",
        default=1,
        advanced=True,
        at_least=1,
    )
    shard_index: int | None = argument(
        "Do only this part, counted from 0. Not given: do all missing parts and join them.",
        default=None,
        advanced=True,
    )


@dataclass(frozen=True, kw_only=True)
class DeliveryFlags:
    """Other forms and places of the dataset."""

    group_name: ClassVar = "other outputs"

    archive: bool = argument("Also write the dataset as one .zip file.", default=False)
    also_write: Literal["audiofolder"] | None = argument(
        "Also write WAV files, with a metadata.jsonl for each split.", default=None
    )
    push_to_hub: bool = argument("Push the dataset to the Hugging Face Hub.", default=False)
    hub_dataset_id: str | None = argument("Name on the Hub, user/name.", default=None)
    hub_private_repo: bool = argument(
        "Keep the dataset on the Hub private. false: anybody can hear the speech.",
        default=True,
        advanced=True,
    )
    hub_license: str | None = argument(
        "Licence to state on the Hub, such as cc-by-4.0. Only state one if you hold the rights.",
        default=None,
        advanced=True,
    )


@dataclass(frozen=True, kw_only=True)
class PreprocessArguments(
    DeliveryFlags, WorkFlags, SplitFlags, QualityFlags, SegmentFlags, SourceFlags, ScriptArguments
):
    """Arguments of preprocess.py."""

    def problems(self) -> list[str]:
        found = []
        if self.input is None and self.source is None:
            found.append("give --input: the manifest, folder, archive or dataset to read.")
        elif self.input is None and self.source != "asterisk":
            found.append(f"source {self.source} needs --input: the manifest, folder or dataset to read.")
        if self.source == "asterisk" and self.language is None:
            found.append("source asterisk needs --language: it, en or ru.")
        if self.speaker_from is not None:
            from utils.data.speakers import rule_problems

            found += rule_problems(self.speaker_from)
        if not 0 < self.min_duration <= self.max_duration <= 30:
            found.append(
                f"min_duration {self.min_duration}, max_duration {self.max_duration}: expected "
                "0 < min_duration <= max_duration <= 30 seconds, the length of Whisper's window."
            )
        if min(self.validation_share, self.test_share) < 0 or self.validation_share + self.test_share >= 1:
            found.append(
                f"validation_share {self.validation_share}, test_share {self.test_share}: "
                "expected at least 0 each, and a sum below 1."
            )
        if self.shard_index is not None and not 0 <= self.shard_index < self.num_shards:
            found.append(
                f"shard_index {self.shard_index}: expected 0 to {self.num_shards - 1}, num_shards - 1."
            )
        if self.push_to_hub:
            found += hub_id_problems("hub_dataset_id", self.hub_dataset_id)
        return found + language_problems(self.language or "auto")
