"""Find the language tokens of a model, and add a token for a new language."""

import difflib
from collections.abc import Sequence

import torch
from tokenizers import AddedToken
from torch import nn
from transformers import WhisperForConditionalGeneration, WhisperProcessor

from utils.model.whisper import whisper_of
from utils.runtime.errors import UserError


def language_ids(model: nn.Module) -> dict[str, int]:
    """Return the token id of each language code of the model. Empty for an English-only model."""
    lang_to_id: dict[str, int] = getattr(whisper_of(model).generation_config, "lang_to_id", None) or {}
    # an added language is there also by its bare code, see languages.add_language
    return {token[2:-2]: token_id for token, token_id in lang_to_id.items() if token.startswith("<|")}


def language_codes(model: nn.Module) -> set[str]:
    """Return the codes of the languages that have a token. Empty for an English-only model."""
    return set(language_ids(model))


def added_languages(model: nn.Module) -> dict[str, int]:
    """Return the token id of each language that was added to Whisper, by code: those after the timestamps."""
    last = getattr(whisper_of(model).generation_config, "no_timestamps_token_id", None)
    return {code: token_id for code, token_id in language_ids(model).items() if last and token_id > last}


def check_languages(model: nn.Module, languages: Sequence[str | None], name_or_path: str) -> list[str | None]:
    """Return the language of each row, for its label tokens. All are None for an English-only model.

    Raises:
        UserError: A row has no language, or the model has no token for a language.
    """
    known = language_codes(model)
    if not known:
        foreign = sorted({language for language in languages if language not in (None, "en")})
        if foreign:
            raise UserError(f"{name_or_path} knows English only, the data is in {', '.join(foreign)}.")
        return [None] * len(languages)
    missing = sum(language is None for language in languages)
    if missing:
        raise UserError(
            f"{missing} of {len(languages)} utterances have no language. Give one, such as --language it."
        )
    unknown = sorted({str(language) for language in languages} - known)
    if unknown:
        raise UserError(
            f"{name_or_path} has no token for the language {', '.join(unknown)}. `train.py --language "
            f"{unknown[0]} --add_language {unknown[0]}` gives it one."
        )
    return list(languages)


def add_language(
    model: WhisperForConditionalGeneration,
    processor: WhisperProcessor,
    code: str,
    init_from: str | None = None,
) -> int:
    """Add a token `<|code|>` to tokenizer, embedding (with the tied projection) and generation config.

    transformers' `generate(language=code)` looks into `lang_to_id` before its own table of languages, so the
    code itself is entered there too. The id of the new token is above those of the timestamps. In decoding
    with timestamps, every such id would count as a timestamp. So the token is suppressed.

    Args:
        model: Changed in place.
        processor: Its tokenizer gets the token, in place.
        code: Lower-case code that has no token yet.
        init_from: Code of a related language. Its embedding is the start value. If None, the start value is
            the mean of all languages.

    Returns:
        The id of the new token.

    Raises:
        UserError: The model is English-only, knows the code, or does not know `init_from`.
    """
    known = language_ids(model)
    _check(known, code, init_from)
    tokenizer = processor.tokenizer
    # special for the backend, but not among `all_special_ids`, whose last one must stay <|notimestamps|>
    token = AddedToken(f"<|{code}|>", special=True, normalized=False)
    tokenizer.add_tokens(token, special_tokens=True)
    token_id: int = tokenizer.convert_tokens_to_ids(f"<|{code}|>")
    if len(tokenizer) > model.config.vocab_size:
        model.resize_token_embeddings(len(tokenizer), mean_resizing=False)
    embedding = model.model.decoder.embed_tokens.weight
    related = list(known.values()) if init_from is None else [known[init_from]]
    with torch.no_grad():
        embedding[token_id] = embedding[related].mean(dim=0)
    config = model.generation_config
    lang_to_id: dict[str, int] = config.lang_to_id  # type: ignore[attr-defined]
    lang_to_id |= {f"<|{code}|>": token_id, code: token_id}
    config.suppress_tokens = [*(config.suppress_tokens or []), token_id]
    return token_id


def _check(known: dict[str, int], code: str, init_from: str | None) -> None:
    if not known:
        raise UserError(f"add_language {code}: this model knows English only. Start from a multilingual one.")
    if code in known:
        raise UserError(
            f"add_language {code}: the model already has a token for it. Use only --language {code}."
        )
    if init_from is not None and init_from not in known:
        near = difflib.get_close_matches(init_from, known, n=1)
        hint = f" Did you mean {near[0]}?" if near else ""
        raise UserError(f"init_language_from {init_from}: the model has no token for it.{hint}")
