"""slurm/*.sbatch with short scripts for Slurm's commands: words, signals, the way back into the queue."""

import os
import subprocess
from pathlib import Path

import pytest

from tests.support.programs import write_program

ROOT = Path(__file__).resolve().parent.parent
SRUN = 'while [[ $1 == --* ]]; do shift; done; exec "$@"'
# So many names do not fit into a pipe: whoever reads only the first would end their writer, and the script.
SCONTROL = """
case "$*" in
    "show hostnames n[1-20000]") seq -f n%.0f 20000 ;;
    "--oneliner show node n1") echo "NodeName=n1 NodeAddr=10.0.0.7 NodeHostName=n1" ;;
    requeue*) echo "$2" >> requeued ;;
esac
"""
# A signal that was not ignored when the launcher began would end it here.
LAUNCHER = 'kill -TERM $$; kill -USR1 $$; echo "$PET_SIGNALS_TO_HANDLE $OMP_NUM_THREADS $*"'
JOB = {
    "SLURM_JOB_ID": "40017",
    "SLURM_NNODES": "2",
    "SLURM_NODEID": "1",
    "SLURM_JOB_NODELIST": "n[1-20000]",
    "SLURM_GPUS_ON_NODE": "4",
    "SLURM_CPUS_PER_TASK": "8",
}


def run_script(name: str, folder: Path, *words: str, **variables: str) -> subprocess.CompletedProcess:
    """Run a script of slurm/ as Slurm does, submitted from `folder`."""
    ours = ("PORT", "CONFIG", "VENV", "VIRTUAL_ENV", "CONDA_DEFAULT_ENV")
    environment = {key: value for key, value in os.environ.items() if key not in ours}
    environment |= {"SLURM_SUBMIT_DIR": str(folder), "PATH": f"{folder}/bin:{os.environ['PATH']}"}
    return subprocess.run(
        ["bash", str(ROOT / "slurm" / name), *words],
        env=environment | variables,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def train(folder: Path, launcher: str, **variables: str) -> subprocess.CompletedProcess:
    """Run the script that trains, with a launcher of a few words."""
    write_program(folder / "bin/srun", SRUN)
    write_program(folder / "bin/scontrol", SCONTROL)
    write_program(folder / ".venv/bin/python", "echo runs/x")  # the output folder among the arguments
    write_program(folder / ".venv/bin/accelerate", launcher)
    (folder / "runs/x").mkdir(parents=True, exist_ok=True)
    return run_script("train.sbatch", folder, "--output_dir", "runs/x", **JOB | variables)


def test_the_launcher_of_a_node_outlives_the_signals_of_slurm(tmp_path):
    """And torch's is told not to take SIGTERM back. Each of four processes has two of eight CPUs."""
    done = train(tmp_path, LAUNCHER)
    assert (done.returncode, done.stderr) == (0, "")
    expected = "SIGINT 2 launch --machine_rank 1 --config_file accelerate_configs/multi_gpu.yaml"
    expected += " --num_machines 2 --num_processes 8 --main_process_ip 10.0.0.7 --main_process_port 20017"
    assert done.stdout.strip() == f"{expected} train.py --output_dir runs/x"
    assert not (tmp_path / "requeued").exists()


@pytest.mark.parametrize(
    ("variables", "folder"),
    [
        ({"VIRTUAL_ENV": "active"}, "active"),
        ({"CONDA_DEFAULT_ENV": "w", "CONDA_PREFIX": "conda"}, "conda"),
        ({"CONDA_DEFAULT_ENV": "base", "CONDA_PREFIX": "conda"}, ".venv"),
        ({"VENV": "named", "VIRTUAL_ENV": "active"}, "named"),
    ],
)
def test_the_environment_that_is_named_or_active(tmp_path, variables, folder):
    for name in ("active", "conda", "named"):
        write_program(tmp_path / name / "bin/python", f"echo {name}")
        write_program(tmp_path / name / "bin/accelerate", f"echo {name}")
    write_program(tmp_path / ".venv/bin/python", "echo .venv")
    assert run_script("preprocess.sbatch", tmp_path, **variables).stdout.strip() == folder
    assert train(tmp_path, "echo .venv", **variables).stdout.strip() == folder


def test_one_gpu_and_what_the_environment_asks_for(tmp_path):
    alone = {"SLURM_NNODES": "1", "SLURM_GPUS_ON_NODE": "1", "SLURM_NODEID": "0"}
    for name, variables, words in (
        ("plain", {}, ("single_gpu.yaml", "--main_process_port 20017")),
        ("told", {"CONFIG": "cpu", "PORT": "29611"}, ("configs/cpu.yaml", "--main_process_port 29611")),
    ):
        done = train(tmp_path / name, LAUNCHER, **alone, **variables)
        assert all(word in done.stdout for word in (*words, "SIGINT 8 launch", "--num_processes 1"))


def test_an_interrupted_job_goes_back_into_the_queue_with_its_exit_code(tmp_path):
    done = train(tmp_path, """echo '{"step": 3}' > runs/x/interrupted.json; exit 1""")
    assert done.returncode == 1
    assert (tmp_path / "requeued").read_text() == "40017\n"
    assert 'Interrupted and saved: {"step": 3}' in done.stdout


@pytest.mark.parametrize("code", [0, 3])
def test_a_job_that_is_done_or_fails_is_not_queued_again(tmp_path, code):
    """What an earlier job left word of is taken away before it begins."""
    (tmp_path / "runs/x").mkdir(parents=True)
    (tmp_path / "runs/x/interrupted.json").write_text("{}")
    done = train(tmp_path, f"exit {code}")
    assert done.returncode == code
    assert not (tmp_path / "requeued").exists()
    assert not list((tmp_path / "runs/x").iterdir())


@pytest.mark.parametrize(
    ("variables", "words"),
    [
        ({}, ""),
        ({"ID": "3", "MIN": "1", "COUNT": "4"}, "--num_shards 4 --shard_index 2"),
        ({"ID": "7", "MIN": "3", "COUNT": "2", "shards": "20"}, "--num_shards 20 --shard_index 7"),
    ],
    ids=["no array", "an array from 1", "an array with gaps"],
)
def test_the_share_of_a_task(tmp_path, variables, words):
    write_program(tmp_path / ".venv/bin/python", 'echo "$@"')
    environment = {f"SLURM_ARRAY_TASK_{name}": value for name, value in variables.items() if name.isupper()}
    environment |= {"NUM_SHARDS": variables["shards"]} if "shards" in variables else {}
    done = run_script("preprocess.sbatch", tmp_path, "--source", "asterisk", **environment)
    assert done.stdout.split() == f"preprocess.py --source asterisk --num_proc 1 {words}".split()
