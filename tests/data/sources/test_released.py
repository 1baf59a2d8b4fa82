"""Corpora as they are released, built from real prompts, give what they describe, in any container."""

import io
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile

from utils.data.decoding import decode_recording
from utils.data.sources.afrispeech import read_afrispeech
from utils.data.sources.common_voice import read_common_voice
from utils.data.sources.fleurs import read_fleurs
from utils.data.sources.librispeech import read_librispeech
from utils.data.sources.ljspeech import read_ljspeech
from utils.data.utterance import Utterance
from utils.runtime.errors import UserError

ANYWHERE = Path("anywhere")  # audio is compared by its sound


def without_audio(utterance: Utterance) -> Utterance:
    return replace(utterance, audio=ANYWHERE)


def assert_sounds_like(utterance: Utterance, data: bytes) -> None:
    """Decoded through our reader, the audio is what soundfile decodes from the bytes of the file."""
    expected, rate = soundfile.read(io.BytesIO(data), dtype="float32")
    samples = decode_recording(utterance.audio)
    assert rate == 16_000 and samples.shape == expected.shape
    assert np.abs(samples - expected).max() < 1e-6  # MP3 decoders add in an order that memory decides


# ---- Common Voice ------------------------------------------------------------------------------------------

CV_HEADER = (
    "client_id\tpath\tsentence_id\tsentence\tsentence_domain\tup_votes\tdown_votes\tage\tgender\taccents\t"
    "variant\tlocale\tsegment\n"
)


def cv_row(number: int, text: str, votes: tuple[int, int] = (2, 0), accents: str = "") -> str:
    middle = f"{text}\t\t{votes[0]}\t{votes[1]}\ttwenties\tfemale_feminine\t{accents}\t\tit\t\n"
    return f"speaker{number % 2}\tcommon_voice_it_{number}.mp3\tsentence{number}\t{middle}"


@pytest.fixture
def common_voice(tmp_path, texts, encoded, write_files) -> Path:
    folder = "cv-corpus-17.0-2024-03-15/it"
    quoted = f'"{texts[0]}'  # a bare quotation mark, as the corpus has them
    rows = [cv_row(0, quoted, accents="Napoli,Veneto"), cv_row(1, texts[1]), cv_row(2, texts[2], (3, 2))]
    rows += [cv_row(3, texts[3])]
    files = {
        "train.tsv": CV_HEADER + rows[0] + "too\tshort\n" + cv_row(9, "Manca il file."),
        "dev.tsv": CV_HEADER + rows[1],
        "test.tsv": CV_HEADER + rows[2] + cv_row(4, " "),
        "validated.tsv": CV_HEADER + "".join(rows),
        "other.tsv": CV_HEADER + cv_row(5, texts[5]),
        "reported.tsv": "sentence_id\tsentence\tlocale\treason\nx\ty\tit\tgrammar\n",
        "clip_durations.tsv": "clip\tduration[ms]\ncommon_voice_it_0.mp3\t5617\n",
    }
    files |= {f"clips/common_voice_it_{n}.mp3": encoded(n, "mp3") for n in range(6)}
    write_files(tmp_path / "cv", {f"{folder}/{name}": content for name, content in files.items()})
    return tmp_path / "cv"


def test_common_voice(common_voice, each_way, by_id, texts, encoded):
    utterances, rejects = by_id(read_common_voice(each_way(common_voice)))
    folder = "cv-corpus-17.0-2024-03-15/it"
    extra = {"sentence_id": "sentence0", "up_votes": 2, "down_votes": 0, "age": "twenties"}
    extra |= {"gender": "female_feminine", "locale": "it"}
    assert without_audio(utterances["common_voice_it_0"]) == Utterance(
        id="common_voice_it_0",
        audio=ANYWHERE,
        text=f'"{texts[0]}',
        source=f"{folder}/train.tsv",
        position=2,
        language="it",
        speaker="speaker0",
        group="Napoli,Veneto",
        split="train",
        extra=extra,
    )
    splits = {id: (u.text, u.split, u.speaker) for id, u in utterances.items()}
    assert splits["common_voice_it_1"] == (texts[1], "validation", "speaker1")
    assert splits["common_voice_it_2"] == (texts[2], "test", "speaker0")
    for number in range(3):
        assert_sounds_like(utterances[f"common_voice_it_{number}"], encoded(number, "mp3"))
    expected = [(f"{folder}/train.tsv", 3, "malformed row"), (f"{folder}/test.tsv", 3, "empty text")]
    assert [reject for reject in rejects if reject[2] != "no such file"] == expected


