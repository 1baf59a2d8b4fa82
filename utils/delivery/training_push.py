"""Push the best model of a run: at its end, or also while training goes on."""

import shutil
import threading
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from utils.delivery.held_out_report import find_held_out_report
from utils.delivery.model_push import HubTarget, PushedModel, check_push, publishable_files, push_files
from utils.model.saving import ARGUMENTS_FILE
from utils.runtime.errors import UserError
from utils.runtime.files import link_or_copy, scratch_folder
from utils.training.card_facts import is_local_model, read_model_facts
from utils.training.held_out import HeldOutReport
from utils.training.model_card import build_model_card


def best_of(run: Path) -> Path:
    """Return the folder of a run that is pushed: `best`, or `final` if there is no best."""
    return run / "best" if (run / "best").is_dir() else run / "final"


def push_run(run: Path, target: HubTarget) -> PushedModel:
    """Push the best model of a run, with test results if `report` in the run's folder has some.

    Raises:
        UserError: See `push_files`. Nothing on this machine is lost.
    """
    folder = best_of(run)
    facts = read_model_facts(folder)
    return push_model_folder(folder, target, find_held_out_report(folder, facts, None))


def push_model_folder(folder: Path, target: HubTarget, report: HeldOutReport | None) -> PushedModel:
    """Push a folder that train.py wrote.

    Raises:
        UserError: See `push_files`.
    """
    facts = read_model_facts(folder)
    if facts is None:
        raise UserError(f"{folder}: found no {ARGUMENTS_FILE}, expected a model folder of train.py.")
    build = partial(build_model_card, facts, report=report, model_id=target.model_id, license=target.license)
    return push_files(publishable_files(folder), build, target)


@dataclass
class RunPush:
    """The pushes of a run.

    While training goes on, a thread pushes hard links to the files, because training may replace the folder
    meanwhile. If a push is still running, the next one is left out. A push that fails then is a warning.
    """

    run: Path
    target: HubTarget
    command: str  # repeats a push that failed
    after_saving: bool = False
    _thread: threading.Thread | None = field(default=None, init=False)

    def check(self, model_name_or_path: str, *, adapter: bool) -> None:
        """Check before training that the push will not fail, and that others can load what is pushed.

        Raises:
            UserError: See `check_push`. Or this is an adapter of a model that is only on this machine.
        """
        if adapter and is_local_model(model_name_or_path):
            raise UserError(
                f"{model_name_or_path}: a folder of this machine, so nobody else could load an adapter of "
                "it. Push that model first and give its name on the Hub. Or train without --push_to_hub, and "
                "push the merged model: export.py --format huggingface."
            )
        check_push(self.target)

    def start_if_asked(self) -> None:
        """Begin a push of the best model in a thread, unless one is running."""
        if self.after_saving and not (self._thread and self._thread.is_alive()):
            self._thread = threading.Thread(target=self._push_copy, daemon=True)
            self._thread.start()

    def _push_copy(self) -> None:
        folder = best_of(self.run)
        try:
            if folder.is_dir():
                with scratch_folder(self.run / ".pushing") as scratch:
                    copy = scratch / folder.name
                    shutil.copytree(folder, copy, copy_function=link_or_copy)
                    push_model_folder(copy, self.target, report=None)  # nobody has tested it yet
        except (UserError, OSError) as error:
            print(f"Warning: {folder} was not pushed: {error} Training goes on.", flush=True)

    def finish(self) -> None:
        """Push the model of a finished run, and say where it is.

        Raises:
            UserError: The push failed. The message says how to repeat it; the model is kept.
        """
        if self._thread:
            self._thread.join()
        try:
            print(push_run(self.run, self.target).describe())
        except UserError as error:
            again = f"The model is kept in {best_of(self.run)}. To push it again:\n  {self.command}"
            raise UserError(f"{error}\n{again}") from error
