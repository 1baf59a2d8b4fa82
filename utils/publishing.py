"""Push a prepared dataset to the Hugging Face Hub as Parquet shards that its viewer plays, with a card."""

import contextlib
import json
import math
import re
import tempfile
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import TYPE_CHECKING

import pyarrow
import pyarrow.compute
import yaml

from utils.assembly import ARGUMENTS_FILE, NUMBERS_FILE
from utils.audio import SAMPLE_RATE
from utils.dataset_card import build_dataset_card, is_ours, split_card
from utils.errors import UserError
from utils.progress import AudioProgress, audio_progress

if TYPE_CHECKING:
    from datasets import Dataset, DatasetInfo, Features
    from huggingface_hub import CommitOperationAdd, HfApi

SHARD_BYTES = 500_000_000  # as `datasets` cuts them
ROW_GROUP = 100  # rows read at once, here and by the viewer; at most 30 s of FLAC each, so some 50 MB
CARD = "README.md"

_OUR_SHARDS = re.compile(r"data/(train|validation|test)-\d{5}-of-\d{5}\.parquet")
_KEPT = "What is prepared is kept, and the same command goes on."


@dataclass(frozen=True)
class Pushed:
    """What a push came to. `commit` is that of the Hub, the earlier one where nothing had changed."""

    url: str
    commit: str
    private: bool
    has_license: bool
    num_shards: int


@dataclass(frozen=True)
class _Repository:
    """A dataset on the Hub as it was before the push."""

    api: "HfApi"
    id: str
    head: str  # commit
    private: bool
    shards: tuple[str, ...]
    card: str | None


def check_login(dataset_id: str, *, private: bool, license: str | None = None) -> None:
    """Find out what would stop a push before hours of work are done; nothing is created.

    Raises:
        UserError: The Hub cannot be reached, knows neither token nor licence, or shows the dataset
            to everybody though `private` is asked for.
    """
    from huggingface_hub import DatasetCard, HfApi
    from huggingface_hub.errors import RepositoryNotFoundError

    with _hub_errors_told(dataset_id):
        HfApi().whoami()
        if license is not None:
            DatasetCard(f"---\n{yaml.safe_dump({'license': license})}---\n").validate("dataset")
        try:
            is_private = bool(HfApi().dataset_info(dataset_id).private)
        except RepositoryNotFoundError:
            return
    _check_visibility(dataset_id, is_private=is_private, private=private)


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

    The shards are written one after another, sent, and deleted here, so that neither memory nor disk holds
    the dataset twice. They have the same bytes each time, and the Hub is sent none that it has: after a push
    that broke off the next one goes on, and one too many changes nothing. `Dataset.push_to_hub` works alike.

    Args:
        folder: Written by preprocess.py.
        dataset_id: Where to; created if it is not there.
        private: Whether others are kept from seeing it; a dataset that exists stays as it is.
        license: The Hub's name of a licence, for the card.
        hidden_arguments: Those of preprocess.yaml that the card does not show.
        shard_bytes: A split is cut into shards of about so many bytes.

    Raises:
        UserError: No login, no right, no connection, or a name or licence that the Hub refuses; or the
            dataset is there already and public while `private`, or holds what preprocess.py did not push.
    """
    from datasets import load_from_disk
    from huggingface_hub import constants

    repository = _open_repository(dataset_id, private=private)
    splits = dict(load_from_disk(str(folder)))
    additions, info = _send_splits(repository, splits, shard_bytes)
    text = build_dataset_card(
        dataset_id=dataset_id,
        report=json.loads((folder / NUMBERS_FILE).read_text(encoding="utf-8")),
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


# ---- the dataset on the Hub --------------------------------------------------------------------------------


def _open_repository(dataset_id: str, *, private: bool) -> _Repository:
    """Create the dataset on the Hub unless it is there, and see what it holds."""
    from huggingface_hub import HfApi
    from huggingface_hub.utils import disable_progress_bars

    disable_progress_bars()  # ours shows how far it is
    api = HfApi()
    with _hub_errors_told(dataset_id):
        api.whoami()
        api.create_repo(dataset_id, repo_type="dataset", private=private, exist_ok=True)
        info = api.dataset_info(dataset_id)
        names = [sibling.rfilename for sibling in info.siblings or []]
        card = _read_card(api, dataset_id, str(info.sha)) if CARD in names else None
    _check_visibility(dataset_id, is_private=bool(info.private), private=private)
    shards = [name for name in names if name.endswith(".parquet")]
    if shards and not is_ours(card or ""):
        raise UserError(
            f"{dataset_id}: the Hub has another dataset of this name ({shards[0]}, and no {CARD} that "
            "preprocess.py wrote). Choose another --hub_dataset_id, or delete its files there."
        )
    ours = tuple(name for name in shards if _OUR_SHARDS.fullmatch(name))
    return _Repository(api, dataset_id, str(info.sha), bool(info.private), ours, card)


def _read_card(api: "HfApi", dataset_id: str, revision: str) -> str:
    path = api.hf_hub_download(dataset_id, CARD, repo_type="dataset", revision=revision)
    card = Path(path).read_text(encoding="utf-8", errors="replace")
    try:
        split_card(card)
    except ValueError as error:
        raise UserError(
            f"{dataset_id}: {CARD} on the Hub cannot be brought up to date: {error}. Mend it there."
        ) from None
    return card


def _check_visibility(dataset_id: str, *, is_private: bool, private: bool) -> None:
    if private and not is_private:
        raise UserError(
            f"{dataset_id}: the Hub shows this dataset to everybody, and hub_private_repo is true. Give "
            "--hub_private_repo false to publish the speech, make it private there, or choose another "
            "--hub_dataset_id."
        )


def _commit(repository: _Repository, additions: Sequence["CommitOperationAdd"], card: str) -> str:
    """Make the shards and the card the dataset's contents, all at once; returns the commit."""
    from huggingface_hub import CommitOperationAdd, CommitOperationDelete

    new = {addition.path_in_repo for addition in additions}
    old = [CommitOperationDelete(path) for path in repository.shards if path not in new]
    with _hub_errors_told(repository.id):
        done = repository.api.create_commit(
            repository.id,
            [*additions, CommitOperationAdd(CARD, card.encode()), *old],
            commit_message="Push a prepared dataset",
            repo_type="dataset",
            parent_commit=repository.head,
        )
    return done.oid


