"""The flags for pushing models to the Hugging Face Hub, of train.py and export.py."""

from dataclasses import dataclass
from typing import ClassVar, Literal

from utils.arguments.fields import hub_id_problems
from utils.runtime.flags import argument


@dataclass(frozen=True, kw_only=True)
class ModelHubFlags:
    """A place for the model on the Hugging Face Hub."""

    group_name: ClassVar = "Hugging Face Hub"

    push_to_hub: bool = argument("Push the model to the Hugging Face Hub.", default=False)
    hub_model_id: str | None = argument("Name on the Hub, user/name.", default=None)
    hub_private_repo: bool = argument(
        "Keep the model on the Hub private. false: anybody can use it.", default=True, advanced=True
    )
    hub_license: str | None = argument(
        "Licence to state on the model card, such as apache-2.0. Only state one if you hold the rights.",
        default=None,
        advanced=True,
    )

    def problems(self) -> list[str]:
        is_used = self.push_to_hub or self.hub_model_id is not None
        return hub_id_problems("hub_model_id", self.hub_model_id) if is_used else []


@dataclass(frozen=True, kw_only=True)
class TrainingHubFlags(ModelHubFlags):
    """The same, and what only a training knows."""

    group_name: ClassVar = "Hugging Face Hub"

    hub_strategy: Literal["end", "every_save"] = argument(
        "Push best/ at the end, or also after each checkpoint, while training goes on.",
        default="end",
        advanced=True,
    )
    dataset_tags: list[str] = argument(
        "Hub names of the datasets, for the model card. Not given: where preprocess.py read them on the Hub.",
        default=[],
        advanced=True,
    )

    def problems(self) -> list[str]:
        return [problem for name in self.dataset_tags for problem in hub_id_problems("dataset_tags", name)]


@dataclass(frozen=True, kw_only=True)
class ExportHubFlags(ModelHubFlags):
    """The same, and what only a model that exists has."""

    group_name: ClassVar = "Hugging Face Hub"

    hub_model_id: str | None = argument(
        "Name of the model on the Hub, user/name. A Space then has no copy of the model.", default=None
    )
    report: str | None = argument(
        "Folder of evaluate.py whose test results go into the card. Not given: report, beside the model.",
        default=None,
    )
