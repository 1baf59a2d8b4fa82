"""Say on the card of an export from which model it comes, in the words of the Hub."""

from utils.training.card_facts import ModelFacts, is_local_model

# Formats of transformers. The Hub calls a model that was converted for another program quantized.
_OF_TRANSFORMERS = ("huggingface", "adapter")


def lineage_fields(
    facts: ModelFacts | None, source: str, format: str, published: str | None = None
) -> dict[str, str]:
    """Return the fields `base_model` and `base_model_relation` of a card. Empty if the base is not known.

    They are described in https://huggingface.co/docs/hub/model-cards#specifying-a-base-model.

    Args:
        facts: What is known about the training of the source.
        source: The model that was exported, as the user gave it.
        format: The format of the export.
        published: The name of the same model on the Hub, in the format of transformers.
    """
    if published is not None and format not in _OF_TRANSFORMERS:
        return {"base_model": published, "base_model_relation": "quantized"}
    if facts is not None and facts.base_model:
        return {"base_model": facts.base_model, "base_model_relation": facts.relation(format == "adapter")}
    if facts is None and not is_local_model(source):
        return {"base_model": source, "base_model_relation": "quantized"}
    return {}
