"""Train with every combination of some flags, and compare the runs on validation in one table.

The next command, for the test split, is printed at the end. The same command again continues a sweep that was
stopped, and repeats runs that failed.

    python sweep.py --recipe recipes/starter.yaml --grid learning_rate=1e-5,2e-5 --output_dir runs/sweep
"""

import contextlib
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from utils.arguments.parsing import parse_arguments
from utils.arguments.sweep import SweepArguments, SweepRun, plan_runs
from utils.runtime.errors import UserError, user_errors_end_the_script

if TYPE_CHECKING:
    from utils.runtime.interruption import StopRequest

HERE = Path(__file__).resolve().parent


def main(argv: list[str] | None = None) -> None:
    args = parse_arguments(SweepArguments, argv, __doc__)
    runs = plan_runs(args)
    from utils.runtime.files import write_text
    from utils.runtime.locking import sole_run_in
    from utils.runtime.resolved_arguments import arguments_as_yaml

    with sole_run_in(Path(args.output_dir)):
        write_text(Path(args.output_dir) / "sweep.yaml", arguments_as_yaml(args))
        failed = train_all(runs, args.accelerate_config)
        report(args, [run for run in runs if run not in failed])
    if failed:
        raise UserError(
            f"Runs that failed: {'; '.join(run.name for run in failed)}. Their messages are above. "
            "The same command again repeats these runs only."
        )


def train_all(runs: list[SweepRun], config: str | None) -> list[SweepRun]:
    """Train each run to its end, one after another. Runs that have finished only say so.

    Returns:
        The runs that failed.
    """
    from utils.runtime.devices import pick_accelerate_config
    from utils.runtime.interruption import CONTINUE, MARKER, remembering_signals

    config_file = HERE / "accelerate_configs" / f"{config or pick_accelerate_config()}.yaml"
    launch = [sys.executable, "-m", "accelerate.commands.accelerate_cli", "launch"]
    launch += ["--config_file", str(config_file), str(HERE / "train.py")]
    failed = []
    with remembering_signals() as stop_request:
        for number, run in enumerate(runs, start=1):
            print(f"Run {number} of {len(runs)}: {run.name}", flush=True)
            code = run_to_the_end([*launch, *run.words], stop_request)
            if stop_request.reason or (code and (run.folder / MARKER).exists()):
                print("The sweep stopped. Run the same command again to continue.")
                raise SystemExit(CONTINUE)
            if code:
                failed.append(run)
                print(f"Run {number} of {len(runs)} failed: {run.name}. The sweep goes on.", flush=True)
    return failed


def run_to_the_end(command: list[str], stop_request: "StopRequest") -> int:
    """Run a command, and return its exit code. If the sweep is told to stop, the command is told too."""
    # NEXT_IS_AUTOMATIC: the sweep itself prints what to do next
    environment = {"OMP_NUM_THREADS": str(os.cpu_count() or 1), "NEXT_IS_AUTOMATIC": "1"} | os.environ
    process = subprocess.Popen(command, env=environment)
    is_told = False
    while process.poll() is None:
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(timeout=1)
        if stop_request.reason and not is_told:
            process.terminate()
            is_told = True
    return process.returncode


def report(args: SweepArguments, runs: list[SweepRun]) -> None:
    """Print and save the table of the finished runs, and print the command that tests the best one."""
    from utils.runtime.progress import silence_libraries

    silence_libraries()
    from utils.report.sweep_table import print_sweep, rank_runs, write_sweep
    from utils.training.after_training import test_command

    arguments = {str(run.folder): run.arguments for run in runs}
    ranked = rank_runs({run.folder: run.values for run in runs}, args.bootstrap_samples, args.seed)
    if not ranked:
        return
    path = Path(args.output_dir) / "sweep.csv"
    write_sweep(path, ranked)
    print_sweep(ranked)
    print(f"The same as a table for programs: {path}")
    command = test_command(arguments[ranked[0].folder], "best")
    print(f"Next, evaluate the best run on the test split:\n  {command}")


if __name__ == "__main__":
    with user_errors_end_the_script():
        main()
