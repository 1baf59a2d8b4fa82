"""docs/architecture.md: paths exist, names are defined where it says, rooms have about their size."""

import ast
import io
import re
import tokenize
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
TEXT = (ROOT / "docs/architecture.md").read_text(encoding="utf-8")
BLOCKS = re.split(r"\n(?=\n|[*|]|\d+\. )", TEXT)  # paragraphs, items of lists, rows of tables
IS_PATH = re.compile(r"[\w.]+(/[\w.]+)*(/|\.py)")
IS_NAME = re.compile(r"(?:(?P<owner>[A-Z]\w+)\.)?(?P<name>\w+)\(\)|(?P<type>[A-Z][a-z]\w+)")
NO_CODE = {tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT}
NO_CODE.add(tokenize.ENDMARKER)


def spans_of(block: str) -> list[str]:
    return re.findall(r"`([^`\n]+)`", block)


def find(path: str) -> Path:
    """A path below the repository or, for short, below utils/."""
    return next((base / path for base in (ROOT / "utils", ROOT) if (base / path).exists()), ROOT / path)


def defined_in(path: Path) -> set[str]:
    """Functions, classes and constants of a file, and methods as `Class.method`."""
    found = set[str]()
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            found.add(node.name)
        if isinstance(node, ast.ClassDef):
            found |= {f"{node.name}.{item.name}" for item in node.body if isinstance(item, ast.FunctionDef)}
        elif isinstance(node, ast.Assign):
            found |= {target.id for target in node.targets if isinstance(target, ast.Name)}
    return found


@pytest.mark.parametrize("path", sorted({span for span in spans_of(TEXT) if IS_PATH.fullmatch(span)}))
def test_the_path_exists(path: str):
    assert find(path).exists()


@pytest.mark.parametrize("block", [block for block in BLOCKS if any(map(IS_NAME.fullmatch, spans_of(block)))])
def test_names_are_defined_in_a_file_that_stands_beside_them(block: str):
    files = [find(span) for span in spans_of(block) if span.endswith(".py")]
    defined = set[str]().union(*map(defined_in, files))
    named = {span.removesuffix("()") for span in spans_of(block) if IS_NAME.fullmatch(span)}
    assert not named - defined


def count_code_lines(path: Path) -> int:
    """Lines that hold code: no blank ones, comments and docstrings."""
    text = path.read_text(encoding="utf-8")
    lines = set[int]()
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type not in NO_CODE:
            lines.update(range(token.start[0], token.end[0] + 1))
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            lines -= set(range(node.lineno, (node.end_lineno or node.lineno) + 1))
    return len(lines)


def test_the_map_has_every_room_and_about_its_size():
    sizes = {
        room.name: sum(map(count_code_lines, room.rglob("*.py")))
        for room in (ROOT / "utils").iterdir()
        if any(room.rglob("*.py"))
    }
    said = {
        room: int(size.replace(",", ""))
        for room, size in re.findall(r"^\| `(\w+)/` \|.*\| ([\d,]+) \|$", TEXT, re.MULTILINE)
    }
    assert said == {room: pytest.approx(size, rel=0.2) for room, size in sizes.items()}


def test_changes_touch_three_files_at_most():
    rows = TEXT.split("## To change")[1].split("\n## ")[0].splitlines()
    changes = [row for row in rows if row.startswith("| ") and "---" not in row][1:]
    assert len(changes) == 11
    for change in changes:
        assert 1 <= len({span for span in spans_of(change.split("|")[2]) if span.endswith(".py")}) <= 3, (
            change
        )
