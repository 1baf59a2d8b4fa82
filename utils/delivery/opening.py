"""Open a model that transcribes whole recordings."""

import contextlib
from collections.abc import Iterator, Set

import torch

from utils.delivery.cues import Layout
from utils.delivery.transcribing import Request, WindowReader
from utils.evaluation.backends.opening import open_transcriber
from utils.evaluation.backends.transcriber import BackendOptions
from utils.evaluation.models import choose_contexts, refuse_unknown_languages
from utils.model.loading import LoadedModel
from utils.runtime.devices import pick_dtype
from utils.text.label_tokens import encode_texts


@contextlib.contextmanager
def open_window_reader(
    name: str,
    backend: str,
    options: BackendOptions,
    *,
    languages: Set[str],
    audio_context: str,
    batch_size: int,
    layout: Layout,
    prompt_terms: str | None = None,
    seed: int = 0,
) -> Iterator[WindowReader]:
    """Load a model with a backend, and check that it knows the languages.

    Args:
        name: Model or adapter: a folder or a name on the Hub.
        backend: Library that decodes.
        options: How to run it.
        languages: Language codes that the model must know.
        audio_context: auto, full or dynamic.
        batch_size: Windows decoded at once.
        layout: The limits of a subtitle.
        prompt_terms: Names and terms to expect.
        seed: Seed of the draws at a higher temperature.

    Raises:
        UserError: There is no such model, it does not know a language, or the backend cannot run it so.
    """
    with open_transcriber(name, backend, options) as transcriber:
        refuse_unknown_languages(languages, transcriber, name)
        if backend != "transformers":
            _hasten_word_times(transcriber.loaded, options)
        context = choose_contexts(audio_context, transcriber, name, backend)[-1]
        terms = [prompt_terms] if prompt_terms else []
        (previous,) = encode_texts(transcriber.loaded.processor.tokenizer, terms) or [[]]
        yield WindowReader(transcriber, Request(options.task, context, batch_size, layout, previous, seed))


def _hasten_word_times(loaded: LoadedModel, options: BackendOptions) -> None:
    """Use the fast precision for the model that only finds the times of words, while another library decodes.

    In bfloat16, 99 % of the times stay within 0.02 s of those in float32.
    """
    device = options.device if options.device.type == "cuda" else torch.device("cpu")
    loaded.model.to(device=device, dtype=pick_dtype(device))