def test_common_voice_clip_that_is_missing(common_voice, packed, by_id):
    utterances, _ = by_id(read_common_voice(common_voice))
    assert utterances.keys() == {f"common_voice_it_{n}" for n in (0, 1, 2, 9)}
    with pytest.raises(Exception, match=r"no such file: .*clips/common_voice_it_9\.mp3"):
        decode_recording(utterances["common_voice_it_9"].audio)  # of a folder it is told when it is decoded
    _, rejects = by_id(read_common_voice(packed(common_voice, "zip")))
    assert ("cv-corpus-17.0-2024-03-15/it/train.tsv", 4, "no such file") in rejects


def test_common_voice_validated_as_train(common_voice, by_id):
    source = read_common_voice(common_voice, use_validated=True)
    utterances, _ = by_id(source)
    splits = {id[-1]: u.split for id, u in utterances.items()}
    assert splits == {"0": "train", "3": "train", "1": "validation", "2": "test"}
    assert source.notes == ("Not read: other.tsv.",)
    assert read_common_voice(common_voice).notes == ("Not read: validated.tsv, other.tsv.",)


def test_common_voice_votes(common_voice, by_id):
    utterances, rejects = by_id(read_common_voice(common_voice, min_net_votes=2))
    assert "common_voice_it_2" not in utterances and "common_voice_it_1" in utterances
    assert ("cv-corpus-17.0-2024-03-15/it/test.tsv", 2, "too few votes") in rejects


def test_common_voice_of_old_releases(tmp_path, texts, encoded, write_files, by_id):
    header = "client_id\tpath\tsentence\tup_votes\tdown_votes\tage\tgender\taccent\n"
    rows = f"a\tx1\t{texts[0]}\t2\t0\t\t\tnorth\n"  # no .mp3, no locale
    files = {"sv-SE/train.tsv": header + rows, "sv-SE/clips/x1.mp3": encoded(0, "mp3")}
    utterances, _ = by_id(read_common_voice(write_files(tmp_path / "old", files)))
    only = utterances["x1"]
    assert (only.language, only.group, only.extra) == ("sv", "north", {"up_votes": 2, "down_votes": 0})
    assert_sounds_like(only, encoded(0, "mp3"))


def test_common_voice_rows_that_are_no_good(tmp_path, encoded, write_files, by_id):
    rows = [cv_row(0, "Ciao."), cv_row(0, "Ancora."), cv_row(1, "Ciao.").replace("\t2\t", "\tmany\t")]
    rows += [cv_row(2, "Ciao <|endoftext|>."), cv_row(3, "x").replace("common_voice_it_3", "../../secret")]
    table = (CV_HEADER + "".join(rows)).encode() + cv_row(4, "perch?").encode().replace(b"?", b"\xe9")
    files = {"it/train.tsv": b"\xef\xbb\xbf" + table, "it/clips/common_voice_it_0.mp3": encoded(0, "mp3")}
    utterances, rejects = by_id(read_common_voice(write_files(tmp_path / "cv", files)))
    assert list(utterances) == ["common_voice_it_0"]
    kinds = [(position, kind) for _, position, kind in rejects]
    assert kinds == [
        (3, "duplicate id"),
        (4, "wrong type of 'up_votes'"),
        (5, "control token in the text"),
        (6, "path outside the corpus"),
        (7, "broken characters in the text"),
    ]


