"""Adds sound to the examples on a page, as long as the page does not become too large."""

import base64
from collections.abc import Sequence
from dataclasses import dataclass

from utils.audio.flac import SAMPLE_RATE, AudioError, decode_flac, encode_flac

EXAMPLE_SECONDS = 10.0  # longer clips are cut

MOST_AUDIO_CHARACTERS = 2_900_000  # of all players as base64, so that the page stays about 3 MB


@dataclass(frozen=True)
class AudioExample:
    """One utterance or reject that a page shows, with its sound."""

    title: str  # where it comes from
    text: str | None
    flac: bytes | None  # 16 kHz mono, as `utils.audio.flac.encode_flac` writes it
    detail: str  # of a reject its reason


@dataclass(frozen=True)
class Player:
    """An example. It has its sound if there is room on the page."""

    example: AudioExample
    audio: str | None  # base64
    note: str = ""


def load_players(
    groups: Sequence[Sequence[AudioExample]],
    *,
    most_characters: int = MOST_AUDIO_CHARACTERS,
    longest: float = EXAMPLE_SECONDS,
) -> list[list[Player]]:
    """Add sound to examples while there is room: first to the first of each group, then to the second of
    each, and so on.

    Args:
        groups: Groups of examples. In each group, the more important ones come first.
        most_characters: Largest number of characters of all sounds together, as base64.
        longest: Longer clips are cut to this number of seconds.
    """
    players: list[list[Player]] = [[] for _ in groups]
    room = most_characters
    places = [(place, number) for number, group in enumerate(groups) for place in range(len(group))]
    for place, number in sorted(places):
        player = load_player(groups[number][place], longest)
        if player.audio is not None and len(player.audio) > room:
            player = Player(player.example, None, "The page has no room for its sound.")
        room -= len(player.audio or "")
        players[number].append(player)
    return players


def load_player(example: AudioExample, longest: float = EXAMPLE_SECONDS) -> Player:
    """Return the sound of an example as base64, cut to `longest` seconds."""
    if example.flac is None:
        return Player(example, None)
    try:
        samples = decode_flac(example.flac)
    except AudioError:
        return Player(example, None, "Its sound cannot be played.")
    most_samples = round(longest * SAMPLE_RATE)
    if len(samples) <= most_samples:
        return Player(example, base64.b64encode(example.flac).decode())
    cut = base64.b64encode(encode_flac(samples[:most_samples])).decode()
    return Player(example, cut, f"The first {longest:g} of {len(samples) / SAMPLE_RATE:.1f} s.")
