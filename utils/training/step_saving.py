"""Save a step of a run within its disk budget, and measure how long it takes."""

from utils.training.checkpoints import save_checkpoint
from utils.training.run import Run


def save_step(run: Run) -> bool:
    """Save a checkpoint of the current step. All processes must call this.

    Returns:
        Whether it was saved, see `save_checkpoint`.
    """
    disk, state = run.disk, run.state
    state.seconds_used = run.clock.elapsed
    with run.clock.timing("save"):
        return save_checkpoint(
            run.accelerator,
            run.output_dir,
            state,
            disk.checkpoints,
            disk.budget,
            disk.sizes.checkpoint,
        )