# ---- shards ------------------------------------------------------------------------------------------------


def _send_splits(
    repository: _Repository, splits: dict[str, "Dataset"], shard_bytes: int
) -> tuple[list["CommitOperationAdd"], "DatasetInfo"]:
    """Send every split; returns what is to be committed, and what the card tells `datasets` of it."""
    from datasets import DatasetInfo, SplitDict, SplitInfo

    additions: list[CommitOperationAdd] = []
    infos = SplitDict()
    features = _hub_features(next(iter(splits.values())).features)
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
    repository: _Repository, name: str, rows: "Dataset", features: "Features", progress: AudioProgress
) -> tuple["CommitOperationAdd", int]:
    """Write a shard to a temporary file and send it; returns what to commit, and its size in memory."""
    from huggingface_hub import CommitOperationAdd

    with tempfile.TemporaryDirectory() as temporary:
        path = Path(temporary) / Path(name).name
        size = write_shard(path, rows, features)
        addition = CommitOperationAdd(name, path)
        with _hub_errors_told(repository.id):
            repository.api.preupload_lfs_files(repository.id, [addition], repo_type="dataset")
    seconds = pyarrow.compute.sum(rows.data.column("duration")).as_py()
    progress.advance(seconds, seconds)
    return addition, size


def write_shard(path: Path, rows: "Dataset", features: "Features") -> int:
    """Write rows of a prepared dataset as Parquet that `datasets` and the Hub's viewer read as audio.

    `Audio` is stored as a file's bytes and its name, which needs no encoding and so no torchcodec.

    Returns:
        The size of the rows in memory, in bytes.
    """
    from datasets.arrow_writer import ParquetWriter

    writer = ParquetWriter(features=features, path=str(path))
    for table in rows.with_format("arrow").iter(ROW_GROUP):
        writer.write_table(_as_on_the_hub(table, features), ROW_GROUP)
    return writer.finalize()[1]


def _hub_features(features: "Features") -> "Features":
    from datasets import Audio, Features

    audio = Audio(sampling_rate=SAMPLE_RATE)
    return Features({name: audio if name == "audio" else kind for name, kind in features.items()})


