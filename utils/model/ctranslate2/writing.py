"""Write a model in CTranslate2's form, from memory. It needs the package ctranslate2."""

import copy
import json
import tempfile
from pathlib import Path

from ctranslate2.converters import TransformersConverter
from torch import nn
from transformers import WhisperForConditionalGeneration, WhisperProcessor

from utils.model.alignment_heads import alignment_heads
from utils.model.languages import language_ids
from utils.model.saving import save_processor
from utils.model.whisper import whisper_of
from utils.runtime.files import write_json

COPIED_FILES = ["tokenizer.json", "preprocessor_config.json"]


class _MemoryConverter(TransformersConverter):
    """CTranslate2's converter for a model that is loaded already. The folder has only its other files."""

    def __init__(self, model: WhisperForConditionalGeneration, folder: Path) -> None:
        super().__init__(str(folder), copy_files=COPIED_FILES)
        self._model = model

    def load_model(self, *_: object, **__: object) -> WhisperForConditionalGeneration:
        return self._model


def write_ctranslate2(model: nn.Module, processor: WhisperProcessor, folder: Path, precision: str) -> None:
    """Write a folder that CTranslate2 and faster-whisper load; an existing folder is replaced.

    Args:
        model: Whisper in float32; unchanged.
        processor: Its processor.
        folder: Gets model.bin, config.json, vocabulary.json, tokenizer.json and preprocessor_config.json.
        precision: CTranslate2's name of a type of weights, such as int8_float16.
    """
    whisper = whisper_of(model)
    with tempfile.TemporaryDirectory() as temporary:
        whisper.config.save_pretrained(temporary)
        save_processor(processor, Path(temporary))
        # CTranslate2 multiplies the weights by their scales in place before it rounds them to integers
        own = copy.deepcopy(whisper) if precision.startswith("int") else whisper
        _MemoryConverter(own, Path(temporary)).convert(str(folder), quantization=precision, force=True)
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    config["alignment_heads"] = alignment_heads(whisper)
    # an added language is there twice in the generation config, and detection would return it twice
    config["lang_ids"] = sorted(language_ids(whisper).values())
    write_json(folder / "config.json", config)
