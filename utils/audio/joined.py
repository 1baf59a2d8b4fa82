"""Audio files that were put one behind the other, as `cat` or a recorder does it, where decoders stop early.

libsndfile stops at the end of the first part of a chained Ogg file, and after the samples that it counted in
an MP3 file; FFmpeg decodes the later parts of an Ogg file with the codebooks of the first.
"""

import io
import itertools
import os
import re
from collections.abc import Iterator
from typing import BinaryIO

from utils.runtime.file_parts import FilePart

OGG_STREAM = b"OggS\x00\x02"  # how the first page of a stream begins (RFC 3533, section 6)

SCANNED_BYTES = 1 << 20  # of a file at once

# Headers of MPEG audio layer III: sync, version 1, 2 or 2.5, layer, a known bitrate and sample rate.
_MP3_HEADER = re.compile(rb"\xff[\xe2\xe3\xf2\xf3\xfa\xfb][\x10-\xef]")

_MP3_KBPS = {
    1: (32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    2: (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
}

_MP3_RATES = (44_100, 48_000, 32_000)  # of version 1; half of them of version 2, a quarter of 2.5

MP3_FRAMES = 5  # in a row are no chance; fewer may be the padding that a Xing header tells to leave out


def split_ogg_chain(file: BinaryIO) -> list[BinaryIO]:
    """The parts of an Ogg file that were put one behind the other, or any other file as it is."""
    size = file.seek(0, os.SEEK_END)
    file.seek(0)
    if file.read(4) != b"OggS":
        return [file]
    starts, end_of_head = [0], -1
    for place in _find_all(file, OGG_STREAM):
        if place not in (0, end_of_head):  # else it begins another track of the same part
            starts.append(place)
        end_of_head = _end_of_ogg_page(file, place)
    if len(starts) == 1:
        return [file]
    spans = itertools.pairwise([*starts, size])
    return [io.BufferedReader(FilePart(file, start, end - start)) for start, end in spans]


def _end_of_ogg_page(file: BinaryIO, place: int) -> int:
    file.seek(place + 26)
    num_segments = int.from_bytes(file.read(1))
    return place + 27 + num_segments + sum(file.read(num_segments))


def _find_all(file: BinaryIO, pattern: bytes) -> Iterator[int]:
    """Places of some bytes in a file."""
    place, block = 0, b""
    while True:
        file.seek(place)
        block = file.read(SCANNED_BYTES)
        if len(block) < len(pattern):
            return
        for found in re.finditer(re.escape(pattern), block):
            yield place + found.start()
        place += len(block) - len(pattern) + 1


def holds_mp3(data: bytes) -> bool:
    """Whether there are MP3 frames anywhere in some bytes."""
    return any(_is_mp3_at(data, found.start()) for found in _MP3_HEADER.finditer(data))


def _is_mp3_at(data: bytes, place: int) -> bool:
    """Whether `MP3_FRAMES` frames follow each other from here on (ISO 11172-3, section 2.4.1.3)."""
    for _ in range(MP3_FRAMES):
        header = data[place : place + 3]
        rate_index = header[2] >> 2 & 3 if _MP3_HEADER.match(header) else 3
        if rate_index == 3:
            return False
        version = 1 if header[1] >= 0xFA else 2
        rate = _MP3_RATES[rate_index] // (1 if version == 1 else 2 if header[1] >= 0xF2 else 4)
        kbps = _MP3_KBPS[version][(header[2] >> 4) - 1]
        place += (144_000 // version) * kbps // rate + (header[2] >> 1 & 1)
    return True
