"""Splits never share a sentence, the written folder adds up, and loading says what is wrong."""

import json
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from utils.audio import encode_flac
from utils.dataset import (
    count_shared_texts,
    load_prepared,
    read_report,
    reject_long_labels,
    sentence_key,
    split_utterances,
    write_prepared,
)
from utils.errors import UserError
from utils.recordings import Clip
from utils.utterances import Reject, Utterance


def split(texts, given_splits=None, validation=0.1, test=0.2, seed=42) -> list[str]:
    given_splits = given_splits or [None] * len(texts)
    return split_utterances(texts, given_splits, validation_share=validation, test_share=test, seed=seed)


def test_shares_of_distinct_sentences():
    counts = Counter(split([f"sentence {n}" for n in range(1000)]))
    assert counts == {"train": 700, "validation": 100, "test": 200}


def test_equal_sentences_stay_together_whatever_their_spelling():
    texts = [f"Frase {n}" for n in range(50)] + [f"frase, {n}!" for n in range(50)]
    splits = split(texts)
    assert splits[:50] == splits[50:]


def test_seed_decides_and_order_does_not():
    texts = [f"sentence {n}" for n in range(200)]
    assert split(texts) == split(texts)
    assert split(texts) != split(texts, seed=43)
    assert split(texts[::-1]) == split(texts)[::-1]


@pytest.mark.parametrize(
    ("number", "expected"), [(1, {"train": 1}), (3, {"train": 1, "test": 1, "validation": 1})]
)
def test_few_sentences(number, expected):
    assert Counter(split([f"s {n}" for n in range(number)])) == expected


def test_sentences_larger_than_the_share():
    # test could take two of the three sentences, but validation and train need one each
    assert set(split(["A", "AA", "AA", "AAA"], None, 0.25, 0.375, 0)) == {"train", "validation", "test"}
    counts = Counter(split(["a"] * 100 + ["b"] * 100 + ["c"] * 90))
    assert set(counts) == {"train", "validation", "test"}


def test_given_splits_are_kept_and_lacking_ones_cut_off_train():
    texts = [f"sentence {n}" for n in range(120)]
    given_splits = ["test"] * 20 + [None] * 50 + ["train"] * 50
    splits = split(texts, given_splits)
    assert splits[:20] == ["test"] * 20
    assert Counter(splits[20:]) == {"train": 90, "validation": 10}
    assert Counter(split(texts, ["test"] * 120)) == {"test": 120}
    assert Counter(split(texts, validation=0, test=0)) == {"train": 120}


words = st.text(alphabet="abAB ,.", min_size=1, max_size=4)


@settings(deadline=None)
@given(st.lists(words, min_size=1, max_size=60), st.floats(0, 0.45), st.floats(0, 0.45), st.integers(0, 9))
def test_no_sentence_is_ever_in_two_splits(texts, validation, test, seed):
    splits = split(texts, None, validation, test, seed)
    where: dict[str, set[str]] = {}
    for text, name in zip(texts, splits, strict=True):
        where.setdefault(sentence_key(text), set()).add(name)
    assert all(len(names) == 1 for names in where.values())
    assert "train" in splits
    if len(where) >= 3:
        assert ("test" in splits) == (test > 0) and ("validation" in splits) == (validation > 0)


@settings(deadline=None)
@given(
    st.lists(
        st.tuples(words, st.sampled_from(["train", "validation", "test", None])), min_size=1, max_size=40
    )
)
def test_given_splits_never_change(rows):
    texts, given_splits = [row[0] for row in rows], [row[1] for row in rows]
    for before, after in zip(given_splits, split(texts, given_splits), strict=True):
        assert before in (None, "train") or before == after


def test_shared_texts_are_counted():
    texts = ["Uno.", "uno", "due", "due", "tre", "quattro"]
    assert count_shared_texts(texts, ["train", "test", "train", "train", "validation", "test"]) == (1, 1)
    assert count_shared_texts(texts, ["train", "test", "validation", "test", "train", "train"]) == (2, 1)


def utterance(number: int, text: str = "", **more) -> Utterance:
    return Utterance(
        f"u-{number}", Path(f"{number}.wav"), text or f"frase {number}", "corpus", number, **more
    )


def tone_clip(seconds: float = 1.0) -> Clip:
    import numpy as np

    time = np.arange(round(seconds * 16000)) / 16000
    return Clip(encode_flac((0.1 * np.sin(440 * time)).astype(np.float32)), seconds)


def write(folder: Path, results: list, **more):
    folder.mkdir(parents=True)
    defaults = {"language": "it", "extra_types": {}, "validation_share": 0.1, "test_share": 0.2, "seed": 1}
    return write_prepared(folder, iter(results), on_item=lambda seconds: None, **(defaults | more))


def test_label_limit():
    # 448 tokens hold 444 of text beside language, task, no timestamps and end
    items = [utterance(0, "x" * 444), utterance(1, "x" * 445), Reject("corpus", 2, "empty text")]
    first, second, third = reject_long_labels(items, len)
    assert first is items[0] and third is items[2]
    assert isinstance(second, Reject) and second.reason.startswith("label too long: 449 tokens")


