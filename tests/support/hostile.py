"""A folder and a manifest of bad and odd speech data, each item with what must become of it, by hand.

Fates are `KEPT` or the kind of a reject; `a | b` allows either, where the reader or the file system decides.
Every item has a sound and a text of its own, so that none is a duplicate of another.
"""

import gzip
import io
import json
import os
import random
import struct
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path

import av
import numpy as np
import soundfile

KEPT = "kept"
SECONDS = 2.0

Fates = Mapping[str, tuple[str, ...]]
"""For each stem below the folder, or each line of the manifest, the fates of its items in any order."""


def tone(number: int, seconds: float = SECONDS, rate: int = 16_000) -> np.ndarray:
    """(samples,) float64: a rising tone whose pitch tells its number, with three bursts a second."""
    time = np.arange(round(seconds * rate)) / rate
    loudness = 0.3 * (0.55 + 0.45 * np.sin(2 * np.pi * 3 * time))
    return loudness * np.sin(2 * np.pi * (200 + 3 * number + 2 * time) * time)


def sound_file(
    samples: np.ndarray, rate: int = 16_000, kind: str = "WAV", subtype: str | None = None
) -> bytes:
    buffer = io.BytesIO()
    soundfile.write(buffer, samples, rate, format=kind, subtype=subtype)
    return buffer.getvalue()


def m4a(samples: np.ndarray, rate: int = 16_000) -> bytes:
    """AAC in MP4, its index at the end."""
    buffer = io.BytesIO()
    with av.open(buffer, "w", format="ipod") as output:
        stream = output.add_stream("aac", rate=rate, layout="mono")
        frame = av.AudioFrame.from_ndarray(samples[None].astype(np.float32), format="fltp", layout="mono")
        frame.sample_rate = rate
        resampler = av.AudioResampler(stream.format.name, "mono", rate, frame_size=stream.frame_size)
        for part in [*resampler.resample(frame), *resampler.resample(None), None]:
            output.mux(stream.encode(part))
    return buffer.getvalue()


def film_without_sound() -> bytes:
    buffer = io.BytesIO()
    with av.open(buffer, "w", format="mp4") as output:
        pictures = output.add_stream("mpeg4", rate=10)
        pictures.width = pictures.height = 32
        output.mux(pictures.encode(av.VideoFrame(32, 32, "rgb24")))
        output.mux(pictures.encode(None))
    return buffer.getvalue()


def wav_with(samples: np.ndarray, **fields: int) -> bytes:
    """A 16-bit mono WAV file whose header lies in the named fields."""
    data = np.rint(samples * 32767).astype("<i2").tobytes()
    values = {"channels": 1, "rate": 16_000, "data_size": len(data)} | fields
    riff_size = min(36 + values["data_size"], 0xFFFFFFFF)
    byte_rate = min(values["rate"] * 2, 0xFFFFFFFF)
    head = struct.pack("<4sI4s4sI", b"RIFF", riff_size, b"WAVE", b"fmt ", 16)
    head += struct.pack("<HHIIHH", 1, values["channels"], values["rate"], byte_rate, 2, 16)
    return head + struct.pack("<4sI", b"data", values["data_size"]) + data


def flac_with_length(samples: np.ndarray, num_samples: int) -> bytes:
    """FLAC whose header counts `num_samples`: the low 36 of the 64 bits from byte 18 on."""
    data = bytearray(sound_file(samples, kind="FLAC"))
    (packed,) = struct.unpack_from(">Q", data, 18)
    struct.pack_into(">Q", data, 18, packed >> 36 << 36 | num_samples)
    return bytes(data)


def long_silence(hours: float) -> bytes:
    """Hours of digital silence as FLAC: some hundred kilobytes."""
    buffer = io.BytesIO()
    minute = np.zeros(60 * 8_000, dtype=np.int16)
    with soundfile.SoundFile(buffer, "w", 8_000, 1, "PCM_16", format="FLAC") as output:
        for _ in range(round(60 * hours)):
            output.write(minute)
    return buffer.getvalue()


