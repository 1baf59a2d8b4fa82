"""What a run may write: its fullest moment by hand, and what a budget takes away."""

from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from utils.model.loading import load_model
from utils.runtime.errors import UserError, WriteError
from utils.training.disk_plan import peak_bytes, plan_disk
from utils.training.estimates import Disk
from utils.training.mixing import FinishedRun

SIZES = Disk(checkpoint=30, model=10, encoder_states=0, fullest=0)


def arguments(**changes) -> SimpleNamespace:
    defaults = {"save_steps": 1, "save_total_limit": 2, "eval_steps": 1, "average_checkpoints": 0}
    defaults |= {"interpolation_alphas": [], "mirror_dir": None, "use_peft": False, "disk_budget": None}
    return SimpleNamespace(**(defaults | {"optim": "adamw_torch", "output_dir": "runs/it"} | changes))


@pytest.mark.parametrize(
    ("changes", "kept", "cache", "expected"),
    [
        ({}, 2, 0, 3 * 30 + 10),  # best/ beside two checkpoints and the next one
        ({}, 2, 7, 3 * 30 + 10 + 7),
        ({"eval_steps": 0}, 1, 0, 2 * 30),
        ({"save_steps": 0}, 1, 0, 2 * 10),  # best/ is replaced
        ({"average_checkpoints": 3}, 1, 0, 2 * 30 + 4 * 10),  # best/ and three snapshots
        ({"average_checkpoints": 3, "save_steps": 0}, 1, 0, 6 * 10),  # with final/ and the average
        # the average of three adapters is as large as they are
        ({"average_checkpoints": 3, "save_steps": 0, "use_peft": True}, 1, 0, 8 * 10),
        # best/, final/, a mixture, the next one, an earlier result
        ({"interpolation_alphas": [0.5], "save_steps": 0}, 1, 0, 5 * 10),
        # a checkpoint and best/ that training has replaced wait to be copied
        ({"mirror_dir": "drive"}, 1, 0, 2 * 30 + 10 + 30 + 10),
    ],
)
def test_the_fullest_moment_by_hand(changes, kept, cache, expected):
    assert peak_bytes(arguments(**changes), SIZES, kept, cache) == expected


@pytest.fixture(scope="module")
def loaded(tiny_whisper):
    return load_model(str(tiny_whisper))


def test_a_budget_takes_checkpoints_then_the_cache_and_then_refuses(loaded):
    whole = plan_disk(arguments(save_total_limit=3), loaded, 10**9)
    assert (whole.checkpoints, whole.caches, whole.savings(3)) == (3, True, [])
    fewer = plan_disk(arguments(save_total_limit=3, disk_budget="1G"), loaded, 10**9 - 4 * 10**7)
    assert fewer.checkpoints == 2 and fewer.caches
    assert fewer.savings(3)[0].startswith("disk_budget: the run keeps 2 checkpoints instead of 3")
    without = plan_disk(arguments(disk_budget="60M"), loaded, 10**9)
    assert (without.checkpoints, without.caches) == (2, False)
    assert "encoder are not cached" in without.savings(2)[0]
    with pytest.raises(UserError, match=r"disk_budget 5M: runs/it needs .* MB .*--save_steps 0"):
        plan_disk(arguments(disk_budget="5M"), loaded, 0)


def test_a_mixture_beyond_the_budget_is_not_written(tmp_path):
    run = FinishedRun(arguments(disk_budget="1M", output_dir=str(tmp_path)), None, None)
    with pytest.raises(WriteError, match="mixed could not be written: the disk, or disk_budget"):
        run.write_variant(Path(), tmp_path / "mixed", {"weight": torch.zeros(300_000)}, None, {})
    assert not list(tmp_path.iterdir())
