"""Cache the outputs of a frozen encoder on disk, so that each clip is encoded only once in a run.

The outputs stay the same if the weights and the audio do not change, the encoder has no dropout, and each
clip keeps one context (see `fixed_contexts`). The first epoch computes and stores them, so training needs no
additional pass. An interrupted run keeps them. The file has its final size from the start, but empty parts
take no disk space (a sparse file). Later epochs read it through the page cache of the system. Each record has
a checksum. If a record is missing, incomplete or being written by another process, its checksum does not
match and the output is computed again. So processes need no locks.
"""

import hashlib
import shutil
import zlib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from accelerate import Accelerator
from accelerate.utils import broadcast_object_list
from torch import nn

from utils.model.loading import LoadedModel
from utils.model.silence import count_positions, encoder_positions
from utils.model.whisper import whisper_of
from utils.runtime.files import free_disk_bytes, write_failure, write_text

LARGEST_SHARE = 0.5  # of the free disk space; the rest is for checkpoints

CHECKSUM_BYTES = 4

KEPT_IN = {"bf16": torch.bfloat16, "fp16": torch.float16}  # the decoder casts its input to these anyway


class EncoderCache:
    """Reads and writes the encoder outputs of clips, by row.

    Args:
        folder: A folder that has only the cache.
        positions: Number of encoder positions of each row.
        width: The model's `d_model`.
        dtype: The dtype of the stored outputs.
    """

    def __init__(self, folder: Path, positions: Sequence[int], width: int, dtype: torch.dtype) -> None:
        self._folder, self._path = folder, folder / "states.bin"
        self._width, self._dtype = width, dtype
        self._sizes = [CHECKSUM_BYTES + count * width * dtype.itemsize for count in positions]
        self._offsets = [0, *accumulate(self._sizes)]
        self._is_full = False

    @property
    def num_bytes(self) -> int:
        """Size of the file when the outputs of all clips are stored."""
        return self._offsets[-1]

    def fits(self) -> bool:
        """Check whether the disk has space for the file.

        The space of an existing cache file counts as free.
        """
        self._folder.mkdir(parents=True, exist_ok=True)
        blocks = getattr(self._path.stat(), "st_blocks", 0) if self._path.exists() else 0
        return self.fits_into(shutil.disk_usage(self._folder).free + 512 * blocks)

    def fits_into(self, free_bytes: int) -> bool:
        """Check whether the file needs at most `LARGEST_SHARE` of the free bytes."""
        return self.num_bytes <= LARGEST_SHARE * free_bytes

    def prepare(self, digest: str) -> None:
        """Keep an existing file with the same `digest`.

        Otherwise create an empty one. Only one process calls this.
        """
        noted = self._folder / "digest"
        if noted.exists() and noted.read_text(encoding="utf-8") == digest and self._path.exists():
            return
        shutil.rmtree(self._folder, ignore_errors=True)
        self._folder.mkdir(parents=True)
        with self._path.open("wb") as file:
            file.truncate(self.num_bytes)
        write_text(noted, digest)

    def remove(self) -> None:
        """Delete the cache."""
        shutil.rmtree(self._folder, ignore_errors=True)

    def read(self, rows: Sequence[int]) -> torch.Tensor | None:
        """Return the outputs (B, positions, width) of rows with the same context.

        None if any of them is not stored.
        """
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
        """Store `states` (B, positions, width). If the disk is full, warn once and store no more."""
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
            print(f"{self._path}: {write_failure(error)}. No more outputs are cached. Training continues.")


@dataclass(frozen=True)
class FixedEncoding:
    """The settings that change the outputs of a frozen encoder. Its weights and the audio change them too."""

    contexts: Sequence[float]  # seconds of each clip, the same during the whole run
    silence_run: int  # see `encode`
    multiple: int  # see `encode`

    def cache_in(self, folder: Path, loaded: LoadedModel, mixed_precision: str) -> EncoderCache:
        """Return a cache in `folder`. Nothing is read or written yet."""
        config = whisper_of(loaded.model).config
        positions = [
            count_positions(
                encoder_positions(context), self.silence_run, config.max_source_positions, self.multiple
            )
            for context in self.contexts
        ]
        return EncoderCache(folder, positions, config.d_model, KEPT_IN.get(mixed_precision, torch.float32))


def encoder_is_fixed(model: nn.Module) -> bool:
    """Check whether the encoder gives the same output for the same input during the whole training."""
    encoder = whisper_of(model).model.encoder
    config = encoder.config
    dropouts = (config.dropout, config.attention_dropout, config.activation_dropout)
    return not any(dropouts) and not any(parameter.requires_grad for parameter in encoder.parameters())


def open_encoder_cache(
    accelerator: Accelerator,
    folder: Path,
    loaded: LoadedModel,
    encoding: FixedEncoding,
    audio: Iterable[bytes],
) -> EncoderCache | None:
    """Open the cache of encoder outputs in `folder`, and reuse valid outputs. All processes must call this.

    Args:
        accelerator: Its precision decides the dtype of the outputs.
        folder: A folder that has only the cache.
        loaded: The model, with a frozen encoder.
        encoding: The settings of the encoder.
        audio: Stored audio bytes of each clip.

    Returns:
        The cache. None if the disk has no space for it; a message reports this.
    """
    cache = encoding.cache_in(folder, loaded, accelerator.mixed_precision)
    (fits,) = broadcast_object_list([cache.fits()])
    if fits and accelerator.is_main_process:
        settings = (encoding, accelerator.mixed_precision, loaded.processor.feature_extractor.to_dict())
        cache.prepare(digest_of_outputs(whisper_of(loaded.model).model.encoder, audio, settings))
    elif accelerator.is_main_process:
        cache.remove()
    accelerator.wait_for_everyone()
    size = f"{cache.num_bytes / 1e9:.2f} GB in {folder}"
    outcome = (
        f"cached until the end of training, {size}"
        if fits
        else f"not cached: {size} is more than half the free disk space"
    )
    accelerator.print(f"The encoder is frozen and the audio stays the same: its outputs are {outcome}.")
    return cache if fits else None


@contextmanager
def rehearsing_with_cache(
    mixed_precision: str, output_dir: Path, loaded: LoadedModel, encoding: FixedEncoding
) -> Iterator[EncoderCache | None]:
    """Cache the outputs of a few steps in a temporary folder, if a run in `output_dir` would use a cache."""
    with TemporaryDirectory() as folder:
        cache = encoding.cache_in(Path(folder) / "states", loaded, mixed_precision)
        if cache.fits_into(free_disk_bytes(output_dir)):
            cache.prepare("")
            yield cache
        else:
            yield None


def digest_of_outputs(encoder: nn.Module, clips: Iterable[bytes], settings: object) -> str:
    """Return a digest of everything that decides the outputs: weights, audio and the `repr` of settings."""
    digest = hashlib.sha256(repr(settings).encode())
    for name, tensor in encoder.state_dict().items():
        digest.update(name.encode())
        digest.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy())
    for clip in clips:
        digest.update(clip)
    return digest.hexdigest()
