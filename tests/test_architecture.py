"""The order of rooms, the size of files and functions, and who may import what, read with `ast`."""

import ast
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
SCRIPTS = sorted(ROOT.glob("*.py"))
MODULES = sorted((ROOT / "utils").rglob("*.py"))
TESTS = sorted((ROOT / "tests").rglob("*.py"))
BENCHMARKS = sorted((ROOT / "benchmarks").glob("*.py"))

# A room may import those before it, never those after it.
ROOMS = (
    "runtime",
    "text",
    "audio",
    "scoring",
    "model",
    "data",
    "training",
    "evaluation",
    "report",
    "delivery",
)
MOST_LINES = 250
MOST_LINES_OF_A_FUNCTION = 50

# what scripts may import for all calls, --help too
LIGHT = (
    *("utils.arguments", "utils.runtime.errors", "utils.runtime.files", "utils.runtime.resolved_arguments"),
    "utils.evaluation.evaluation_folder",
)


def name_of(path: Path) -> str:
    """Dotted name of a module, such as `utils.audio.flac`."""
    return ".".join(path.relative_to(ROOT).with_suffix("").parts)


NAMES = {name_of(path) for path in MODULES}


def imported_names(tree: ast.AST) -> Iterator[str]:
    """Dotted name of everything imported, wherever the import stands; `from a import b` gives a and a.b."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "relative import"
            yield str(node.module)
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def tree_of(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


@cache
def imports_of(path: Path) -> frozenset[str]:
    return frozenset(imported_names(tree_of(path)))


def top_level_imports_of(path: Path) -> set[str]:
    """Imports that run when the file is imported: those in functions and under TYPE_CHECKING do not."""
    body = tree_of(path).body
    return {
        name
        for node in body
        if not isinstance(node, ast.FunctionDef | ast.If)
        for name in imported_names(node)
    }


def modules_imported_by(path: Path) -> set[str]:
    return NAMES & imports_of(path)


def test_every_module_lies_in_a_room():
    assert {path.relative_to(ROOT / "utils").parts[0] for path in MODULES} == {*ROOMS, "arguments"}
    assert all(path.name != "__init__.py" for path in MODULES), (
        "names are imported from where they are defined"
    )


@pytest.mark.parametrize("room", ROOMS)
def test_rooms_import_only_those_before_them(room: str):
    allowed = set(ROOMS[: ROOMS.index(room) + 1])
    for path in (ROOT / "utils" / room).rglob("*.py"):
        later = {name for name in modules_imported_by(path) if name.split(".")[1] not in allowed}
        if room == "training":  # the record of its arguments; functions elsewhere take plain values
            later -= {"utils.arguments.train"}
        assert not later, f"{name_of(path)} imports {later}"


def test_no_module_imports_itself_by_way_of_others():
    graph = {name_of(path): modules_imported_by(path) for path in MODULES}
    while leaves := {name for name, imported in graph.items() if not imported}:
        graph = {name: imported - leaves for name, imported in graph.items() if name not in leaves}
    assert not graph, f"a circle among {sorted(graph)}"


@pytest.mark.parametrize("path", [*SCRIPTS, *MODULES], ids=name_of)
def test_files_and_functions_fit_on_few_screens(path: Path):
    lines = path.read_text(encoding="utf-8").splitlines()
    assert len(lines) <= MOST_LINES
    for node in ast.walk(tree_of(path)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            length = (node.end_lineno or 0) - node.lineno + 1
            assert length <= MOST_LINES_OF_A_FUNCTION, f"{node.name} has {length} lines"


def test_no_two_modules_define_the_same_name():
    """One name, one thing: a reader who searches for it finds one place."""
    places: dict[str, list[str]] = {}
    for path in MODULES:
        for node in tree_of(path).body:
            if isinstance(
                node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef
            ) and not node.name.startswith("_"):
                places.setdefault(node.name, []).append(name_of(path))
    assert not {name: found for name, found in places.items() if len(found) > 1}


@pytest.mark.parametrize("path", [*SCRIPTS, *MODULES, *BENCHMARKS], ids=name_of)
def test_nothing_imports_a_script(path: Path):
    # `evaluate` is also the name of a Hugging Face package, which the script of that name hides.
    assert not imports_of(path) & {script.stem for script in SCRIPTS}


@pytest.mark.parametrize("path", TESTS, ids=name_of)
def test_tests_share_what_lies_in_support_and_are_named_by_concern(path: Path):
    others = {name for name in imports_of(path) if name.startswith("tests.")}
    assert {name for name in others if name.split(".")[1] not in ("support", "fixtures")} == set()
    assert not path.stem.endswith("_slow"), "slow is a marker"


@pytest.mark.parametrize("path", [*SCRIPTS, *MODULES, *BENCHMARKS], ids=name_of)
def test_only_arguments_knows_the_command_line(path: Path):
    if "arguments" in (path.parent.name, path.stem):
        return
    imported = imports_of(path)
    assert not {name for name in imported if name == "argparse" or name.endswith("HfArgumentParser")}


@pytest.mark.parametrize("path", SCRIPTS, ids=name_of)
def test_scripts_import_nothing_heavy_at_the_top(path: Path):
    for name in top_level_imports_of(path):
        is_light = name in ("utils", "utils.runtime", "utils.evaluation") or name.startswith(LIGHT)
        assert name.split(".")[0] in sys.stdlib_module_names or is_light, name


@pytest.mark.parametrize("path", [*SCRIPTS, *MODULES], ids=name_of)
def test_no_work_at_import(path: Path):
    calm = (
        ast.Import
        | ast.ImportFrom
        | ast.FunctionDef
        | ast.AsyncFunctionDef
        | ast.ClassDef
        | ast.Assign
        | ast.AnnAssign
        | ast.Expr
    )
    for node in tree_of(path).body:
        if isinstance(node, ast.If):
            assert ast.unparse(node.test) in ("TYPE_CHECKING", "__name__ == '__main__'")
        else:
            assert isinstance(node, calm)
            assert not isinstance(node, ast.Expr) or isinstance(node.value, ast.Constant)
