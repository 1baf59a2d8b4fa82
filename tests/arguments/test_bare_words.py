"""Words without a flag: files before, behind and among the flags of transcribe.py."""

import pytest
import yaml

from utils.arguments.evaluate import EvaluateArguments
from utils.arguments.parsing import parse_arguments
from utils.arguments.transcribe import TranscribeArguments
from utils.runtime.errors import UserError

NEEDED = ["--model", "m", "--output_dir", "out"]


def parse(*words: str) -> TranscribeArguments:
    return parse_arguments(TranscribeArguments, [*NEEDED, *words])


def message_of(*words: str) -> str:
    with pytest.raises(UserError) as caught:
        parse(*words)
    return str(caught.value)


@pytest.mark.parametrize(
    ("words", "files", "formats"),
    [
        ("a.wav", ["a.wav"], ["txt"]),
        ("a.wav b/ -", ["a.wav", "b/", "-"], ["txt"]),
        ("--format srt vtt a.wav", ["a.wav"], ["srt", "vtt"]),
        ("a.wav --format srt vtt", ["a.wav"], ["srt", "vtt"]),
        ("a.wav --format srt b.wav --batch_size 4 c.wav", ["a.wav", "b.wav", "c.wav"], ["srt"]),
        ("--format srt - --batch_size 4", ["-"], ["srt"]),
        ("--format=srt vtt", ["vtt"], ["srt"]),  # a file of this name
        ("--format srt a.wav vtt", ["a.wav", "vtt"], ["srt"]),
        ("--batch_size 4 5", ["5"], ["txt"]),
        ("--batch_size=4 a.wav", ["a.wav"], ["txt"]),
        ("--prompt_terms srt a.wav", ["a.wav"], ["txt"]),
        ("--max_reading_speed 12.5 12.5", ["12.5"], ["txt"]),
        ("--files a.wav b.wav --format srt vtt", ["a.wav", "b.wav"], ["srt", "vtt"]),
        ("--files a.wav --format srt c.wav", ["a.wav", "c.wav"], ["srt"]),
        ("c.wav --files a.wav", ["c.wav", "a.wav"], ["txt"]),
        ("./-rf.wav ./--seed", ["./-rf.wav", "./--seed"], ["txt"]),
    ],
)
def test_files_stand_anywhere_and_formats_end_with_the_first_word_that_is_none(words, files, formats):
    arguments = parse(*words.split())
    assert (arguments.files, arguments.format) == (files, formats)


def test_words_keep_their_spaces():
    arguments = parse("--prompt_terms", "Anna Rossi, Bari", "my talk.wav")
    assert (arguments.files, arguments.prompt_terms) == (["my talk.wav"], "Anna Rossi, Bari")


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("a.wav --formatt srt", "unknown argument '--formatt'. Did you mean '--format'?"),
        ("--formatt srt a.wav", "unknown argument '--formatt'. Did you mean '--format'?"),
        ("-f srt a.wav", "unknown argument '-f'"),
        ("--format mp3 a.wav", "invalid choice: 'mp3'"),
        ("--format a.wav", "invalid choice: 'a.wav'"),
        ("a.wav --batch_size", "--batch_size: expected one argument"),
        ("a.wav --batch_size -1", "batch_size -1: expected at least 1"),
        ("--batch_size -1 a.wav", "batch_size -1: expected at least 1"),
        ("a.wav --batch_size many", "invalid int value: 'many'"),
        ("a.wav --max_line_width 7", "max_line_width 7: expected at least 8"),
        ("a.wav --max_line_count 0", "max_line_count 0: expected at least 1"),
        ("a.wav --max_reading_speed 0", "max_reading_speed 0.0: expected above 0"),
        ("", "nothing to transcribe"),
        ("--format srt", "nothing to transcribe"),
        ("--files", "nothing to transcribe"),
        ("- a.wav -", "- (standard input): found more than once"),
        ("a.wav --language italian", "expected the code 'it'"),
        ("a.wav --num_beams 5", "backend transformers has only greedy search"),
        ("a.wav --backend faster-whisper --audio_context dynamic", "does not support it. Use full"),
    ],
)
def test_mistakes_are_told(words, expected):
    assert expected in message_of(*words.split())


def test_all_mistakes_are_told_at_once():
    told = message_of("--num_beams", "5", "--dtype", "int8", "--max_line_count", "0")
    for name in ("num_beams", "int8", "max_line_count", "nothing to transcribe"):
        assert name in told


def test_a_recipe_names_files_and_the_command_line_names_others(tmp_path):
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(
        yaml.safe_dump({"files": ["a.wav", "b c.wav"], "format": ["srt", "vtt"], "batch_size": 3})
    )
    config = ["--config", str(recipe)]
    assert parse(*config).files == ["a.wav", "b c.wav"]
    assert parse("d.wav", *config).files == ["d.wav"]
    assert (parse(*config).format, parse(*config, "--format", "txt", "d.wav").format) == (
        ["srt", "vtt"],
        ["txt"],
    )
    recipe.write_text("files: a.wav\n")
    assert "files: found 'a.wav', expected a list of text" in message_of(*config)


def test_other_scripts_take_no_bare_words():
    with pytest.raises(UserError, match="unknown argument 'a"):
        parse_arguments(EvaluateArguments, ["a.wav", "--models", "m", "--dataset", "d", "--output_dir", "o"])