def _as_on_the_hub(table: pyarrow.Table, features: "Features") -> pyarrow.Table:
    """Audio as bytes with a file's name; without the folders of this machine in `source`."""
    table = table.combine_chunks()
    schema = features.arrow_schema
    names = pyarrow.compute.binary_join_element_wise(table["id"], ".flac", "")
    audio = pyarrow.StructArray.from_arrays(
        [column.combine_chunks() for column in (table["audio"], names)],
        fields=list(schema.field("audio").type),
    )
    sources = [_without_folders(source) for source in table["source"].to_pylist()]
    table = table.set_column(table.schema.get_field_index("audio"), schema.field("audio"), audio)
    return table.set_column(table.schema.get_field_index("source"), "source", [pyarrow.array(sources)])


def _without_folders(value: object) -> object:
    """The last part of an absolute path: where it lies, and under whose name, is nobody's business."""
    if isinstance(value, str) and PurePosixPath(value).is_absolute():
        return PurePosixPath(value).name
    if isinstance(value, str) and PureWindowsPath(value).is_absolute():
        return PureWindowsPath(value).name
    return value


# ---- what the card tells -----------------------------------------------------------------------------------


def _shown_arguments(path: Path, hidden: Collection[str]) -> dict[str, object]:
    arguments = yaml.safe_load(path.read_text(encoding="utf-8"))
    return {name: _without_folders(value) for name, value in arguments.items() if name not in hidden}


def _languages(splits: dict[str, "Dataset"]) -> list[str]:
    found = {code for rows in splits.values() for code in rows.unique("language")}
    return sorted(code for code in found if code)


def _as_yaml(info: "DatasetInfo") -> dict:
    """Features, splits and sizes in the form that `datasets` writes into a card."""
    from datasets.info import DatasetInfosDict
    from huggingface_hub import DatasetCardData

    data = DatasetCardData()
    DatasetInfosDict({"default": info}).to_dataset_card_data(data)
    return data.to_dict()["dataset_info"]


# ---- what the Hub refuses ----------------------------------------------------------------------------------


@contextlib.contextmanager
def _hub_errors_told(dataset_id: str) -> Iterator[None]:
    """Turn what the Hub's client raises into one clear UserError; only calls of the client stand in it."""
    from huggingface_hub.errors import LocalTokenNotFoundError, OfflineModeIsEnabled

    try:
        yield
    except UserError:
        raise
    except LocalTokenNotFoundError:
        raise UserError(
            f"{dataset_id}: not logged in to the Hub. Run `hf auth login`, or set HF_TOKEN to a token that "
            "may write (https://huggingface.co/settings/tokens)."
        ) from None
    except OfflineModeIsEnabled:
        raise UserError(f"{dataset_id}: HF_HUB_OFFLINE forbids a push. Unset it. {_KEPT}") from None
    except Exception as error:  # the client, its transport and Xet each have their own; none of them is ours
        raise UserError(f"{dataset_id}: {_describe(error, dataset_id)}") from error


def _describe(error: BaseException, dataset_id: str) -> str:
    from huggingface_hub import constants
    from huggingface_hub.errors import HfHubHTTPError

    causes = [error]
    while (cause := causes[-1].__cause__ or causes[-1].__context__) is not None and cause not in causes:
        causes.append(cause)
    answers = [cause.response.status_code for cause in causes if isinstance(cause, HfHubHTTPError)]
    reason = " ".join(str(error).split())[:400] or type(error).__name__
    match answers[0] if answers else None:
        case 401:
            return f"the Hub does not accept the token ({reason}). Run `hf auth login`, or set HF_TOKEN."
        case 403:
            return (
                f"no right to push to it ({reason}). The name before the / must be yours or your "
                "organisation's, and the token one that may write (https://huggingface.co/settings/tokens)."
            )
        case 409 | 412:
            return f"it was changed on the Hub meanwhile. {_KEPT}"
        case None | 400 if isinstance(error, ValueError):
            return f"the Hub refuses it: {_complaints(str(error)) or reason}"
        case None:
            reason = " ".join(str(causes[-1]).split())[:400] or type(causes[-1]).__name__
            return f"no connection to the Hub at {constants.ENDPOINT} ({reason}). {_KEPT}"
        case status:
            return f"the Hub at {constants.ENDPOINT} answers with status {status} ({reason}). {_KEPT}"


def _complaints(text: str) -> str:
    """What is wrong with a card, from the answer of the Hub's own check of it; empty for other text."""
    try:
        return "; ".join(str(error["message"]) for error in json.loads(text)["errors"])
    except (ValueError, TypeError, KeyError):
        return ""
