"""What the Hub refuses, told with what to do."""

import contextlib
import json
from collections.abc import Iterator

import yaml

from utils.runtime.errors import UserError

KEPT_KEYS = "What is prepared is kept, and the same command goes on."


def check_login(dataset_id: str, *, private: bool, license: str | None = None) -> None:
    """Find out what would stop a push before hours of work are done; nothing is created.

    Raises:
        UserError: The Hub cannot be reached, knows neither token nor licence, or shows the dataset
            to everybody though `private` is asked for.
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
            f"{dataset_id}: the Hub shows this dataset to everybody, and hub_private_repo is true. Give "
            "--hub_private_repo false to publish the speech, make it private there, or choose another "
            "--hub_dataset_id."
        )


@contextlib.contextmanager
def hub_errors_told(dataset_id: str) -> Iterator[None]:
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
        raise UserError(f"{dataset_id}: HF_HUB_OFFLINE forbids a push. Unset it. {KEPT_KEYS}") from None
    except Exception as error:  # the client, its transport and Xet each have their own; none of them is ours
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
                f"no right to push to it ({reason}). The name before the / must be yours or your "
                "organisation's, and the token one that may write (https://huggingface.co/settings/tokens)."
            )
        case 409 | 412:
            return f"it was changed on the Hub meanwhile. {KEPT_KEYS}"
        case None | 400 if isinstance(error, ValueError):
            return f"the Hub refuses it: {_complaints(str(error)) or reason}"
        case None:
            reason = " ".join(str(causes[-1]).split())[:400] or type(causes[-1]).__name__
            return f"no connection to the Hub at {constants.ENDPOINT} ({reason}). {KEPT_KEYS}"
        case status:
            return f"the Hub at {constants.ENDPOINT} answers with status {status} ({reason}). {KEPT_KEYS}"


def _complaints(text: str) -> str:
    """What is wrong with a card, from the answer of the Hub's own check of it; empty for other text."""
    try:
        return "; ".join(str(error["message"]) for error in json.loads(text)["errors"])
    except (ValueError, TypeError, KeyError):
        return ""
