"""Count the tokens of a text, without loading a model."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from utils.runtime.errors import UserError

if TYPE_CHECKING:
    from tokenizers import Tokenizer


def load_token_counter(name_or_path: str) -> Callable[[str], int]:
    """Return a function that counts the text tokens of a label, with the tokenizer of a folder or Hub id.

    Raises:
        UserError: There is no tokenizer.
    """
    from tokenizers import Tokenizer

    file = Path(name_or_path) / "tokenizer.json"
    try:
        # this is the only file of a faster-whisper folder that transformers can load
        is_here = file.is_file()
        tokenizer = Tokenizer.from_file(str(file)) if is_here else Tokenizer.from_pretrained(name_or_path)
    except Exception as error:  # tokenizers raises bare Exception; the Hub and the network have other errors
        raise UserError(
            f"{name_or_path}: no tokenizer found ({type(error).__name__}). Expected a model folder with "
            "tokenizer.json or a model of the Hub. To count no tokens, leave out --model_name_or_path."
        ) from error
    return partial(_count_tokens, tokenizer)


def _count_tokens(tokenizer: "Tokenizer", text: str) -> int:
    # Whisper's own texts begin with a space
    return len(tokenizer.encode(f" {text}", add_special_tokens=False).ids)
