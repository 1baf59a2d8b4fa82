"""The README.md of a model folder, in the Hub's form."""

import yaml


def build_model_card(
    *,
    base_model: str,
    languages: list[str],
    datasets: list[str],
    results: dict[str, float | int | str | None],
    adapter: str | None,
) -> str:
    """Model card: YAML head for the Hub, then what was trained on what and how well it did on validation.

    `adapter` is the kind of adapter the folder holds (lora, dora, adalora), None for a whole model.
    """
    head = {
        "library_name": "peft" if adapter else "transformers",
        "pipeline_tag": "automatic-speech-recognition",
        "base_model": base_model,
        "tags": ["whisper", "hf-asr-leaderboard", *([adapter] if adapter else [])],
        "metrics": ["wer"],
    }
    if languages:
        head["language"] = languages
    rows = "\n".join(f"| {name} | {_show(value)} |" for name, value in results.items())
    return (
        f"---\n{yaml.safe_dump(head, sort_keys=False, allow_unicode=True)}---\n\n"
        f"# {base_model.rstrip('/').rpartition('/')[2]}, fine-tuned\n\n"
        f"Fine-tuned from `{base_model}` on {', '.join(f'`{name}`' for name in datasets)}. "
        "`train.yaml` holds every argument of the run.\n\n"
        "| at the end of training | |\n|---|---|\n"
        f"{rows}\n\n"
        "WER is a fraction, over validation, by greedy generation in the full 30 s context. That split "
        "chose this model, so judge it on the test split: `python evaluate.py`.\n"
    )


def _show(value: float | int | str | None) -> str:
    return (
        f"{value:.4f}" if isinstance(value, float) else f"{value:,}" if isinstance(value, int) else str(value)
    )
