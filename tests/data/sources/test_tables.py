"""Rows of tables: quoted and not, whole and broken, with their lines."""

import csv
import gzip
import io
import json
import os

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from utils.data.archives.tree import Folder
from utils.data.sources.afrispeech import read_afrispeech
from utils.data.sources.audiofolder import read_audiofolder
from utils.data.sources.common_voice import read_common_voice
from utils.data.sources.fleurs import read_fleurs
from utils.data.sources.kaldi import read_kaldi
from utils.data.sources.lhotse import read_lhotse
from utils.data.sources.librispeech import read_librispeech
from utils.data.sources.ljspeech import read_ljspeech
from utils.data.sources.nemo import read_nemo
from utils.data.sources.rows import manifest_seconds, split_in_name
from utils.data.sources.tables import Row, read_json_lines, read_lines, read_table
from utils.data.utterance import Reject, Utterance
from utils.runtime.errors import UserError
from utils.runtime.problems import BadItem


def rows_of(folder, name: str, **options) -> list[tuple[int, list]]:
    found = read_table(Folder(folder), name, **options)
    return [
        (r.line, list(r.values.values())) if isinstance(r, Row) else (r.position, [r.problem.kind])
        for r in found
    ]


def test_lines_keep_what_only_looks_like_an_end(tmp_path, write_files):
    text = "\ufeffa\u2028b\r\n\x0cc\n\nlast"
    folder = write_files(tmp_path, {"a.txt": text, "a.txt.gz": gzip.compress(text.encode())})
    for name in ("a.txt", "a.txt.gz"):
        assert list(read_lines(Folder(folder), name)) == [(1, "a\u2028b"), (2, "\x0cc"), (3, ""), (4, "last")]


def test_a_broken_gzip_is_told(tmp_path, write_files):
    data = gzip.compress(b"a\n" * 1000)
    folder = write_files(
        tmp_path, {"a.gz": data[:-10], "b.gz": b"a\n", "c.gz": gzip.compress(bytes(3_000_000))}
    )
    for name, problem in {"a.gz": "is damaged", "b.gz": "is damaged", "c.gz": "line 1 has over"}.items():
        with pytest.raises(UserError, match=problem):
            list(read_lines(Folder(folder), name))


def test_nothing_is_quoted_without_commas(tmp_path, write_files):
    write_files(tmp_path, {"a.tsv": 'id\ttext\n1\t"open\n2\tshut"\n\n3\n4\ta\tb\n'})
    assert rows_of(tmp_path, "a.tsv", separator="\t") == [
        (2, ["1", '"open']),
        (3, ["2", 'shut"']),
        (5, ["malformed row"]),
        (6, ["malformed row"]),
    ]


def test_csv_of_countries_with_decimal_commas(tmp_path, write_files):
    write_files(tmp_path, {"a.csv": 'id;text\n1;"a; b, c"\n2;d\n'})
    assert rows_of(tmp_path, "a.csv", separator=",") == [(2, ["1", "a; b, c"]), (3, ["2", "d"])]
    assert Row("a.csv", 1, {"duration": "12,4"}).extras(numbers={"duration": float}) == {
        "original_duration": 12.4
    }
    assert [manifest_seconds("start", value) for value in ("12,4", "12.4", 12.4)] == [12.4] * 3
    for unclear in ("1,234", "soon", "-1"):
        with pytest.raises(BadItem, match=r"time out of range: start is .*, expected seconds such as 12\.4"):
            manifest_seconds("start", unclear)


def test_quotes_of_csv(tmp_path, write_files):
    table = 'id,text\n1,"a, ""b""\nc"\n\n2,d "e"\n3,"f" g\n4,h\n5,"never shut\n6,i\n'
    write_files(tmp_path, {"a.csv": table})
    assert rows_of(tmp_path, "a.csv", separator=",") == [
        (2, ["1", 'a, "b"\nc']),
        (5, ["2", 'd "e"']),
        (6, ["malformed row"]),
        (7, ["4", "h"]),
        (8, ["malformed row"]),
    ]


@given(st.lists(st.tuples(st.text(alphabet='ab",\n é'), st.text(alphabet='ab",\n é')), max_size=8))
def test_what_the_csv_module_writes_comes_back(tmp_path_factory, rows):
    buffer = io.StringIO(newline="")
    csv.writer(buffer, lineterminator="\n").writerows([("x", "y"), *rows])
    folder = tmp_path_factory.mktemp("csv")
    (folder / "a.csv").write_bytes(buffer.getvalue().encode())
    assert [values for _, values in rows_of(folder, "a.csv", separator=",")] == [list(row) for row in rows]


