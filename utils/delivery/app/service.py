"""Answer what visitors ask of the page. Every answer is HTML of the templates."""

import logging
import time
from collections.abc import Iterator
from dataclasses import dataclass

from utils.audio.flac import SAMPLE_RATE, decode_flac, encode_flac
from utils.delivery.app.choosing import NOTHING_GIVEN, Given
from utils.delivery.app.guarding import LOST
from utils.delivery.app.models import PageModels
from utils.delivery.app.sessions import Session, Sessions, Stopped
from utils.delivery.app.taking import Limits, take_sound
from utils.delivery.app.view import render_message, render_player, render_progress, render_transcripts
from utils.delivery.cues import Layout
from utils.runtime.errors import UserError
from utils.runtime.files import write_bytes

STOPPED = "Stopped."

OUT_OF_TIME = "This takes too long on this computer, so it was stopped here. Give a shorter recording."

FAILED = "Something went wrong on this computer. Its log tells what. You can try again."

LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class Answer:
    """What changes on the page. None: it stays as it is."""

    message: str | None = None
    player: str | None = None
    transcripts: str | None = None
    can_stop: bool = True
    warning: str | None = None


class TranscriptionService:
    """Take recordings and transcribe them, for many visitors.

    Args:
        models: The models of the page.
        sessions: What is kept for each visitor.
        limits: What a visitor may ask for.
        layout: The limits of a subtitle.
    """

    def __init__(self, models: PageModels, sessions: Sessions, limits: Limits, layout: Layout) -> None:
        self.models, self.limits = models, limits
        self._sessions, self._layout = sessions, layout

    def take(self, visitor: str, given: Given) -> Iterator[Answer]:
        """Read a recording into the visitor's folder, to be transcribed next."""
        chosen = given.choose()
        if chosen is None:
            self._sessions.end(visitor)
            yield Answer(_problem(NOTHING_GIVEN), "", "", can_stop=False)
            return
        if chosen.upload is not None and not self._sessions.holds(chosen.upload):
            yield Answer(_problem(LOST), "", "", can_stop=False)
            return
        session = self._sessions.begin(visitor, chosen.upload)
        doing = "Fetching the link …" if chosen.kind == "link" else "Reading the recording …"
        yield Answer(render_message(doing), "", "", warning=chosen.warning)
        try:
            samples = take_sound(chosen, session.folder, self.limits, session.check)
            session.check()
            write_bytes(session.sound, encode_flac(samples))
        except Stopped:
            return
        except UserError as error:
            yield Answer(_problem(str(error)), can_stop=False)
        except Exception:
            if not session.is_stopped:  # its folder is gone
                LOG.exception("a recording could not be taken")
                yield Answer(_problem(FAILED), can_stop=False)
        else:
            session.is_ready = True
            yield Answer(render_message("Waiting for the model …"), render_player(session.sound))

    def transcribe(self, visitor: str, language: str | None, task: str) -> Iterator[Answer]:
        """Transcribe what was taken. Nothing happens if nothing was."""
        session = self._sessions.find(visitor)
        if session is None or not session.is_ready:
            yield Answer(can_stop=False)
            return
        try:
            yield from self._transcribe(session, language, task)
        except Stopped:
            yield Answer(render_message(STOPPED), can_stop=False)
        except Exception:
            LOG.exception("a recording could not be transcribed")
            yield Answer(_problem(FAILED), can_stop=False)
        finally:
            session.is_ready = False

    def _transcribe(self, session: Session, language: str | None, task: str) -> Iterator[Answer]:
        session.check()
        samples = decode_flac(session.sound.read_bytes())
        duration, began = len(samples) / SAMPLE_RATE, time.monotonic()
        yield Answer(render_progress(0.0, duration))
        for steps in self.models.transcribe(samples, language, task, session.check):
            session.check()
            is_complete = steps[0].until == duration
            is_late = not is_complete and time.monotonic() - began > self.limits.max_work
            shown = render_transcripts(
                self.models.names, steps, self._layout, task, is_complete=is_complete or is_late
            )
            message = _problem(OUT_OF_TIME) if is_late else render_progress(steps[0].until, duration)
            if is_complete:
                message = render_message(f"Done in {time.monotonic() - began:.1f} s.")
            yield Answer(message, transcripts=shown, can_stop=not (is_complete or is_late))
            if is_late:
                return

    def stop(self, visitor: str) -> Answer:
        """Stop the visitor's request. What was transcribed so far stays on the page."""
        session = self._sessions.find(visitor)
        if session is not None:
            session.stop()
        return Answer(render_message(STOPPED), can_stop=False)

    def leave(self, visitor: str) -> None:
        """Delete all that is kept for a visitor."""
        self._sessions.end(visitor)


def _problem(text: str) -> str:
    return render_message(text, is_problem=True)
