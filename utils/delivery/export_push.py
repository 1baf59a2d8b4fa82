"""Push exports to the Hugging Face Hub: one model for each format, joined by their cards."""

import re
import shlex
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from utils.data.delivery.cards import join_card, split_card, without_folders
from utils.data.delivery.hub_errors import hub_errors_told
from utils.data.delivery.hub_repository import CARD
from utils.delivery.exporting import Job
from utils.delivery.held_out_report import find_held_out_report
from utils.delivery.lineage import lineage_fields
from utils.delivery.model_push import (
    HubTarget,
    PushedModel,
    check_base_of_adapter,
    check_push,
    publishable_files,
    push_files,
)
from utils.model.resolving import resolve_model
from utils.model.saving import local_folder
from utils.training.card_facts import ModelFacts, is_local_model, read_model_facts
from utils.training.held_out import HeldOutReport
from utils.training.model_card import MODEL_MARKS, THIS_FOLDER, build_model_card

SUFFIXES = {
    "huggingface": "",
    "adapter": "-lora",
    "ctranslate2": "-ct2",
    "ggml": "-ggml",
    "onnx": "-onnx",
    "openai": "-openai",
}
"""What follows the name of the model on the Hub, by format."""

LIKE_THE_TRAINED_MODEL = ("huggingface", "adapter")  # the same weights, so that test results hold for them

TRAINING_CARD, EXPORT_CARD = "TRAINING.md", "EXPORT.md"

_COMMAND = re.compile(r"^    (python export\.py .*)$", re.MULTILINE)


def repository_of(model_id: str, format: str) -> str:
    """Return the name on the Hub for a format, such as `anna/whisper-it-ct2`."""
    return model_id.removesuffix(SUFFIXES[format]) + SUFFIXES[format]


@dataclass(frozen=True)
class ExportPush:
    """The push of all formats of one command."""

    model: str  # as the user gave it
    jobs: Sequence[Job]
    target: HubTarget  # with the name of the whole model
    report: str | None  # folder of evaluate.py

    def check(self) -> None:
        """Check before any work that no push will fail.

        Raises:
            UserError: See `check_push` and `check_base_of_adapter`; or the report is of another model.
        """
        for job in self.jobs:
            check_push(self._target_of(job))
        folder = self._source_folder()
        if any(job.name == "adapter" for job in self.jobs):
            check_base_of_adapter(folder)
        if self.report:
            find_held_out_report(folder, read_model_facts(folder), self.report)

    def finish(self) -> list[PushedModel]:
        """Push every format. Files that the Hub has are not sent again.

        Raises:
            UserError: A push failed. All exports are kept, and the same command continues.
        """
        folder = self._source_folder()
        facts = read_model_facts(folder)
        report = find_held_out_report(folder, facts, self.report)
        published = self._published_model()
        return [self._push(job, facts, report, published) for job in self.jobs]

    def _source_folder(self) -> Path:
        return local_folder(resolve_model(self.model))

    def _target_of(self, job: Job) -> HubTarget:
        return replace(self.target, model_id=repository_of(self.target.model_id, job.name))

    def _published_model(self) -> str | None:
        """Return the name of the whole model on the Hub, if it is there or will be after this push."""
        from huggingface_hub import HfApi

        if not is_local_model(self.model):
            return self.model
        name = self.target.model_id
        with hub_errors_told(name):
            is_there = any(job.name == "huggingface" for job in self.jobs) or HfApi().repo_exists(name)
        return name if is_there else None

    def _push(
        self, job: Job, facts: ModelFacts | None, report: HeldOutReport | None, published: str | None
    ) -> PushedModel:
        target, files = self._target_of(job), publishable_files(job.folder)
        exported = read_model_facts(job.folder) if job.name in LIKE_THE_TRAINED_MODEL else None
        head, body = split_card((job.folder / CARD).read_text(encoding="utf-8"))
        body = for_the_hub(body, job, target.model_id)
        if exported is not None:
            others = [self._target_of(each).model_id for each in self.jobs if each.name != job.name]
            files[EXPORT_CARD] = body.lstrip().encode()
            build = partial(build_model_card, exported, report=report, siblings=others, **_stated(target))
            return push_files(files, build, target)
        if facts is not None:
            training = build_model_card(
                facts, report=report, model_id=published or THIS_FOLDER, license=target.license
            )
            files[TRAINING_CARD] = split_card(training)[1].lstrip().encode()
        head |= lineage_fields(facts, self.model, job.name, published)
        head |= {"license": target.license} if target.license else {}
        return push_files(files, partial(_merged_card, head, body), target)


def _stated(target: HubTarget) -> dict[str, str | None]:
    return {"model_id": target.model_id, "license": target.license}


def _merged_card(head: dict, text: str, existing: str | None) -> str:
    """Put the card of an export into the one that is on the Hub."""
    old, body = split_card(existing or "")
    tags = list(dict.fromkeys([*(old.get("tags") or []), *(head.get("tags") or [])]))
    return join_card(old | head | {"tags": tags}, MODEL_MARKS.put(text.strip() + "\n", body))


def for_the_hub(text: str, job: Job, model_id: str) -> str:
    """Put the name on the Hub in place of folders, in the card of an export.

    Programs that cannot load by name get the command that downloads the folder first.
    """
    name = model_id.rpartition("/")[2]
    text = _COMMAND.sub(lambda found: f"    {_without_private_folders(found[1])}", text)
    if job.name in ("ggml", "openai"):
        file = next((path.name for path in sorted(job.folder.glob("*.bin"))), "")
        download = f"```bash\nhf download {model_id} --local-dir {name}\n```\n\n"
        text = text.replace("## Use it\n\n", f"## Use it\n\n{download}")
        for place in ("PATH_OF_THE_BIN_FILE", "PATH OF THE .bin FILE"):
            text = text.replace(place, f"{name}/{file}")
        return text.replace("PATH_OF_THIS_FOLDER", name).replace(THIS_FOLDER, name)
    if job.name == "onnx":
        text = re.sub(
            r"^env\..*\n", "", text.replace("{ env, pipeline }", "{ pipeline }"), flags=re.MULTILINE
        )
        return text.replace("NAME OF THIS FOLDER", model_id)
    return text.replace(THIS_FOLDER, model_id)


def _without_private_folders(command: str) -> str:
    """Shorten absolute paths in a command, also those behind an equals sign."""
    words = []
    for word in shlex.split(command):
        flag, sign, value = word.partition("=") if word.startswith("--") else ("", "", word)
        words.append(f"{flag}{sign}{without_folders(value)}" if sign or not flag else word)
    return shlex.join(words)
