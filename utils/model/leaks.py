"""Warnings about a model whose scores are too good, because of the splits that its training used."""

from collections.abc import Mapping


def leak_warnings(arguments: Mapping[str, object]) -> list[str]:
    """Return a sentence for each argument of train.py that makes scores on held-out clips too good.

    Args:
        arguments: The arguments of the training, from train.yaml. Empty for an untuned model.
    """
    found = []
    if arguments.get("merge_validation"):
        found.append(
            "Trained on the validation split too (merge_validation), so it must not be scored on this split."
        )
    if arguments.get("eval_split", "validation") == "test":
        found.append(
            "The best step was chosen on the test split (eval_split test), so scores on test are too good."
        )
    return found
