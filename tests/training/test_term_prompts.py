"""Prompts of listed terms before half of the examples: what they hold, and that they are not learnt."""

from collections import Counter

import numpy as np
import pytest

from tests.support.clip_tables import build_clips, table, tokenizer
from utils.audio.augmentation_options import NonSpeech
from utils.runtime.errors import UserError
from utils.text.label_tokens import IGNORED
from utils.training.term_prompts import load_term_prompts

TERMS = ["Zampieri", "Trenitalia", "Otranto", "Domodossola", "Anna Rossi"]
TEXTS = ["Qui Trenitalia!", "otranto e domodossola", "nessun nome", "zampieri, otranto"]
SAID = [{"Trenitalia"}, {"Otranto", "Domodossola"}, set(), {"Zampieri", "Otranto"}]

PREVIOUS, START = 50361, 50258  # <|startofprev|>, <|startoftranscript|>


@pytest.fixture(scope="module")
def build(tmp_path_factory):
    """A function from texts and a list of terms to training clips."""
    folder = tmp_path_factory.mktemp("terms")

    def build(texts=TEXTS, terms=TERMS, *, seed=0, columns=None, lower_case=False, **options):
        file = folder / "terms.txt"
        file.write_text("\n".join(terms), encoding="utf-8")
        rows = table([2.0] * len(texts), text=list(texts), **(columns or {}))
        prompts = load_term_prompts(str(file), texts, tokenizer(), lower_case=lower_case)
        return build_clips(rows, seed=seed, terms=prompts, **options)

    return build


def prompt_of(clips, example) -> str | None:
    """The text before `<|startoftranscript|>`. It must not be learnt, and what follows must be as ever."""
    sequence = clips.sequence(example)
    start = sequence.tokens.index(START)
    assert sequence.targets[:start] == [IGNORED] * start
    assert len(sequence.inputs) <= 448 and start <= 224
    assert sum(token != IGNORED for token in sequence.targets) == example.num_targets
    if not start:
        return None
    assert sequence.tokens[0] == PREVIOUS
    return tokenizer().decode(sequence.tokens[1:start])


def terms_in(prompt: str) -> list[str]:
    assert prompt.startswith(" ")
    return prompt[1:].split(", ")


def test_half_of_the_examples_have_a_prompt_and_the_others_are_as_without(build):
    clips, plain = build(TEXTS * 500), build_clips(table([2.0] * 2000, text=TEXTS * 500))
    examples, others = clips.draw(0), plain.draw(0)
    assert np.mean([example.with_terms for example in examples]) == pytest.approx(0.5, abs=0.03)
    for example, other in zip(examples[:40], others, strict=False):
        sequence, expected = clips.sequence(example), plain.sequence(other)
        assert (example.with_terms, example.rows) == (prompt_of(clips, example) is not None, other.rows)
        assert sequence.tokens[-len(expected.tokens) :] == expected.tokens
        assert sequence.targets[-len(expected.targets) :] == expected.targets


def test_a_prompt_holds_what_is_said_and_any_number_of_decoys_in_any_order(build):
    clips = build()
    drawn = {row: [] for row in range(4)}
    for epoch in range(120):
        for example in clips.draw(epoch):
            if example.with_terms:
                drawn[example.rows[0]].append(terms_in(prompt_of(clips, example)))
    for row, said in enumerate(SAID):
        prompts = drawn[row]
        assert all(set(prompt) >= said and set(prompt) <= set(TERMS) for prompt in prompts)
        assert all(len(prompt) == len(set(prompt)) for prompt in prompts)
        decoys = Counter(len(prompt) - len(said) for prompt in prompts)
        assert set(decoys) == set(range(0 if said else 1, 6 - len(said)))
        assert max(decoys.values()) < 4 * min(decoys.values())  # all numbers are about as likely
        used = Counter(term for prompt in prompts for term in prompt if term not in said)
        assert set(used) == set(TERMS) - said and max(used.values()) < 2 * min(used.values())
    assert {prompt[0] for prompt in drawn[1]} == set(TERMS)


