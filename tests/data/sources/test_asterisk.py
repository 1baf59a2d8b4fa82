"""Asterisk's prompts: paired with their list; tones and faulty lines are rejected."""

from tests.support.small_corpora import parts
from utils.data.sources.asterisk import read_prompts


def test_prompts(tmp_path):
    for key in ("hello", "digits/1", "beep", "tones", "silence/1", "unlisted", "muted", "bye"):
        (tmp_path / key).parent.mkdir(exist_ok=True)
        (tmp_path / f"{key}.g722").write_bytes(b"x")
    transcripts = [("hello", "Ciao [!] (in inglese)."), ("digits/1", "uno"), ("lost", "Perso")]
    transcripts += [("muted", "Muto. bye: Ciao. hello: Ciao."), ("bye", "bye: A dopo: ciao.")]
    transcripts += [("beep", "un suono beep"), ("tones", "[toni]")]
    transcripts += [("silence/1", "1 second of silence")]
    source = read_prompts(tmp_path, transcripts, credit="Someone, CC BY")
    utterances, rejects = parts(source)
    assert [(u.id, u.text, u.audio) for u in utterances] == [
        ("hello", "Ciao .", tmp_path / "hello.g722"),
        ("digits/1", "uno", tmp_path / "digits/1.g722"),
        ("bye", "A dopo: ciao.", tmp_path / "bye.g722"),
    ]
    assert {(r.source, r.problem.kind) for r in rejects} == {
        ("beep.g722", "no speech"),
        ("tones.g722", "no speech"),
        ("muted.g722", "faulty transcript"),
        ("silence/1.g722", "no speech"),
        ("lost.g722", "no recording"),
        ("unlisted.g722", "no transcript"),
    }
    assert source.credit == "Someone, CC BY"