def test_common_voice_that_is_no_use(common_voice, tmp_path, write_files):
    with pytest.raises(UserError, match="no such file or folder"):
        read_common_voice(tmp_path / "nowhere")
    with pytest.raises(UserError, match="found no language 'fa', but it"):
        read_common_voice(common_voice, dataset_config_name="fa")
    write_files(common_voice, {"cv-corpus-17.0-2024-03-15/fa/train.tsv": CV_HEADER})
    with pytest.raises(UserError, match=r"found several languages: fa, it\. Name one"):
        read_common_voice(common_voice)
    assert read_common_voice(common_voice, dataset_config_name="it").total == 6
    with pytest.raises(UserError, match=r"train\.tsv has no column client_id, sentence; found 'path'"):
        read_common_voice(write_files(tmp_path / "wrong", {"train.tsv": "path\ttext\n"}))
    with pytest.raises(UserError, match=r"train\.tsv is empty"):
        read_common_voice(write_files(tmp_path / "hollow", {"train.tsv": ""}))
    with pytest.raises(UserError, match=r"no train\.tsv.*--use_validated"):
        read_common_voice(write_files(tmp_path / "delta", {"validated.tsv": CV_HEADER}))
    with pytest.raises(UserError, match="found UTF-16"):
        read_common_voice(write_files(tmp_path / "wide", {"train.tsv": CV_HEADER.encode("utf-16")}))
    with pytest.raises(UserError, match="line 2 has over"):
        read_common_voice(write_files(tmp_path / "long", {"train.tsv": CV_HEADER + "x" * 2_000_000}))


# ---- AfriSpeech-200 ----------------------------------------------------------------------------------------

AFRI_HEADER = (
    "idx,user_ids,accent,age_group,country,transcript,audio_ids,audio_paths,duration,domain,gender\n"
)


def afri_row(number: int, text: str, accent: str, split: str) -> str:
    path = f"/AfriSpeech-100/{split}/speaker{number % 2}/clip{number}.wav"
    return f'{number},user{number % 2},{accent},26-40,ZA,"{text}",a{number},{path},2.5,clinical,Female\n'


@pytest.fixture
def afrispeech(tmp_path, texts, encoded, write_files) -> Path:
    files = {
        "train.csv": AFRI_HEADER + afri_row(0, f'""{texts[0]}"", ripeto', "isizulu", "train"),
        "dev.csv": AFRI_HEADER + afri_row(1, texts[1], '"luo, swahili"', "dev"),
        "test.csv": AFRI_HEADER + afri_row(2, texts[2], "isizulu ", "test") + "1,2\n",
    }
    for number, split in enumerate(("train", "dev", "test")):
        files[f"{split}/speaker{number % 2}/clip{number}.wav"] = encoded(number, "wav")
    return write_files(tmp_path / "afri", files)


def test_afrispeech(afrispeech, each_way, by_id, texts, encoded):
    utterances, rejects = by_id(read_afrispeech(each_way(afrispeech)))
    extra = {"idx": "0", "age_group": "26-40", "country": "ZA", "audio_ids": "a0", "original_duration": 2.5}
    assert without_audio(utterances["speaker0/clip0"]) == Utterance(
        id="speaker0/clip0",
        audio=ANYWHERE,
        text=f'"{texts[0]}", ripeto',
        source="train.csv",
        position=2,
        language="en",
        speaker="user0",
        group="isizulu",
        split="train",
        extra=extra | {"domain": "clinical", "gender": "Female"},
    )
    assert {(u.split, u.group, u.text) for u in utterances.values()} == {
        ("train", "isizulu", f'"{texts[0]}", ripeto'),
        ("validation", "luo, swahili", texts[1]),
        ("test", "isizulu", texts[2]),
    }
    for number in range(3):
        assert_sounds_like(utterances[f"speaker{number % 2}/clip{number}"], encoded(number, "wav"))
    assert rejects == [("test.csv", 3, "malformed row")]


def test_afrispeech_of_some_accents(afrispeech, by_id):
    utterances, _ = by_id(read_afrispeech(afrispeech, accents=["Luo-Swahili"]))
    assert [u.group for u in utterances.values()] == ["luo, swahili"]
    with pytest.raises(UserError, match=r"no accent twi; it has isizulu \(2\), luo, swahili \(1\)\."):
        read_afrispeech(afrispeech, accents=["isizulu", "twi"])


