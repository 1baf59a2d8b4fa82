"""Archives are read in place; what is broken or hostile in them is told, and nothing is written anywhere."""

import gzip
import io
import pickle
import stat
import struct
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from utils.audio.flac import AudioError
from utils.data.archives import members, zip_and_tar
from utils.data.archives.members import ArchiveMember, read_archived, read_member
from utils.data.archives.tree import find_files, is_archive_name, open_tree
from utils.data.archives.zip_and_tar import plain_name
from utils.data.decoding import decode_recording
from utils.data.sources.ljspeech import read_ljspeech
from utils.runtime.errors import UserError
from utils.runtime.problems import BadItem

FILES = {"a/table.tsv": "x\ty\n1\t2\n", "a/clips/1.wav": b"one" * 1000, "a/clips/2.wav": b"", "text": "b"}


def test_an_archive_is_listed_once_until_it_changes(tmp_path, write_files, packed):
    path = packed(write_files(tmp_path / "corpus", FILES), "zip")
    first = open_tree(path)
    assert open_tree(path) is first
    packed(write_files(tmp_path / "corpus", {"new": "c"}), "zip")
    assert "new" in open_tree(path)


def test_every_container_gives_the_same(tmp_path, write_files, container):
    tree = open_tree(container(write_files(tmp_path / "corpus", FILES)))
    assert sorted(tree.names()) == sorted(FILES)
    assert find_files(tree, "*.tsv", "text") == ["text", "a/table.tsv"]  # the shallower first
    assert "a/clips/1.wav" in tree and "./a//clips/1.wav" in tree
    assert "a/clips" not in tree and "../corpus/text" not in tree and "a/3.wav" not in tree
    with tree.open("a/table.tsv") as one, tree.open("text") as two:
        assert one.readline() == b"x\ty\n" and two.read() == b"b" and one.read() == b"1\t2\n"
    audio = tree.audio("a/clips/1.wav")
    data = audio.read_bytes() if isinstance(audio, Path) else read_member(audio)
    assert data == b"one" * 1000
    for name in ("/etc/passwd", "../x", "a/../../x", "C:/x", "./C:/x", ""):
        with pytest.raises(BadItem, match="path outside the corpus"):
            tree.audio(name)


def test_clutter_is_passed_over(tmp_path, write_files, container):
    files = {"__MACOSX/a/._table.tsv": "?", "a/._table.tsv": "?", ".git/config": "?", "a/table.tsv": "x"}
    assert list(open_tree(container(write_files(tmp_path / "corpus", files))).names()) == ["a/table.tsv"]


def test_members_of_a_compressed_tar_in_order(tmp_path, write_files, packed):
    tree = open_tree(packed(write_files(tmp_path / "corpus", FILES), "tar.gz"))
    members = sorted((tree.audio(name) for name in FILES), key=lambda member: member.offset)
    assert [member.name for member in members] == sorted(FILES, reverse=True)  # as it was packed
    assert all(member.needs_order for member in members)
    read = list(read_archived(members))
    assert read == members  # data is not compared
    assert {member.name: member.data for member in read} == {
        name: content if isinstance(content, bytes) else content.encode() for name, content in FILES.items()
    }
    assert not read[0].needs_order and read_member(read[0]) == read[0].data


def test_audio_of_a_member_decodes(tmp_path, write_files, container, encoded, clips):
    tree = open_tree(container(write_files(tmp_path / "corpus", {"a.flac": encoded(0, "flac")})))
    samples = decode_recording(tree.audio("a.flac"))
    assert np.abs(samples - clips[0][0]).max() <= 1 / 32768
    with pytest.raises(AudioError, match="0 bytes of audio"):
        decode_recording(ArchiveMember(tmp_path, "x.wav", data=b""))


def test_members_travel_to_other_processes(tmp_path, write_files, packed):
    for kind in ("zip", "tar.gz"):
        tree = open_tree(packed(write_files(tmp_path / "corpus", FILES), kind))
        (member,) = read_archived([tree.audio("text")]) if kind == "tar.gz" else [tree.audio("text")]
        copied = pickle.loads(pickle.dumps(member))
        assert copied == member and read_member(copied) == b"b"


def test_a_raw_codec_is_known_by_the_name_of_its_member(tmp_path, write_files, container):
    from utils.data.sources.asterisk_download import fetch_prompts

    path = next(iter(sorted(fetch_prompts("it").folder.rglob("1.g722"))))
    tree = open_tree(container(write_files(tmp_path / "corpus", {"one.g722": path.read_bytes()})))
    assert np.array_equal(decode_recording(tree.audio("one.g722")), decode_recording(path))


