"""What all tests share: a tiny random Whisper, datasets of tones, real prompts, skips with a reason."""

import io
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")


def build_tokenizer():
    """Whisper's special tokens over an alphabet of 256 bytes, without merges."""
    from tokenizers import pre_tokenizers
    from transformers import WhisperTokenizerFast
    from transformers.models.whisper.tokenization_whisper import LANGUAGES

    names = [*sorted(pre_tokenizers.ByteLevel.alphabet()), "<|endoftext|>", "<|startoftranscript|>"]
    names += [f"<|{code}|>" for code in LANGUAGES]
    specials = ["translate", "transcribe", "startoflm", "startofprev", "nospeech", "notimestamps"]
    names += [f"<|{name}|>" for name in specials]
    names += [f"<|{0.02 * step:.2f}|>" for step in range(1501)]
    vocabulary = {name: index for index, name in enumerate(names)}
    tokenizer = WhisperTokenizerFast(vocab=vocabulary, merges=[], pad_token="<|endoftext|>")
    tokenizer.add_tokens(names[256:], special_tokens=True)
    return tokenizer


def build_tiny_whisper(folder: Path) -> Path:
    """Save a random Whisper of two layers and width 64 with processor and generation config."""
    import torch
    from transformers import (
        WhisperConfig,
        WhisperFeatureExtractor,
        WhisperForConditionalGeneration,
        WhisperProcessor,
    )
    from transformers.models.whisper.tokenization_whisper import LANGUAGES

    tokenizer = build_tokenizer()
    ids = tokenizer.convert_tokens_to_ids
    special = {
        "decoder_start_token_id": ids("<|startoftranscript|>"),
        "eos_token_id": ids("<|endoftext|>"),
        "pad_token_id": ids("<|endoftext|>"),
        "bos_token_id": ids("<|endoftext|>"),
    }
    shape = dict.fromkeys(("encoder_layers", "decoder_layers", "encoder_attention_heads"), 2)
    shape |= dict.fromkeys(("encoder_ffn_dim", "decoder_ffn_dim"), 128) | {
        "decoder_attention_heads": 2,
        "d_model": 64,
    }
    torch.manual_seed(0)
    model = WhisperForConditionalGeneration(WhisperConfig(vocab_size=len(tokenizer), **shape, **special))
    config = model.generation_config
    config.update(**special)
    config.lang_to_id = {f"<|{code}|>": ids(f"<|{code}|>") for code in LANGUAGES}
    config.task_to_id = {task: ids(f"<|{task}|>") for task in ("transcribe", "translate")}
    config.no_timestamps_token_id = ids("<|notimestamps|>")
    config.is_multilingual, config.max_length = True, 448
    config.suppress_tokens, config.begin_suppress_tokens = [1, 2], [tokenizer.eos_token_id]
    config._from_model_config = False
    model.save_pretrained(folder)
    config.save_pretrained(folder)
    feature_extractor = WhisperFeatureExtractor(feature_size=80)
    WhisperProcessor(feature_extractor, tokenizer).save_pretrained(folder)
    feature_extractor.save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def tiny_whisper(tmp_path_factory) -> Path:
    """Folder of a tiny random multilingual Whisper that every loader accepts."""
    return build_tiny_whisper(tmp_path_factory.mktemp("tiny") / "whisper")


def flac_tone(seconds: float, hertz: float = 220.0, loudness: float = 0.3) -> bytes:
    """A tone with a little noise as 16 kHz mono FLAC."""
    import soundfile

    time = np.arange(round(seconds * 16_000)) / 16_000
    noise = np.random.default_rng(round(hertz)).normal(scale=0.01, size=time.size)
    buffer = io.BytesIO()
    soundfile.write(buffer, loudness * np.sin(2 * np.pi * hertz * time) + noise, 16_000, format="FLAC")
    return buffer.getvalue()


