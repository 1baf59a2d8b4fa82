"""Push a model folder to the Hugging Face Hub in one commit, with a card and without what is private."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path

from utils.data.delivery.cards import without_folders
from utils.data.delivery.hub_errors import check_login
from utils.data.delivery.hub_repository import CARD, HubRepository, open_repository, read_repository
from utils.model.saving import ADAPTER_CONFIG, ARGUMENTS_FILE, is_adapter, read_adapter_config
from utils.runtime.errors import UserError
from utils.runtime.resolved_arguments import read_recipe, values_as_yaml
from utils.training.card_facts import is_local_model
from utils.training.model_card import MODEL_MARKS

# the state of a training, and records that mean something on this machine only
LEFT_OUT = (
    *("optimizer*", "scheduler*", "scaler*", "random_states*", "trainer_state.json", "*.pkl"),
    *("custom_checkpoint*", "*.distcp", "events.out.*", "export.json", ".*"),
)

# weights that a model of another shape or kind would leave behind
_WEIGHTS = ("model.safetensors*", "model-*.safetensors", "adapter_model.safetensors", ADAPTER_CONFIG)

_OF_A_NEW_REPOSITORY = (".gitattributes", CARD, "LICENSE")


@dataclass(frozen=True)
class HubTarget:
    """Where a model goes on the Hub, and what the user states about it."""

    model_id: str  # user/name
    private: bool = True
    license: str | None = None


@dataclass(frozen=True)
class PushedModel:
    """The result of a push. `commit` is the new commit on the Hub, or the last one if nothing had changed."""

    model_id: str
    commit: str
    private: bool

    def describe(self) -> str:
        """Return a line for the terminal."""
        from huggingface_hub import constants

        who = "only you and your organisation can see it" if self.private else "everybody can see it"
        return f"On the Hub: {constants.ENDPOINT}/{self.model_id} ({who})"


def check_push(target: HubTarget) -> None:
    """Check whether a push would fail, before hours of work. Nothing is created on the Hub.

    Raises:
        UserError: There is no login, permission or connection, the Hub does not know the licence, or the name
            belongs to a public model despite `private`, or to a model of somebody else.
    """
    if check_login(target.model_id, "model", private=target.private, license=target.license):
        _check_ours(read_repository(target.model_id, "model"))


def _check_ours(repository: HubRepository) -> None:
    others = sorted(name for name in repository.files if name not in _OF_A_NEW_REPOSITORY)
    if others and not MODEL_MARKS.are_in(repository.card or ""):
        raise UserError(
            f"{repository.id}: the Hub has another model of this name (it has {others[0]}, but no {CARD} "
            "from train.py or export.py). Choose another --hub_model_id, or delete its files on the Hub."
        )


def push_files(
    files: Mapping[str, Path | bytes], build_card: Callable[[str | None], str], target: HubTarget
) -> PushedModel:
    """Push files and card as the new contents of a model, in one commit.

    Large files that the Hub has are not sent again. So a push continues an interrupted one, and a push
    without changes does nothing.

    Args:
        files: Paths or contents, by their name in the repository.
        build_card: Returns the card. It gets the card that is on the Hub, or None.
        target: Where the model goes.

    Raises:
        UserError: See `check_push`. Or the connection broke: the next push continues.
    """
    from huggingface_hub import CommitOperationAdd

    repository = open_repository(target.model_id, "model", private=target.private)
    _check_ours(repository)
    try:
        card = build_card(repository.card)
    except ValueError as error:
        raise UserError(f"{target.model_id}: cannot update {CARD}: {error}. Correct it on the Hub.") from None
    additions = [
        CommitOperationAdd(name, content if isinstance(content, bytes) else str(content))
        for name, content in files.items()
    ]
    old = [name for name in repository.files if name not in files and _fits(name, _WEIGHTS)]
    commit = repository.commit(additions, card, deleted=old, message="Push a model")
    return PushedModel(target.model_id, commit, repository.private)


def publishable_files(folder: Path) -> dict[str, Path | bytes]:
    """Return the files of a model folder that may be seen by others, by name. The card is not among them.

    The state of a training stays here, and train.yaml loses the folders of this machine.

    Raises:
        UserError: The folder is an adapter of a model that nobody else has.
    """
    check_base_of_adapter(folder)
    files: dict[str, Path | bytes] = {
        path.relative_to(folder).as_posix(): path
        for path in sorted(folder.rglob("*"))
        if path.is_file() and not _fits(path.name, LEFT_OUT)
    }
    files.pop(CARD, None)
    if ARGUMENTS_FILE in files:
        arguments = read_recipe(folder / ARGUMENTS_FILE)
        shown = {name: without_folders(value) for name, value in arguments.items()}
        files[ARGUMENTS_FILE] = values_as_yaml(shown).encode()
    return files


def check_base_of_adapter(folder: Path) -> None:
    """Raise a UserError if a folder is an adapter of a model that is only on this machine."""
    base = str(read_adapter_config(folder).get("base_model_name_or_path")) if is_adapter(folder) else None
    if base is not None and is_local_model(base):
        raise UserError(
            f"{folder}: an adapter of {base}, a folder of this machine, so nobody else could load it. Export "
            "the merged model with the format huggingface, and push that."
        )


def _fits(name: str, patterns: tuple[str, ...]) -> bool:
    return any(fnmatch(name, pattern) for pattern in patterns)