def test_the_draws_depend_on_seed_epoch_and_example_alone(build):
    """So a resumed run has the prompts that it would have had."""
    clips = build(TEXTS * 6)
    before = [clips.sequence(example) for epoch in range(2) for example in clips.draw(epoch)]
    later = build(TEXTS * 6)
    example = later.draw(1)[13]
    assert later.sequence(example) == before[24 + 13]
    assert [later.sequence(example) for example in later.draw(1)] == before[24:]
    assert before[:24] != before[24:]
    assert [clips.sequence(e) for e in build(TEXTS * 6, seed=1).draw(0)] != before[:24]


def test_terms_come_before_the_previous_text_which_gets_the_rest_of_the_room(build):
    long = "parola " * 300 + "fine"
    clips = build(columns={"previous_text": [long] * 4}, previous_probability=1.0)
    for example in clips.draw(0):
        prompt, tokens = prompt_of(clips, example), clips.sequence(example).tokens
        assert prompt.endswith(" parola parola fine") and tokens.index(START) == 224
        (first, *_) = prompt.split(" parola")
        assert (set(terms_in(first)) >= SAID[example.rows[0]]) if example.with_terms else not first


def test_joined_examples_get_the_terms_of_all_their_clips(build):
    clips = build(stitch_probability=1.0, timestamp_probability=1.0)
    example = next(example for epoch in range(20) for example in clips.draw(epoch) if example.with_terms)
    assert len(example.rows) > 1 and example.with_timestamps
    said = set().union(*(SAID[row] for row in example.rows))
    assert set(terms_in(prompt_of(clips, example))) >= said


def test_terms_are_cut_off_whole_where_the_room_ends(build):
    names = [f"nome numero {number}" for number in range(300)]
    texts = [" ".join(names[:100]), "no " * 430 + names[0], names[0]]
    clips = build(texts, names)
    sizes: dict[int, set[int]] = {row: set() for row in range(3)}
    for epoch in range(40):
        for example in clips.draw(epoch):
            if (prompt := prompt_of(clips, example)) is None:
                continue
            found = terms_in(prompt)
            assert set(found) <= set(names)
            if example.rows == (0,):  # there is no room for decoys, and not for all that is said
                assert set(found) < set(names[:100])
            sizes[example.rows[0]].add(len(found))
    assert len(sizes[0]) == 1 and min(sizes[0]) > 30
    assert max(sizes[1]) <= 4
    assert min(sizes[2]) < 10 and max(sizes[2]) > 30


def test_windows_without_speech_have_decoys(build):
    clips = build(non_speech=NonSpeech(non_speech_share=1.0))
    windows = [example for epoch in range(5) for example in clips.draw(epoch) if not example.rows]
    prompts = [prompt_of(clips, window) for window in windows]
    assert {prompt is None for prompt in prompts} == {True, False}
    assert all(set(terms_in(prompt)) <= set(TERMS) for prompt in prompts if prompt)
    assert all(clips.sequence(window).targets[-1] == tokenizer().eos_token_id for window in windows)


def test_terms_are_in_lower_case_where_texts_are(build):
    clips = build(lower_case=True)
    prompts = filter(None, (prompt_of(clips, example) for example in clips.draw(0)))
    assert all(prompt == prompt.lower() for prompt in prompts)


def test_what_is_said_is_told(build):
    assert str(build()._terms) == "4 of 5 terms said in 3 of 4 clips. The others are only decoys"
    assert str(build(TEXTS[:1], TERMS[1:2])._terms) == "1 of 1 term said in 1 of 1 clip"


def test_a_list_of_which_nothing_is_said_is_refused(build):
    with pytest.raises(UserError, match=r"no text of the training clips has one of its 2 terms, such as 'Ro"):
        build(TEXTS, ["Roma", "Milano"])
