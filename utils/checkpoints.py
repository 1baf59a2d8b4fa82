"""Checkpoints that are written whole or not at all, found again, and verified by content before use."""

import contextlib
import dataclasses
import json
import math
import re
import shutil
import time
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import torch
import xxhash
from accelerate import Accelerator, DistributedType
from accelerate.utils import broadcast_object_list, extract_model_from_parallel, gather_object
from safetensors.torch import load_file
from torch import nn

from utils.distributed import failing_together
from utils.errors import UserError, WriteError
from utils.files import delete_folder, move_into_place, write_json

STATE_FILE = "trainer_state.json"
WEIGHTS_FILE = "model.safetensors"  # Accelerate's name
MPS_STATE_FILE = "mps_random_state.pt"
PREFIX = "checkpoint-"
BLOCK_BYTES = 1 << 22


@dataclass
class TrainingState:
    """What a run must know to go on exactly where it stopped, beside what Accelerate saves."""

    step: int = 0  # optimiser steps done
    metric_for_best_model: str = "normalized_wer"  # what best_metric, first_metric and ranking hold
    best_metric: float | None = None
    best_step: int | None = None
    first_metric: float | None = None  # of the model before training
    evaluations_without_improvement: int = 0  # in a row, up to now
    ranking: list[tuple[int, float]] = field(default_factory=list)  # (step, metric) of the best evaluations
    order: str = ""  # running digest over the ids of all clips of the steps done, in order
    loss_sum: float = 0.0  # of target tokens since the last line of metrics.jsonl
    loss_tokens: int = 0
    audio_seconds: float = 0.0  # trained on since the start
    padded_seconds: float = 0.0  # the same with the silence that filled the audio contexts
    skipped_steps: int = 0  # whose loss or gradient was not finite, since the start
    skipped_in_a_row: int = 0
    evaluated_step: int = 0  # the last step that was evaluated
    origin: str = ""  # the named checkpoint that the run went on from, see `origin_of`
    step_size: str = ""  # such as 8 clips, over all processes
    data: str = ""  # digest of the clips that are trained on
    validation: str = ""  # digest of what is validated on, and how

    @property
    def mean_loss(self) -> float:
        """Loss of a target token since the last line of metrics.jsonl; NaN where all steps were skipped."""
        return self.loss_sum / self.loss_tokens if self.loss_tokens else math.nan

    @property
    def padding_share(self) -> float:
        """Share of silence in the audio contexts trained on; NaN where all steps were skipped."""
        return 1 - self.audio_seconds / self.padded_seconds if self.padded_seconds else math.nan

    def judge_by(self, metric: str, validation: str) -> None:
        """Take up what the best is chosen by; what was best by another metric or on other clips is forgotten.

        Args:
            metric: Of `ErrorRates`.
            validation: Digest of the clips and of how they are scored.
        """
        before = (self.metric_for_best_model, self.validation or validation)  # not noted in old checkpoints
        if before != (metric, validation):
            self.best_metric = self.best_step = self.first_metric = None
            self.evaluations_without_improvement, self.ranking = 0, []
        self.metric_for_best_model, self.validation = metric, validation

    def is_behind(self, results: Mapping) -> bool:
        """Whether a model, by its train_results.json, is of an evaluation that this state does not know.

        An average counts as known, whatever it is of.
        """
        return "averaged_steps" not in results and results["step"] > self.evaluated_step

    def take_up_best(self, results: Mapping) -> None:
        """Let the model in best/ count where it is better than what this state knows: an average is.

        Not what was evaluated after this state was saved: that is done again.

        Args:
            results: Its train_results.json.
        """
        value = results.get("best_metric")
        judged_by = (results.get("metric_for_best_model"), results.get("validation", self.validation))
        if value is None or judged_by != (self.metric_for_best_model, self.validation):
            return
        if not self.is_behind(results) and (self.best_metric is None or value < self.best_metric):
            self.best_metric, self.best_step = value, results["best_step"]

    def count_evaluation(self, value: float, threshold: float) -> bool:
        """Enter an evaluation of the current step; whether it is the best of those after a first step.

        Evaluations without improvement are counted as by transformers' `EarlyStoppingCallback`: a gain of no
        more than `threshold` makes a new best, but does not start the count anew.
        """
        if self.step == 0:
            self.first_metric = value
            return False
        best = self.best_metric
        is_improvement = best is None or best - value > threshold
        self.evaluations_without_improvement = (
            0 if is_improvement else self.evaluations_without_improvement + 1
        )
        if best is not None and value >= best:
            return False
        self.best_metric, self.best_step = value, self.step
        return True

    def take_back_evaluation(self, before: "TrainingState") -> None:
        """Forget a new best that could not be saved; patience stands where it stood `before`."""
        self.best_metric, self.best_step = before.best_metric, before.best_step
        self.evaluations_without_improvement = before.evaluations_without_improvement