def test_what_is_written_adds_up(tmp_path):
    results: list = [(utterance(n), tone_clip(0.5 + n / 10)) for n in range(10)]
    results.insert(3, Reject("corpus", "a", "empty text: nothing"))
    results.insert(5, Reject("corpus", 12, "too long: 31 s"))
    results.insert(7, Reject("corpus", 13, "too long: 32 s"))
    seen: list[float] = []
    (tmp_path / "x").mkdir()
    report = write_prepared(
        tmp_path / "x",
        results,
        language="it",
        extra_types={},
        validation_share=0.1,
        test_share=0.2,
        seed=1,
        on_item=seen.append,
    )
    assert (report.seen, report.kept, report.rejected) == (13, 10, 3) and len(seen) == 13
    assert report.reasons == {"too long": 2, "empty text": 1}
    assert report.hours == pytest.approx(sum(0.5 + n / 10 for n in range(10)) / 3600)
    assert {name: split.utterances for name, split in report.splits.items()} == {
        "train": 7,
        "validation": 1,
        "test": 2,
    }
    assert read_report(tmp_path / "x") == report
    lines = (tmp_path / "x/rejects.jsonl").read_text().splitlines()
    assert [json.loads(line)["position"] for line in lines] == ["a", 12, 13]
    assert set(json.loads(lines[0])) == {"source", "position", "reason"}
    assert not list((tmp_path / "x").glob(".*"))


def test_columns(tmp_path):
    from datasets import Value, load_from_disk

    rows = [
        (utterance(0, start=1.0, end=2.0, extra={"age": 3, "device": "phone"}), tone_clip()),
        (utterance(1, language="en", extra={"device": 5}), tone_clip()),
    ]
    write(tmp_path / "x", rows, extra_types={"age": int, "device": str}, validation_share=0, test_share=0)
    train = load_from_disk(str(tmp_path / "x"))["train"]
    assert train.features["audio"] == Value("binary")
    first, second = train[0], train[1]
    assert first["audio"][:4] == b"fLaC"
    assert {key: value for key, value in first.items() if key != "audio"} == {
        "id": "u-0", "text": "frase 0", "duration": 1.0, "language": "it", "start": 1.0, "end": 2.0,
        "source": "0.wav", "age": 3, "device": "phone",
    }  # fmt: skip
    assert (second["language"], second["start"], second["age"], second["device"]) == ("en", None, None, "5")


def test_nothing_kept_is_an_error_with_the_reasons(tmp_path):
    with pytest.raises(UserError, match=r"no usable utterance left.*2 × too long: 31 s \(corpus, 1\)"):
        write(tmp_path / "x", [Reject("corpus", 1, "too long: 31 s"), Reject("corpus", 2, "too long: 32 s")])


def test_a_name_that_is_no_utf8_can_be_rejected(tmp_path):
    reject = Reject("bad\udcff.wav", 1, "no such file: bad\udcff.wav")
    write(tmp_path / "x", [reject, *((utterance(n), tone_clip()) for n in range(3))])
    assert json.loads((tmp_path / "x/rejects.jsonl").read_text())["source"]


@pytest.fixture
def two(tmp_path) -> tuple[str, str]:
    write(tmp_path / "a", [(utterance(n, extra={"age": 1}), tone_clip()) for n in range(10)],
          language="auto", extra_types={"age": int})  # fmt: skip
    write(tmp_path / "b", [(utterance(n, language="en", extra={"age": "x"}), tone_clip()) for n in range(5)],
          extra_types={"age": str}, test_share=0, validation_share=0)  # fmt: skip
    return str(tmp_path / "a"), str(tmp_path / "b")


def test_load_one_and_several(two):
    one = load_prepared([two[0]], "train", language="it")
    assert len(one) == 7 and set(one["language"]) == {"it"} and one[0]["audio"][:4] == b"fLaC"
    assert set(load_prepared([two[0]], "train", language="auto")["language"]) == {None}
    both = load_prepared(list(two), "train", language="it")
    assert both["language"] == ["it"] * 7 + ["en"] * 5
    assert "age" not in both.column_names  # a number there, a text here


def test_loading_says_what_is_wrong(two, tmp_path):
    (tmp_path / "empty").mkdir()
    folders = [two[0], two[1], str(tmp_path / "no"), str(tmp_path / "empty")]
    with pytest.raises(UserError) as caught:
        load_prepared(folders, "test", language="it")
    problems = str(caught.value).splitlines()
    assert len(problems) == 3
    assert "no split 'test'; there are train" in problems[0]
    assert "no such folder" in problems[1] and "not a prepared dataset" in problems[2]


def test_a_dataset_of_another_program_is_refused(tmp_path):
    from datasets import Dataset, DatasetDict

    DatasetDict({"train": Dataset.from_dict({"text": ["a"]})}).save_to_disk(tmp_path / "x")
    with pytest.raises(UserError, match="no column id, audio, duration, language"):
        load_prepared([str(tmp_path / "x")], "train", language="it")
