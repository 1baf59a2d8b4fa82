"""A repository on the Hub: its state before a push, and one commit that replaces its contents."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from utils.data.delivery.cards import split_card
from utils.data.delivery.hub_errors import check_visibility, hub_errors_told
from utils.runtime.errors import UserError

if TYPE_CHECKING:
    from huggingface_hub import CommitOperationAdd, HfApi

CARD = "README.md"


@dataclass(frozen=True)
class HubRepository:
    """A repository on the Hub before the push."""

    api: "HfApi"
    id: str
    kind: str  # dataset or model
    head: str  # commit
    private: bool
    files: tuple[str, ...]
    card: str | None

    def commit(
        self, additions: Sequence["CommitOperationAdd"], card: str, *, deleted: Sequence[str], message: str
    ) -> str:
        """Commit files and card together. Return the commit, or the last one if nothing changes.

        Large files that the Hub already has are not sent again.

        Raises:
            UserError: The Hub refuses, cannot be reached, or somebody else has pushed in the meantime.
        """
        from huggingface_hub import CommitOperationAdd, CommitOperationDelete

        with hub_errors_told(self.id):
            done = self.api.create_commit(
                self.id,
                [
                    *additions,
                    CommitOperationAdd(CARD, card.encode()),
                    *(CommitOperationDelete(path) for path in deleted),
                ],
                commit_message=message,
                repo_type=self.kind,
                parent_commit=self.head,
            )
        return done.oid


def open_repository(repo_id: str, kind: str, *, private: bool) -> HubRepository:
    """Create a repository on the Hub if it does not exist, and read its state.

    Args:
        repo_id: `user/name`.
        kind: `dataset` or `model`.
        private: Whether a new one is private.

    Raises:
        UserError: There is no login, permission or connection, or the repository is public despite `private`.
    """
    from huggingface_hub import HfApi
    from huggingface_hub.utils import disable_progress_bars

    disable_progress_bars()  # the client's bars would mix with this project's own
    api = HfApi()
    with hub_errors_told(repo_id):
        api.whoami()
        api.create_repo(repo_id, repo_type=kind, private=private, exist_ok=True)
    repository = read_repository(repo_id, kind)
    check_visibility(repo_id, kind, is_private=repository.private, private=private)
    return repository


def read_repository(repo_id: str, kind: str) -> HubRepository:
    """Read the state of a repository that exists."""
    from huggingface_hub import HfApi

    api = HfApi()
    with hub_errors_told(repo_id):
        info = api.repo_info(repo_id, repo_type=kind)
        names = tuple(sibling.rfilename for sibling in getattr(info, "siblings", None) or [])
        card = _read_card(api, repo_id, kind, str(info.sha)) if CARD in names else None
    return HubRepository(api, repo_id, kind, str(info.sha), bool(info.private), names, card)


def _read_card(api: "HfApi", repo_id: str, kind: str, revision: str) -> str:
    path = api.hf_hub_download(repo_id, CARD, repo_type=kind, revision=revision)
    card = Path(path).read_text(encoding="utf-8", errors="replace")
    try:
        split_card(card)
    except ValueError as error:
        raise UserError(f"{repo_id}: cannot update {CARD} on the Hub: {error}. Correct it there.") from None
    return card
