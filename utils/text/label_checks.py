"""Whether the decoder's tokens are what Whisper was trained on, looked at just before they go to the model.

The rules are read from the model's own configuration, not from the code that writes labels.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

from rich.table import Table
from transformers import WhisperForConditionalGeneration

from utils.runtime.errors import UserError
from utils.text.label_tokens import IGNORED, MAX_LABEL_TOKENS

NUM_TIMESTAMPS = 1501  # <|0.00|> to <|30.00|>

IDS_NAMED = 5

WITHOUT_ID = "window without speech"  # what has no id is named so


@dataclass(frozen=True)
class TokenRules:
    """Ids of a model's special tokens."""

    start: int
    end: int
    languages: frozenset[int]  # empty for an English-only model, which has no task tokens either
    task: int | None
    no_timestamps: int
    vocabulary: int  # its size

    @classmethod
    def of_model(cls, model: WhisperForConditionalGeneration, task: str) -> "TokenRules":
        """The rules that the configurations of a model give; `task` is transcribe or translate.

        Raises:
            UserError: The generation configuration is not one of Whisper.
        """
        config, generation = model.config, model.generation_config.to_dict()
        languages, tasks = generation.get("lang_to_id") or {}, generation.get("task_to_id") or {}
        end, no_timestamps = config.eos_token_id, generation.get("no_timestamps_token_id")
        if not (isinstance(end, int) and isinstance(no_timestamps, int)):
            raise UserError(
                f"the model's end token is {end}, its no_timestamps_token_id {no_timestamps}: expected "
                "a number each. Copy config.json and generation_config.json from the original model."
            )
        return cls(
            start=config.decoder_start_token_id,
            end=end,
            languages=frozenset(languages.values()),
            task=tasks.get(task) if languages else None,
            no_timestamps=no_timestamps,
            vocabulary=config.vocab_size,
        )


@dataclass(frozen=True)
class LabelCheck:
    """One thing that must hold for every example, and the examples for which it does not."""

    name: str
    failed: list[str] = field(default_factory=list)  # ids

    @property
    def some_failed(self) -> str:
        """A few of them, each once."""
        return ", ".join(list(dict.fromkeys(self.failed))[:IDS_NAMED])


@dataclass(frozen=True)
class _Labels:
    """What the decoder reads and is to predict, taken apart at the start token."""

    inputs: Sequence[int]
    targets: Sequence[int]
    start: int  # index of the last start token in the inputs, -1 without one

    @property
    def after_start(self) -> Sequence[int]:
        return self.inputs[self.start + 1 :]

    @property
    def predicted(self) -> Sequence[int]:
        return [token for token in self.targets if token != IGNORED]


def check_labels(
    examples: Iterable[tuple[str, Sequence[int], Sequence[int]]], rules: TokenRules
) -> list[LabelCheck]:
    """Look at the labels of every example.

    Args:
        examples: Id (empty for a window without speech), decoder inputs, and targets with -100 where nothing
            is to be predicted.
        rules: Of the model.

    Returns:
        Every check with the ids that fail it.
    """
    results = [LabelCheck(name) for name in _CHECKS]
    for name, inputs, targets in examples:
        start = max((index for index, token in enumerate(inputs) if token == rules.start), default=-1)
        labels = _Labels(inputs, targets, start)
        for result, holds in zip(results, _CHECKS.values(), strict=True):
            if not holds(labels, rules):
                result.failed.append(name or WITHOUT_ID)
    return results


def _one_start(labels: _Labels, rules: TokenRules) -> bool:
    return list(labels.inputs).count(rules.start) == 1


def _language_and_task(labels: _Labels, rules: TokenRules) -> bool:
    if not rules.languages:
        return not rules.languages & set(labels.after_start)
    head = labels.after_start[:2]
    return len(head) == 2 and head[0] in rules.languages and head[1] == rules.task


def _short_enough(labels: _Labels, rules: TokenRules) -> bool:
    return len(labels.inputs) <= MAX_LABEL_TOKENS


def _end_predicted(labels: _Labels, rules: TokenRules) -> bool:
    predicted = labels.predicted
    return bool(predicted) and labels.targets[-1] == rules.end and list(predicted).count(rules.end) == 1


def _shifted(labels: _Labels, rules: TokenRules) -> bool:
    """A target is the token that is read next; nothing before the start token is one."""
    pairs = zip(labels.inputs[1:], labels.targets[:-1], strict=True)
    return len(labels.inputs) == len(labels.targets) and all(
        target in (token, IGNORED) for token, target in pairs
    )


def _times(labels: _Labels, rules: TokenRules) -> bool:
    """Either the token for no timestamps and none, or timestamps in order and in pairs without it.

    Without speech the first timestamp stands alone: the end follows at once.
    """
    first = rules.no_timestamps + 1
    body = labels.after_start
    times = [token for token in body if first <= token < first + NUM_TIMESTAMPS]
    if rules.no_timestamps in body:
        return not times
    if list(body[2 if rules.languages else 0 :]) == [first]:
        return True
    return len(times) % 2 == 0 and times == sorted(times)


def _known_ids(labels: _Labels, rules: TokenRules) -> bool:
    last = rules.no_timestamps + NUM_TIMESTAMPS
    limit = min(rules.vocabulary, max(last, *rules.languages, rules.end) + 1)
    return all(0 <= token < limit for token in labels.inputs)


_CHECKS: dict[str, Callable[[_Labels, TokenRules], bool]] = {
    "exactly one start token is read": _one_start,
    "language and task follow it, for a model that has them": _language_and_task,
    f"at most {MAX_LABEL_TOKENS} tokens": _short_enough,
    "each target is the token read next": _shifted,
    "the end token is the last target, once, and counts": _end_predicted,
    "timestamps are in order and in pairs, ruled out, or the first alone": _times,
    "every id is one of this model's": _known_ids,
}


def labels_table(checks: Sequence[LabelCheck], num_examples: int) -> Table:
    """The checks, each with how many examples fail it and which."""
    table = Table(title=f"Labels of {num_examples} examples", title_justify="left")
    table.add_column("what must hold")
    table.add_column("fail", justify="right")
    table.add_column("such as")
    for check in checks:
        table.add_row(check.name, str(len(check.failed)), check.some_failed)
    return table


def raise_for(checks: Sequence[LabelCheck]) -> None:
    """Stop a run whose labels would teach the model something else.

    Raises:
        UserError: Some check failed; ids are named.
    """
    faults = [
        f"{check.name}: {len(check.failed)} do not, such as {check.some_failed}"
        for check in checks
        if check.failed
    ]
    if faults:
        raise UserError(
            "labels that this model cannot learn from. Expected that "
            + "; ".join(faults)
            + ". Look at the texts of these rows, and whether model and tokenizer belong together."
        )