def test_afrispeech_as_the_hub_stores_it(tmp_path, texts, encoded, write_files, packed, by_id):
    """Tables whole and by accent, the audio of each accent in compressed shards."""
    header = "speaker_id,path,audio_id,audio,transcript,age_group,gender,accent,domain,country,duration\n"
    row = "s1,speaker0/clip{0}.wav,a,,{1},26-40,Male,{2},general,ZA,2.5\n"
    both = header + row.format(0, texts[0], "isizulu") + row.format(1, texts[1], "twi")
    files = {"transcripts/train.csv": both}
    files["transcripts/isizulu/train.csv"] = header + row.format(0, texts[0], "isizulu")
    corpus = write_files(tmp_path / "hub", files)
    for number, accent in enumerate(("isizulu", "twi")):
        inside = f"train/speaker0/clip{number}.wav"
        shard = packed(write_files(tmp_path / f"shard{number}", {inside: encoded(number, "wav")}), "tar.gz")
        place = corpus / f"audio/{accent}/train/train_{accent}_0.tar.gz"
        place.parent.mkdir(parents=True)
        shard.rename(place)
    utterances, rejects = by_id(read_afrispeech(corpus))
    assert not rejects
    for number in range(2):
        assert_sounds_like(utterances[f"speaker0/clip{number}"], encoded(number, "wav"))
    only, _ = by_id(read_afrispeech(corpus, accents=["isizulu"]))
    assert [(u.text, u.speaker) for u in only.values()] == [(texts[0], "s1")]
    with pytest.raises(UserError, match="contains another archive"):
        read_afrispeech(packed(corpus, "zip"))


def test_afrispeech_that_is_no_use(tmp_path, write_files, by_id):
    with pytest.raises(UserError, match=r"no train\.csv"):
        read_afrispeech(write_files(tmp_path / "a", {"accents.csv": "accent\n"}))
    with pytest.raises(UserError, match="has no column transcript"):
        read_afrispeech(write_files(tmp_path / "b", {"train.csv": "path,text,accent\n"}))
    rows = 'a/b.wav,"never closed,x\na/c.wav,ciao,x\n'
    _, rejects = by_id(
        read_afrispeech(write_files(tmp_path / "c", {"dev.csv": f"path,transcript,accent\n{rows}"}))
    )
    assert rejects == [("dev.csv", 2, "malformed row")]
    files = {"dev.csv": "path,transcript,accent\n,ciao,x\na/b.wav,ciao,x\n"}
    _, rejects = by_id(read_afrispeech(write_files(tmp_path / "d", files)))
    assert rejects == [("dev.csv", 2, "no audio path"), ("dev.csv", 3, "no such file")]


# ---- FLEURS ------------------------------------------------------------------------------------------------


def fleurs_row(id: int, name: str, text: str) -> str:
    chars = " ".join(text.lower().replace(" ", "|"))
    return f"{id}\t{name}\t{text}\t{text.lower()}\t{chars}\t35200\tMALE\n"


@pytest.fixture
def fleurs(tmp_path, texts, encoded, write_files) -> Path:
    files = {
        "it_it/train.tsv": fleurs_row(7, "100.wav", texts[0])
        + fleurs_row(7, "101.wav", texts[0])
        + "8\t102.wav\n",
        "it_it/dev.tsv": fleurs_row(8, "200.wav", texts[2]),
    }
    for number, name in enumerate(("train/100.wav", "train/101.wav", "dev/200.wav")):
        files[f"it_it/audio/{name}"] = encoded(number, "wav")
    return write_files(tmp_path / "fleurs", files)


