"""Turns errors of the Hub into messages that say what to do."""

import contextlib
import json
from collections.abc import Iterator

import yaml

from utils.runtime.errors import UserError

KEPT_KEYS = "The prepared data is kept. Run the same command again."


def check_login(dataset_id: str, *, private: bool, license: str | None = None) -> None:
    """Check whether a push would fail, before hours of work. Nothing is created on the Hub.

    Raises:
        UserError: The Hub cannot be reached, does not accept the token or the licence, or the dataset is
            public there although `private` is set.
    """
    from huggingface_hub import DatasetCard, HfApi
    from huggingface_hub.errors import RepositoryNotFoundError

    with hub_errors_told(dataset_id):
        HfApi().whoami()
        if license is not None:
            DatasetCard(f"---\n{yaml.safe_dump({'license': license})}---\n").validate("dataset")
        try:
            is_private = bool(HfApi().dataset_info(dataset_id).private)
        except RepositoryNotFoundError:
            return
    check_visibility(dataset_id, is_private=is_private, private=private)


def check_visibility(dataset_id: str, *, is_private: bool, private: bool) -> None:
    if private and not is_private:
        raise UserError(
            f"{dataset_id}: this dataset is public on the Hub, but hub_private_repo is true. Set "
            "--hub_private_repo false to publish the speech, make the dataset private on the Hub, or choose "
            "another --hub_dataset_id."
        )


@contextlib.contextmanager
def hub_errors_told(dataset_id: str) -> Iterator[None]:
    """Turn any error of the Hub's client into a clear UserError. Use it only around calls of the client."""
    from huggingface_hub.errors import LocalTokenNotFoundError, OfflineModeIsEnabled

    try:
        yield
    except UserError:
        raise
    except LocalTokenNotFoundError:
        raise UserError(
            f"{dataset_id}: not logged in to the Hub. Run `hf auth login`, or set HF_TOKEN to a token with "
            "write permission (https://huggingface.co/settings/tokens)."
        ) from None
    except OfflineModeIsEnabled:
        raise UserError(f"{dataset_id}: HF_HUB_OFFLINE forbids a push. Unset it. {KEPT_KEYS}") from None
    except Exception as error:  # the client, its transport and Xet each raise their own errors
        raise UserError(f"{dataset_id}: {_describe(error)}") from error


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
            return f"it was changed on the Hub during the push. {KEPT_KEYS}"
        case None | 400 if isinstance(error, ValueError):
            return f"the Hub refuses it: {_complaints(str(error)) or reason}"
        case None:
            reason = " ".join(str(causes[-1]).split())[:400] or type(causes[-1]).__name__
            return f"no connection to the Hub at {constants.ENDPOINT} ({reason}). {KEPT_KEYS}"
        case status:
            return f"the Hub at {constants.ENDPOINT} answers with status {status} ({reason}). {KEPT_KEYS}"


def _complaints(text: str) -> str:
    """Return the errors that the Hub's own check found in a card.

    Empty if the text is not an answer of that check.
    """
    try:
        return "; ".join(str(error["message"]) for error in json.loads(text)["errors"])
    except (ValueError, TypeError, KeyError):
        return ""
