"""Connect what happens on the page with the service behind it."""

from collections.abc import Iterator
from typing import Any

import gradio as gr

from utils.delivery.app.choosing import Given
from utils.delivery.app.service import Answer, TranscriptionService

DETECTED = "auto"  # in place of a language: the model detects it


class PageEvents:
    """The functions that the page calls. A visitor is known by the random name of the browser's session."""

    def __init__(self, service: TranscriptionService) -> None:
        self._service = service

    def take(
        self, microphone: str | None, file: str | None, link: str | None, request: gr.Request
    ) -> Iterator[list[Any]]:
        for answer in self._service.take(_visitor(request), Given(microphone, file, link)):
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


def _visitor(request: gr.Request) -> str:
    return str(request.session_hash)


def _changes(answer: Answer) -> list[Any]:
    """Return the values of message, player, transcripts and stop button."""
    texts = [answer.message, answer.player, answer.transcripts]
    return [*(gr.skip() if text is None else text for text in texts), gr.Button(interactive=answer.can_stop)]