# ---- hostile members ---------------------------------------------------------------------------------------


def tar_with(path: Path, *members: tarfile.TarInfo | tuple[tarfile.TarInfo, bytes]) -> Path:
    with tarfile.open(path, f"w:{path.suffix.removeprefix('.').replace('tar', '')}") as archive:
        for member in members:
            info, data = member if isinstance(member, tuple) else (member, b"")
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return path


def info_of(name: str, kind: bytes = tarfile.REGTYPE, link: str = "") -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, link
    return info


@pytest.mark.parametrize("suffix", ["tar", "tar.gz"])
def test_hostile_members_of_a_tar(tmp_path, suffix):
    path = tar_with(
        tmp_path / f"bad.{suffix}",
        (info_of("good.wav"), b"good"),
        (info_of("../outside.wav"), b"x"),
        (info_of("/etc/absolute.wav"), b"x"),
        info_of("soft.wav", tarfile.SYMTYPE, "/etc/passwd"),
        info_of("hard.wav", tarfile.LNKTYPE, "good.wav"),
        info_of("device.wav", tarfile.CHRTYPE),
        info_of("pipe.wav", tarfile.FIFOTYPE),
        (info_of("twice.wav"), b"1"),
        (info_of("./twice.wav"), b"2"),
    )
    tree = open_tree(path)
    assert list(tree.names()) == ["good.wav"]
    reasons = {
        "soft.wav": "link",
        "hard.wav": "link",
        "device.wav": "no file",
        "pipe.wav": "no file",
        "twice.wav": "duplicate name",
        "outside.wav": "no such file",
        "../outside.wav": "path outside the corpus",
        "/etc/absolute.wav": "path outside the corpus",
    }
    for name, kind in reasons.items():
        with pytest.raises(BadItem, match=f"^{kind}: "):
            tree.audio(name)
    with pytest.raises(UserError, match="duplicate name"):
        tree.open("twice.wav")
    assert sorted(file.name for file in tmp_path.rglob("*")) == [path.name]  # nothing was unpacked


def zip_info(name: str, mode: int = stat.S_IFREG | 0o644) -> zipfile.ZipInfo:
    info = zipfile.ZipInfo(name)
    info.external_attr, info.create_system = mode << 16, 3
    return info


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_hostile_members_of_a_zip(tmp_path):
    path = tmp_path / "bad.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for name in ("good.wav", "../outside.wav", "/absolute.wav", "twice.wav", "twice.wav", "a\\b.wav"):
            archive.writestr(zip_info(name), b"data")
        archive.writestr(zip_info("soft.wav", stat.S_IFLNK | 0o777), "/etc/passwd")
        archive.writestr(zip_info("other.wav"), b"x", zipfile.ZIP_LZMA)
        archive.writestr(zip_info("locked.wav"), b"x")
    data = path.read_bytes()
    place = data.rindex(b"PK\x01\x02", 0, data.rindex(b"locked.wav"))
    path.write_bytes(data[: place + 8] + struct.pack("<H", 1) + data[place + 10 :])  # the flag of encryption
    tree = open_tree(path)
    assert list(tree.names()) == ["a/b.wav", "good.wav"]
    reasons = {"soft.wav": "link", "other.wav": "unknown compression", "locked.wav": "encrypted"}
    reasons |= {"twice.wav": "duplicate name", "outside.wav": "no such file", "/absolute.wav": "path outside"}
    for name, kind in reasons.items():
        with pytest.raises(BadItem, match=f"^{kind}"):
            tree.audio(name)


