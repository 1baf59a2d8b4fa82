"""What a model card says of a run. train_results.json keeps it, so that a card can be written later too."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from utils.arguments.train import TrainArguments
from utils.data.data_report import ARGUMENTS_FILE, DataReport, read_data_report
from utils.data.delivery.cards import without_folders
from utils.data.prepared_dataset import unpacked_folder
from utils.model.leaks import leak_warnings
from utils.model.loading import read_training_arguments
from utils.model.resolving import looks_like_path
from utils.model.saving import RESULTS_FILE, is_adapter, read_adapter_config
from utils.runtime.errors import UserError
from utils.runtime.records import record_from
from utils.runtime.resolved_arguments import read_recipe
from utils.scoring.error_rates import METRICS
from utils.training.evaluation_history import LoggedEvaluation, read_evaluations, read_log


@dataclass(frozen=True)
class SplitFacts:
    """The size of a split."""

    clips: int
    hours: float
    speakers: int  # 0 if unknown


@dataclass(frozen=True)
class DatasetFacts:
    """A prepared dataset, without the folders of the machine it is on."""

    name: str
    hub_id: str | None  # where anybody can find it; None for data that is not on the Hub
    config: str | None  # its configuration there, or the language of a release
    languages: list[str]
    credit: str | None
    splits: dict[str, SplitFacts]


@dataclass(frozen=True)
class ModelFacts:
    """All that is known about a model folder of train.py."""

    arguments: Mapping[str, Any]  # train.yaml
    results: Mapping[str, Any]  # train_results.json
    adapter: str | None  # lora, dora or adalora; None for a whole model

    @property
    def base_model(self) -> str | None:
        """Return the Hub id of the model that this one comes from. None if it is not known."""
        if "base_model" in self.results:
            return self.results["base_model"]
        name = str(self.arguments.get("model_name_or_path", ""))  # a folder of an earlier version
        return None if not name or is_local_model(name) else name

    def relation(self, as_adapter: bool) -> str:
        """Return how this model relates to its base, in the words of the Hub."""
        is_mixture = "interpolation_alpha" in self.results
        return "adapter" if as_adapter else "merge" if is_mixture else "finetune"

    @property
    def datasets(self) -> list[DatasetFacts]:
        """Return the datasets of the training, in the order of the arguments."""
        known = self.results.get("datasets")
        if known is None:  # a folder of an earlier version
            return [describe_dataset(str(name), None) for name in self.arguments.get("dataset", [])]
        return [record_from(DatasetFacts, each) for each in known]

    @property
    def languages(self) -> list[str]:
        """Return Whisper's codes of the languages, that of the arguments first."""
        told = self.arguments.get("language", "auto")
        found = [] if told == "auto" else [told]
        return list(dict.fromkeys([*found, *(code for data in self.datasets for code in data.languages)]))

    @property
    def training_hours(self) -> float | None:
        """Return the hours of all training splits. None if a report is missing."""
        splits = [data.splits.get("train") for data in self.datasets]
        return sum(split.hours for split in splits if split) if splits and all(splits) else None

    @property
    def validation(self) -> dict[str, float]:
        """Return the error rates of these weights on validation, by metric. Empty if there are none."""
        rates = {
            name.removeprefix("validation_"): value
            for name, value in self.results.items()
            if name.startswith("validation_")  # a mixture of weights was scored on its own
        }
        if rates:
            return rates
        if "averaged_steps" in self.results:
            return {self.results["metric_for_best_model"]: self.results["best_metric"]}
        own = [each for each in self.evaluations if each.step == self.results.get("step")]
        return {name: getattr(own[-1], name) for name in METRICS} if own else {}

    @property
    def eval_split(self) -> str:
        """Return the split that chose the model."""
        return str(self.arguments.get("eval_split", "validation"))

    @property
    def warnings(self) -> list[str]:
        """Return why scores of this model are too good. Empty if nothing speaks against them."""
        return leak_warnings(self.arguments)

    @property
    def untuned_wer(self) -> float | None:
        """Return the normalised WER before training. None if it was not measured."""
        return next((each.normalized_wer for each in self.evaluations if not each.step), None)

    @property
    def evaluations(self) -> list[LoggedEvaluation]:
        """Return each evaluation of the run, in order."""
        return [record_from(LoggedEvaluation, each) for each in self.results.get("evaluations") or []]


