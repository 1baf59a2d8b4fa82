"""Labels and decoder inputs against transformers' own tokenizer and shift."""

import pytest
import torch
from transformers import WhisperTokenizerFast
from transformers.models.whisper.modeling_whisper import shift_tokens_right

from utils.batching import MicroBatch
from utils.collators import IGNORED, MicroBatches, encode_labels, pad_labels, prompt_tokens, shift_right
from utils.starter import resolve_model


@pytest.fixture(scope="module")
def tokenizer():
    return WhisperTokenizerFast.from_pretrained(resolve_model("openai/whisper-base"))


def test_labels_are_what_the_tokenizer_writes_without_the_start_token(tokenizer):
    texts = ["Ciao.", "Il numero composto è inesistente, riprovare più tardi."]
    tokenizer.set_prefix_tokens(language="it", task="transcribe", predict_timestamps=False)
    expected = [tokenizer(" " + text).input_ids[1:] for text in texts]
    assert encode_labels(tokenizer, texts, ["it", "it"]) == expected


def test_each_row_has_its_own_language(tokenizer):
    italian, english = encode_labels(tokenizer, ["no", "no"], ["it", "en"])
    assert italian[0] == tokenizer.convert_tokens_to_ids("<|it|>")
    assert english[0] == tokenizer.convert_tokens_to_ids("<|en|>")
    assert italian[1:] == english[1:]


def test_without_a_language_only_the_no_timestamps_token_stands_before_the_text(tokenizer):
    names = tokenizer.convert_ids_to_tokens(prompt_tokens(tokenizer, None))
    assert names == ["<|startoftranscript|>", "<|notimestamps|>"]


def test_an_unknown_language_is_an_error(tokenizer):
    with pytest.raises(KeyError, match="xx"):
        prompt_tokens(tokenizer, "xx")


def test_shift_equals_transformers_and_puts_the_start_token_once(tokenizer):
    labels = pad_labels(encode_labels(tokenizer, ["uno", "uno due tre quattro cinque"], ["it", "it"]))
    start = tokenizer.convert_tokens_to_ids("<|startoftranscript|>")
    shifted = shift_right(labels, start, tokenizer.pad_token_id)
    assert torch.equal(shifted, shift_tokens_right(labels, tokenizer.pad_token_id, start))
    assert ((shifted == start).sum(dim=1) == 1).all()
    assert not (labels == start).any()
    assert (shifted != IGNORED).all()


def test_the_end_token_is_a_target(tokenizer):
    labels = pad_labels(encode_labels(tokenizer, ["uno", "uno due tre"], ["it", "it"]))
    assert ((labels == tokenizer.eos_token_id).sum(dim=1) == 1).all()


def test_a_micro_batch_becomes_tensors_of_its_context(prepared, tiny_whisper):
    from datasets import load_from_disk

    rows = load_from_disk(prepared)["train"]
    labels = [[5, 6], [7, 8, 9], *([[1]] * 38)]
    batch = MicroBatches(rows, labels, start_token_id=3, pad_token_id=0)[MicroBatch((1, 0), 6.5)]
    assert batch.waveforms.shape == (2, 104_000)
    assert batch.labels.tolist() == [[7, 8, 9], [5, 6, IGNORED]]
    assert batch.decoder_input_ids.tolist() == [[3, 7, 8], [3, 5, 6]]
