"""Outputs of a frozen encoder on disk, so that each clip is encoded once in a run and not once an epoch.

They never change where the encoder, its dropout and the audio do not, and each clip keeps one context for the
run (`batching.fixed_contexts`). Kept are what the first epoch computes anyway: no pass goes before training,
and a run that is interrupted loses nothing. The file is as large as all of them from the start, sparse where
nothing is written yet; later epochs read it through the system's page cache, from memory where that suffices.
Each record carries a checksum. What is missing, torn by a kill or being written by another process does not
match it and is computed again, so that processes need not agree on anything.
"""

import hashlib
import shutil
import zlib
from collections.abc import Iterable, Sequence
from itertools import accumulate
from pathlib import Path

import torch
from torch import nn

from utils.runtime.files import write_failure, write_text

LARGEST_SHARE = 0.5  # of the free disk space; checkpoints need the rest

CHECKSUM_BYTES = 4


class EncoderStates:
    """Reads and writes outputs of clips, by the clip's row.

    Args:
        folder: Holds them and nothing else.
        positions: Of the encoder's output for each row.
        width: The model's `d_model`.
        dtype: What they are kept in.
    """

    def __init__(self, folder: Path, positions: Sequence[int], width: int, dtype: torch.dtype) -> None:
        self._folder, self._path = folder, folder / "states.bin"
        self._width, self._dtype = width, dtype
        self._sizes = [CHECKSUM_BYTES + count * width * dtype.itemsize for count in positions]
        self._offsets = [0, *accumulate(self._sizes)]
        self._is_full = False

    @property
    def num_bytes(self) -> int:
        """Of the file once all clips have been seen."""
        return self._offsets[-1]

    def fits(self) -> bool:
        """Whether the disk has room for it, what is there already counted as its own."""
        self._folder.mkdir(parents=True, exist_ok=True)
        blocks = getattr(self._path.stat(), "st_blocks", 0) if self._path.exists() else 0
        return self.fits_into(shutil.disk_usage(self._folder).free + 512 * blocks)

    def fits_into(self, free_bytes: int) -> bool:
        """Whether so much free disk is room for it."""
        return self.num_bytes <= LARGEST_SHARE * free_bytes

    def prepare(self, digest: str) -> None:
        """Keep what is there if it is of the same `digest`, else begin anew; one process calls this."""
        noted = self._folder / "digest"
        if noted.exists() and noted.read_text(encoding="utf-8") == digest and self._path.exists():
            return
        shutil.rmtree(self._folder, ignore_errors=True)
        self._folder.mkdir(parents=True)
        with self._path.open("wb") as file:
            file.truncate(self.num_bytes)
        write_text(noted, digest)

    def remove(self) -> None:
        """Give the disk space back."""
        shutil.rmtree(self._folder, ignore_errors=True)

    def read(self, rows: Sequence[int]) -> torch.Tensor | None:
        """(B, positions, width) of rows that share a context; None unless all are there, whole."""
        found = []
        with self._path.open("rb", buffering=0) as file:
            for row in rows:
                file.seek(self._offsets[row])
                record = bytearray(file.read(self._sizes[row]))
                states = memoryview(record)[CHECKSUM_BYTES:]
                checksum = int.from_bytes(record[:CHECKSUM_BYTES], "little")
                if checksum == 0 or checksum != zlib.crc32(states):
                    return None
                found.append(torch.frombuffer(states, dtype=self._dtype).view(-1, self._width))
        return torch.stack(found)

    def write(self, rows: Sequence[int], states: torch.Tensor) -> None:
        """Keep `states` (B, positions, width); nothing more once the disk is full, which is told once."""
        if self._is_full:
            return
        records = states.detach().to("cpu", self._dtype).contiguous().view(torch.uint8).numpy()
        try:
            with self._path.open("r+b", buffering=0) as file:
                for row, record in zip(rows, records, strict=True):
                    data = record.tobytes()
                    file.seek(self._offsets[row])
                    file.write(zlib.crc32(data).to_bytes(CHECKSUM_BYTES, "little") + data)
        except OSError as error:
            self._is_full = True
            print(
                f"{self._path}: {write_failure(error)}. No more encoder outputs are kept; training goes on."
            )


def digest_of(encoder: nn.Module, clips: Iterable[bytes], settings: object) -> str:
    """A name for everything that decides the outputs: weights, audio, and settings by their `repr`."""
    digest = hashlib.sha256(repr(settings).encode())
    for name, tensor in encoder.state_dict().items():
        digest.update(name.encode())
        digest.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy())
    for clip in clips:
        digest.update(clip)
    return digest.hexdigest()
