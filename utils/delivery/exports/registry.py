"""All export formats, and the runtimes in which each is tried."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from utils.delivery.exports.ctranslate2 import CTRANSLATE2
from utils.delivery.exports.export_format import ExportFormat
from utils.delivery.exports.ggml import GGML
from utils.delivery.exports.hugging_face import ADAPTER_AS_IT_IS, HUGGING_FACE
from utils.delivery.exports.onnx import ONNX
from utils.delivery.exports.openai import OPENAI
from utils.delivery.parity.rendering import Opener
from utils.delivery.runtimes.faster_whisper import open_batched_faster_whisper, open_faster_whisper_runtime
from utils.delivery.runtimes.onnx_runtime import open_onnx_runtime
from utils.delivery.runtimes.openai_whisper import open_openai_whisper
from utils.delivery.runtimes.transformers import open_transformers_runtime
from utils.delivery.runtimes.whisper_cpp import open_whisper_cpp


@dataclass(frozen=True)
class Deliverable:
    """A format with its runtimes, by name."""

    format: ExportFormat
    library: str  # which loads it, by its name on the Hub
    runtimes: Mapping[str, Opener]
    packages: Sequence[str] = ()  # names to import, of the runtimes
    rough_times: bool = False  # the runtimes only estimate the times of words


PIP_NAMES = {
    "_pywhispercpp": "pywhispercpp",
    "faster_whisper": "faster-whisper",
    "onnx_ir": "onnx-ir",
    "whisper": "openai-whisper",
}
"""Names for pip that differ from those to import."""

DELIVERABLES: Mapping[str, Deliverable] = {
    "huggingface": Deliverable(HUGGING_FACE, "transformers", {"transformers": open_transformers_runtime}),
    "adapter": Deliverable(ADAPTER_AS_IT_IS, "peft", {"transformers": open_transformers_runtime}),
    "ctranslate2": Deliverable(
        CTRANSLATE2,
        "ctranslate2",
        {
            "faster-whisper": open_faster_whisper_runtime,
            "faster-whisper, batched": open_batched_faster_whisper,
        },
        ["faster_whisper"],
    ),
    "ggml": Deliverable(
        GGML, "whisper.cpp", {"whisper.cpp": open_whisper_cpp}, ["_pywhispercpp"], rough_times=True
    ),
    "onnx": Deliverable(ONNX, "transformers.js", {"ONNX Runtime": open_onnx_runtime}, ["onnxruntime"]),
    "openai": Deliverable(OPENAI, "openai-whisper", {"openai-whisper": open_openai_whisper}, ["whisper"]),
}
