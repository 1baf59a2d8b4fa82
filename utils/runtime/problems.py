"""Reasons for rejecting an item of data."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Problem:
    """The reason for rejecting an item: a kind and details. Rejects are counted by their kind.

    Its text is `kind: details`. The details say what was found, what was expected and what to do.
    """

    kind: str
    details: str

    def __str__(self) -> str:
        return f"{self.kind}: {self.details}"


class BadItem(Exception):
    """Raised if an item must be rejected."""

    def __init__(self, kind: str, details: str) -> None:
        super().__init__(kind, details)
        self.problem = Problem(kind, details)

    def __str__(self) -> str:
        return str(self.problem)
