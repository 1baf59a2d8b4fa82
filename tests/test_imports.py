"""Who may import whom, read from the source with `ast`."""

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
SCRIPTS = sorted(ROOT.glob("*.py"))
MODULES = sorted((ROOT / "utils").glob("*.py"))
BENCHMARKS = sorted((ROOT / "benchmarks").glob("*.py"))

# A module may import those before it, never those after it.
LAYERS = (
    "errors arguments files progress hardware memory interruption locking workers",
    "file_parts archives truncation joined_audio audio voice text web_page intervals significance",
    "utterances quality segmentation timed_text features metrics validation samples runlog",
    "players codecs acoustics augmentation non_speech probes spec_augment",
    "ctranslate2 starter silence batching labels statistics ordering tables",
    "sources audiofolder corpora manifests kaldi hub",
    "splits blocks recordings delivery assembly data_report dataset",
    "processes cross_entropy label_checks examples encoder_states collators",
    "quantization estimates attention tied_embedding compilation onednn modeling fast_paths",
    "freezing languages adapters optimizers",
    "weights averaging interpolation",
    "loops failures decoding transcribers transcription long_form whole_recordings",
    "evaluation gate model_card dataset_card publishing",
    "anchors word_timing alignment screening",
    "distributed frozen checkpoints updates mixing report finder",
    "result_rows web_charts score_tables breakdowns learning_curve word_differences utterance_cards",
    "evaluation_page evaluation_tables evaluation_plots",
)
ORDER = " ".join(LAYERS).split()


def imported_names(tree: ast.AST) -> Iterator[str]:
    """Dotted name of everything imported, wherever the import stands; `from a import b` gives a and a.b."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "relative import"
            yield str(node.module)
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def imports_of(path: Path) -> set[str]:
    return set(imported_names(ast.parse(path.read_text(encoding="utf-8"))))


def top_level_imports_of(path: Path) -> set[str]:
    """Imports that run when the file is imported: those in functions and under TYPE_CHECKING do not."""
    body = ast.parse(path.read_text(encoding="utf-8")).body
    return {
        name
        for node in body
        if not isinstance(node, ast.FunctionDef | ast.If)
        for name in imported_names(node)
    }


def test_every_module_has_its_place():
    assert sorted(ORDER) == [path.stem for path in MODULES]


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.stem)
def test_modules_import_only_those_before_them(path: Path):
    imported = {name.split(".")[1] for name in imports_of(path) if name.startswith("utils.")}
    allowed = set(ORDER[: ORDER.index(path.stem)])
    assert imported <= allowed, f"{path.name} imports {imported - allowed}, which come later"


@pytest.mark.parametrize("path", [*SCRIPTS, *MODULES, *BENCHMARKS], ids=lambda path: path.stem)
def test_nothing_imports_a_script(path: Path):
    # `evaluate` is also the name of a Hugging Face package, which the script of that name hides.
    assert not imports_of(path) & {script.stem for script in SCRIPTS}


@pytest.mark.parametrize("path", [*SCRIPTS, *MODULES, *BENCHMARKS], ids=lambda path: path.stem)
def test_only_arguments_knows_the_command_line(path: Path):
    if path.name == "arguments.py":
        return
    imported = imports_of(path)
    assert not {name for name in imported if name == "argparse" or name.endswith("HfArgumentParser")}
    if path in MODULES:
        assert "utils.arguments" not in imported, "functions in utils take plain values"


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.stem)
def test_scripts_import_nothing_heavy_at_the_top(path: Path):
    light = {"utils.arguments", "utils.errors", "utils"}
    for name in top_level_imports_of(path):
        parts = name.split(".")
        assert parts[0] in sys.stdlib_module_names or ".".join(parts[:2]) in light, name


@pytest.mark.parametrize("path", [*SCRIPTS, *MODULES], ids=lambda path: path.stem)
def test_no_work_at_import(path: Path):
    calm = (
        ast.Import | ast.ImportFrom | ast.FunctionDef | ast.ClassDef | ast.Assign | ast.AnnAssign | ast.Expr
    )
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.If):
            assert ast.unparse(node.test) in ("TYPE_CHECKING", "__name__ == '__main__'")
        else:
            assert isinstance(node, calm)
            assert not isinstance(node, ast.Expr) or isinstance(node.value, ast.Constant)
