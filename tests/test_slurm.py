"""slurm/*.sbatch on a real cluster of two nodes: arrays, dependencies, kills, training over two."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.prepared_folders import contents
from tests.support.programs import write_program
from tests.support.slurm_cluster import PROGRAMS, SlurmCluster, link_checkout, slurm_cluster, wait_until

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parent.parent
COPIES = 4  # of the prompts: a job must last long enough to be killed
SHARDS = 3
CPUS = 2  # of a task
LIMIT = 240.0  # seconds
NOTHING_TO_TRAIN = ["--model_name_or_path", "tiny", "--dataset", "data", "--output_dir", "runs/nothing"]
WAIT = """
import os, sys, time
from pathlib import Path
folder = Path(sys.argv[1])
(folder / f"{os.environ['RANK']}.ready").touch()
while not (folder / "go").exists():
    time.sleep(0.05)
"""


@pytest.fixture(scope="module")
def checkout(tmp_path_factory) -> Path:
    """A folder to submit from, as the repository is; its logs and results stay out of the repository."""
    return link_checkout(ROOT, tmp_path_factory.mktemp("slurm") / "checkout", Path(sys.prefix))


@pytest.fixture
def require_slurm(require_program: Callable[[str], str]) -> None:
    for program in PROGRAMS:
        require_program(program)


@pytest.fixture(scope="module")
def arguments(checkout: Path) -> list[str]:
    """What to prepare: the Italian prompts, several times each; a few that are listed do not exist."""
    from utils.data.sources.asterisk_download import fetch_prompts

    prompts = fetch_prompts("it")
    lines = [
        json.dumps({"audio": str(prompts.folder / f"{key}.g722"), "text": text})
        for key, text in prompts.transcripts
    ]
    (checkout / "corpus.jsonl").write_text("\n".join(lines * COPIES))
    words = "--source manifest --input corpus.jsonl --language it --skip_rules duplicate"
    return [*words.split(), "--output_dir", "prepared"]


@pytest.fixture(scope="module")
def expected(checkout: Path, arguments: list[str]) -> dict[str, bytes]:
    """What a plain run on this machine gives."""
    command = [".venv/bin/python", "preprocess.py", *arguments, "--num_proc", str(CPUS)]
    subprocess.run(command, cwd=checkout, check=True, capture_output=True, timeout=LIMIT)
    (checkout / "prepared").rename(checkout / "plain")
    return contents(checkout / "plain")


def submit_array(cluster: SlurmCluster, tasks: str, arguments: list[str], checkout: Path) -> tuple[str, str]:
    """The two lines of the script's header; returns the numbers of the array and of the job behind it."""
    script = [f"--cpus-per-task={CPUS}", "slurm/preprocess.sbatch", *arguments]
    array = cluster.submit(f"--array={tasks}", *script, folder=checkout)
    return array, cluster.submit(f"--dependency=afterany:{array}", *script, folder=checkout)


def logs(checkout: Path) -> str:
    return "\n".join(f"{log.name}: {log.read_text()[-2000:]}" for log in sorted(checkout.glob("*.log")))


def test_an_array_on_two_nodes_prepares_the_same_bytes(require_slurm, checkout, arguments, expected):
    with slurm_cluster(cpus=CPUS) as cluster:
        array, rest = submit_array(cluster, "0-2", arguments, checkout)
        merged = cluster.wait(rest, LIMIT)
        tasks = cluster.wait(array, LIMIT)
    assert [task["JobState"] for task in tasks + merged] == ["COMPLETED"] * 4, logs(checkout)
    assert {task["NodeList"] for task in tasks} == {"n1", "n2"}
    assert contents(checkout / "prepared") == expected
    assert not list(checkout.glob(".prepared*"))


def test_a_killed_task_and_a_requeued_one_leave_the_same_bytes(require_slurm, checkout, arguments, expected):
    """An array may begin at 1, too."""
    shutil.rmtree(checkout / "prepared", ignore_errors=True)
    with slurm_cluster(cpus=CPUS) as cluster:
        array, rest = submit_array(cluster, "1-3", arguments, checkout)
        wait_until(lambda: blocks_of(0, checkout) and blocks_of(1, checkout), LIMIT)
        cluster.run("scancel", "--signal=KILL", f"{array}_1")
        cluster.run("scontrol", "requeue", f"{array}_2")
        merged = cluster.wait(rest, LIMIT)
        tasks = cluster.wait(array, LIMIT)
    assert [job["JobState"] for job in tasks + merged] == ["CANCELLED", *["COMPLETED"] * 3], logs(checkout)
    assert [job["Restarts"] for job in tasks + merged] == ["0", "1", "0", "0"]
    assert contents(checkout / "prepared") == expected


