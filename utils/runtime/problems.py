"""Why an item of data is not kept."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Problem:
    """What keeps one item from being used: its kind, by which rejects are counted, and the details.

    As text, `kind: details`: what was found, what was expected, what to do.
    """

    kind: str
    details: str

    def __str__(self) -> str:
        return f"{self.kind}: {self.details}"


class BadItem(Exception):
    """An item that becomes a reject."""

    def __init__(self, kind: str, details: str) -> None:
        super().__init__(kind, details)
        self.problem = Problem(kind, details)

    def __str__(self) -> str:
        return str(self.problem)
