"""Which examples a page has room to play."""

import base64

import numpy as np

from tests.support.pages import tone
from utils.audio.flac import SAMPLE_RATE, decode_flac
from utils.report.players import AudioExample, load_player, load_players


def examples(name: str, count: int, flac: bytes) -> list[AudioExample]:
    return [AudioExample(f"{name} {n}", None, flac, "") for n in range(count)]


def test_room_goes_round_the_groups():
    flac = tone(1)
    size = len(base64.b64encode(flac))
    groups = [examples("a", 3, flac), [], examples("b", 2, flac), examples("c", 3, flac)]
    players = load_players(groups, most_characters=5 * size)
    assert [[player.audio is not None for player in group] for group in players] == [
        [True, True, False],
        [],
        [True, True],
        [True, False, False],
    ]
    assert players[0][2].note == "The page has no room for its sound."


def test_a_smaller_sound_still_finds_its_place():
    small, large = tone(0.5), tone(3)
    room = len(base64.b64encode(small)) + 4
    ((first, second),) = load_players(
        [[*examples("large", 1, large), *examples("small", 1, small)]], most_characters=room
    )
    assert first.audio is None and second.audio == base64.b64encode(small).decode()


def test_long_clips_are_cut_where_the_page_wants():
    flac = tone(3)
    player = load_player(AudioExample("a", None, flac, ""), 2.0)
    heard = decode_flac(base64.b64decode(player.audio))
    assert len(heard) == 2 * SAMPLE_RATE and player.note == "The first 2 of 3.0 s."
    assert np.array_equal(heard, decode_flac(flac)[: 2 * SAMPLE_RATE])


def test_what_cannot_be_played_says_so():
    assert load_player(AudioExample("a", None, b"not audio", "")).note == "Its sound cannot be played."
    silent = load_player(AudioExample("a", None, None, ""))
    assert silent.audio is None and silent.note == ""