def save_checkpoint(accelerator: Accelerator, output_dir: Path, state: TrainingState, keep: int) -> bool:
    """Write `checkpoint-<step>` (model, optimiser, schedule, random states), delete the oldest beyond `keep`.

    All processes call it. The folder takes its name only when every file in it is on disk, and only then an
    older one is deleted: the disk must hold `keep` + 1.

    Returns:
        Whether it was written. If not (a full disk), the ones before are kept, and the reason is printed.
    """
    folder = output_dir / f"{PREFIX}{state.step}"
    temporary = output_dir / f".{folder.name}.tmp"
    try:
        with failing_together(accelerator):
            _begin(accelerator, output_dir, temporary)
        with failing_together(accelerator):
            accelerator.save_state(str(temporary))
            if accelerator.device.type == "mps":  # Accelerate leaves this generator out
                torch.save(torch.mps.get_rng_state(), temporary / MPS_STATE_FILE)
        with failing_together(accelerator):
            own = _identify_share(accelerator, temporary)
        files = dict(sorted(gather_object(own)))
        with failing_together(accelerator):
            _seal(accelerator, temporary, folder, state, files)
    except WriteError as error:
        _tell_failure(accelerator, output_dir, temporary, f"step {state.step}: the checkpoint", str(error))
        return False
    if accelerator.is_main_process:
        for old in _newest_first(output_dir)[keep:]:
            delete_folder(old)
    accelerator.wait_for_everyone()
    return True


def enter_evaluation(accelerator: Accelerator, output_dir: Path, state: TrainingState) -> None:
    """Enter what an evaluation found into the checkpoint of its step, which was saved before it began.

    Where it cannot be written, a run that goes on from there evaluates once more.
    """
    if not accelerator.is_main_process:
        return
    path = output_dir / f"{PREFIX}{state.step}" / STATE_FILE
    record = json.loads(path.read_text(encoding="utf-8"))
    with contextlib.suppress(OSError):
        write_json(path, {**record, "state": dataclasses.asdict(state)})


def _tell_failure(accelerator: Accelerator, output_dir: Path, temporary: Path, what: str, why: str) -> None:
    if accelerator.is_main_process:
        shutil.rmtree(temporary, ignore_errors=True)
        last = next(iter(_newest_first(output_dir)), None)
        print(
            f"{what} could not be written: {why}. {f'{last} is kept' if last else 'There is none yet'}; "
            "training goes on, and the next one is tried. Free some space."
        )
    accelerator.wait_for_everyone()


def _begin(accelerator: Accelerator, output_dir: Path, temporary: Path) -> None:
    """Make an empty folder; what a killed run left half-written or half-deleted goes first.

    Raises:
        OSError: The disk has less room than the last checkpoint takes. Checked beforehand, because a process
            that fails in the middle of a sharded save leaves the others waiting for it.
    """
    if not accelerator.is_main_process:
        return
    for left in output_dir.glob(f".{PREFIX}*"):
        shutil.rmtree(left, ignore_errors=True)
    temporary.mkdir(parents=True)
    last = next(iter(_newest_first(output_dir)), None)
    needed = sum(file.stat().st_size for file in _files(last)) if last else 0
    free = shutil.disk_usage(output_dir).free
    if free < needed:
        raise OSError(f"the disk has {free / 1e6:.0f} MB left, the last one takes {needed / 1e6:.0f} MB")


