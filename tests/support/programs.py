"""A shell script that stands in for a program."""

from pathlib import Path


def write_program(path: Path, command: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/bash\n{command}\n")
    path.chmod(0o755)
