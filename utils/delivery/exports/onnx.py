"""Export for ONNX Runtime, transformers.js and optimum, in the layout of optimum's exports.

`onnx/encoder_model.onnx` and `onnx/decoder_model_merged.onnx`, or names with the suffix by which
transformers.js asks for a precision.
"""

import copy
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from utils.delivery.exports.checks import find_half_problems, find_head_problems
from utils.delivery.exports.export_format import ExportFormat, ExportSource
from utils.model.languages import added_languages
from utils.model.saving import save_generation_config, save_processor
from utils.model.whisper import whisper_of
from utils.text.label_tokens import prompt_tokens

if TYPE_CHECKING:
    import onnx_ir as ir

SUFFIXES = {"float32": "", "float16": "_fp16", "int8": "_quantized"}

ACTIVATION = "gelu"

LARGEST_FILE = 1 << 31  # bytes; protocol buffers end there, so larger weights stand in a file of their own

SETTINGS = "transformers.js_config"


def find_onnx_problems(source: ExportSource, precision: str) -> list[str]:
    """Return what the graphs cannot hold."""
    model = whisper_of(source.loaded.model)
    found = find_head_problems(model) + (find_half_problems(model) if precision == "float16" else [])
    if model.config.activation_function != ACTIVATION:
        found.append(
            f"config.json: the activation function is {model.config.activation_function}, expected "
            f"{ACTIVATION}. Export in another format."
        )
    return found


def write_onnx(source: ExportSource, folder: Path, precision: str) -> list[str]:
    """Write the folder; see `ExportFormat`."""
    from utils.delivery.exports.onnx_weights import Weights
    from utils.delivery.exports.onnx_whisper import build_decoder, build_encoder

    model = whisper_of(source.loaded.model)
    config = copy.deepcopy(model.config)
    (folder / "onnx").mkdir()
    external = {}
    for name, build in (("encoder_model", build_encoder), ("decoder_model_merged", build_decoder)):
        path = folder / "onnx" / f"{name}{SUFFIXES[precision]}.onnx"
        if _save(build(config, Weights(model.state_dict(), precision)), path):
            external[path.name] = True
    if external:
        config.update({SETTINGS: {"use_external_data_format": external}})
    config.save_pretrained(folder)
    save_generation_config(model, folder)
    save_processor(source.loaded.processor, folder)
    return [*_describe_size(external), *_describe_languages(source)]


def _save(graph: "ir.Model", path: Path) -> bool:
    """Write a file, and return whether its weights stand in another one beside it."""
    import onnx_ir as ir

    size = sum(value.const_value.nbytes for value in graph.graph.initializers.values() if value.const_value)
    is_large = size >= LARGEST_FILE
    ir.save(graph, path, external_data=f"{path.name}_data" if is_large else None)
    return is_large


def _describe_size(external: Iterable[str]) -> list[str]:
    return [
        f"The weights of {name} are in {name}_data. Keep both together. Browsers do not load files of this "
        "size."
        for name in external
    ]


def _describe_languages(source: ExportSource) -> list[str]:
    """Return how transformers.js takes a language that it does not know."""
    tokenizer = source.loaded.processor.tokenizer
    return [
        f'transformers.js refuses the language "{code}". Give the tokens of the prompt instead of it: '
        f"{{decoder_input_ids: {prompt_tokens(tokenizer, code, source.task)}}}."
        for code in added_languages(source.loaded.model)
    ]


ONNX = ExportFormat(
    precisions=tuple(SUFFIXES),
    packages=("onnx_ir",),
    find_problems=find_onnx_problems,
    write=write_onnx,
)
