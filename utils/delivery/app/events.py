"""Connect what happens on the page with the service behind it."""

from collections.abc import Iterator, Sequence
from typing import Any

import gradio as gr

from utils.delivery.app.choosing import Given
from utils.delivery.app.service import Answer, TranscriptionService

DETECTED = "auto"  # in place of a language: the model detects it

MOST_CHARACTERS = 4096  # of a path or link


class PageEvents:
    """The functions that the page calls. A visitor is known by the random name of the browser's session.

    Args:
        service: Answers what visitors ask.
        kinds: The ways to give a recording that the page offers. What comes in other ways is ignored.
    """

    def __init__(self, service: TranscriptionService, kinds: Sequence[str]) -> None:
        self._service, self._kinds = service, kinds

    def take(self, microphone: Any, file: Any, link: Any, request: gr.Request) -> Iterator[list[Any]]:
        """Take a recording. The inputs are as the browser sent them, so they may hold anything."""
        sent = {"microphone": _path_in(microphone), "file": _path_in(file), "link": _text_in(link)}
        given = Given(**{kind: value if kind in self._kinds else None for kind, value in sent.items()})
        for answer in self._service.take(_visitor(request), given):
            if answer.warning:
                gr.Warning(answer.warning)
            yield _changes(answer)

    def transcribe(self, language: str, task: str, request: gr.Request) -> Iterator[list[Any]]:
        spoken = None if language == DETECTED else language
        for answer in self._service.transcribe(_visitor(request), spoken, task):
            yield _changes(answer)

    def stop(self, request: gr.Request) -> list[Any]:
        return _changes(self._service.stop(_visitor(request)))

    def leave(self, request: gr.Request) -> None:
        self._service.leave(_visitor(request))


def _path_in(upload: Any) -> str | None:
    """Return the path that the browser sent for an upload. The service checks where it leads."""
    return _text_in(upload.get("path")) if isinstance(upload, dict) else None


def _text_in(value: Any) -> str | None:
    return value[:MOST_CHARACTERS] if isinstance(value, str) else None


def _visitor(request: gr.Request) -> str:
    return str(request.session_hash)


def _changes(answer: Answer) -> list[Any]:
    """Return the values of message, player, transcripts and stop button."""
    texts = [answer.message, answer.player, answer.transcripts]
    return [*(gr.skip() if text is None else text for text in texts), gr.Button(interactive=answer.can_stop)]