def read_model_facts(folder: Path) -> ModelFacts | None:
    """Read what is known about a model folder. None if train.py did not write it."""
    if not (arguments := read_training_arguments(str(folder))):
        return None
    path = folder / RESULTS_FILE
    results = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    return ModelFacts(arguments, results, adapter_kind(folder))


def adapter_kind(folder: Path) -> str | None:
    """Return `lora`, `dora` or `adalora`. None for a whole model."""
    if not is_adapter(folder):
        return None
    config = read_adapter_config(folder)
    return "dora" if config.get("use_dora") else str(config.get("peft_type")).lower()


def card_results(args: TrainArguments, metrics: Path) -> dict[str, object]:
    """Return what train_results.json keeps for the model card.

    Args:
        args: The arguments of the run.
        metrics: Its metrics.jsonl, with the evaluations so far.
    """
    tags: Sequence[str | None] = args.dataset_tags or [None] * len(args.dataset)
    return {
        "base_model": hub_base_of(args.model_name_or_path, adapter=args.use_peft),
        "datasets": [
            asdict(describe_dataset(name, tag)) for name, tag in zip(args.dataset, tags, strict=True)
        ],
        "evaluations": [asdict(each) for each in read_evaluations(read_log(metrics))],
    }


def hub_base_of(name_or_path: str, *, adapter: bool) -> str | None:
    """Return the Hub id of the model at the start of a training.

    A folder of an earlier training stands for the model that it came from, but not as the base of an adapter,
    which needs the very weights of the folder.
    """
    if not is_local_model(name_or_path):
        return name_or_path
    facts = None if adapter else read_model_facts(Path(name_or_path).expanduser())
    return facts.base_model if facts else None


def is_local_model(name_or_path: str) -> bool:
    """Check whether a model is a folder of this machine, so that its name says nothing to others."""
    return looks_like_path(name_or_path) or Path(name_or_path).exists()


def describe_dataset(path: str, tag: str | None) -> DatasetFacts:
    """Describe a prepared dataset by its reports. What is not there is left out.

    Args:
        path: Folder or .zip that preprocess.py wrote.
        tag: Its name on the Hub, if the user gave one.
    """
    arguments, report = _read_reports(path)
    config = arguments.get("dataset_config_name")
    return DatasetFacts(
        name=Path(path).expanduser().absolute().name.removesuffix(".zip"),
        hub_id=tag or _hub_id(arguments),
        config=None if config is None else str(without_folders(config)),
        languages=sorted(each.name for each in report.statistics.languages.largest) if report else [],
        credit=report.credit if report else None,
        splits={
            split: SplitFacts(each.utterances, each.hours, each.speakers)
            for split, each in (report.splits if report else {}).items()
        },
    )


def _read_reports(path: str) -> tuple[dict[str, object], DataReport | None]:
    """Read preprocess.yaml and data_report.json of a dataset.

    If they are damaged or from another version, the card has fewer figures. That must not end a training.
    """
    arguments: dict[str, object] = {}
    try:
        folder = unpacked_folder(Path(path))
        if (folder / ARGUMENTS_FILE).is_file():
            arguments = read_recipe(folder / ARGUMENTS_FILE)
        return arguments, read_data_report(folder)
    except (UserError, OSError, ValueError, TypeError, KeyError, AttributeError):
        return arguments, None


def _hub_id(arguments: Mapping[str, object]) -> str | None:
    """Return where on the Hub the data is: where it was read from, or where it was published."""
    input = arguments.get("input")
    if arguments.get("source") in ("hub", "fleurs") and isinstance(input, str) and not is_local_model(input):
        return input
    is_public = arguments.get("push_to_hub") and not arguments.get("hub_private_repo")
    pushed = arguments.get("hub_dataset_id")
    return pushed if is_public and isinstance(pushed, str) else None
