"""Files that would end the process of whisper.cpp are refused before."""

import struct
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.ggml_reader import GgmlContent, read_by_hand
from tests.support.real_vocabulary import build_source
from utils.delivery.exports.ggml import GGML
from utils.delivery.exports.ggml_file import check_ggml
from utils.runtime.errors import UserError


@pytest.fixture(scope="module")
def written(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("ggml")
    GGML.write(build_source(), folder, "f16")
    return folder / "ggml-model.bin"


def cut(data: bytes, content: GgmlContent) -> bytes:
    return data[:-1]


def cut_between_tensors(data: bytes, content: GgmlContent) -> bytes:
    return data[: list(content.ends.values())[-2]]


def cut_in_the_tokens(data: bytes, content: GgmlContent) -> bytes:
    return data[:100_000]


def cut_in_the_header(data: bytes, content: GgmlContent) -> bytes:
    return data[:20]


def empty(data: bytes, content: GgmlContent) -> bytes:
    return b""


def of_another_kind(data: bytes, content: GgmlContent) -> bytes:
    return b"GGUF" + data[4:]


def of_another_precision(data: bytes, content: GgmlContent) -> bytes:
    return data[:44] + struct.pack("<i", 2007) + data[48:]


def of_an_unknown_precision(data: bytes, content: GgmlContent) -> bytes:
    return data[:44] + struct.pack("<i", 0) + data[48:]


def of_another_width(data: bytes, content: GgmlContent) -> bytes:
    return data[:28] + struct.pack("<i", 128) + data[32:]


def of_too_many_layers(data: bytes, content: GgmlContent) -> bytes:
    return data[:20] + struct.pack("<i", 2**31 - 1) + data[24:]


def of_no_heads(data: bytes, content: GgmlContent) -> bytes:
    return data[:16] + struct.pack("<i", 0) + data[20:]


def with_a_negative_length(data: bytes, content: GgmlContent) -> bytes:
    place = 4 * (12 + 2 + 80 * 201 + 1)
    return data[:place] + struct.pack("<i", -2) + data[place + 4 :]


def with_a_negative_rank(data: bytes, content: GgmlContent) -> bytes:
    place = next(iter(content.ends.values()))
    return data[:place] + struct.pack("<i", -1) + data[place + 4 :]


def with_a_turned_tensor(data: bytes, content: GgmlContent) -> bytes:
    shape, name = struct.pack("<2i", 64, 256), b"encoder.blocks.0.mlp.0.weight"
    return data.replace(shape + name, shape[4:] + shape[:4] + name)


def longer(data: bytes, content: GgmlContent) -> bytes:
    return data + b"\0"


def with_a_tensor_twice(data: bytes, content: GgmlContent) -> bytes:
    first, second = list(content.ends.values())[-2:]
    return data + data[first:second]


def with_a_tensor_of_another_name(data: bytes, content: GgmlContent) -> bytes:
    return data.replace(b"encoder.conv2.weight", b"encoder.conv3.weight")


@pytest.mark.parametrize(
    "damage",
    [
        *(cut, cut_between_tensors, cut_in_the_tokens, cut_in_the_header, empty, of_another_kind),
        *(of_another_precision, of_an_unknown_precision, of_another_width, of_too_many_layers, longer),
        *(
            of_no_heads,
            with_a_negative_length,
            with_a_negative_rank,
            with_a_turned_tensor,
            with_a_tensor_twice,
            with_a_tensor_of_another_name,
        ),
    ],
    ids=lambda damage: damage.__name__,
)
def test_a_damaged_file_is_refused(written, tmp_path, damage: Callable[[bytes, GgmlContent], bytes]):
    broken = tmp_path / "ggml-model.bin"
    broken.write_bytes(damage(written.read_bytes(), read_by_hand(written)))
    with pytest.raises(UserError, match=r"ggml-model.bin: .* Export the model again"):
        check_ggml(broken)


def test_a_whole_file_passes_and_a_missing_one_is_named(written, tmp_path):
    assert check_ggml(written).n_vocab == 51865
    with pytest.raises(UserError, match=r"none.bin: No such file"):
        check_ggml(tmp_path / "none.bin")