def test_headers(tmp_path, write_files):
    write_files(tmp_path, {"a.tsv": " id \ttext\n1\ta\n", "b.tsv": "id\tid\n", "c.tsv": "\n"})
    assert rows_of(tmp_path, "a.tsv", separator="\t", needed=("id",)) == [(2, ["1", "a"])]
    assert rows_of(tmp_path, "a.tsv", separator="\t", columns=("x", "y", "z"), optional=1) == [
        (1, [" id ", "text"]),
        (2, ["1", "a"]),
    ]
    for name, needed, problem in [
        ("a.tsv", ("path",), "no column path; found 'id', 'text'"),
        ("b.tsv", (), "two columns of the same name"),
        ("c.tsv", (), "is empty"),
    ]:
        with pytest.raises(UserError, match=problem):
            rows_of(tmp_path, name, separator="\t", needed=needed)


def test_json_lines(tmp_path, write_files):
    lines = [json.dumps({"a": 1}), "", "{", "3", "[" * 100_000, json.dumps({"b": "è"})]
    write_files(tmp_path, {"a.jsonl": "\n".join(lines)})
    found = list(read_json_lines(Folder(tmp_path), "a.jsonl"))
    assert [r.position for r in found if isinstance(r, Reject)] == [3, 4, 5]
    assert [(r.line, r.values) for r in found if isinstance(r, Row)] == [(1, {"a": 1}), (6, {"b": "è"})]


def test_values_of_a_row():
    row = Row(
        "t", 1, {"a": " x ", "n": 7, "e": " ", "b": True, "s": "\udce9", "id": "i", "list": [1], "f": "1.5"}
    )
    assert (row.text("a"), row.label("missing", "e", "a"), row.label("n"), row.label("e")) == (
        " x ",
        "x",
        "7",
        None,
    )
    for wrong in (
        lambda: row.text("n"),
        lambda: row.text("missing"),
        lambda: row.label("b"),
        lambda: row.label("s"),
    ):
        with pytest.raises(BadItem):
            wrong()
    extras = row.extras("s", "e", numbers={"f": float})
    assert extras == {"a": " x ", "n": 7, "b": True, "original_id": "i", "list": "[1]", "f": 1.5}
    with pytest.raises(BadItem, match="wrong type of 'a': found ' x ', expected a number"):
        row.extras("s", numbers={"a": int})


FUZZED = {
    "train.tsv": (read_common_voice, "client_id\tpath\tsentence\tup_votes\tlocale\n"),
    "test.tsv": (read_fleurs, ""),
    "dev.csv": (read_afrispeech, "path,transcript,accent,duration\n"),
    "metadata.csv": (read_ljspeech, ""),
    "19/1/19-1.trans.txt": (read_librispeech, ""),
    "a/metadata.csv": (read_audiofolder, "file_name,text,split,language\n"),
    "metadata.jsonl": (read_audiofolder, ""),
    "wav.scp": (read_kaldi, "a b\n"),
    "segments": (read_kaldi, "a b 0 1\n"),
    "text": (read_kaldi, "a b\n"),
    "train.json": (read_nemo, '{"audio_filepath": "a", "text": "b"}\n'),
    "cuts.jsonl": (read_lhotse, ""),
}
PIECES = [
    "a",
    "b",
    "é",
    " ",
    "\t",
    "|",
    ",",
    '"',
    "\n",
    "\r",
    "\0",
    "0",
    "-1",
    "1e999",
    "nan",
    "../",
    "/",
    "\u2028",
]
PIECES += [
    '{"audio_filepath": "',
    '"}',
    '"text": ',
    "null",
    "[",
    "]",
    "{",
    "}",
    ":",
    "\\ud800",
    "19-1-0",
    "\ufeff",
]


@pytest.mark.parametrize("name", FUZZED)
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(parts=st.lists(st.sampled_from(PIECES) | st.binary(max_size=3), max_size=25))
def test_no_table_ends_a_reader_otherwise_than_by_a_message(tmp_path_factory, name, parts):
    reader, start = FUZZED[name]
    content = start.encode() + b"".join(p if isinstance(p, bytes) else p.encode() for p in parts)
    folder = tmp_path_factory.mktemp("fuzz")
    files = {"wav.scp": b"a b\n", "text": b"a b\n"} if reader is read_kaldi else {}
    for file, data in (files | {name: content}).items():
        (folder / file).parent.mkdir(parents=True, exist_ok=True)
        (folder / file).write_bytes(data)
    try:
        source = reader(folder)
    except UserError:
        return
    items = list(source.items)
    assert len(items) == source.total and items == list(source.items)
    for item in items:
        if isinstance(item, Utterance):
            json.dumps(
                [item.id, item.text, item.speaker, item.group, dict(item.extra)], ensure_ascii=False
            ).encode()
            os.fsencode(item.audio)


@pytest.mark.parametrize(
    ("name", "split"),
    [
        ("intron-dev-public-3231.csv", "validation"),
        ("transcripts/test/x.csv", "test"),
        ("test/train_manifest.json", "train"),
        ("libri_cuts_train-clean-100.jsonl.gz", "train"),
        ("trained/latest.csv", None),
    ],
)
def test_split_in_name(name, split):
    assert split_in_name(name) == split
