"""Labels against transformers' own tokenizer and shift, and against sequences written by hand."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import WhisperTokenizerFast
from transformers.models.whisper.modeling_whisper import shift_tokens_right

from utils.model.resolving import resolve_model
from utils.text.label_tokens import (
    IGNORED,
    MAX_LABEL_TOKENS,
    LabelWriter,
    TimedTokens,
    encode_segments,
    encode_texts,
    prompt_tokens,
)


@pytest.fixture(scope="module")
def tokenizer():
    return WhisperTokenizerFast.from_pretrained(resolve_model("openai/whisper-base"))


def write(tokenizer, text, language="it", **options):
    pieces = [TimedTokens(0.0, 2.4, encode_texts(tokenizer, [text])[0])]
    return LabelWriter(tokenizer).write(pieces, language, **options)


def names(tokenizer, tokens):
    return tokenizer.convert_ids_to_tokens(tokens)


def test_labels_are_what_the_tokenizer_writes_without_the_start_token(tokenizer):
    tokenizer.set_prefix_tokens(language="it", task="transcribe", predict_timestamps=False)
    for text in ("Ciao.", "Il numero composto è inesistente, riprovare più tardi."):
        assert write(tokenizer, text).targets == tokenizer(" " + text).input_ids[1:]


def test_the_task_and_timestamps_change_the_prompt(tokenizer):
    assert names(tokenizer, prompt_tokens(tokenizer, "it", task="translate")) == [
        "<|startoftranscript|>",
        "<|it|>",
        "<|translate|>",
        "<|notimestamps|>",
    ]
    assert names(tokenizer, prompt_tokens(tokenizer, "it", with_timestamps=True)) == [
        "<|startoftranscript|>",
        "<|it|>",
        "<|transcribe|>",
    ]


def test_without_a_language_only_the_no_timestamps_token_stands_before_the_text(tokenizer):
    assert names(tokenizer, prompt_tokens(tokenizer, None)) == ["<|startoftranscript|>", "<|notimestamps|>"]


def test_an_unknown_language_is_an_error(tokenizer):
    with pytest.raises(KeyError, match="xx"):
        prompt_tokens(tokenizer, "xx")


def test_the_inputs_are_transformers_shift_of_the_targets(tokenizer):
    sequence = write(tokenizer, "uno due tre quattro cinque")
    start = tokenizer.convert_tokens_to_ids("<|startoftranscript|>")
    shifted = shift_tokens_right(torch.tensor([sequence.targets]), tokenizer.pad_token_id, start)
    assert sequence.inputs == shifted[0].tolist()
    assert sequence.inputs.count(start) == 1 and start not in sequence.targets
    assert sequence.targets.count(tokenizer.eos_token_id) == 1


def test_timestamps_stand_around_each_piece(tokenizer):
    one, two = encode_texts(tokenizer, ["uno", "due"])
    pieces = [TimedTokens(0.0, 1.234, one), TimedTokens(1.5, 31.0, two)]
    sequence = LabelWriter(tokenizer).write(pieces, "it", with_timestamps=True)
    expected = ["<|it|>", "<|transcribe|>", "<|0.00|>", "Ġuno", "<|1.24|>", "<|1.50|>", "Ġdue", "<|30.00|>"]
    assert names(tokenizer, sequence.targets) == [*expected, "<|endoftext|>"]


def test_the_text_before_is_given_and_never_predicted(tokenizer):
    previous = encode_texts(tokenizer, ["prima"])[0]
    sequence = write(tokenizer, "dopo", previous=previous)
    assert names(tokenizer, sequence.inputs) == [
        "<|startofprev|>",
        *names(tokenizer, previous),
        "<|startoftranscript|>",
        "<|it|>",
        "<|transcribe|>",
        "<|notimestamps|>",
        *names(tokenizer, encode_texts(tokenizer, ["dopo"])[0]),
    ]
    given_tokens = 1 + len(previous)
    assert sequence.targets[:given_tokens] == [IGNORED] * given_tokens
    assert sequence.targets[given_tokens:] == write(tokenizer, "dopo").targets


def test_a_long_text_before_keeps_its_end_and_leaves_room(tokenizer):
    sequence = write(tokenizer, "dopo", previous=list(range(1000, 1500)))
    assert sequence.inputs[1:224] == list(range(1277, 1500))
    long = [TimedTokens(0.0, 30.0, [1000] * 440)]
    crowded = LabelWriter(tokenizer).write(long, "it", previous=[7, 8, 9, 10, 11])
    assert len(crowded.inputs) == MAX_LABEL_TOKENS
    assert crowded.inputs[1:4] == [9, 10, 11]  # 440 + 5 special tokens leave room for the last three


@settings(max_examples=50, deadline=None)
@given(
    st.lists(st.lists(st.integers(0, 5000), max_size=60), max_size=7),
    st.booleans(),
    st.lists(st.integers(0, 5000), max_size=400),
    st.sampled_from(["it", None]),
)
def test_what_is_counted_is_what_is_predicted(tokenizer, texts, with_timestamps, previous, language):
    pieces = [TimedTokens(number, number + 1.0, tokens) for number, tokens in enumerate(texts)]
    writer = LabelWriter(tokenizer)
    sequence = writer.write(pieces, language, with_timestamps=with_timestamps, previous=previous)
    predicted = [token for token in sequence.targets if token != IGNORED]
    counted = writer.count_targets(pieces, language, with_timestamps=with_timestamps)
    assert len(predicted) == counted
    assert len(sequence.inputs) == len(sequence.targets) <= MAX_LABEL_TOKENS
    assert sequence.inputs[sequence.num_context :] == predicted[:-1]


def test_pieces_that_do_not_make_up_the_text_are_not_used(tokenizer):
    segments = [{"start": 0.0, "end": 1.0, "text": "uno"}, {"start": 1.2, "end": 9.0, "text": "due"}]
    pieces = encode_segments(tokenizer, segments, "uno due", 2.0)
    assert [(piece.start, piece.end) for piece in pieces] == [(0.0, 1.0), (1.2, 2.0)]
    assert [tokenizer.decode(piece.tokens) for piece in pieces] == [" uno", " due"]
    assert encode_segments(tokenizer, segments, "uno due tre", 2.0) is None
    assert encode_segments(tokenizer, None, "uno", 2.0) is None


def test_times_of_segments_that_overlap_never_run_backwards(tokenizer):
    spans = [(-0.5, 3.7), (3.5, 7.0), (5.0, 6.0), (7.2, 9.0), (9.5, 9.9)]
    segments = [{"start": start, "end": end, "text": "sì"} for start, end in spans]
    pieces = encode_segments(tokenizer, segments, "sì" * 5, 8.0)
    expected = [(0.0, 3.7), (3.7, 7.0), (7.0, 7.0), (7.2, 8.0), (8.0, 8.0)]
    assert [(piece.start, piece.end) for piece in pieces] == expected
    targets = names(tokenizer, LabelWriter(tokenizer).write(pieces[:2], "it", with_timestamps=True).targets)
    times = [name for name in targets if name.startswith("<|") and name[2].isdigit()]
    assert times == ["<|0.00|>", "<|3.70|>", "<|3.70|>", "<|7.00|>"]
