"""Find missing ends and joined files by reading the bytes of audio files.

Decoders accept damaged files without an error. If a broken download cut a WAV file in half, they play the
half. The model would then learn words of the transcript that are not in the audio. Decoders also fail on
files that `cat` or a recorder has joined. libsndfile stops at the end of the first part of a joined
("chained") Ogg file. In an MP3 file it stops after the number of samples that it has counted. FFmpeg decodes
the later parts of an Ogg file with the codebooks of the first part.
"""

import io
import itertools
import os
import re
import struct
from collections.abc import Iterator
from typing import BinaryIO

from utils.runtime.files import FilePart
from utils.runtime.problems import Problem

MISSING_SHARE = 0.01  # of the size in the header; a smaller difference is a slightly wrong header

MISSING_BYTES = 1000  # 0.03 s of 16 kHz WAV, some tenths of a second of compressed speech

# Sizes that programs write into a WAV header when they stream and cannot know: 0, 0x7FFFFFFF, 0xFFFFFFFF less
# a header.
UNKNOWN_SIZE = 0x7FFF0000

MOST_CHUNKS = 10_000  # a file with more is hostile and is not searched

LARGEST_OGG_PAGE = 27 + 255 + 255 * 255

HEAD_BYTES = 64

OGG_STREAM = b"OggS\x00\x02"  # how the first page of a stream begins (RFC 3533, section 6)

SCANNED_BYTES = 1 << 20  # of a file at once

# Headers of MPEG audio layer III: sync, version 1, 2 or 2.5, layer, a known bitrate and sample rate.
_MP3_HEADER = re.compile(rb"\xff[\xe2\xe3\xf2\xf3\xfa\xfb][\x10-\xef]")

