"""What is assembled from blocks adds up, keeps its order and types, and says why a clip was left out."""

import json
from collections import Counter
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from tests.support.assembled import build, tone, utterance
from utils.data.utterance import Reject, TimedText, Utterance
from utils.runtime.errors import UserError
from utils.runtime.problems import Problem


def rejects_of(folder: Path) -> list[dict]:
    return [json.loads(line) for line in (folder / "rejects.jsonl").read_text().splitlines()]


def rows_of(folder: Path) -> dict[str, list[dict]]:
    from datasets import load_from_disk

    return {name: list(split) for name, split in load_from_disk(str(folder)).items()}


def test_what_is_written_adds_up(tmp_path):
    items: list = [utterance(n, seconds=0.5 + n / 10) for n in range(10)]
    items.insert(3, Reject("corpus", "a", Problem("empty text", "nothing")))
    items.insert(5, Reject("corpus", 12, Problem("too long", "31 s")))
    items.insert(7, Reject("corpus", 13, Problem("too long", "32 s")))
    report = build(tmp_path / "x", items)
    assert (report.seen, report.kept, report.rejected) == (13, 10, 3)
    assert report.reasons == {"too long": 2, "empty text": 1}
    assert report.hours == pytest.approx(sum(0.5 + n / 10 for n in range(10)) / 3600)
    sizes = {name: split.utterances for name, split in report.splits.items()}
    assert sizes == {"train": 7, "validation": 1, "test": 2}
    written = json.loads((tmp_path / "x/data_report.json").read_text())
    assert (written["seen"], written["kept"], written["split_by"]) == (13, 10, "text")
    assert [reject["position"] for reject in rejects_of(tmp_path / "x")] == ["a", 12, 13]
    assert set(rejects_of(tmp_path / "x")[0]) == {"source", "position", "reason"}
    assert not list((tmp_path / "x").glob(".*"))


def test_columns(tmp_path):
    from datasets import Value, load_from_disk

    segments = (TimedText(0.0, 0.4, "frase"), TimedText(0.5, 1.0, "numero 0"))
    first = utterance(
        0, seconds=3, start=1.0, end=2.0, segments=segments, extra={"age": 3, "device": "phone"}
    )
    second = utterance(1, language="en", extra={"device": 5, "noise": 1.5})
    third = utterance(2, extra={"noise": 2})
    build(tmp_path / "x", [first, second, third], validation_share=0, test_share=0)
    train = load_from_disk(str(tmp_path / "x"))["train"]
    assert train.features["audio"] == Value("binary")
    assert train.features["noise"] == Value("float64")  # 1.5 and 2
    rows = {row["id"]: row for row in train}
    assert rows["u-0"].pop("audio")[:4] == b"fLaC"
    assert rows["u-0"] == {
        "id": "u-0", "text": "frase numero 0", "duration": 1.0, "language": "it", "start": 1.0, "end": 2.0,
        "source": "corpus", "age": 3, "device": "phone", "noise": None,
        "segments": [asdict(segment) for segment in segments],
    }  # fmt: skip
    assert (rows["u-1"]["language"], rows["u-1"]["device"], rows["u-2"]["noise"]) == ("en", "5", 2.0)


def test_a_column_that_is_called_as_the_one_that_holds_them(tmp_path):
    items = [utterance(0, extra={"extra": "more", "age": 3}), utterance(1, extra={"age": 4}), utterance(2)]
    build(tmp_path / "x", items, validation_share=0, test_share=0)
    rows = {row["id"]: (row["extra"], row["age"]) for row in rows_of(tmp_path / "x")["train"]}
    assert rows == {"u-0": ("more", 3), "u-1": (None, 4), "u-2": (None, None)}


def test_nothing_kept_is_an_error_with_the_reasons(tmp_path):
    with pytest.raises(UserError, match=r"no usable utterance left.*2 × too long: 31 s \(corpus, 1\)"):
        build(
            tmp_path / "x",
            [
                Reject("corpus", 1, Problem("too long", "31 s")),
                Reject("corpus", 2, Problem("too long", "32 s")),
            ],
        )


def test_a_name_that_is_no_utf8_can_be_rejected(tmp_path):
    reject = Reject("bad\udcff.wav", 1, Problem("no such file", "bad\udcff.wav"))
    build(tmp_path / "x", [reject, *(utterance(n) for n in range(3))])
    assert rejects_of(tmp_path / "x")[0]["source"]


def test_equal_samples_are_kept_once_and_the_test_split_goes_first(tmp_path):
    doubles = [utterance(1, split="train"), utterance(2, split="train"), utterance(3, split="test")]
    copies = [Utterance(f"c-{n}", tone(n), f"altro {n}", "copies", n, split="train") for n in (1, 3)]
    report = build(tmp_path / "x", [*doubles, *copies], rules=["duplicate"], validation_share=0)
    assert report.reasons == {"duplicate": 2}
    assert [(reject["source"], reject["position"]) for reject in rejects_of(tmp_path / "x")] == [
        ("copies", 1), ("copies", 3),
    ]  # fmt: skip
    again = build(
        tmp_path / "y", [copies[1], doubles[2], doubles[1]], rules=["duplicate"], validation_share=0
    )
    assert again.kept == 2 and rejects_of(tmp_path / "y")[0]["source"] == "copies"


