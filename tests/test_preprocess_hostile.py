"""preprocess.py on a folder and a manifest of hostile items: it ends, and every item ends as it must."""

import json
import subprocess
import sys
from collections import Counter
from pathlib import Path

from tests.support.hostile import KEPT, build_folder, build_manifest

ROOT = Path(__file__).parent.parent
PATIENCE = 600  # seconds; a reader that opens a pipe would wait for ever


def run(output_dir: Path, *words: str) -> tuple[list[dict], list[dict]]:
    """Run the script and return the rows of all splits and the rejects, after the sums were checked."""
    from datasets import load_from_disk

    command = [sys.executable, "preprocess.py", "--language", "it", "--output_dir", str(output_dir), *words]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=PATIENCE)
    assert done.returncode == 0, done.stderr[-3000:]
    assert "Traceback" not in done.stderr
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


def test_a_hostile_folder(tmp_path):
    folder = tmp_path / "data"
    expected = build_folder(folder)
    rows, rejects = run(tmp_path / "out", "--source", "folder", "--input", str(folder), "--num_proc", "2")
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
    assert sorted(path.name for path in tmp_path.iterdir()) == ["data", "out", "outside.wav"]


def test_a_hostile_manifest(tmp_path):
    manifest, expected = build_manifest(tmp_path / "data")
    rows, rejects = run(tmp_path / "out", "--source", "manifest", "--input", str(manifest))
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