def zip_that_climbs() -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("../../climbed.wav", sound_file(tone(0)))
        archive.writestr("/climbed.txt", "Salito in cima")
    return buffer.getvalue()


def half(data: bytes) -> bytes:
    return data[: len(data) // 2]


def opposite(samples: np.ndarray) -> np.ndarray:
    return np.stack([samples, -samples], axis=1)


PLAYLIST = b"#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\nhttp://127.0.0.1:9/a.ts\n#EXT-X-ENDLIST\n"

SOUNDS: dict[str, tuple[str, Callable[[np.ndarray], bytes]]] = {
    # file name: (fate, bytes made from a tone of two seconds)
    "good.wav": (KEPT, sound_file),
    "eight_bit.wav": (KEPT, lambda x: sound_file(x, subtype="PCM_U8")),
    "twenty_four_bit.wav": (KEPT, lambda x: sound_file(x, subtype="PCM_24")),
    "float.wav": (KEPT, lambda x: sound_file(x, subtype="FLOAT")),
    "double.wav": (KEPT, lambda x: sound_file(x, subtype="DOUBLE")),
    "mulaw.wav": (KEPT, lambda x: sound_file(x[::2], 8_000, subtype="ULAW")),
    "rate_96k.wav": (KEPT, lambda x: sound_file(np.repeat(x, 6), 96_000)),
    "six_channels.wav": (KEPT, lambda x: sound_file(np.repeat(x[:, None], 6, axis=1))),
    "one_silent_channel.wav": (KEPT, lambda x: sound_file(np.stack([x, 0 * x], axis=1))),
    "opposite_phase.wav": (KEPT, lambda x: sound_file(opposite(x))),
    "flac_named.wav": (KEPT, lambda x: sound_file(x, kind="FLAC")),
    "wav_named.g722": (KEPT, sound_file),
    "mp3_named.wav": (KEPT, lambda x: sound_file(x, kind="MP3")),
    "ogg_named.mp3": (KEPT, lambda x: sound_file(x, kind="OGG")),
    "m4a_named.ogg": (KEPT, m4a),
    "LOUD_NAME.WAV": (KEPT, sound_file),
    "streamed.wav": (KEPT, lambda x: wav_with(x, data_size=0xFFFFFFFF)),
    "streamed_by_sox.wav": (KEPT, lambda x: wav_with(x, data_size=0x7FFFFFFF - 36)),
    "never_finished.wav": (KEPT, lambda x: wav_with(x, data_size=0)),
    "garbage_at_the_end.wav": (KEPT, lambda x: sound_file(x) + b"\xde\xad\xbe\xef" * 5_000),
    "zero_bytes.wav": ("empty file", lambda x: b""),
    "header_only.wav": ("no samples", lambda x: sound_file(x[:0])),
    "half_a_header.wav": ("not audio", lambda x: sound_file(x)[:30]),
    "text_named.wav": ("not audio", lambda x: b"Questo e` un testo e non un suono.\n" * 200),
    "random_bytes.mp3": ("broken audio | not audio", lambda x: random.Random(1).randbytes(100_000)),
    "random_bytes.wav": ("not audio", lambda x: random.Random(2).randbytes(100_000)),
    "zeros.mp3": ("not audio", lambda x: bytes(50_000)),
    "playlist.mp3": ("not audio", lambda x: PLAYLIST),
    "concat.wav": ("not audio", lambda x: b"ffconcat version 1.0\nfile /etc/hostname\n"),
    "xml_bomb.wav": ("not audio", lambda x: b'<!DOCTYPE a [<!ENTITY b "bb"><!ENTITY c "&b;&b;">]><a>&c;</a>'),
    "zip_named.wav": ("not audio", lambda x: zip_that_climbs()),
    "gzip_named.wav": ("not audio", lambda x: gzip.compress(bytes(10_000_000))),
    "film_without_sound.mp4": ("not audio", lambda x: film_without_sound()),
    "nan.wav": ("NaN or infinite samples", lambda x: sound_file(np.r_[x, np.nan], subtype="FLOAT")),
    "infinite.wav": ("NaN or infinite samples", lambda x: sound_file(np.r_[x, np.inf], subtype="FLOAT")),
    "nan_in_one_channel.wav": (
        "NaN or infinite samples",
        lambda x: sound_file(np.stack([x, np.full_like(x, np.nan)], axis=1), subtype="FLOAT"),
    ),
    "unscaled.wav": ("samples out of range", lambda x: sound_file(30_000 * x, subtype="FLOAT")),
    "cut.wav": ("truncated", lambda x: half(sound_file(x))),
    "cut.aiff": ("truncated", lambda x: half(sound_file(x, kind="AIFF"))),
    "cut.flac": ("truncated", lambda x: half(sound_file(x, kind="FLAC"))),
    "cut.mp3": ("truncated", lambda x: half(sound_file(x, kind="MP3"))),
    "cut.ogg": ("truncated", lambda x: half(sound_file(x, kind="OGG"))),
    "cut.m4a": ("truncated", lambda x: half(m4a(x))),
    "lying_size.wav": ("truncated", lambda x: wav_with(x, data_size=1_000_000_000)),
    "lying_size.flac": ("truncated", lambda x: flac_with_length(x, 2**36 - 1)),
    "one_hertz.wav": ("broken audio", lambda x: wav_with(x, rate=1)),
    "no_hertz.wav": ("broken audio | not audio", lambda x: wav_with(x, rate=0)),
    "four_gigahertz.wav": ("broken audio | not audio", lambda x: wav_with(x, rate=0xFFFFFFFF)),
    "no_channels.wav": ("broken audio | not audio", lambda x: wav_with(x, channels=0)),
    "many_channels.wav": ("broken audio | not audio | too short", lambda x: wav_with(x, channels=65_535)),
    "silence.wav": ("silent", lambda x: sound_file(0 * x)),
    "whisper_of_noise.wav": ("silent", lambda x: sound_file(1e-4 * x, subtype="FLOAT")),
    "offset.wav": ("DC offset", lambda x: sound_file(x / 2 + 0.5)),
    "clipped.wav": ("clipped", lambda x: sound_file(np.clip(20 * x, -1, 1))),
    "blink.wav": ("too short", lambda x: sound_file(x[:800])),
    "long.wav": ("too long", lambda x: sound_file(np.tile(x, 16))),
    "three_hours.flac": ("too long", lambda x: long_silence(3)),
}

# Of these the name is the trouble, not the content.
NAMES = (
    "spazi nel  nome",
    "emoji 🎙️ nel nome",
    "a capo\nnel nome",
    "virgolette \"'`",
    "$(touch comando); * ? [a-z] \\",
    "-rf",
    "percento %s %d {0}",
    "متن فارسی",
    "cartella/con/molti/livelli",
    "lungo" * 49,  # 245 bytes; file systems allow 255
    "punti.nel.nome",
)

TEXTS: dict[str, tuple[str, bytes]] = {
    "mark": (KEPT, "\ufeffUna frase con il marchio.".encode()),
    "windows_ends": (KEPT, b"Una frase con fine riga di Windows.\r\n\r\n"),
    "old_mac_ends": (KEPT, b"Una frase con fine riga\rdi un vecchio Mac.\r"),
    "quotes": (KEPT, "Disse: \"Lui ha detto: 'sì, «certo»'\" e «via».".encode()),
    "comma_separated": (KEPT, b'"uno","due;tre",quattro\\,cinque'),
    "nul_characters": (KEPT, b"Una frase \0 con il carattere nullo.\0\0\0"),
    "right_to_left_marks": (KEPT, "Una \u202efrase girata\u202c al contrario.".encode()),
    "path_and_format": (
        KEPT,
        b"../../etc/passwd e via cos\xc3\xac",
    ),
    "formula": (KEPT, b"=CMD('calc') meno uno"),
    "some_foreign_words": (KEPT, "Ho visto Москва e poi sono tornato a casa.".encode()),
    "utf16": (KEPT, "Così è la vita.".encode("utf-16")),
    "utf16_without_mark": ("unreadable transcript", "Così è la vita.".encode("utf-16-be")),
    "latin1": ("unreadable transcript", "Così è la vita.".encode("latin-1")),
    "random": ("unreadable transcript", random.Random(3).randbytes(1000)),
    "surrogates": ("unreadable transcript", b"mezza \xed\xa0\x80 coppia"),
    "empty": ("empty text", b""),
    "blank": ("empty text", " \u00a0\r\n\u2003 ".encode()),
    "only_nul": ("empty text", b"\0\0\0"),
    "punctuation": ("no words", "… — ?!".encode()),
    "zero_width": ("no words", "\u200b\u200d\u2060".encode()),
    "music": ("no words", "♪♪ 🎵".encode()),
    "control_token": ("control token in the text", b"Ciao <|endoftext|> a tutti"),
    "time_token": ("control token in the text", b"<|0.00|> Ciao a tutti <|2.00|>"),
    "tags": ("markup", b"<i>Una frase</i> in corsivo<br/>"),
    "script_tag": ("markup", b"<script>alert(1)</script> ciao a tutti"),
    "unknown_word": ("markup", b"Una frase con <unk> dentro"),
    "note": ("markup", b"[rumore] una frase con rumore"),
    "only_a_note": ("markup", b"(risate e applausi)"),
    "link": ("markup", b"Guarda https://example.org/?q=1 adesso"),
    "cyrillic": ("wrong script", "Это предложение написано по-русски.".encode()),
    "chinese": ("wrong script", "这是一个中文句子。".encode()),
    "lookalikes": ("lookalike letters", "Una frasе con una lettera russa.".encode()),
    "machine": ("repeated text", b"Grazie per la visione! " * 20),
    "ten_megabytes": ("text too long | label too long | speech rate", b"parola " * 1_500_000),
}

TIMED = (
    # lines of a recording of six seconds, and their fates
    ("0.0\t1.0\tla prima riga buona", KEPT),
    ("0.9\t1.6\tuna riga che si sovrappone poco", KEPT),
    ("1.5\t2.0\tcon\taltri\ttabulatori", KEPT),
    ("2.1\t2.8\tuna riga che si sovrappone molto", "overlapping speech"),
    ("2.3\t2.9\te quella che le sta sotto", "overlapping speech"),
    ("\u0663\t\u0664\ttempi in cifre arabe", KEPT),
    ("", ""),  # no item
    ("3.0\t2.0\tuna riga al contrario", "end not after start"),
    ("2.0\t2.0\tuna riga senza durata", "end not after start"),
    ("-1\t1\tun tempo negativo", "malformed line"),
    ("nan\t1\tun tempo che non è un numero", "malformed line"),
    ("1\tinf\tun tempo infinito", "malformed line"),
    ("1e999\t2\tun tempo enorme", "malformed line"),
    ("0:01\t0:02\tun orologio", "malformed line"),
    ("1.0\t2.0", "malformed line"),
    ("una riga senza tempi", "malformed line"),
    ("0.0 1.0 spazi al posto dei tabulatori", "malformed line"),
    ("1.2\t1.3\tcorta", "segment too short"),
    ("0\t40\tuna riga oltre la fine", "segment beyond the end of the audio"),
    ("5.5\t7.0\tuna riga oltre la fine", "segment beyond the end of the audio"),
    ("800\t801\tuna riga molto oltre la fine", "segment beyond the end of the audio"),
    ("2.0\t3.0\t \u00a0", "empty text"),
    ("4.0\t5.0\t<|endoftext|> ciao", "control token in the text"),
    ("4.0\t5.0\t<b>grassetto</b> nel testo", "markup"),
)


def build_folder(folder: Path) -> Fates:
    """Write the folder of same-stem recordings and transcripts, and say what must become of each stem."""
    folder.mkdir(parents=True)
    fates: dict[str, tuple[str, ...]] = {}
    number = 0
    for number, (name, (fate, build)) in enumerate(SOUNDS.items()):
        path = folder / "suoni" / name
        # the fate is looked up by the stem, and `cut` has several
        path = path.with_stem(f"{path.stem}_{path.suffix[1:]}")
        _write(path, build(tone(number)))
        extension = ".TXT" if path.suffix.isupper() else ".txt"
        _write(path.with_suffix(extension), f"Questo è il suono numero {_spelt(number)}.".encode())
        fates[_stem(path, folder)] = (fate,)
    for stem in NAMES:
        number += 1
        path = folder / "nomi" / f"{stem}.wav"
        _write(path, sound_file(tone(number)))
        _write(path.with_name(f"{path.name[:-4]}.txt"), f"Questo è il nome numero {_spelt(number)}.".encode())
        fates[_stem(path, folder)] = (KEPT,)
    for stem, (fate, text) in TEXTS.items():
        number += 1
        _write(folder / "testi" / f"{stem}.wav", sound_file(tone(number)))
        _write(folder / "testi" / f"{stem}.txt", text)
        fates[f"testi/{stem}"] = (fate,)
    fates |= _write_pairs_that_are_none(folder / "coppie", folder, number)
    fates |= _write_timed(folder / "tempi", folder)
    return fates


def _write_pairs_that_are_none(place: Path, folder: Path, number: int) -> Fates:
    """Directories, pipes, links and single files where a recording or a transcript is expected."""
    place.mkdir()
    outside = folder.parent / "outside.wav"
    _write(outside, sound_file(tone(number + 1)))
    (place / "directory.wav").mkdir()
    os.mkfifo(place / "pipe.wav")
    (place / "loop.wav").symlink_to("loop.wav")
    (place / "dangling.wav").symlink_to("missing.wav")
    (place / "linked.wav").symlink_to(outside)
    (place / "endless").symlink_to("..", target_is_directory=True)
    _write(place / "locked.wav", sound_file(tone(number + 2)))
    (place / "locked.wav").chmod(0)
    locked = KEPT if os.access(place / "locked.wav", os.R_OK) else "unreadable file"
    nothing = "no recording | not a file | no such file | unreadable file"
    fates = {
        "directory": (nothing,),
        "pipe": (nothing,),
        "loop": (nothing,),
        "dangling": (nothing,),
        "linked": (KEPT,),
        "locked": (locked,),
    }
    for index, stem in enumerate(fates):
        _write(place / f"{stem}.txt", f"Questa è la coppia numero {_spelt(index)}.".encode())
    _write(place / "no_text.wav", sound_file(tone(number + 3)))
    _write(place / "no_sound.txt", b"Un testo senza suono.")
    _write(place / "twins.flac", sound_file(tone(number + 4), kind="FLAC"))
    _write(place / "twins.wav", sound_file(tone(number + 5)))
    _write(place / "twins.txt", b"Due suoni e un testo solo.")
    (place / "text_is_a_directory.txt").mkdir()
    _write(place / "text_is_a_directory.wav", sound_file(tone(number + 6)))
    fates |= {
        "no_text": ("no transcript",),
        "no_sound": ("no recording",),
        "twins": (KEPT, "two recordings of one name"),
        "text_is_a_directory": ("no transcript",),
    }
    return {f"coppie/{stem}": fate for stem, fate in fates.items()}


def _write_timed(place: Path, folder: Path) -> Fates:
    text = "\n".join(line for line, _ in TIMED)
    fates = {}
    for index, (stem, encoding, ends) in enumerate(
        [("plain", "utf-8", "\n"), ("windows", "utf-8-sig", "\r\n"), ("old_mac", "utf-8", "\r")]
    ):
        _write(place / f"{stem}.wav", sound_file(tone(300 + index, seconds=6)))
        _write(place / f"{stem}.txt", text.replace("\n", ends).encode(encoding))
        fates[f"tempi/{stem}"] = tuple(fate for _, fate in TIMED if fate)
    _write(place / "unreadable.wav", b"no sound here")
    _write(place / "unreadable.txt", b"0.0\t1.0\tprima\n1.0\t2.0\tseconda\n")
    return fates | {"tempi/unreadable": ("not audio", "not audio")}


def build_manifest(folder: Path) -> tuple[Path, Fates]:
    """Write a manifest of bad and odd lines beside its clips; fates are told by line, counted from 1."""
    (folder / "clips" / "directory.wav").mkdir(parents=True)
    os.mkfifo(folder / "clips" / "pipe.wav")
    lines, fates = [], {}
    for number, (fate, line) in enumerate(_manifest_lines(), start=1):
        clip = f"clips/{number:03d}.wav"
        if isinstance(line, dict):
            row = {"audio": clip, "text": f"Questa è la riga numero {_spelt(number)}."} | line
            line = json.dumps({key: value for key, value in row.items() if value != "-"}).encode()
        line = line.replace(b"CLIP", clip.encode())
        _write(folder / clip, sound_file(tone(number)))
        lines.append(line)
        if fate:
            fates[str(number)] = (fate,)
    manifest = folder / "corpus.jsonl"
    manifest.write_bytes(b"\xef\xbb\xbf" + b"\r\n".join(lines))
    return manifest, fates


def _manifest_lines() -> list[tuple[str, dict | bytes]]:
    """Fate and line; a dict is added to a good line, and `-` takes a key away."""
    deep = b'{"audio": "CLIP", "text": "ciao", "x": ' + b"[" * 100_000 + b"]" * 100_000 + b"}"
    return [
        (KEPT, {}),
        ("", b""),  # a blank line is no item
        ("", b"   "),
        (KEPT, {"speaker": 7, "group": "casa", "split": "dev", "language": "it", "id": 5, "duration": "x"}),
        (KEPT, {"extra": {"a": [1, {"b": None}]}, "more": 1e308, "none": None, "huge": 2**80}),
        (KEPT, b'{"audio": "CLIP", "text": "prima", "text": "vince l\'ultima chiave"}'),
        (KEPT, {"text": "Disse: \"lui dice: 'sì\\n', {}\" e via."}),
        (KEPT, {"start": 0, "end": 1.5}),
        (KEPT, {"start": 0.25, "end": 2.04}),  # a little beyond the end
        ("bad JSON", b"{"),
        ("bad JSON", b'{"audio": "CLIP", "text": "senza fine'),
        ("bad JSON", b"{'audio': 'CLIP', 'text': 'virgolette semplici'}"),
        ("bad JSON", b'{"audio": "CLIP", "text": "virgola",}'),
        ("bad JSON", b'{"audio": "CLIP", "text": "due"} {"audio": "CLIP", "text": "oggetti"}'),
        ("bad JSON", b"[1, 2]"),
        ("bad JSON", b'"solo testo"'),
        ("bad JSON", b"null"),
        ("bad JSON", b"NaN"),
        ("bad JSON", deep),
        ("bad JSON", b'{"audio": "CLIP", "text": "ciao", "start": ' + b"9" * 5_000 + b', "end": 1}'),
        ("bad JSON", b"x" * 10_000_000),
        ("bad JSON", b"# un commento"),
        ("not UTF-8", b'{"audio": "CLIP", "text": "Cos\xec"}'),
        ("not UTF-8 | bad JSON", '{"audio": "CLIP", "text": "Così"}'.encode("utf-16-le")[:-1]),
        ("missing key 'audio'", {"audio": "-"}),
        ("missing key 'text'", {"text": "-"}),
        ("missing key 'audio'", b"{}"),
        ("wrong type of 'audio'", {"audio": 3}),
        ("wrong type of 'audio'", {"audio": None}),
        ("wrong type of 'audio'", {"audio": {"path": "CLIP"}}),
        ("wrong type of 'text'", {"text": ["ciao"]}),
        ("wrong type of 'text'", {"text": 12}),
        ("wrong type of 'speaker'", {"speaker": {"name": "x"}}),
        ("empty audio path", {"audio": ""}),
        ("no such file", {"audio": "clips/missing.wav"}),
        ("no such file", {"audio": "http://127.0.0.1:9/a.wav"}),
        ("no such file", {"audio": "concat:/etc/passwd"}),
        ("no such file", {"audio": "pipe:0"}),
        ("no such file | unreadable file", {"audio": "a/" * 5_000}),
        ("no such file | unreadable file", {"audio": "clips/nul\0.wav"}),
        ("not a file", {"audio": "clips/directory.wav"}),
        ("not a file", {"audio": "clips/pipe.wav"}),
        ("not a file", {"audio": "/dev/zero"}),
        ("not a file", {"audio": "."}),
        ("not audio", {"audio": "corpus.jsonl"}),
        ("not audio", {"audio": "/etc/passwd"}),
        ("broken characters in 'audio'", b'{"audio": "CLIP\\ud800", "text": "ciao"}'),
        ("broken characters in the text", b'{"audio": "CLIP", "text": "mezza \\udfff coppia"}'),
        ("broken characters in '\\ud800'", b'{"audio": "CLIP", "text": "ciao", "\\ud800": 1}'),
        ("empty text", {"text": ""}),
        ("empty text", {"text": "\0\u00a0\t"}),
        ("no words", {"text": "-?-"}),
        ("control token in the text", {"text": "ciao <|it|> ciao"}),
        ("markup", {"text": "ciao [risata] ciao"}),
        ("text too long | label too long | speech rate", {"text": "parola " * 1_500_000}),
        ("unknown language", {"language": "klingon"}),
        ("wrong type of 'language'", {"language": 3}),
        ("wrong script", {"language": "ru"}),
        ("unknown split", {"split": "vacanze"}),
        ("start without end", {"start": 1}),
        ("end without start", {"end": 1}),
        ("end not after start", {"start": 1.5, "end": 0.5}),
        ("end not after start", {"start": 1.0, "end": 1.0}),
        ("wrong type of 'start'", {"start": "zero", "end": "1"}),
        ("wrong type of 'start'", {"start": True, "end": 1}),
        ("time out of range", {"start": -0.5, "end": 1}),
        ("time out of range", {"start": float("nan"), "end": 1}),
        ("time out of range", {"start": 0, "end": float("inf")}),
        ("time out of range", {"start": 0, "end": 10**300}),
        ("time out of range", b'{"audio": "CLIP", "text": "ciao", "start": 0, "end": 1e999}'),
        ("segment beyond the end of the audio", {"start": 1.0, "end": 3.0}),
        ("segment beyond the end of the audio", {"start": 9e8, "end": 9.9e8}),
        ("too short", {"start": 1.0, "end": 1.02}),
    ]


DIGITS = ("zero", "uno", "due", "tre", "quattro", "cinque", "sei", "sette", "otto", "nove")


def _spelt(number: int) -> str:
    return " ".join(DIGITS[int(digit)] for digit in str(number))


def _stem(path: Path, folder: Path) -> str:
    return path.relative_to(folder).with_suffix("").as_posix()


def _write(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