def test_a_clip_that_is_rejected_makes_no_duplicate_of_another(tmp_path):
    """The same samples twice: the first text is too long for them, the second is right and stays."""
    items = [utterance(n, "parole dette piano", 0.9 + n / 300) for n in range(60)]
    items.insert(0, utterance(0, "parole dette piano " * 6, 0.9))
    report = build(tmp_path / "x", items, rules=["speech_rate", "duplicate"])
    assert report.kept == 60 and report.reasons == {"speech rate": 1}


def test_the_seed_decides_who_is_in_which_split(tmp_path):
    items = [utterance(n, seconds=0.3) for n in range(20)]
    for name, seed in (("x", 1), ("same", 1), ("other", 2)):
        build(tmp_path / name, items, seed=seed)
    tests = {name: {row["id"] for row in rows_of(tmp_path / name)["test"]} for name in ("x", "same", "other")}
    assert len(tests["x"]) == 4 and tests["same"] == tests["x"] != tests["other"]


def test_what_is_cut_from_one_file_is_in_one_split(tmp_path):
    files = []
    for number in range(8):
        files.append(tmp_path / f"{number}.wav")
        files[-1].write_bytes(tone(number, 4.0))
    items = [
        replace(utterance(4 * number + n), audio=file, start=float(n), end=n + 1.0)
        for number, file in enumerate(files)
        for n in range(4)
    ]
    report = build(tmp_path / "x", items)
    files_of = [{int(row["id"][2:]) // 4 for row in rows} for rows in rows_of(tmp_path / "x").values()]
    assert report.split_by == "recording" and all(files_of)
    assert sum(map(len, files_of)) == 8


def test_given_splits_lose_what_leaks_unless_asked_to_keep_it(tmp_path):
    items = [utterance(n, split="train", speaker=f"s{n}") for n in range(10)]
    items += [utterance(20, "FRASE NUMERO 3!", split="validation", speaker="v")]
    items += [utterance(21, split="test", speaker="s5")]
    report = build(tmp_path / "x", items)
    assert {name: split.utterances for name, split in report.splits.items()} == {
        "train": 8, "validation": 1, "test": 1,
    }  # fmt: skip
    assert Counter(reject["reason"] for reject in rejects_of(tmp_path / "x")) == {
        "leak: its text is also in validation": 1,
        "leak: its speaker is also in test": 1,
    }
    assert (report.shared_speakers, report.shared_texts, report.leaked_utterances) == (0, 0, 0)
    original = build(tmp_path / "y", items, as_original=True)
    assert original.splits["train"].utterances == 10
    assert (original.shared_speakers, original.shared_texts, original.leaked_utterances) == (1, 1, 1)


def test_words_that_differ_in_a_vowel_sign_are_no_leak(tmp_path):
    train = ["दिन", "रात", "घर", "पेड़", "फूल", "हाथ", "सड़क", "मेरा", "पाना", "रोटा"]
    items = [utterance(n, word, split="train") for n, word in enumerate(train)]
    items += [utterance(20 + n, word, split="test") for n, word in enumerate(("मेरी", "पानी", "दिन!"))]
    report = build(tmp_path / "x", items, validation_share=0)
    assert [reject["reason"] for reject in rejects_of(tmp_path / "x")] == ["leak: its text is also in test"]
    assert report.splits["train"].distinct_texts == report.splits["train"].utterances == 9


def test_impossible_speech_rates_show_against_the_corpus(tmp_path):
    items = [utterance(n, "parole dette piano", 1.2 + n / 300) for n in range(60)]
    items.append(utterance(99, "parole dette piano " * 12, 1.5))
    report = build(tmp_path / "x", items, rules=["speech_rate"])
    assert report.reasons == {"speech rate": 1}
    assert rejects_of(tmp_path / "x")[0]["position"] == 99


def test_speech_rates_are_those_of_the_own_language(tmp_path):
    """Chinese is written with fewer characters: what is usual in Italian is too many of them."""
    items = [utterance(n, "parole dette piano", 0.9 + n / 300) for n in range(60)]  # about 16 a second
    items += [utterance(100 + n, "我们现在说话", 1.2 + n / 300, language="zh") for n in range(60)]  # about 5
    items.append(utterance(200, "我们现在说话" * 4, 1.2, language="zh"))  # 20 a second
    report = build(tmp_path / "x", items, rules=["speech_rate"])
    assert [(r["position"], r["reason"].split(",")[0]) for r in rejects_of(tmp_path / "x")] == [
        (200, "speech rate: 20.0 characters a second")
    ]
    assert report.kept == 120


def test_many_rows_and_files_of_a_split(tmp_path, monkeypatch):
    from utils.data import split_writing

    monkeypatch.setattr(split_writing, "FILE_BYTES", 200_000)
    items = [utterance(n, seconds=0.5) for n in range(250)]
    build(tmp_path / "x", items, validation_share=0, test_share=0)
    names = sorted(path.name for path in (tmp_path / "x/train").glob("*.arrow"))
    assert names == [f"data-{n:05d}-of-00003.arrow" for n in range(3)]
    assert [row["id"] for row in rows_of(tmp_path / "x")["train"]] == [item.id for item in items]


def test_two_builds_are_equal_byte_for_byte(tmp_path):
    items = [utterance(n, seconds=0.3, extra={"age": n}) for n in range(150)]
    for name in ("x", "y"):
        build(tmp_path / name, items)
    files = sorted(path.relative_to(tmp_path / "x") for path in (tmp_path / "x").rglob("*") if path.is_file())
    assert len(files) >= 12
    for file in files:
        assert (tmp_path / "x" / file).read_bytes() == (tmp_path / "y" / file).read_bytes(), file
