"""What bench.py shows of its figures: a table in the terminal and in the docs, and a picture."""

import json
import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table

from benchmarks.side_by_side import COLUMNS, ROOT
from utils.report.drawing import add_legend, chart_style, colour_of, new_panels, save_png
from utils.runtime.files import write_text

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

HEAD = ("task", "usual tool", "this suite", "times as fast")
SHOWN = ("audio_seconds_per_second", "peak_memory_bytes", "normalized_wer", "disk_bytes")
PRECISIONS = {"float32": ", fp32", "bfloat16": ", bf16", "int8": ", int8"}
RESULTS, PICTURE = "benchmarks/results/bench.json", "docs/pictures/speed.png"
ALT = "How many times as fast as the usual tools, and the speed of both by clip length, hours and processes"
PAGES = {  # the cases that a page shows; None: all
    "docs/performance.md": None,
    "README.md": ("train-2s", "train-8s", "train-30s", "decode-2s", "recording", "prepare-1.4h"),
}
CURVES = {  # the cases along an axis
    "Training, by the seconds of a clip": {2.2: "train-2s", 8: "train-8s", 30: "train-30s"},
    "Decoding, by the seconds of a clip": {2.2: "decode-2s", 30: "decode-30s"},
    "Preparing, by the hours of data": {0.35: "prepare-0.35h", 0.7: "prepare-0.7h", 1.4: "prepare-1.4h"},
    "Preparing, by the processes": {1: "prepare-1-process", 2: "prepare-0.35h"},
}
MARK, END = "<!-- written by make bench -->", "<!-- end of bench -->"


def table_rows(results: dict[str, Any], names: Sequence[str] | None = None) -> list[tuple[str, ...]]:
    """The cells of every case, or of those that are named, under HEAD."""
    rows = []
    for name, case in results["cases"].items():
        if names is None or name in names:
            usual, ours = case["summaries"]
            task = case["task"] + PRECISIONS.get(ours["dtype"], "")
            ratio = COLUMNS["ratio"][1](ours["ratio"])
            rows.append((task, f"{case['tool']}: {cell(usual)}", cell(ours), ratio))
    return rows


def cell(summary: dict[str, Any]) -> str:
    return ", ".join(COLUMNS[name][1](summary[name]) for name in SHOWN if summary[name] is not None)


def print_results(results: dict[str, Any]) -> None:
    table = Table(*HEAD, title="Audio seconds per second, then peak memory, normalised WER or disk")
    for row in table_rows(results):
        table.add_row(*row)
    Console(width=max(130, Console().width)).print(table)


def markdown(results: dict[str, Any], page: str) -> str:
    """The table and the picture of a page, below what was measured where."""
    machine = results["machine"]
    rounds = max(len(case["measurements"]) // 2 for case in results["cases"].values())
    where = [
        *(results["date"], machine["processor"], f"{machine['processors']} processors"),
        *(f"load {results['load']:.1f} at the start", f"rounds: {rounds}"),
        *(f"{package} {number}" for package, number in results["versions"].items()),
    ]
    head, *rows = (f"| {' | '.join(row)} |" for row in (HEAD, *table_rows(results, PAGES[page])))
    table = "\n".join([head, "|---" * len(HEAD) + "|", *rows])
    picture = f"![{ALT}]({os.path.relpath(PICTURE, Path(page).parent)})"
    return f"\n{', '.join(where)}.\n\n{table}\n\n{picture}\n"


def publish(folder: Path, root: Path = ROOT) -> None:
    """Write what a run has left into the pages that have marks, the pictures and the results."""
    results = json.loads((folder / "bench.json").read_text(encoding="utf-8"))
    for page in PAGES:
        before, mark, after = (root / page).read_text(encoding="utf-8").partition(MARK)
        _, end, after = after.partition(END)
        if end:
            write_text(root / page, before + mark + markdown(results, page) + end + after)
    for name, target in (("bench.json", RESULTS), ("speed.png", PICTURE)):
        (root / target).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(folder / name, root / target)


def draw_results(results: dict[str, Any], path: Path) -> None:
    """Draw how many times as fast every case is, and the speed of both sides along each axis."""
    words = f"{results['date']}, {results['machine']['processor']}. Horizontal axes of lines are logarithmic."
    save_png(path, draw_speed(results["cases"]), "Speed beside the usual tools", words)


@chart_style()
def draw_speed(cases: dict[str, dict[str, Any]]) -> "Figure":
    from matplotlib.lines import Line2D

    curves = {
        title: {place: cases[name]["summaries"] for place, name in points.items()}
        for title, points in CURVES.items()
        if set(points.values()) <= cases.keys()
    }
    heights = [21.0 * len(cases) + 40, *(80.0 for _ in curves)]
    figure, (bars, *panels) = new_panels(sum(heights) + 40 * len(heights), ratios=heights)
    draw_ratios(bars, list(cases.values()))
    for axes, (title, points) in zip(panels, curves.items(), strict=True):
        draw_curve(axes, title, points)
    names = ("the usual tool", "this suite")
    add_legend(figure, [Line2D([], [], color=colour_of(side), label=name) for side, name in enumerate(names)])
    return figure


def draw_ratios(axes: "Axes", cases: list[dict[str, Any]]) -> None:
    """A bar for each case, beside a line at 1: as fast as the usual tool."""
    ratios = [case["summaries"][1]["ratio"] for case in cases]
    labels = [f"{case['task']}\n{case['tool'].replace('`', '')}" for case in cases]
    axes.barh(range(len(ratios)), ratios, color=colour_of(1), height=0.6)
    for place, ratio in enumerate(ratios):
        axes.text(
            max(ratio, 1) + 0.01 * max(ratios), place, COLUMNS["ratio"][1](ratio), va="center", fontsize=8
        )
    axes.set_yticks(range(len(labels)), labels, fontsize=7)
    axes.set_ylim(len(labels) - 0.5, -0.5)
    axes.axvline(1, color=colour_of(0), linewidth=1)
    axes.set_title("Times as fast as the usual tool", fontweight="bold")


def draw_curve(axes: "Axes", title: str, points: dict[float, list[dict[str, Any]]]) -> None:
    """The rates of both sides at each place of an axis."""
    for side in (0, 1):
        rates = [summaries[side]["audio_seconds_per_second"] for summaries in points.values()]
        axes.plot(list(points), rates, "-o", color=colour_of(side), linewidth=1.8, markersize=4.5)
    axes.set_xscale("log")
    axes.set_xticks(list(points), [f"{place:g}" for place in points])
    axes.minorticks_off()
    axes.set_ylim(bottom=0)
    axes.grid(axis="y")
    axes.set_ylabel("audio s/s")
    axes.set_title(title, fontweight="bold")
