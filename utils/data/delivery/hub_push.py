"""Pushes a prepared dataset to the Hugging Face Hub as Parquet shards with a card."""

import math
import re
import tempfile
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow.compute
import yaml

from utils.data.data_report import ARGUMENTS_FILE, read_data_report
from utils.data.delivery.cards import without_folders
from utils.data.delivery.dataset_card import DATASET_MARKS, build_dataset_card
from utils.data.delivery.hub_errors import hub_errors_told
from utils.data.delivery.hub_repository import CARD, HubRepository, open_repository
from utils.data.delivery.parquet import SHARD_BYTES, hub_features, write_shard
from utils.runtime.errors import UserError
from utils.runtime.progress import AudioProgress, audio_progress

if TYPE_CHECKING:
    from datasets import Dataset, DatasetInfo, Features
    from huggingface_hub import CommitOperationAdd

_OUR_SHARDS = re.compile(r"data/(train|validation|test)-\d{5}-of-\d{5}\.parquet")


@dataclass(frozen=True)
class Pushed:
    """The result of a push.

    `commit` is the new commit on the Hub. If nothing had changed, it is the last one.
    """

    url: str
    commit: str
    private: bool
    has_license: bool
    num_shards: int

    def __str__(self) -> str:
        who = "only you and your organisation can see it" if self.private else "everybody can see it"
        advice = "Its card states no licence. If you hold the rights, add --hub_license, such as cc-by-4.0."
        return f"On the Hub: {self.url} ({who})" + ("" if self.has_license else f"\n  {advice}")


def push_dataset(
    folder: Path,
    dataset_id: str,
    *,
    private: bool = True,
    license: str | None = None,
    hidden_arguments: Collection[str] = (),
    shard_bytes: int = SHARD_BYTES,
) -> Pushed:
    """Push a prepared dataset to `user/name` of the Hub at HF_ENDPOINT, in one commit.

    Each shard is written, sent, and deleted on this machine before the next one, so that neither memory nor
    disk holds the dataset twice. The bytes of a shard are the same in each push, and shards that the Hub
    already has are not sent again. So a push continues an interrupted one, and a push without changes does
    nothing. `Dataset.push_to_hub` works in a similar way.

    Args:
        folder: Folder written by preprocess.py.
        dataset_id: Name of the dataset on the Hub. It is created if it does not exist.
        private: Whether a new dataset is private. An existing dataset stays as it is.
        license: The Hub's name of a licence, for the card.
        hidden_arguments: Arguments in preprocess.yaml that the card does not show.
        shard_bytes: Approximate size of a shard.

    Raises:
        UserError: There is no login, permission or connection, or the Hub refuses the name or licence. Or the
            dataset exists, and is public despite `private`, or has files that preprocess.py did not push.
    """
    from datasets import load_from_disk
    from huggingface_hub import constants

    repository = _open_dataset(dataset_id, private=private)
    splits = dict(load_from_disk(str(folder)))
    additions, info = _send_splits(repository, splits, shard_bytes)
    text = build_dataset_card(
        dataset_id=dataset_id,
        report=read_data_report(folder),
        arguments=_shown_arguments(folder / ARGUMENTS_FILE, hidden_arguments),
        languages=_languages(splits),
        dataset_info=_as_yaml(info),
        license=license,
        existing=repository.card,
    )
    return Pushed(
        url=f"{constants.ENDPOINT}/datasets/{dataset_id}",
        commit=_commit(repository, additions, text),
        private=repository.private,
        has_license=re.search(r"^license:", text, re.MULTILINE) is not None,
        num_shards=len(additions),
    )


def _open_dataset(dataset_id: str, *, private: bool) -> HubRepository:
    """Create the dataset on the Hub if it does not exist, and read its state."""
    repository = open_repository(dataset_id, "dataset", private=private)
    shards = _shards(repository)
    if shards and not DATASET_MARKS.are_in(repository.card or ""):
        raise UserError(
            f"{dataset_id}: the Hub has another dataset of this name (it has {shards[0]}, but no {CARD} from "
            "preprocess.py). Choose another --hub_dataset_id, or delete its files on the Hub."
        )
    return repository


def _shards(repository: HubRepository) -> list[str]:
    return [name for name in repository.files if name.endswith(".parquet")]


def _commit(repository: HubRepository, additions: Sequence["CommitOperationAdd"], card: str) -> str:
    """Commit shards and card together as the new contents of the dataset. Return the commit."""
    new = {addition.path_in_repo for addition in additions}
    ours = [name for name in _shards(repository) if _OUR_SHARDS.fullmatch(name)]
    old = [name for name in ours if name not in new]
    return repository.commit(additions, card, deleted=old, message="Push a prepared dataset")


def _send_splits(
    repository: HubRepository, splits: dict[str, "Dataset"], shard_bytes: int
) -> tuple[list["CommitOperationAdd"], "DatasetInfo"]:
    """Send every split. Return what to commit, and the dataset info for the card."""
    from datasets import DatasetInfo, SplitDict, SplitInfo

    additions: list[CommitOperationAdd] = []
    infos = SplitDict()
    features = hub_features(next(iter(splits.values())).features)
    seconds = sum(pyarrow.compute.sum(rows.data.column("duration")).as_py() for rows in splits.values())
    with audio_progress("Pushing", seconds) as progress:
        for split, rows in splits.items():
            count, num_bytes = min(len(rows), math.ceil(rows.data.nbytes / shard_bytes)), 0
            for index in range(count):
                name = f"data/{split}-{index:05d}-of-{count:05d}.parquet"
                shard = rows.shard(count, index, contiguous=True)
                addition, size = _send_shard(repository, name, shard, features, progress)
                additions.append(addition)
                num_bytes += size
            infos.add(SplitInfo(split, num_bytes=num_bytes, num_examples=len(rows)))
    info = DatasetInfo(
        features=features,
        splits=infos,
        download_size=sum(addition.upload_info.size for addition in additions),
        dataset_size=sum(split.num_bytes for split in infos.values()),
    )
    return additions, info


def _send_shard(
    repository: HubRepository, name: str, rows: "Dataset", features: "Features", progress: AudioProgress
) -> tuple["CommitOperationAdd", int]:
    """Write a shard to a temporary file and send it. Return what to commit and its size in memory."""
    from huggingface_hub import CommitOperationAdd

    with tempfile.TemporaryDirectory() as temporary:
        path = Path(temporary) / Path(name).name
        size = write_shard(path, rows, features)
        addition = CommitOperationAdd(name, path)
        with hub_errors_told(repository.id):
            repository.api.preupload_lfs_files(repository.id, [addition], repo_type="dataset")
    seconds = pyarrow.compute.sum(rows.data.column("duration")).as_py()
    progress.advance(seconds, seconds)
    return addition, size


def _shown_arguments(path: Path, hidden: Collection[str]) -> dict[str, object]:
    arguments = yaml.safe_load(path.read_text(encoding="utf-8"))
    return {name: without_folders(value) for name, value in arguments.items() if name not in hidden}


def _languages(splits: dict[str, "Dataset"]) -> list[str]:
    found = {code for rows in splits.values() for code in rows.unique("language")}
    return sorted(code for code in found if code)


def _as_yaml(info: "DatasetInfo") -> dict:
    """Return features, splits and sizes in the form in which `datasets` writes them into a card."""
    from datasets.info import DatasetInfosDict
    from huggingface_hub import DatasetCardData

    data = DatasetCardData()
    DatasetInfosDict({"default": info}).to_dataset_card_data(data)
    return data.to_dict()["dataset_info"]