def test_fleurs(fleurs, each_way, by_id, texts, encoded):
    utterances, rejects = by_id(read_fleurs(each_way(fleurs)))
    assert without_audio(utterances["train/101"]) == Utterance(
        id="train/101",
        audio=ANYWHERE,
        text=texts[0],
        source="it_it/train.tsv",
        position=2,
        language="it",
        split="train",
        extra={"original_id": 7, "transcription": texts[0].lower(), "num_samples": 35200, "gender": "MALE"},
    )
    assert [(id, u.split) for id, u in sorted(utterances.items())] == [
        ("dev/200", "validation"),
        ("train/100", "train"),
        ("train/101", "train"),
    ]
    for number, id in enumerate(("train/100", "train/101", "dev/200")):
        assert_sounds_like(utterances[id], encoded(number, "wav"))
    assert rejects == [("it_it/train.tsv", 3, "malformed row")]


def test_fleurs_with_packed_audio(fleurs, packed, by_id, encoded):
    """As the Hub stores it: a compressed tar of each split, with the split's name inside."""
    audio = fleurs / "it_it/audio"
    for split in ("train", "dev"):
        whole = audio / f"whole_{split}"
        whole.mkdir()
        (audio / split).rename(whole / split)
        packed(whole, "tar.gz").rename(audio / f"{split}.tar.gz")
    utterances, _ = by_id(read_fleurs(fleurs / "it_it", text_column_name="transcription"))
    for number, id in enumerate(("train/100", "train/101", "dev/200")):
        assert_sounds_like(utterances[id], encoded(number, "wav"))
    assert utterances["dev/200"].text.islower() and utterances["dev/200"].language == "it"
    with pytest.raises(UserError, match="contains another archive"):
        read_fleurs(packed(fleurs, "tar"))


@pytest.mark.parametrize(
    ("folder", "language"),
    [
        ("cmn_hans_cn", "zh"),
        ("nb_no", "no"),
        ("fil_ph", "tl"),
        ("jv_id", "jw"),
        ("es_419", "es"),
        ("my_data", None),
    ],
)
def test_fleurs_languages(tmp_path, write_files, by_id, folder, language):
    files = {f"{folder}/test.tsv": fleurs_row(1, "1.wav", "a")}
    utterances, _ = by_id(read_fleurs(write_files(tmp_path / "fleurs", files)))
    assert utterances["test/1"].language == language


def test_fleurs_is_downloaded_in_one_language():
    for wrong in (None, "italian", "*_it"):
        with pytest.raises(UserError, match="expected one such as it_it"):
            read_fleurs(Path("google/fleurs"), dataset_config_name=wrong)


def test_fleurs_that_is_no_use(fleurs, write_files):
    with pytest.raises(UserError, match="no column 'text' in FLEURS"):
        read_fleurs(fleurs, text_column_name="text")
    write_files(fleurs, {"fa_ir/test.tsv": ""})
    with pytest.raises(UserError, match="several languages: fa_ir, it_it"):
        read_fleurs(fleurs)
    assert read_fleurs(fleurs, dataset_config_name="it_it").total == 4


# ---- LJSpeech ----------------------------------------------------------------------------------------------


@pytest.fixture
def ljspeech(tmp_path, texts, encoded, write_files) -> Path:
    lines = [
        f'LJ001-0001|"{texts[0]}|{texts[0].lower()}',
        f"LJ001-0002|{texts[1]}",
        "LJ002-0001||",
        "x|y|z|w",
    ]
    files = {"LJSpeech-1.1/metadata.csv": "\n".join(lines) + "\n"}
    for number, name in enumerate(("LJ001-0001", "LJ001-0002", "LJ099-0001")):
        files[f"LJSpeech-1.1/wavs/{name}.wav"] = encoded(number, "wav")
    return write_files(tmp_path / "lj", files)


def test_ljspeech(ljspeech, each_way, by_id, texts, encoded):
    utterances, rejects = by_id(read_ljspeech(each_way(ljspeech)))
    assert without_audio(utterances["LJ001-0001"]) == Utterance(
        id="LJ001-0001",
        audio=ANYWHERE,
        text=f'"{texts[0]}',
        source="LJSpeech-1.1/metadata.csv",
        position=1,
        recording="LJ001",
        extra={"normalized_text": texts[0].lower()},
    )
    assert_sounds_like(utterances["LJ001-0001"], encoded(0, "wav"))
    assert_sounds_like(utterances["LJ001-0002"], encoded(1, "wav"))
    assert [reject for reject in rejects if reject[1] != 3] == [
        ("LJSpeech-1.1/metadata.csv", 4, "malformed row"),
        ("LJSpeech-1.1/wavs/LJ099-0001.wav", "file", "no transcript"),
    ]