_MP3_KBPS = {
    1: (32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    2: (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
}

_MP3_RATES = (44_100, 48_000, 32_000)  # of version 1; half of them of version 2, a quarter of 2.5

MP3_FRAMES = 5  # this number in a row is not chance; fewer may be padding that a Xing header says to skip


def missing_end(file: BinaryIO) -> Problem | None:
    """Return why a file seems to be cut off, or None. The file position is reset to 0.

    Checks WAV, AIFF, MP4 and its variants, Matroska and WebM, Ogg, and MP3 with a Xing or Info header.
    Streams without sizes (raw codecs, ADTS, plain MP3) cannot be checked. FLAC is checked during decoding.
    """
    size = file.seek(0, os.SEEK_END)
    file.seek(0)
    head = file.read(HEAD_BYTES)
    try:
        if head[:4] in (b"RIFF", b"FORM"):
            return _compare("its header", _end_of_chunk(file, head), size)
        if head[4:8] in (b"ftyp", b"moov", b"mdat", b"wide"):
            return _missing_end_of_mp4(file, size)
        if head[:4] == b"\x1a\x45\xdf\xa3":
            return _compare("its header", _end_of_matroska(head), size)
        if head[:4] == b"OggS":
            return _missing_end_of_ogg(file, size)
        if head[:3] == b"ID3" or head[:1] == b"\xff":
            return _compare("its Xing header", _end_of_mp3(file, head), size)
        return None
    except (struct.error, ValueError):  # cut within a header: the decoder's message is better
        return None
    finally:
        file.seek(0)


def _compare(what: str, promised: int | None, size: int) -> Problem | None:
    missing = 0 if promised is None else promised - size
    if promised is None or missing <= max(MISSING_BYTES, MISSING_SHARE * promised):
        return None
    return Problem(
        "truncated",
        f"{what} says {promised:,} bytes, the file has {size:,}; copy it again, "
        "or keep what is there with --skip_rules truncated",
    )


def _end_of_chunk(file: BinaryIO, head: bytes) -> int | None:
    """Return where the audio of a RIFF or AIFF file should end.

    None if it has no audio, or was written as a stream.
    """
    number, sound = ("<I", b"data") if head[:4] == b"RIFF" else (">I", b"SSND")
    position = 12
    for _ in range(MOST_CHUNKS):
        file.seek(position)
        name, length = file.read(4), file.read(4)
        if len(length) < 4:
            return None
        (length_bytes,) = struct.unpack(number, length)
        if name == sound:
            return position + 8 + length_bytes if 0 < length_bytes < UNKNOWN_SIZE else None
        position += 8 + length_bytes + length_bytes % 2  # chunks begin at even places
    return None


def _missing_end_of_mp4(file: BinaryIO, size: int) -> Problem | None:
    """Read the boxes, see https://developer.apple.com/documentation/quicktime-file-format/atoms."""
    position, names = 0, set[bytes]()
    for _ in range(MOST_CHUNKS):
        if position >= size:
            break
        file.seek(position)
        header = file.read(16)
        (length,), name = struct.unpack(">I", header[:4]), header[4:8]
        if length == 1:
            (length,) = struct.unpack(">Q", header[8:16])
        if length == 0:  # up to the end of the file
            length = size - position
        if length < 8 or not name.isalnum():  # not a box, but other data after the last one
            break
        names.add(name)
        position += length
    if problem := _compare("its index", position, size):
        return problem
    if b"moov" not in names:
        return Problem(
            "truncated", "an MP4 file without its index (moov), which is written last; copy it again"
        )
    return None


def _end_of_matroska(head: bytes) -> int | None:
    """Return where the segment should end, from the first two elements (RFC 8794).

    None if it was streamed.
    """
    length, position = _read_variable_integer(head, 4)
    position += length or 0
    if head[position : position + 4] != b"\x18\x53\x80\x67":
        return None
    length, position = _read_variable_integer(head, position + 4)
    return None if length is None else position + length


def _read_variable_integer(data: bytes, position: int) -> tuple[int | None, int]:
    """Read an EBML size. Return it and the position after it. The size is None if it is marked as unknown."""
    (first,) = struct.unpack_from("B", data, position)
    width = 9 - first.bit_length()  # 1 to 8 bytes, told by the leading zeros
    field = data[position : position + width]
    if width > 8 or len(field) < width:
        raise struct.error("no size here")
    mask = (1 << 7 * width) - 1
    value = int.from_bytes(field, "big") & mask
    return (None if value == mask else value), position + width


def _missing_end_of_ogg(file: BinaryIO, size: int) -> Problem | None:
    """Check whether the last page is whole (RFC 3533, section 6)."""
    file.seek(max(size - LARGEST_OGG_PAGE, 0))
    tail = file.read(LARGEST_OGG_PAGE)
    page = tail.rfind(b"OggS\0")
    if page < 0:
        return None
    header = tail[page : page + 27]
    num_segments = header[26] if len(header) == 27 else 0
    table = tail[page + 27 : page + 27 + num_segments]
    end = page + 27 + num_segments + sum(table)
    if len(header) == 27 and len(table) == num_segments and end <= len(tail):
        return None
    return Problem(
        "truncated", "the last page of the Ogg file is cut off; copy it again, or --skip_rules truncated"
    )


def _end_of_mp3(file: BinaryIO, head: bytes) -> int | None:
    """Return where the MP3 frames should end, from the Xing or Info header in the first frame."""
    position = 0
    if head[:3] == b"ID3":
        sizes = head[6:10]  # four times seven bits
        position = 10 + sum(byte << shift for byte, shift in zip(sizes, (21, 14, 7, 0), strict=True))
    file.seek(position)
    frame = file.read(HEAD_BYTES)
    tag = max(frame.find(b"Xing"), frame.find(b"Info"))
    if frame[:1] != b"\xff" or tag < 0:
        return None
    (flags,) = struct.unpack_from(">I", frame, tag + 4)
    if flags & 0b11 != 0b11:  # number of frames, number of bytes
        return None
    (num_bytes,) = struct.unpack_from(">I", frame, tag + 12)
    return position + num_bytes


def split_ogg_chain(file: BinaryIO) -> list[BinaryIO]:
    """Split a chained Ogg file into its parts. Return any other file as one part, unchanged."""
    size = file.seek(0, os.SEEK_END)
    file.seek(0)
    if file.read(4) != b"OggS":
        return [file]
    starts, end_of_head = [0], -1
    for place in _find_all(file, OGG_STREAM):
        if place not in (0, end_of_head):  # otherwise it begins another track of the same part
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
    """Yield the positions of a byte pattern in a file."""
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
    """Check whether the bytes contain MP3 frames anywhere."""
    return any(_is_mp3_at(data, found.start()) for found in _MP3_HEADER.finditer(data))


def _is_mp3_at(data: bytes, place: int) -> bool:
    """Check whether `MP3_FRAMES` frames follow each other from here (ISO 11172-3, section 2.4.1.3)."""
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