def test_a_bomb_is_not_unpacked(tmp_path):
    with zipfile.ZipFile(tmp_path / "bomb.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("bomb.wav", bytes(members.FREE_BYTES + 1))
        archive.writestr("silence.wav", bytes(1_000_000))
    tree = open_tree(tmp_path / "bomb.zip")
    with pytest.raises(BadItem, match="suspicious compression: 67108865 bytes packed into"):
        tree.audio("bomb.wav")
    assert read_member(tree.audio("silence.wav")) == bytes(1_000_000)
    with gzip.open(tmp_path / "bomb.tar.gz", "wb", compresslevel=9) as file:
        for number in range(80):  # 160 MB of zeros pack to some 0.16 MB
            info = tarfile.TarInfo(f"{number}.wav")
            info.size = 2_000_000
            file.write(info.tobuf() + bytes(2_000_384))
    with pytest.raises(UserError, match="more than 200 times its size"):
        open_tree(tmp_path / "bomb.tar.gz")


def test_a_size_that_lies(tmp_path):
    """A zip whose directory says less, or more, than what comes out of a member."""
    with zipfile.ZipFile(tmp_path / "a.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.wav", b"0123456789")
    good = open_tree(tmp_path / "a.zip").audio("a.wav")
    for size in (5, 20):
        lying = ArchiveMember(
            good.archive, good.name, good.offset, size, "", good.packed_size, True, good.checksum
        )
        with pytest.raises(BadItem, match="size or checksum"):
            read_member(lying)
    with pytest.raises(BadItem, match="broken archive"):
        read_member(ArchiveMember(good.archive, "a.wav", 3, 10, "", good.packed_size))


@pytest.mark.parametrize("kind", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_one_flipped_bit_of_a_member_is_seen(tmp_path, kind):
    """Its size stays right: only the checksum tells."""
    content = b"one bit of a table\n" if kind == zipfile.ZIP_STORED else np.random.default_rng(0).bytes(99)
    with zipfile.ZipFile(tmp_path / "a.zip", "w", kind) as archive:
        archive.writestr("a.tsv", content)
    data = bytearray((tmp_path / "a.zip").read_bytes())
    place = 30 + len("a.tsv") + 10  # within the content, behind the local header
    data[place] ^= 1
    (tmp_path / "a.zip").write_bytes(data)
    tree = open_tree(tmp_path / "a.zip")
    with pytest.raises(BadItem, match=r"broken archive: a\.tsv in a\.zip: size or checksum"):
        read_member(tree.audio("a.tsv"))
    with pytest.raises(UserError, match="checksum"):
        tree.open("a.tsv")


def test_too_large_a_member(tmp_path, monkeypatch, write_files, packed):
    monkeypatch.setattr(members, "MOST_MEMBER_BYTES", 100)
    folder = write_files(tmp_path / "corpus", {"a.wav": bytes(101), "b.wav": bytes(100)})
    for kind in ("zip", "tar", "tar.gz"):
        tree = open_tree(packed(folder, kind))
        with pytest.raises(BadItem, match="too large: 101 bytes, expected at most 100"):
            tree.audio("a.wav")
        assert read_member(tree.audio("b.wav")) == bytes(100)


# ---- broken archives ---------------------------------------------------------------------------------------


def random_files(count: int) -> dict[str, bytes]:
    random = np.random.default_rng(0)
    return {f"{number}.wav": random.bytes(3000) for number in range(count)}


@pytest.mark.parametrize("kind", ["zip", "tar", "tar.gz", "tar.bz2", "tar.xz"])
@pytest.mark.parametrize("share", [0.3, 0.8, 0.99])
def test_a_truncated_archive_is_told(tmp_path, write_files, packed, kind, share):
    path = packed(write_files(tmp_path / "corpus", random_files(40)), kind)
    data = path.read_bytes()
    if kind == "tar":
        data = data.rstrip(b"\0")  # tar pads with zeros, which nobody misses
    path.write_bytes(data[: int(len(data) * share)])
    with pytest.raises(UserError, match=r"damaged, or not an archive: .* incomplete: download it again"):
        open_tree(path)


@pytest.mark.parametrize("suffix", ["tar", "tar.gz"])
def test_a_bad_header_is_not_taken_for_the_end(tmp_path, suffix):
    members = [(info_of(f"{number}.wav"), content) for number, content in enumerate(random_files(5).values())]
    data = bytearray(tar_with(tmp_path / "good.tar", *members).read_bytes())
    data[data.index(b"2.wav") + 2] ^= 1  # in the middle: its checksum is no longer right
    path = tmp_path / f"broken.{suffix}"
    path.write_bytes(gzip.compress(data) if suffix == "tar.gz" else data)
    with pytest.raises(UserError, match="expected a header, found something else"):
        open_tree(path)


def tar_header(name: bytes, size: bytes, kind: bytes = b"0") -> bytes:
    """A header by hand, as no library would write it (POSIX ustar: 155 is the checksum's place at 148)."""
    block = bytearray(512)
    block[: len(name)] = name
    block[100:108], block[124 : 124 + len(size)], block[156:157] = b"0000644\0", size, kind
    block[257:265] = b"ustar\x0000"
    block[148:156] = b" " * 8
    block[148:156] = b"%06o\0 " % sum(block)
    return bytes(block)


@pytest.mark.parametrize(
    "data",
    [
        tar_header(b"a.wav", b"\xff" * 12),  # a size of -1
        tar_header(b"a.wav", b"\xff" * 10 + b"\xfe\x00"),  # -512: the next header is this one
        tar_header(b"x", b"\xff" * 10 + b"\xfd\xff", b"x"),  # -513 of an extended header
        tar_header(b"x", b"77777777777\0", b"x"),  # an extended header of 8 GB
        tar_header(b"x", b"77777777777\0", b"L"),  # a name of 8 GB
        tar_header(b"a.wav", b"77777777777\0"),  # a member of 8 GB
        b"not an archive, but a text\n" * 100,
        b"",
    ],
)
@pytest.mark.parametrize("suffix", ["tar", "tar.gz"])
def test_hostile_headers_end_at_once(tmp_path, data, suffix):
    good = tar_header(b"b.wav", b"00000000000\0")
    path = tmp_path / f"a.{suffix}"
    path.write_bytes(
        gzip.compress(data + good + bytes(1024)) if suffix == "tar.gz" else data + good + bytes(1024)
    )
    if not data:  # then it is a good archive
        assert list(open_tree(path).names()) == ["b.wav"]
        return
    with pytest.raises(UserError, match="damaged, or not an archive"):
        open_tree(path)


@pytest.mark.parametrize("kind", ["zip", "tar", "tar.gz", "tar.bz2", "tar.xz"])
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(changes=st.lists(st.tuples(st.integers(0, 10**6), st.integers(0, 255)), min_size=1, max_size=4))
def test_any_damage_ends_in_a_message(tmp_path_factory, write_files, packed, kind, changes):
    path = packed(write_files(tmp_path_factory.mktemp("damage") / "corpus", FILES | random_files(2)), kind)
    data = bytearray(path.read_bytes())
    for place, value in changes:
        data[place % len(data)] = value
    path.write_bytes(data)
    try:
        tree = open_tree(path)
    except UserError:
        return
    for name in tree.names():
        try:
            assert len(read_member(tree.audio(name))) <= 100_000
        except BadItem:
            continue


def test_what_is_no_archive(tmp_path):
    with pytest.raises(UserError, match="no such file or folder"):
        open_tree(tmp_path / "nothing.zip")
    for name, data in {
        "a.zip": b"PK\x03\x04 and no more",
        "b.tar": b"",
        "c.gz": gzip.compress(b"a,b\n"),
    }.items():
        (tmp_path / name).write_bytes(data)
        with pytest.raises(UserError, match="damaged, or not an archive"):
            open_tree(tmp_path / name)


def test_an_archive_that_changes_while_it_is_read(tmp_path, write_files, packed):
    for kind in ("tar", "tar.gz", "zip"):
        path = packed(write_files(tmp_path / "corpus", random_files(3)), kind)
        members = [open_tree(path).audio(f"{number}.wav") for number in (2, 1, 0)]
        path.write_bytes(path.read_bytes()[:2000])
        with pytest.raises(BadItem, match=r"broken archive: 0\.wav in corpus"):
            read_member(members[-1])
        if kind == "tar.gz":
            with pytest.raises(UserError, match="changed while it was read"):
                list(read_archived(members))
        path.unlink()
        with pytest.raises(BadItem, match="broken archive"):
            decode_recording(members[0])


def test_a_large_table_of_a_zip_is_streamed(tmp_path, monkeypatch, write_files, packed):
    monkeypatch.setattr(zip_and_tar, "SMALL_BYTES", 10)
    content = "".join(f"{number}\n" for number in range(10_000))
    tree = open_tree(packed(write_files(tmp_path / "corpus", {"a.txt": content}), "zip"))
    with tree.open("a.txt") as file:
        assert file.read().decode() == content


def test_rejects_of_a_reader_name_the_reason(tmp_path, texts, encoded):
    path = tar_with(
        tmp_path / "lj.tar",
        (info_of("metadata.csv"), f"good|{texts[0]}\nlink|{texts[1]}\n../up|{texts[2]}\n".encode()),
        (info_of("wavs/good.wav"), encoded(0, "wav")),
        info_of("wavs/link.wav", tarfile.SYMTYPE, "good.wav"),
    )
    good, *rejects = read_ljspeech(path).items
    assert good.id == "good"
    assert [reject.problem.kind for reject in rejects] == ["link", "path outside the corpus"]


@given(st.text(alphabet="ab./\\:\0", max_size=12))
@example("./a:")
def test_a_plain_name_stays_below_the_root(name):
    plain = plain_name(name)
    if plain is not None:
        place = Path("/root/corpus") / plain
        assert place.parts[:3] == ("/", "root", "corpus") and ".." not in place.parts and place.parts[3:]
        assert plain_name(plain) == plain


def test_names_of_archives():
    yes = ["a.zip", "A.ZIP", "a.tar", "a.tar.gz", "a.tgz", "a.tar.bz2", "a.tar.xz"]
    assert all(map(is_archive_name, yes))
    assert not any(map(is_archive_name, ["a.gz", "zip", "a.tsv", "a.wav", "a.tarx"]))
