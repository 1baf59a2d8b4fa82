"""Export for ONNX Runtime, laid out as transformers.js and optimum expect it."""

from pathlib import Path

import onnx_ir as ir

from utils.delivery.exports.export_format import ExportFormat
from utils.delivery.exports.onnx_weights import Weights
from utils.delivery.exports.onnx_whisper import write_decoder, write_encoder
from utils.model.loading import LoadedModel
from utils.model.saving import save_processor
from utils.model.whisper import whisper_of

SUFFIXES = {"float32": "", "float16": "_fp16", "int8": "_quantized"}


def write_onnx(loaded: LoadedModel, folder: Path, precision: str) -> None:
    model = whisper_of(loaded.model)
    state = model.state_dict()
    for name, write in (("encoder_model", write_encoder), ("decoder_model_merged", write_decoder)):
        target = folder / "onnx" / f"{name}{SUFFIXES[precision]}.onnx"
        target.parent.mkdir(exist_ok=True)
        ir.save(write(model.config, Weights(state, precision)), target)
    model.config.save_pretrained(folder)
    model.generation_config.save_pretrained(folder)
    save_processor(loaded.processor, folder)
