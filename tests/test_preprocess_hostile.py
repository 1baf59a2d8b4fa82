"""preprocess.py on a folder and a manifest of hostile items: it ends, and every item ends as it must."""

import json
import subprocess
import sys
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.hostile import KEPT, Fates, build_folder, build_manifest

ROOT = Path(__file__).parent.parent
PATIENCE = 600  # seconds; a reader that opens a pipe would wait for ever


# One process for both: most of its time goes into its start.
PREPARE_ALL = """
import json, sys
from preprocess import main
for words in json.loads(sys.argv[1]):
    main(words)
"""


@dataclass(frozen=True)
class Hostile:
    """What was prepared, what must become of its items, and where the result lies."""

    input: Path
    fates: Fates
    output_dir: Path

    def words(self, source: str, num_proc: int) -> list[str]:
        paths = ["--input", str(self.input), "--output_dir", str(self.output_dir)]
        return ["--source", source, "--language", "it", "--num_proc", str(num_proc), *paths]


@pytest.fixture(scope="module")
def prepared_all(tmp_path_factory) -> tuple[Hostile, Hostile]:
    """The folder and the manifest, each prepared in a folder of its own."""
    first, second = tmp_path_factory.mktemp("folder"), tmp_path_factory.mktemp("manifest")
    folder = Hostile(first / "data", build_folder(first / "data"), first / "out")
    manifest = Hostile(*build_manifest(second / "data"), second / "out")
    runs = [folder.words("folder", num_proc=2), manifest.words("manifest", num_proc=1)]
    command = [sys.executable, "-c", PREPARE_ALL, json.dumps(runs)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=PATIENCE)
    assert done.returncode == 0, done.stderr[-3000:]
    assert "Traceback" not in done.stderr
    return folder, manifest


def read_result(output_dir: Path) -> tuple[list[dict], list[dict]]:
    """The rows of all splits and the rejects, after the sums were checked."""
    from datasets import load_from_disk

    rows = [row for split in load_from_disk(str(output_dir)).values() for row in split]
    lines = (output_dir / "rejects.jsonl").read_text(encoding="utf-8").splitlines()
    rejects = [json.loads(line) for line in lines]
    report = json.loads((output_dir / "data_report.json").read_text(encoding="utf-8"))
    assert (report["kept"], report["rejected"]) == (len(rows), len(rejects))
    assert report["seen"] == report["kept"] + report["rejected"]
    assert all(len(reject["reason"]) < 2000 for reject in rejects)
    return rows, rejects


def kind_of(reason: str) -> str:
    return reason.split(": ", maxsplit=1)[0]


def mismatches(found: dict[str, list[str]], expected: dict[str, tuple[str, ...]]) -> list[str]:
    """What became of items otherwise than it must; a fate `a | b` allows either."""
    problems = [f"{name}: not foreseen, {found[name]}" for name in found.keys() - expected.keys()]
    for name, fates in expected.items():
        ends = Counter(found.get(name, []))
        for fate in sorted(fates, key=lambda fate: "|" in fate):  # the definite ones first
            end = next((choice for choice in fate.split(" | ") if ends[choice]), None)
            if end is None:
                problems.append(f"{name}: expected {fate}, found {found.get(name)}")
            else:
                ends[end] -= 1
        if ends.total():
            problems.append(f"{name}: more than expected, {+ends}")
    return problems


def test_a_hostile_folder(prepared_all):
    folder, expected = prepared_all[0].input, prepared_all[0].fates
    rows, rejects = read_result(prepared_all[0].output_dir)
    found: dict[str, list[str]] = {}
    for row in rows:
        stem = Path(row["source"]).relative_to(folder).with_suffix("").as_posix()
        found.setdefault(stem, []).append(KEPT)
    for reject in rejects:
        stem = Path(reject["source"]).with_suffix("").as_posix()
        found.setdefault(stem, []).append(kind_of(reject["reason"]))
    assert "\n".join(mismatches(found, expected)) == ""
    assert sum(len(fates) for fates in expected.values()) >= 40
    everything = {path.relative_to(folder).with_suffix("").as_posix() for path in folder.rglob("*.txt")}
    assert everything <= found.keys() | {"coppie/text_is_a_directory"}
    assert sorted(path.name for path in folder.parent.iterdir()) == ["data", "out", "outside.wav"]


def test_a_hostile_manifest(prepared_all):
    expected = prepared_all[1].fates
    rows, rejects = read_result(prepared_all[1].output_dir)
    found: dict[str, list[str]] = {}
    for row in rows:
        found.setdefault(str(int(Path(row["source"]).stem)), []).append(KEPT)
    for reject in rejects:
        found.setdefault(str(reject["position"]), []).append(kind_of(reject["reason"]))
    assert "\n".join(mismatches(found, expected)) == ""
    assert len(expected) >= 40


def test_mismatches_are_seen():
    expected = {"a": ("kept",), "b": ("x | y", "x"), "c": ("x",)}
    assert not mismatches({"a": ["kept"], "b": ["x", "y"], "c": ["x"]}, expected)
    problems = mismatches({"a": ["kept", "kept"], "b": ["y", "y"], "d": ["x"]}, expected)
    assert [problem[:2] for problem in sorted(problems)] == ["a:", "b:", "b:", "c:", "d:"]