def _identify_share(accelerator: Accelerator, temporary: Path) -> list[tuple[str, str]]:
    """Name and identity of every `num_processes`-th file; they are read back for it."""
    share = _files(temporary)[accelerator.process_index :: accelerator.num_processes]
    return [(file.relative_to(temporary).as_posix(), _identify(file)) for file in share]


def _seal(
    accelerator: Accelerator, temporary: Path, folder: Path, state: TrainingState, files: dict[str, str]
) -> None:
    """Write the state and what identifies each file, and give the folder its name."""
    if accelerator.is_main_process:
        record = {"saved_at": time.time(), "state": dataclasses.asdict(state), "files": files}
        write_json(temporary / STATE_FILE, record)
        move_into_place(temporary, folder)


def _identify(file: Path) -> str:
    """Size in bytes and 128-bit XXH3 of the content, ten times as fast as SHA-256: against faults alone."""
    digest = xxhash.xxh3_128()
    size, block = 0, memoryview(bytearray(BLOCK_BYTES))
    with file.open("rb", buffering=0) as handle:
        while count := handle.readinto(block):
            digest.update(block[:count])
            size += count
    return f"{size} {digest.hexdigest()}"


def _files(folder: Path) -> list[Path]:
    return sorted(file for file in folder.rglob("*") if file.is_file())


def checkpoint_step(folder: Path) -> int:
    """The step in a checkpoint folder's name, -1 if it has none."""
    match = re.fullmatch(PREFIX + r"(\d+)", folder.name)
    return int(match[1]) if match else -1


def _newest_first(output_dir: Path) -> list[Path]:
    """The checkpoints, last written first; a run that went back to an older one writes lower steps later."""
    found = [folder for folder in output_dir.glob(f"{PREFIX}*") if checkpoint_step(folder) >= 0]
    return sorted(found, key=lambda folder: (_saved_at(folder), checkpoint_step(folder)), reverse=True)


def _origin(folder: Path) -> str:
    try:
        return str(json.loads((folder / STATE_FILE).read_text(encoding="utf-8"))["state"]["origin"])
    except (OSError, ValueError, KeyError, TypeError):
        return ""  # broken, or written before origins were


def _saved_at(folder: Path) -> float:
    try:
        return float(json.loads((folder / STATE_FILE).read_text(encoding="utf-8"))["saved_at"])
    except (OSError, ValueError, KeyError, TypeError):
        return folder.stat().st_mtime  # broken, but its age still says where it stands


def origin_of(resume_from_checkpoint: str | None, arguments: Mapping[str, object]) -> str:
    """What a run comes from that is told to go on from a named checkpoint; empty for every other run.

    Args:
        resume_from_checkpoint: The argument.
        arguments: All that change the result: told to go back there with others, a run goes back.
    """
    if resume_from_checkpoint in (None, "latest"):
        return ""
    digest = xxhash.xxh3_64_hexdigest(json.dumps(arguments, sort_keys=True).encode())
    return f"{Path(str(resume_from_checkpoint)).resolve()} {digest}"


def find_checkpoint(output_dir: Path, resume_from_checkpoint: str | None, origin: str = "") -> Path | None:
    """The checkpoint to go on from: the one named, or the newest whole one of `output_dir`, or none.

    Before the one named goes the newest that was written after going on from there, so that a run which is
    stopped and told the same again goes on from where it stopped.

    Args:
        output_dir: The run folder.
        resume_from_checkpoint: A checkpoint folder, `latest`, or nothing.
        origin: From `origin_of`.

    Raises:
        UserError: The named checkpoint is not there or not whole, or `latest` finds none.
    """
    if resume_from_checkpoint not in (None, "latest"):
        written_since = [
            folder for folder in _newest_first(output_dir) if origin and _origin(folder) == origin
        ]
        newest = _first_whole(written_since)
        if newest is not None:
            return newest
        folder = Path(str(resume_from_checkpoint))
        fault = _fault(folder)
        if fault:
            raise UserError(
                f"{folder}: {fault} Give another checkpoint, or `latest` for the newest whole one."
            )
        return folder
    newest = _first_whole(_newest_first(output_dir))
    if newest is None and resume_from_checkpoint == "latest":
        raise UserError(
            f"{output_dir}: no whole checkpoint to resume from. Leave --resume_from_checkpoint out to start; "
            "if a run is there already that had other arguments, in another --output_dir."
        )
    return newest