def blocks_of(shard: int, checkout: Path) -> list[Path]:
    """Finished blocks of one task of the array."""
    indexes = checkout.glob(".prepared.blocks/block-*.json")
    return [index for index in indexes if int(index.name.split("-")[1]) % SHARDS == shard]


def test_two_nodes_train_as_two_processes_of_one(require_slurm, checkout, tiny_whisper, prepared):
    """Over gloo, on GPUs that the nodes only say they have."""
    options = f"--model_name_or_path {tiny_whisper} --dataset {prepared} --language it --report_to none"
    options += " --max_steps 3 --eval_steps 0 --logging_steps 1 --per_device_train_batch_size 4"
    one, two = f"{options} --output_dir runs/one".split(), f"{options} --output_dir runs/two".split()
    config = "accelerate_configs/cpu_2_processes.yaml"
    launch = [".venv/bin/accelerate", "launch", "--config_file", config, "train.py", *one]
    subprocess.run(launch, cwd=checkout, check=True, capture_output=True, timeout=LIMIT)
    with slurm_cluster(cpus=CPUS, gpus=1) as cluster:
        resources = ["--nodes=2", f"--cpus-per-task={CPUS}"]
        job = cluster.submit(
            *resources, "slurm/train.sbatch", *two, folder=checkout, CONFIG="cpu_2_processes"
        )
        [record] = cluster.wait(job, LIMIT)
    assert record["JobState"] == "COMPLETED" and record["NumNodes"] == "2", logs(checkout)
    assert losses(checkout / "runs/two") == pytest.approx(losses(checkout / "runs/one"), abs=1e-6)
    assert len(losses(checkout / "runs/two")) == 3


def test_the_processes_of_a_node_share_all_its_cpus(require_slurm, tmp_path):
    """Two GPUs and four CPUs: the launcher has all four, as Slurm says itself, each process two threads."""
    write_program(tmp_path / "environment/bin/python", f'exec {sys.executable} "$@"')
    told = 'scontrol --oneliner show step "$SLURM_JOB_ID.$SLURM_STEP_ID"; echo "threads $OMP_NUM_THREADS $*"'
    write_program(tmp_path / "environment/bin/accelerate", told)
    folder = link_checkout(ROOT, tmp_path / "checkout", tmp_path / "environment")
    resources = ["--gpus-per-node=2", "--cpus-per-task=4"]
    with slurm_cluster(cpus=4, gpus=2) as cluster:
        job = cluster.submit(*resources, "slurm/train.sbatch", *NOTHING_TO_TRAIN, folder=folder)
        [record] = cluster.wait(job, LIMIT)
    assert record["JobState"] == "COMPLETED", logs(folder)
    assert re.search(r"TresPerTask=cpu[:=]4\b", logs(folder))
    assert "threads 2 launch" in logs(folder) and "--num_processes 2" in logs(folder)


def test_a_launcher_of_several_processes_outlives_the_signals_of_slurm(tmp_path):
    """By the lines of the script itself; torch's would end its processes 30 s after SIGTERM."""
    script = (ROOT / "slurm/train.sbatch").read_text()
    wanted = ("export bin=", "export PET_", "launch=")
    lines = [line for line in script.splitlines() if line.startswith(wanted)]
    assert len(lines) == 3
    (tmp_path / "wait.py").write_text(WAIT)
    command = 'bash -c "$launch" launch --config_file accelerate_configs/cpu_2_processes.yaml "$@"'
    (tmp_path / "job.sh").write_text("\n".join([*lines, f"exec {command}"]))
    (tmp_path / "checkout").mkdir()
    for name, target in {
        ".venv": Path(sys.prefix),
        "accelerate_configs": ROOT / "accelerate_configs",
    }.items():
        (tmp_path / "checkout" / name).symlink_to(target)
    job = subprocess.Popen(
        ["bash", str(tmp_path / "job.sh"), str(tmp_path / "wait.py"), str(tmp_path)],
        cwd=tmp_path / "checkout",
        env=os.environ | {"SLURM_NODEID": "0", "VENV": ".venv"},
    )
    with job:
        try:
            wait_until(lambda: len(list(tmp_path.glob("*.ready"))) == 2, LIMIT)
            for number in (signal.SIGTERM, signal.SIGUSR1):
                job.send_signal(number)
            with pytest.raises(subprocess.TimeoutExpired):
                job.wait(1)
            (tmp_path / "go").touch()
            assert job.wait(LIMIT) == 0
        finally:
            (tmp_path / "go").touch()


def losses(run: Path) -> list[float]:
    """Of each step that was logged."""
    records = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return [record["loss"] for record in records if "loss" in record]
