"""Export for CTranslate2, faster-whisper and the programs that are built on them."""

from pathlib import Path

from utils.delivery.exports.checks import find_half_problems, find_head_problems
from utils.delivery.exports.export_format import ExportFormat, ExportSource
from utils.model.languages import added_languages
from utils.model.whisper import whisper_of


def find_ctranslate2_problems(source: ExportSource, precision: str) -> list[str]:
    """Return what CTranslate2 cannot hold."""
    model = whisper_of(source.loaded.model)
    return find_head_problems(model) + (
        find_half_problems(model) if precision.split("_")[-1] == "float16" else []
    )


def write_ctranslate2_export(source: ExportSource, folder: Path, precision: str) -> list[str]:
    """Write the folder; see `ExportFormat`."""
    from utils.model.ctranslate2.writing import write_ctranslate2

    write_ctranslate2(source.loaded.model, source.loaded.processor, folder, precision)
    codes = ", ".join(f'"{code}"' for code in added_languages(source.loaded.model))
    if not codes:
        return []
    return [
        f"faster-whisper refuses the language {codes} until it is told. Run this first: "
        "import faster_whisper as fw; fw.tokenizer._LANGUAGE_CODES = fw.transcribe._LANGUAGE_CODES = "
        f"(*fw.tokenizer._LANGUAGE_CODES, {codes})"
    ]


CTRANSLATE2 = ExportFormat(
    precisions=(
        *("float16", "float32", "bfloat16"),
        *("int8", "int8_float32", "int8_float16", "int8_bfloat16"),
    ),
    packages=("ctranslate2",),
    find_problems=find_ctranslate2_problems,
    write=write_ctranslate2_export,
)
