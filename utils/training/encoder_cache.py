"""Outputs of a frozen encoder on disk, so that each clip is encoded once in a run and not once an epoch.

They never change where the encoder, its dropout and the audio do not, and each clip keeps one context for the
run (see `fixed_contexts`). Kept are what the first epoch computes anyway: no pass goes before training,
and a run that is interrupted loses nothing. The file is as large as all of them from the start, sparse where
nothing is written yet; later epochs read it through the system's page cache, from memory where that suffices.
Each record carries a checksum. What is missing, torn by a kill or being written by another process does not
match it and is computed again, so that processes need not agree on anything.
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

LARGEST_SHARE = 0.5  # of the free disk space; checkpoints need the rest

CHECKSUM_BYTES = 4

KEPT_IN = {"bf16": torch.bfloat16, "fp16": torch.float16}  # what the decoder casts its input to anyway


class EncoderCache:
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


@dataclass(frozen=True)
class FixedEncoding:
    """What decides the outputs of a frozen encoder, beside its weights and the audio."""

    contexts: Sequence[float]  # seconds of each clip, the same all through the run
    silence_run: int  # see `encode`
    multiple: int  # see `encode`

    def cache_in(self, folder: Path, loaded: LoadedModel, mixed_precision: str) -> EncoderCache:
        """The outputs in a folder for them alone; nothing is read or written yet."""
        config = whisper_of(loaded.model).config
        positions = [
            count_positions(
                encoder_positions(context), self.silence_run, config.max_source_positions, self.multiple
            )
            for context in self.contexts
        ]
        return EncoderCache(folder, positions, config.d_model, KEPT_IN.get(mixed_precision, torch.float32))


def encoder_is_fixed(model: nn.Module) -> bool:
    """Whether Whisper's encoder gives the same for the same input all through training."""
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
    """Where the outputs of a frozen encoder are kept, old ones among them; all processes call this.

    Args:
        accelerator: Its precision is that of the outputs.
        folder: For them alone.
        loaded: The model, its encoder not trained.
        encoding: How it encodes.
        audio: Of each clip, as it is stored.

    Returns:
        None where the disk has no room for them, which is told.
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
    outcome = f"kept until the end of training, {size}" if fits else f"not kept: {size} is over half the disk"
    accelerator.print(f"The encoder is frozen and no audio is changed: its outputs are {outcome}.")
    return cache if fits else None


@contextmanager
def rehearsing_with_cache(
    mixed_precision: str, output_dir: Path, loaded: LoadedModel, encoding: FixedEncoding
) -> Iterator[EncoderCache | None]:
    """Keep the outputs of a few steps in a temporary folder, where a run in `output_dir` would keep all."""
    with TemporaryDirectory() as folder:
        cache = encoding.cache_in(Path(folder) / "states", loaded, mixed_precision)
        if cache.fits_into(free_disk_bytes(output_dir)):
            cache.prepare("")
            yield cache
        else:
            yield None


def digest_of_outputs(encoder: nn.Module, clips: Iterable[bytes], settings: object) -> str:
    """A name for everything that decides the outputs: weights, audio, and settings by their `repr`."""
    digest = hashlib.sha256(repr(settings).encode())
    for name, tensor in encoder.state_dict().items():
        digest.update(name.encode())
        digest.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy())
    for clip in clips:
        digest.update(clip)
    return digest.hexdigest()
