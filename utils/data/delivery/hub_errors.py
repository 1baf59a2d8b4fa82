"""Turns errors of the Hub into messages that say what to do."""

import contextlib
import json
from collections.abc import Iterator

import yaml

from utils.runtime.errors import UserError

KEPT = "Finished work is kept. Run the same command again."


def check_login(repo_id: str, kind: str, *, private: bool, license: str | None = None) -> bool:
    """Check whether a push would fail, before hours of work. Nothing is created on the Hub.

    Args:
        repo_id: `user/name`.
        kind: `dataset` or `model`.
        private: Whether the user wants it private.
        license: The Hub's name of a licence.

    Returns:
        Whether the repository exists.

    Raises:
        UserError: The Hub cannot be reached, does not accept the token or the licence, the name belongs to
            somebody else, or the repository is public there although `private` is set.
    """
    from huggingface_hub import HfApi, RepoCard
    from huggingface_hub.errors import RepositoryNotFoundError

    with hub_errors_told(repo_id):
        _check_right(HfApi().whoami(), repo_id)
        if license is not None:
            RepoCard(f"---\n{yaml.safe_dump({'license': license})}---\n").validate(kind)
        try:
            is_private = bool(HfApi().repo_info(repo_id, repo_type=kind).private)
        except RepositoryNotFoundError:
            return False
    check_visibility(repo_id, kind, is_private=is_private, private=private)
    return True


def _check_right(who: dict, repo_id: str) -> None:
    """Check what `whoami` tells: the owner of the name, and a token that may only read."""
    owner = repo_id.partition("/")[0]
    own = [who["name"], *(each["name"] for each in who.get("orgs") or [])]
    if owner not in own:
        raise UserError(
            f"{repo_id}: no permission to push. You are logged in as {who['name']}, so the name must begin "
            f"with one of: {', '.join(f'{name}/' for name in own)}"
        )
    if ((who.get("auth") or {}).get("accessToken") or {}).get("role") == "read":
        raise UserError(
            f"{repo_id}: no permission to push. The token may only read; make one with write permission "
            "(https://huggingface.co/settings/tokens)."
        )


def check_visibility(repo_id: str, kind: str, *, is_private: bool, private: bool) -> None:
    """Raise a UserError if a repository is public although the user wants it private."""
    if private and not is_private:
        raise UserError(
            f"{repo_id}: this {kind} is public on the Hub, but hub_private_repo is true. Set "
            f"--hub_private_repo false to publish it, make the {kind} private on the Hub, or choose another "
            f"--hub_{kind}_id."
        )


@contextlib.contextmanager
def hub_errors_told(repo_id: str) -> Iterator[None]:
    """Turn any error of the Hub's client into a clear UserError. Use it only around calls of the client."""
    from huggingface_hub.errors import LocalTokenNotFoundError, OfflineModeIsEnabled

    try:
        yield
    except UserError:
        raise
    except LocalTokenNotFoundError:
        raise UserError(
            f"{repo_id}: not logged in to the Hub. Run `hf auth login`, or set HF_TOKEN to a token with "
            "write permission (https://huggingface.co/settings/tokens)."
        ) from None
    except OfflineModeIsEnabled:
        raise UserError(f"{repo_id}: HF_HUB_OFFLINE forbids a push. Unset it. {KEPT}") from None
    except Exception as error:  # the client, its transport and Xet each raise their own errors
        raise UserError(f"{repo_id}: {_describe(error)}") from error


def _describe(error: BaseException) -> str:
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
                f"no permission to push ({reason}). The name before the / must be yours or your "
                "organisation's. The token needs write permission (https://huggingface.co/settings/tokens)."
            )
        case 409 | 412:
            return f"it was changed on the Hub during the push. {KEPT}"
        case None | 400 if isinstance(error, ValueError):
            return f"the Hub refuses it: {_complaints(str(error)) or reason}"
        case None:
            reason = " ".join(str(causes[-1]).split())[:400] or type(causes[-1]).__name__
            return f"no connection to the Hub at {constants.ENDPOINT} ({reason}). {KEPT}"
        case status:
            return f"the Hub at {constants.ENDPOINT} answers with status {status} ({reason}). {KEPT}"


def _complaints(text: str) -> str:
    """Return the errors that the Hub's own check found in a card.

    Empty if the text is not an answer of that check.
    """
    try:
        return "; ".join(str(error["message"]) for error in json.loads(text)["errors"])
    except (ValueError, TypeError, KeyError):
        return ""