def write_prepared_tones(
    folder: Path,
    sizes: dict[str, int],
    language: str | None = "it",
    seed: int = 0,
    loudness: float = 0.3,
) -> Path:
    """A prepared dataset of tones of 0.5 to 6 s with texts of very different length."""
    from datasets import Dataset, DatasetDict, Features, Value

    features = Features(
        {
            "id": Value("string"),
            "audio": Value("binary"),
            "text": Value("string"),
            "duration": Value("float64"),
            "language": Value("string"),
        }
    )
    random = np.random.default_rng(seed)
    splits = {}
    for split, size in sizes.items():
        durations = [round(float(seconds), 2) for seconds in random.uniform(0.5, 6.0, size)]
        lengths = random.integers(1, 40, size)
        splits[split] = Dataset.from_dict(
            {
                "id": [f"{split}-{index:04d}" for index in range(size)],
                "audio": [
                    flac_tone(value, 100 + 10 * index, loudness) for index, value in enumerate(durations)
                ],
                "text": ["".join(random.choice(list("abc de"), length)).strip() or "a" for length in lengths],
                "duration": durations,
                "language": [language] * size,
            },
            features=features,
        )
    DatasetDict(splits).save_to_disk(folder)
    return folder


@pytest.fixture(scope="session")
def prepared(tmp_path_factory) -> Path:
    """Prepared dataset: 40 clips to train on, 6 to validate on, 6 to test on."""
    return write_prepared_tones(
        tmp_path_factory.mktemp("prepared") / "it", {"train": 40, "validation": 6, "test": 6}
    )


@pytest.fixture(scope="session")
def build_prepared() -> Callable[..., Path]:
    """A function that writes a prepared dataset of the given split sizes and language."""
    return write_prepared_tones


@pytest.fixture(scope="session")
def italian_prompts() -> list[tuple[np.ndarray, str]]:
    """Eight real telephone prompts of 1 to 6 s: (samples,) float32 at 16 kHz, and the transcript."""
    from utils.audio.reading import decode_audio
    from utils.data.sources.asterisk_download import fetch_prompts

    prompts = fetch_prompts("it")
    clips = []
    for key, text in prompts.transcripts:
        path = next(iter(prompts.folder.rglob(f"{key}.g722")), None)
        if path is None or not 8_000 < path.stat().st_size < 48_000 or "[" in text:  # 8,000 bytes a second
            continue
        clips.append((decode_audio(path), text))
        if len(clips) == 8:
            break
    return clips


@pytest.fixture
def require_program() -> Callable[[str], str]:
    """A function that gives a system program's path, and skips the test where there is none.

    With REQUIRE_SYSTEM_PROGRAMS=1, as .ci/run sets it, the test fails instead: nothing is skipped unseen.
    """
    return _require_program


@pytest.fixture
def demo(require_program) -> Path:
    """Folder that `make demo` leaves, with data/demo beside it; a finished one in this checkout is reused."""
    root = Path(__file__).parents[1]
    subprocess.run([require_program("make"), "demo"], cwd=root, check=True, timeout=40 * 60)
    return root / "runs" / "demo"


def _require_program(name: str) -> str:
    path = shutil.which(name)
    if path is not None:
        return path
    if os.environ.get("REQUIRE_SYSTEM_PROGRAMS") == "1":
        pytest.fail(f"{name} is not installed: add its package to .ci/run.")
    pytest.skip(f"{name} is not installed")


@pytest.fixture
def small_disk(tmp_path_factory) -> Iterator[Callable[[int], Path]]:
    """A function that mounts a file system of so many bytes in memory; needs root on Linux."""
    mounted: list[Path] = []

    def mount(size_bytes: int) -> Path:
        folder = tmp_path_factory.mktemp("disk")
        command = ["mount", "-t", "tmpfs", "-o", f"size={size_bytes}", "tmpfs", str(folder)]
        if (
            shutil.which("mount") is None
            or subprocess.run(command, capture_output=True, check=False).returncode
        ):
            pytest.skip("mounting a small file system needs root on Linux")
        mounted.append(folder)
        return folder

    yield mount
    for folder in mounted:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip tests of hardware that this machine lacks; torch is imported for these only."""
    wanted = {mark.name for mark in item.iter_markers()} & {"gpu", "mps"}
    if not wanted:
        return
    import torch

    if "gpu" in wanted and not torch.cuda.is_available():
        pytest.skip("no NVIDIA GPU here")
    if "mps" in wanted and not torch.backends.mps.is_available():
        pytest.skip("no Apple GPU here")


@pytest.fixture
def fresh_accelerator():
    """Accelerate keeps its state in the process; with this every run in a test starts anew."""
    from accelerate.state import AcceleratorState

    AcceleratorState._reset_state(reset_partial_state=True)
    yield
    AcceleratorState._reset_state(reset_partial_state=True)
