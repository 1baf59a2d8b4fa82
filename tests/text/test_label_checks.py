import pytest

from utils.runtime.errors import UserError
from utils.text.label_checks import TokenRules, check_labels, labels_table, raise_for

START, IT, TASK, OTHER_TASK, NOTIMES, END = 100, 101, 110, 111, 120, 90
ZERO = NOTIMES + 1  # <|0.00|>
RULES = TokenRules(START, END, frozenset({IT, 102}), TASK, NOTIMES, vocabulary=2000)
ENGLISH = TokenRules(START, END, frozenset(), None, NOTIMES, vocabulary=2000)
GOOD = [START, IT, TASK, NOTIMES, 5, 6, END]


def labels(tokens: list[int], num_context: int = 1) -> tuple[list[int], list[int]]:
    """Inputs and targets by hand: shifted by one, the context masked."""
    return tokens[:-1], [-100] * (num_context - 1) + tokens[num_context:]


def failing(tokens: list[int], num_context: int = 1, rules: TokenRules = RULES) -> list[str]:
    checks = check_labels([("clip", *labels(tokens, num_context))], rules)
    return [check.name.split(",")[0] for check in checks if check.failed]


@pytest.mark.parametrize(
    ("tokens", "num_context", "rules"),
    [
        (GOOD, 1, RULES),
        ([START, IT, TASK, ZERO, 5, ZERO + 10, ZERO + 10, 6, ZERO + 40, END], 1, RULES),
        ([119, 7, 8, *GOOD], 4, RULES),  # the text before
        ([START, IT, TASK, NOTIMES, END], 1, RULES),  # no speech
        ([START, IT, TASK, ZERO, END], 3, RULES),  # no speech, with timestamps
        ([START, ZERO, END], 1, ENGLISH),
        ([START, NOTIMES, 5, END], 1, ENGLISH),
        ([START, IT, TASK, NOTIMES, *[5] * 444, END], 1, RULES),
    ],
)
def test_right_labels_pass(tokens, num_context, rules):
    assert failing(tokens, num_context, rules) == []


@pytest.mark.parametrize(
    ("tokens", "fault"),
    [
        ([START, *GOOD], "exactly one start token is read"),
        ([START, 5, TASK, NOTIMES, 6, END], "language and task follow it"),
        ([START, IT, OTHER_TASK, NOTIMES, 6, END], "language and task follow it"),
        ([START, IT, TASK, NOTIMES, *[5] * 445, END], "at most 448 tokens"),
        ([START, IT, TASK, NOTIMES, 5, 6], "the end token is the last target"),
        ([START, IT, TASK, NOTIMES, END, 6, END], "the end token is the last target"),
        ([START, IT, TASK, NOTIMES, ZERO, 6, ZERO + 3, END], "timestamps are in order and in pairs"),
        ([START, IT, TASK, ZERO + 5, 6, ZERO + 3, END], "timestamps are in order and in pairs"),
        ([START, IT, TASK, ZERO, 6, END], "timestamps are in order and in pairs"),
        ([START, IT, TASK, 6, ZERO, END], "timestamps are in order and in pairs"),
        ([START, IT, TASK, ZERO + 1, END], "timestamps are in order and in pairs"),
        ([START, IT, TASK, NOTIMES, 1990, END], "every id is one of this model's"),
        ([START, IT, TASK, NOTIMES, -100, END], "every id is one of this model's"),
    ],
)
def test_each_fault_is_found(tokens, fault):
    assert failing(tokens) == [fault]


def test_a_masked_end_and_labels_that_are_not_shifted_are_found():
    inputs, targets = labels(GOOD)
    masked = check_labels([("clip", inputs, [*targets[:-1], -100])], RULES)
    assert [c.name for c in masked if c.failed] == ["the end token is the last target, once, and counts"]
    same = check_labels([("clip", inputs, [*inputs[:-1], END])], RULES)
    assert [c.name for c in same if c.failed] == ["each target is the token read next"]


def test_faults_are_named_with_ids_and_counted():
    bad = labels([START, *GOOD])
    checks = check_labels([(f"clip-{index}", *bad) for index in range(7)], RULES)
    with pytest.raises(UserError, match="exactly one start token is read: 7 do not, such as clip-0, clip-1"):
        raise_for(checks)
    assert labels_table(checks, 7).row_count == 7
    raise_for(check_labels([("clip", *labels(GOOD))], RULES))


def test_windows_without_speech_have_a_name_and_are_named_once():
    bad = labels([START, IT, TASK, ZERO + 1, END], 3)
    checks = check_labels([(name, *bad) for name in ("", "clip", "", "")], RULES)
    with pytest.raises(UserError, match=r": 4 do not, such as window without speech, clip\."):
        raise_for(checks)


def test_the_rules_are_those_of_the_model(tiny_whisper):
    from utils.model.loading import load_model
    from utils.text.label_tokens import LabelWriter, TimedTokens, encode_texts

    loaded = load_model(str(tiny_whisper))
    tokenizer = loaded.processor.tokenizer
    rules = TokenRules.of_model(loaded.model, "transcribe")
    assert rules.start == tokenizer.convert_tokens_to_ids("<|startoftranscript|>")
    assert rules.task == tokenizer.convert_tokens_to_ids("<|transcribe|>")
    writer = LabelWriter(tokenizer)
    text = TimedTokens(0.0, 1.5, encode_texts(tokenizer, ["abc"])[0])
    written = [
        writer.write(pieces, "it", with_timestamps=times)
        for pieces in ([text], [])
        for times in (False, True)
    ]
    checks = check_labels([("clip", sequence.inputs, sequence.targets) for sequence in written], rules)
    assert not any(check.failed for check in checks)
