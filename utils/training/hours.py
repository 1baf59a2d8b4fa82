"""Fit a run into `--max_hours`: set the number of steps, and so the schedule, from what was measured."""

import torch
from accelerate.utils import broadcast

from utils.model.transcription import CutShortError
from utils.runtime.messages import counted
from utils.runtime.progress import AudioProgress
from utils.training.after_training import GUARD_SAMPLES
from utils.training.estimates import TimedStep, estimate_seconds
from utils.training.pace import Costs
from utils.training.rehearsal import time_evaluation
from utils.training.run import Run
from utils.training.steps import Step

TARGET = 0.975  # share of the limit at which the run is to end
LOWEST, HIGHEST = 0.955, 0.995  # expected ends that need no change

STEPS_BEFORE_FIRST = 2  # of a session: the first one also compiles kernels and allocates memory

STEPS_LOOKED_AT = 500  # whose mean work stands for that of all steps

WRITTEN_PER_SECOND = 1e8  # bytes, until a checkpoint has been timed


def fit_into_hours(run: Run, step: Step, progress: AudioProgress) -> bool:
    """Set a new number of steps if the run would otherwise end too late, or much too early.

    The first process measures and decides, and gives its number to all. It looks when the time of training
    has doubled, and later when half of the time that was left is over. So it notices late changes of speed,
    and seldom changes the schedule.

    All processes must call this after each step.

    Returns:
        Whether the number of steps has changed. Then a checkpoint should be saved, so that a resumed run has
        the same schedule.
    """
    clock, accelerator = run.clock, run.accelerator
    clock.count_step(step)
    if clock.limit is None or clock.steps_seen < STEPS_BEFORE_FIRST:
        return False
    if clock.steps_seen == STEPS_BEFORE_FIRST and run.args.eval_steps and clock.last("evaluation") is None:
        try:
            clock.note("evaluation", time_evaluation(run))
        except CutShortError:  # the run is about to stop
            return False
    before, chosen = run.total_steps, run.total_steps
    if accelerator.is_main_process and clock.elapsed >= clock.next_review:
        chosen = choose_total_steps(run)
    chosen = int(broadcast(torch.tensor(chosen, device=accelerator.device)))
    if chosen == before:
        return False
    run.state.schedule_change = run.pace.change(run.state.step, chosen)
    run.log.write(run.state.step, planned_steps=chosen)
    progress.set_total(chosen)
    accelerator.print(
        f"step {run.state.step}: {counted(chosen, 'step')} fit into {run.args.max_hours:g} h "
        f"(before: {before:,})"
    )
    return True


def choose_total_steps(run: Run) -> int:
    """Return the number of steps with which the run ends in time. Choose when to look again."""
    clock, step, limit = run.clock, run.state.step, run.clock.limit
    assert limit is not None
    costs, chosen = measure_costs(run), run.total_steps
    end = clock.elapsed + costs.seconds(step, chosen)
    can_grow = step < chosen < run.pace.most_steps  # at the last step, the learning rate is already 0
    is_early = end < LOWEST * limit and can_grow
    if is_early or end > HIGHEST * limit:
        chosen = costs.steps_within(TARGET * limit - clock.elapsed, step, run.pace.most_steps)
        end = clock.elapsed + costs.seconds(step, chosen)
    clock.next_review = clock.elapsed + min(clock.trained, (end - clock.elapsed) / 2)
    return chosen


def measure_costs(run: Run) -> Costs:
    """Return what the parts of the run took, or probably take if there was none yet."""
    args, clock, disk = run.args, run.clock, run.disk
    timed = [TimedStep(step, seconds) for step, seconds in clock.timed_steps]
    some = list(run.data.plan.steps(0, min(STEPS_LOOKED_AT, run.data.plan.count_steps(1))))
    save = clock.last("save") or disk.sizes.checkpoint / WRITTEN_PER_SECOND
    model = clock.last("model") or disk.sizes.model / WRITTEN_PER_SECOND
    decoding = clock.last("evaluation") or 0.0
    return Costs(
        step=estimate_seconds(timed, some) / len(some),
        evaluation=decoding + model * (1 + (args.average_checkpoints > 0)),
        save=save,
        closing=model + _mixing_seconds(run, decoding, model) + (clock.last("mirror") or 0.0),
        eval_steps=args.eval_steps,
        save_steps=args.save_steps,
    )


def _mixing_seconds(run: Run, decoding: float, model: float) -> float:
    """Estimate the seconds of averaging, and of mixing with the base model."""
    args, clips = run.args, max(1, len(run.data.validation))
    seconds = decoding + 2 * model if args.average_checkpoints else 0.0
    if args.interpolation_alphas:
        guards = len(args.guard_datasets) * GUARD_SAMPLES / clips
        seconds += (1 + len(args.interpolation_alphas)) * (decoding * (1 + guards) + model)
    return seconds
