"""Warn before training where fine-tuning is known to make a model worse."""

HARM_BELOW = 0.2  # normalised WER of the untuned model, the rule of distil-whisper's guide to training

PRESERVING = "recipes/preserve.yaml keeps what it knows."


def describe_harm(untuned_wer: float | None) -> str | None:
    """Return a warning if the untuned model is already good. None if it is not, or was not scored.

    On ten hours of FLEURS in a language that it knew well, whisper-small went from 13.9 to 14.6 % WER, medium
    from 8.2 to 8.6 %, large-v3-turbo from 5.8 to 6.2 %.

    Args:
        untuned_wer: Normalised WER of the model before training, on the validation split, as a fraction.
    """
    if untuned_wer is None or untuned_wer >= HARM_BELOW:
        return None
    return (
        f"Warning: before training, the normalised WER on validation is {100 * untuned_wer:.1f} %. "
        f"Below {100 * HARM_BELOW:g} %, fine-tuning often makes a model worse, most of all on other speech."
    )
