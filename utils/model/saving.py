"""Write model folders with a model card, completely or not at all. Read weights one tensor after another."""

import contextlib
import copy
import json
import shutil
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import nn
from transformers import WhisperForConditionalGeneration, WhisperProcessor

from utils.model.alignment_heads import alignment_heads
from utils.model.whisper import adapter_name, whisper_of
from utils.runtime.errors import UserError
from utils.runtime.files import folder_written_whole, write_json, write_text

WHOLE, ADAPTER, ADAPTER_CONFIG = "model.safetensors", "adapter_model.safetensors", "adapter_config.json"

# may be missing in a file, because Whisper ties the first to the second
TIED = {"proj_out.weight": "model.decoder.embed_tokens.weight"}

# initialisations that change the base model's weights; the adapter's folder does not show this
CHANGING_THE_BASE = ("pissa", "olora", "corda", "loftq")

ARGUMENTS_FILE = "train.yaml"

RESULTS_FILE = "train_results.json"


def is_adapter(folder: Path) -> bool:
    """Check whether the folder holds a PEFT adapter instead of a whole model."""
    return (folder / ADAPTER_CONFIG).is_file()


def read_adapter_config(folder: Path) -> dict:
    """Read the configuration of an adapter folder, as PEFT wrote it."""
    return json.loads((folder / ADAPTER_CONFIG).read_text(encoding="utf-8"))


def why_not_plain_lora(config: Mapping[str, object]) -> str | None:
    """Return why an adapter's weights are not the plain sum of base and B A. None if they are.

    Args:
        config: `adapter_config.json`, or `LoraConfig.to_dict()`.
    """
    kind = str(getattr(config.get("peft_type"), "value", config.get("peft_type")))
    if kind != "LORA":
        return f"{kind} is not plain LoRA"
    if config.get("use_dora"):
        return "DoRA scales whole columns of the sum of base and adapter"
    initialisation = str(config.get("init_lora_weights")).lower()
    if initialisation.startswith(CHANGING_THE_BASE):
        return f"its initialisation {initialisation} has changed the base model"
    return None


class StoredWeights:
    """The tensors of a model or adapter folder. Each is read from disk on request.

    Raises:
        UserError: The folder has no safetensors.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._open = contextlib.ExitStack()
        files = [self._open.enter_context(safe_open(file, framework="pt")) for file in weight_files(folder)]
        self._file_of = {name: file for file in files for name in file.keys()}  # noqa: SIM118, no mapping

    def __enter__(self) -> "StoredWeights":
        return self

    def __exit__(self, *error: object) -> None:
        self._open.close()

    @property
    def names(self) -> list[str]:
        """Return the names of all tensors, in the order of the files."""
        return list(self._file_of)

    def read(self, name: str) -> torch.Tensor:
        """Read one tensor to the CPU. A tied weight is found under both of its names.

        Raises:
            UserError: There is no tensor of that name.
        """
        stored = name if name in self._file_of else TIED.get(name, name)
        if stored not in self._file_of:
            raise UserError(f"{self.folder}: no weight {name}. Expected a model of the same architecture.")
        return self._file_of[stored].get_tensor(stored)


def weight_files(folder: Path) -> list[Path]:
    """Return the safetensors files of a model or adapter folder.

    Raises:
        UserError: There are none.
    """
    for name in (ADAPTER, WHOLE):
        if (folder / name).is_file():
            return [folder / name]
    index = folder / f"{WHOLE}.index.json"
    if index.is_file():
        names = json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()
        return [folder / name for name in dict.fromkeys(names)]
    raise UserError(f"{folder}: no {WHOLE}. Load the model and save it again with save_pretrained.")


def local_folder(name_or_path: str) -> Path:
    """Return the folder with a loaded model's files, in the Hub's cache or elsewhere.

    Args:
        name_or_path: Result of `resolve_model`.
    """
    if Path(name_or_path).is_dir():
        return Path(name_or_path)
    from transformers.utils import cached_file

    return Path(str(cached_file(name_or_path, "config.json"))).parent


def write_variant(
    template: Path, target: Path, tensors: Mapping[str, torch.Tensor], *, adapter_config: dict | None
) -> None:
    """Write a copy of the folder `template` with other weights, completely or not at all.

    Args:
        template: A model folder, or an adapter folder if `adapter_config` is given.
        target: The new folder. If it exists, it is replaced.
        tensors: All weights.
        adapter_config: Configuration of the adapter. It replaces that of the template.
    """
    with folder_written_whole(target) as temporary:
        for file in template.iterdir():
            if file.is_file() and not file.name.startswith(("model", "adapter_model")):
                shutil.copyfile(file, temporary / file.name)
        name = WHOLE if adapter_config is None else ADAPTER
        save_file(dict(tensors), temporary / name, metadata={"format": "pt"})
        if adapter_config is not None:
            write_json(temporary / ADAPTER_CONFIG, adapter_config)


@contextlib.contextmanager
def ranks_of_zero_are_meant() -> Iterator[None]:
    """Let PEFT accept layers that AdaLoRA has cut to rank 0. Otherwise it takes them for a broken adapter."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="The following rank_pattern keys did not match")
        warnings.filterwarnings("ignore", message=r".*LoRA tensor\(s\) have invalid shape")
        yield


def save_model_folder(
    folder: Path,
    model: nn.Module,
    processor: WhisperProcessor,
    *,
    arguments_yaml: str,
    results: dict,
    card: str,
) -> None:
    """Write a complete model folder (or adapter folder), completely or not at all.

    It has all files for `from_pretrained`, `pipeline` and faster-whisper's converter.
    """
    with folder_written_whole(folder) as temporary:
        save_weights(model, temporary)
        save_generation_config(whisper_of(model), temporary)
        save_processor(processor, temporary)
        write_text(temporary / ARGUMENTS_FILE, arguments_yaml)
        write_json(temporary / RESULTS_FILE, results)
        write_text(temporary / "README.md", card)


def save_weights(model: nn.Module, folder: Path) -> None:
    """Write the configuration and weights of a model, or only of its adapter."""
    # If an embedding was enlarged for a language, PEFT would save all rows, not only the new one.
    options = {"save_embedding_layers": False} if adapter_name(model) else {}
    with ranks_of_zero_are_meant() if adapter_name(model) == "adalora" else contextlib.nullcontext():
        model.save_pretrained(folder, **options)  # type: ignore[operator]


def save_generation_config(model: WhisperForConditionalGeneration, folder: Path) -> None:
    """Write generation_config.json, with alignment heads: without any, `return_timestamps="word"` fails."""
    config = copy.deepcopy(model.generation_config)
    config.alignment_heads = alignment_heads(model)  # type: ignore[attr-defined]
    config._from_model_config = False  # otherwise lang_to_id is lost on loading
    config.save_pretrained(folder)


def save_processor(processor: WhisperProcessor, folder: Path) -> None:
    """Write tokenizer and feature extractor. Also write the feature extractor to a file of its own.

    A processor does not write preprocessor_config.json any more, but faster-whisper needs it for 128 mel
    bins.
    """
    processor.save_pretrained(folder)
    processor.feature_extractor.save_pretrained(folder)