def check_same_plan(folder: Path, state: TrainingState, step_size: str, data: str) -> None:
    """Before a run goes on from a checkpoint of its own with the arguments it had.

    Args:
        folder: The checkpoint.
        state: What it holds; one written before plans were noted passes.
        step_size: Of the run that is to go on.
        data: Digest of its clips.

    Raises:
        UserError: The run's steps would not be those that it began with.
    """
    way_out = (
        "Start in another --output_dir, or go on at this step all the same: --resume_from_checkpoint latest"
    )
    if state.step_size and state.step_size != step_size:
        raise UserError(
            f"{folder}: its steps were of {state.step_size}, here they are of {step_size}: the number of "
            "processes has changed. Run as many as before, or change per_device_train_batch_size or "
            f"gradient_accumulation_steps so that steps stay as they were. {way_out}."
        )
    if state.data and state.data != data:
        raise UserError(f"{folder}: it was trained on other clips than the datasets hold now. {way_out}.")


def check_not_beyond(folder: Path, state: TrainingState, total_steps: int) -> None:
    """Before a run goes on from a checkpoint.

    Raises:
        UserError: It is of a later step than the run is to have in all.
    """
    if state.step > total_steps:
        raise UserError(
            f"{folder}: it is of step {state.step}, and max_steps or num_train_epochs ask for {total_steps} "
            "in all. Ask for more, or go on from an earlier checkpoint: --resume_from_checkpoint with its "
            "folder."
        )


def _first_whole(folders: Sequence[Path]) -> Path | None:
    for folder in folders:
        fault = _fault(folder)
        if not fault:
            return folder
        print(f"{folder}: passed over: {fault}")
    return None


def find_checkpoint_together(
    accelerator: Accelerator, output_dir: Path, resume_from_checkpoint: str | None, origin: str = ""
) -> Path | None:
    """`find_checkpoint` on the main process, which reads every byte; all get its answer, or its error."""
    answer: list[Path | UserError | None] = [None]
    if accelerator.is_main_process:
        try:
            answer = [find_checkpoint(output_dir, resume_from_checkpoint, origin)]
        except UserError as error:
            answer = [error]
    found = broadcast_object_list(answer)[0]
    if isinstance(found, UserError):
        raise found
    return found


def _fault(folder: Path) -> str:
    """What is wrong with a checkpoint; empty when it is whole."""
    try:
        record = json.loads((folder / STATE_FILE).read_text(encoding="utf-8"))
        files = dict(record["files"])
        _read_state(record)
    except FileNotFoundError:
        return f"no {STATE_FILE} in it."
    except (OSError, ValueError, KeyError, TypeError) as error:
        return f"{STATE_FILE} is not readable ({error})."
    for name, expected in files.items():
        file = folder / name
        try:
            found = _identify(file) if file.stat().st_size == int(expected.split()[0]) else ""
        except OSError as error:
            return f"{name} is not readable ({error.strerror})."
        if not found:
            return f"{name} has {file.stat().st_size} bytes, expected {expected.split()[0]}."
        if found != expected:
            return f"{name} has other content than was written."
    return ""


# ---- weights -----------------------------------------------------------------------------------------------


def register_weights(accelerator: Accelerator, *, trained_only: bool) -> None:
    """Let checkpoints hold the weights under the model's own names: they load on any number of processes.

    Accelerate alone would keep the `module.` that stands before them where processes share gradients. Sharded
    weights, and those under DeepSpeed, stay in the format of their engine.

    Args:
        accelerator: Before anything is saved or loaded.
        trained_only: Leave out what is not trained; it comes from the base model again. That keeps
            checkpoints of adapters small, and is the only way where the base is quantised: a 4-bit layer
            writes more into its state than it reads back.
    """
    if accelerator.distributed_type not in (DistributedType.DEEPSPEED, DistributedType.FSDP):
        accelerator.register_save_state_pre_hook(partial(_keep_weights, trained_only))
        accelerator.register_load_state_pre_hook(partial(_load_weights, trained_only))