def test_ljspeech_normalized(ljspeech, by_id, texts):
    utterances, rejects = by_id(read_ljspeech(ljspeech, text_column_name="normalized_text"))
    assert [(u.text, u.extra) for u in utterances.values()] == [
        (texts[0].lower(), {"original_text": f'"{texts[0]}'})
    ]
    assert ("LJSpeech-1.1/metadata.csv", 2, "missing key 'normalized_text'") in rejects
    with pytest.raises(UserError, match="no column 'sentence' in LJSpeech"):
        read_ljspeech(ljspeech, text_column_name="sentence")
    with pytest.raises(UserError, match=r"no metadata\.csv"):
        read_ljspeech(ljspeech / "LJSpeech-1.1/wavs")


# ---- LibriSpeech -------------------------------------------------------------------------------------------


@pytest.fixture
def librispeech(tmp_path, texts, encoded, write_files) -> Path:
    files = {
        "LibriSpeech/SPEAKERS.TXT": "; ID|SEX|SUBSET|MINUTES|NAME\n19   | F | train-clean-100  | 25 | A | B\n"
    }
    for number, (subset, chapter) in enumerate([("train-clean-100", "19/198"), ("dev-other", "700/1")]):
        folder, stem = f"LibriSpeech/{subset}/{chapter}", chapter.replace("/", "-")
        files[f"{folder}/{stem}.trans.txt"] = f"{stem}-0000 {texts[number].upper()}\n{stem}-0001\nodd-1 X\n"
        files[f"{folder}/{stem}-0000.flac"] = encoded(number, "flac")
    files["LibriSpeech/dev-other/700/1/700-1-0009.flac"] = encoded(2, "flac")
    return write_files(tmp_path / "libri", files)


def test_librispeech(librispeech, each_way, by_id, texts, encoded):
    source = read_librispeech(each_way(librispeech))
    utterances, rejects = by_id(source)
    assert [without_audio(utterance) for _, utterance in sorted(utterances.items())] == [
        Utterance(
            id="19-198-0000",
            audio=ANYWHERE,
            text=texts[0].upper(),
            source="LibriSpeech/train-clean-100/19/198/19-198.trans.txt",
            position=1,
            language="en",
            speaker="19",
            recording="19-198",
            split="train",
            extra={"gender": "F"},
        ),
        Utterance(
            id="700-1-0000",
            audio=ANYWHERE,
            text=texts[1].upper(),
            source="LibriSpeech/dev-other/700/1/700-1.trans.txt",
            position=1,
            language="en",
            speaker="700",
            recording="700-1",
            split="validation",
        ),
    ]
    assert_sounds_like(utterances["19-198-0000"], encoded(0, "flac"))
    assert_sounds_like(utterances["700-1-0000"], encoded(1, "flac"))
    assert sum(kind == "malformed row" for _, _, kind in rejects) == 2
    assert rejects[-1] == ("LibriSpeech/dev-other/700/1/700-1-0009.flac", "file", "no transcript")
    assert len(rejects) == 5  # and in both chapters the line without text
    assert source.notes == ("LibriSpeech's transcripts are in upper case and have no punctuation.",)


def test_librispeech_subset(librispeech, tmp_path, write_files, by_id):
    utterances, _ = by_id(read_librispeech(librispeech / "LibriSpeech/dev-other"))
    assert [(u.id, u.split, u.source) for u in utterances.values()] == [
        ("700-1-0000", "validation", "700/1/700-1.trans.txt")
    ]
    with pytest.raises(UserError, match=r"no \*\.trans\.txt"):
        read_librispeech(write_files(tmp_path / "empty", {"a.txt": "x"}))