def _names(model: nn.Module, trained_only: bool) -> set[str]:
    if not trained_only:
        return set(model.state_dict())
    return {name for name, parameter in model.named_parameters() if parameter.requires_grad}


def _own_name(name: str) -> str:
    return name.removeprefix("module.")


def _keep_weights(
    trained_only: bool, models: list[nn.Module], weights: list[OrderedDict[str, torch.Tensor]], folder: str
) -> None:
    """Leave out and rename; ordered, because in no other kind of dictionary Accelerate sees tied weights."""
    (model,), (state,) = models, weights
    kept = _names(extract_model_from_parallel(model), trained_only)
    own = ((_own_name(name), tensor) for name, tensor in state.items())
    weights[:] = [OrderedDict((name, tensor) for name, tensor in own if name in kept)]


def _load_weights(trained_only: bool, models: list[nn.Module], folder: str) -> None:
    """Load the one model of a run and take it off the list of those that Accelerate loads itself."""
    model = extract_model_from_parallel(models[0])
    state = {_own_name(name): tensor for name, tensor in load_file(Path(folder) / WEIGHTS_FILE).items()}
    own = model.state_dict(keep_vars=True)
    found = {id(own[name]) for name in state if name in own}  # tied weights are saved under one name
    lacking = [name for name in _names(model, trained_only) if id(own[name]) not in found]
    if alone := sorted(lacking) + sorted(set(state) - set(own)):
        raise ValueError(f"{len(alone)} weights are only there or only here, such as {alone[0]}")
    model.load_state_dict(state, strict=False)
    models.clear()


def load_checkpoint(accelerator: Accelerator, folder: Path) -> TrainingState:
    """Give the prepared model, optimiser, schedule and random generators their saved state back.

    A checkpoint of another number of processes loads as well, where the weights are not sharded; the random
    draws (dropout) then differ from those of an uninterrupted run, and that is said.

    Raises:
        UserError: What is in it does not fit what is to be trained: other weights, adapters of another rank,
            another optimiser or precision; with DeepSpeed, another number of processes.
    """
    saved_by = len(list(folder.glob("random_states_*.pkl")))
    if accelerator.distributed_type == DistributedType.DEEPSPEED and saved_by != accelerator.num_processes:
        raise UserError(
            f"{folder}: {saved_by} processes of DeepSpeed saved it, here are {accelerator.num_processes}, "
            "and it does not share out anew. Run as many as before, or give the run's final or best folder "
            "as --model_name_or_path, in another --output_dir."
        )
    try:
        accelerator.load_state(str(folder))
    except torch.OutOfMemoryError:
        raise
    except (ValueError, RuntimeError, KeyError, OSError) as error:
        first_line = next(iter(str(error).splitlines()), type(error).__name__)
        raise UserError(
            f"{folder} does not fit: other weights were trained there, or with another optim, lora_r or "
            f"precision ({first_line}). To go on with others, give the run's final or best folder "
            "as --model_name_or_path, in another --output_dir."
        ) from error
    saved = folder / f"random_states_{accelerator.process_index}.pkl"
    if not saved.is_file():
        print(
            f"{folder}: no random state for process {accelerator.process_index}; its dropout is drawn anew."
        )
    elif not torch.equal(_torch_state(saved), torch.get_rng_state()):
        # Accelerate only logs at level info that it could not load them.
        raise UserError(f"{saved}: its random state could not be restored. Were other versions installed?")
    if accelerator.device.type == "mps" and (folder / MPS_STATE_FILE).is_file():
        torch.mps.set_rng_state(torch.load(folder / MPS_STATE_FILE, weights_only=True))
    return _read_state(json.loads((folder / STATE_FILE).read_text(encoding="utf-8")))


def _read_state(record: dict) -> TrainingState:
    saved = dict(record["state"])
    if "best_wer" in saved:  # written when normalised WER was the only choice
        saved["best_metric"] = saved.pop("best_wer")
        saved["padded_seconds"] = saved["audio_seconds"]
    saved["ranking"] = [(step, value) for step, value in saved.get("ranking", [])]
    return TrainingState(**saved)


def _torch_state(file: Path) -> torch.Tensor:
    from accelerate.utils import load

    return load(file)["torch_manual_seed"]
