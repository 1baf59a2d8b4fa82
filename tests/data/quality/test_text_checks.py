"""Each rule rejects what it is for and leaves sound speech, of any language, alone."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soxr
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.hostile import tone
from utils.audio.flac import decode_flac, encode_flac
from utils.data.quality.clip_checks import check_clip, clipped_share, content_hash, loudest_level
from utils.data.quality.rules import RULES, choose_rules
from utils.data.quality.speech_rates import (
    RateLimits,
    count_characters,
    rate_limits,
    rate_problem,
    spoken_characters,
)
from utils.data.quality.text_checks import check_text, longest_repetition
from utils.runtime.errors import UserError
from utils.text.scripts import SCRIPTS, expected_scripts, script_of

ROOT = Path(__file__).parents[3]
ALL = frozenset(RULES)
DEFAULT = choose_rules()


def noise(level: float, seconds: float = 1.0) -> np.ndarray:
    return np.random.default_rng(0).normal(scale=level, size=round(16_000 * seconds)).astype(np.float32)


# ---- choosing ----------------------------------------------------------------------------------------------


def test_rules_are_chosen_by_name():
    assert {"digits", "steady_sound"} == ALL - DEFAULT
    assert choose_rules(skip=["silent"], add=["digits"]) == DEFAULT - {"silent"} | {"digits"}
    with pytest.raises(UserError, match=r"unknown rules: silnt; expected names from .*did you mean silent"):
        choose_rules(skip=["silnt"])
    with pytest.raises(UserError, match="unknown rules: everything"):
        choose_rules(add=["everything"])


CLIPS = {
    # rule: a clip it rejects
    "silent": noise(0.0003),  # -70 dBFS
    "dc_offset": noise(0.05) + 0.4,
    "clipped": np.clip(10 * tone(0), -0.8, 0.8),
    "steady_sound": noise(0.1),
}

TEXT_OF_RULE = {
    "no_words": "… — ?!",
    "markup": "Ciao [rumore] a tutti",
    "digits": "Premere 1 o 2",
    "wrong_script": "Привет, как дела?",
    "lookalike_letters": "Una frasе strana",
    "repeated_text": "Grazie per la visione! " * 8,
}


def pair_problem(text: str, seconds: float, limits: RateLimits | None):
    """Why a text cannot be that of a clip of so many seconds."""
    return rate_problem(count_characters(text), spoken_characters(text), seconds, limits)


@pytest.mark.parametrize("rule", CLIPS)
def test_each_rule_of_a_clip_is_switched_by_its_name(rule):
    reason = check_clip(CLIPS[rule], frozenset([rule]))
    assert reason is not None and reason.kind.lower().replace(" ", "_") == rule
    assert check_clip(CLIPS[rule], ALL - {rule, "steady_sound"}) is None


@pytest.mark.parametrize("rule", TEXT_OF_RULE)
def test_each_rule_of_a_text_is_switched_by_its_name(rule):
    reason = check_text(TEXT_OF_RULE[rule], "it", frozenset([rule]))
    assert reason is not None and reason.kind.replace(" ", "_") == rule
    assert check_text(TEXT_OF_RULE[rule], "it", ALL - {rule}) is None


def test_an_offset_is_one_on_either_side():
    for offset in (0.4, -0.4):
        problem = check_clip(noise(0.05) + np.float32(offset), ALL - {"steady_sound"})
        assert problem is not None and f"mean is {offset:+.2f}" in str(problem)


def test_a_digit_may_be_spoken_as_long_as_a_word_and_needs_not_be():
    """Fifty characters a second are too many, 0.3 too few; eight more, and two seconds, are let pass."""
    number = "1234567890" * 2
    assert pair_problem(number, 1.0, None) is None  # 12 characters a second; as words 92
    assert pair_problem("7", 18.0, None) is None  # five letters in 16 s; one character would be too few
    assert "more text" in str(pair_problem("a" * 59, 1.0, None)) and pair_problem("a" * 58, 1.0, None) is None
    assert "less text" in str(pair_problem("no", 9.0, None)) and pair_problem("no", 8.6, None) is None


def test_every_rule_is_described_and_tested():
    elsewhere = {"truncated", "speech_rate", "duplicate"}
    assert CLIPS.keys() | TEXT_OF_RULE.keys() | elsewhere == ALL
    assert all(rule.description for rule in RULES.values())


def test_the_module_is_light():
    heavy = "{'torch', 'transformers', 'datasets', 'pandas', 'scipy'}"
    code = (
        "import sys, utils.data.quality.rules, utils.data.quality.text_checks\n"
        f"print(sorted({heavy} & sys.modules.keys()))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


# ---- audio -------------------------------------------------------------------------------------------------


def test_real_prompts_pass_every_rule(italian_prompts):
    rules = ALL - {"digits"}
    for samples, text in italian_prompts:
        assert check_clip(samples, rules) is None
        assert check_text(text, "it", rules) is None
        assert pair_problem(text, len(samples) / 16_000, None) is None


def test_quiet_speech_is_speech_and_silence_is_none(italian_prompts):
    samples = italian_prompts[0][0]
    loud = loudest_level(samples)
    assert check_clip(samples * 10 ** ((-50 - loud) / 20), DEFAULT) is None
    reason = check_clip(samples * 10 ** ((-70 - loud) / 20), DEFAULT)
    assert str(reason).startswith("silent: the loudest 100 ms have -70 dBFS")
    silence = check_clip(np.zeros(16_000, dtype=np.float32), DEFAULT)
    assert str(silence) == "silent: digital silence: every sample is 0; check the recording"


def test_level_of_a_tone():
    # a sine of amplitude 0.1 has 20 lg 0.1 - 10 lg 2 = -23.01 dBFS; its offset is no sound
    sine = 0.1 * np.sin(2 * np.pi * 100 * np.arange(16_000) / 16_000)
    assert loudest_level(sine + 0.3) == pytest.approx(-23.01, abs=0.01)
    # a click of one sample in silence: 10 lg (1 / 1600)
    click = np.zeros(16_000)
    click[100] = 1.0
    assert loudest_level(click) == pytest.approx(-32.04, abs=0.01)


@pytest.mark.parametrize("length", [1, 2, 100, 1599])
def test_shortest_clips(length):
    assert check_clip(np.zeros(length, dtype=np.float32), ALL) is not None
    check_clip(noise(0.1)[:length], ALL)


def test_clipping_is_seen_whatever_became_of_the_file(italian_prompts):
    samples = italian_prompts[2][0]
    samples = samples / np.abs(samples).max()
    for gain in (1, 2):  # as it is, and a little overdriven
        assert check_clip(np.clip(gain * samples, -1, 1), DEFAULT) is None
    hard = np.clip(20 * samples, -1, 1)
    resampled = soxr.resample(soxr.resample(hard, 16_000, 44_100), 44_100, 16_000)
    eight_bits = np.round(hard * 127) / 127
    for clipped in (
        hard,
        hard / 4,
        resampled,
        eight_bits,
        hard + noise(0.003, len(hard) / 16_000)[: len(hard)],
    ):
        reason = check_clip(clipped, DEFAULT)
        assert str(reason).startswith("clipped: ")


def test_share_of_clipped_samples():
    # two runs of 50 in 1000 samples stand at the top, 49 pairs in each; the others are spread below 0.9
    samples = np.concatenate([np.ones(50), np.linspace(-0.9, 0.9, 900), -np.ones(50)])
    assert clipped_share(samples) == pytest.approx(98 / 999, abs=1e-9)
    assert clipped_share(0.05 * samples) == 0  # too quiet to tell


@pytest.mark.parametrize("hertz", [50, 220, 440, 3000])
@pytest.mark.parametrize("amplitude", [0.01, 0.3, 1.0])
def test_pure_tones_are_not_clipped(hertz, amplitude):
    sine = amplitude * np.sin(2 * np.pi * hertz * np.arange(32_000) / 16_000)
    assert check_clip(decode_flac(encode_flac(sine)), DEFAULT) is None


def test_steady_sounds():
    time = np.arange(32_000) / 16_000
    for steady in (noise(0.1, 2), 0.3 * np.sin(2 * np.pi * 440 * time), noise(0.5, 2) + 0.2):
        assert str(check_clip(steady, frozenset(["steady_sound"]))).startswith(
            "steady sound: the level varies"
        )
    assert check_clip(tone(0), frozenset(["steady_sound"])) is None  # three bursts a second
    assert check_clip(noise(0.1, 0.4), frozenset(["steady_sound"])) is None  # too short to tell


def test_content_hash_is_of_the_16_bit_samples():
    samples = noise(0.1)
    assert len(content_hash(samples)) == 16
    assert content_hash(samples) == content_hash(decode_flac(encode_flac(samples)))
    assert content_hash(samples) == content_hash(samples.astype(np.float64))
    changed = samples.copy()
    changed[5] += 1 / 32768
    assert len({content_hash(each) for each in (samples, changed, samples[:-1], samples[::-1])}) == 4


# ---- text --------------------------------------------------------------------------------------------------

# One sentence for each script, as it is written every day; foreign names and numbers among them.
SENTENCES = {
    "en": "I don't know, it's 25% off at Łódź's café.",
    "it": "Perché no? È già l'una, disse Müller a Москва.",
    "vi": "Tôi không biết tiếng Việt.",
    "tr": "İğne deliğinden ışık geçiyor.",
    "haw": "ʻO wau nō ʻo Kaʻiulani.",
    "yo": "Ẹ káàárọ̀, báwo ni?",
    "ru": "Я купил iPhone 15 в Москве.",
    "uk": "Це м'яч, їжак і ґанок.",
    "sr": "Добар дан, како сте?",
    "mn": "Сайн байна уу?",
    "el": "Καλημέρα σας, τι κάνετε;",
    "hy": "Բարեւ ձեզ, ինչպե՞ս եք։",
    "he": "שלום, מה שלומך היום?",
    "yi": "אַ גוטן טאָג",
    "ar": "مرحبا، كيف حالك اليوم؟",
    "fa": "می‌خواهم به خانه بروم.",
    "ur": "آپ کیسے ہیں؟",
    "hi": "मैं कल WhatsApp पर बात करूँगा।",
    "bn": "আমি ভাত খাই।",
    "pa": "ਤੁਸੀਂ ਕਿਵੇਂ ਹੋ?",
    "gu": "તમે કેમ છો?",
    "ta": "நீங்கள் எப்படி இருக்கிறீர்கள்?",
    "te": "మీరు ఎలా ఉన్నారు?",
    "kn": "ನೀವು ಹೇಗಿದ್ದೀರಿ?",
    "ml": "സുഖമാണോ?",
    "si": "ඔබට කොහොමද?",
    "th": "สบายดีไหมครับ",
    "lo": "ສະບາຍດີບໍ່",
    "km": "តើអ្នកសុខសប្បាយទេ?",
    "my": "နေကောင်းလား",
    "bo": "བཀྲ་ཤིས་བདེ་ལེགས།",
    "ka": "გამარჯობა, როგორ ხარ?",
    "am": "ሰላም እንዴት ነህ?",
    "zh": "我在2024年买了一部iPhone手机。",
    "yue": "你食咗飯未呀？",
    "ja": "コーヒーを一杯ください。ＡＢＣ",
    "ko": "안녕하세요, 반갑습니다.",
}


@pytest.mark.parametrize("language", SENTENCES)
def test_every_language_may_be_written(language):
    assert check_text(SENTENCES[language], language, ALL - {"digits"}) is None


def test_a_text_in_another_script_is_rejected_in_every_language():
    for language, sentence in SENTENCES.items():
        for other, scripts in ((code, expected_scripts(code)) for code in SENTENCES):
            if scripts & expected_scripts(language):
                continue
            reason = check_text(sentence, other, frozenset(["wrong_script"]))
            short_latin = language in ("vi", "haw", "yo") and count_characters(sentence) <= 20
            assert short_latin or str(reason).startswith("wrong script: "), (language, other)


@pytest.mark.parametrize(
    ("language", "text"),
    [
        ("sr", "Dobar dan, kako ste?"),
        ("az", "Salam, necəsən?"),
        ("az", "Салам, неҹәсән?"),
        ("kk", "Сәлеметсіз бе?"),
        ("ja", "東京"),
        ("ja", "ありがとう"),
        ("ja", "コンピューター"),
        ("ko", "大韓民國"),
        ("ru", "OK"),
        ("ru", "YouTube Premium"),
        ("zh", "Windows"),
        ("it", "12345"),
        (None, "Что угодно"),
        ("xx", "Что угодно"),
    ],
)
def test_several_scripts_and_short_names_are_fine(language, text):
    assert check_text(text, language, frozenset(["wrong_script"])) is None


def test_the_reason_names_scripts():
    reason = check_text("Привет, as we say", "ja", frozenset(["wrong_script"]))
    # 6 Cyrillic and 7 Latin letters
    assert str(reason) == (
        "wrong script: 13 of 13 letters are Cyrillic, Latin, expected Han, Hiragana, Katakana for ja; "
        "check the language"
    )


def test_every_language_of_whisper_has_a_script():
    from transformers.models.whisper.tokenization_whisper import LANGUAGES

    assert {code for codes in SCRIPTS.values() for code in codes.split()} == LANGUAGES.keys()
    assert all(len(codes.split()) == len(set(codes.split())) for codes in SCRIPTS.values())


def test_scripts_by_another_source():
    """The `regex` package has Unicode's own table of scripts."""
    regex = pytest.importorskip("regex")
    names = {"CJK": "Han"}
    for language, sentence in SENTENCES.items():
        allowed = "".join(
            rf"\p{{Script={names.get(script, script)}}}" for script in expected_scripts(language)
        )
        for character in sentence:
            if script_of(character) in expected_scripts(language):
                assert regex.match(f"[{allowed}]|ー", character), (language, character)


@pytest.mark.parametrize(
    "text",
    [
        "<b>ciao</b>", "ciao<br/>", "<unk>", "a <noise> b", "Tom &amp; Jerry", "&#39;", "http://a.it",
        "vedi https://a.it/b", "[risata]", "ciao [00:12] ciao", "{musica}", "*ride*",
        "**ride** ciao", "(applausi)", " (applausi).", "[SPEAKER_01]: sì",
    ],
)  # fmt: skip
def test_markup(text):
    assert str(check_text(text, "it", DEFAULT)).startswith("markup: ")


@pytest.mark.parametrize(
    "text",
    [
        "R&B e AT&T", "3 < 5 e 7 > 2", "I <3 te", "due * tre", "2*3*4", "una frase (con inciso) normale",
        "www.asterisk.org", "mario.rossi@posta.it", "e/o", "Wow!", "50% di 10€", "#uno", "a_b", "C++",
        "«ciao»", "uno [ ]", "tasto *, poi #",
    ],
)  # fmt: skip
def test_no_markup(text):
    assert check_text(text, "it", DEFAULT) is None


def test_digits_are_a_choice():
    assert check_text("Premere 1", "it", DEFAULT) is None
    reason = check_text("Premere 1.250,50 volte", "it", ALL)
    assert str(reason) == "digits: '1.250,50'; write numbers as spoken words"
    assert str(check_text("الرقم ٣", "ar", ALL)).startswith("digits: ")
    assert check_text("一二三", "zh", ALL) is None


def test_what_no_rule_can_allow():
    nothing = frozenset[str]()
    assert str(check_text("a" * 5001, "it", nothing)).startswith("text too long: 5,001 characters")
    assert check_text("ciao", "it", nothing) is None


@pytest.mark.parametrize("word", ["первoe", "Cкидка", "cкoро", "Mосква"])
def test_lookalikes_in_russian(word):
    assert str(check_text(f"Это {word} здесь", "ru", DEFAULT)).startswith("lookalike letters: ")


@pytest.mark.parametrize(
    "text", ["SMSка пришла", "IT-отдел", "VIPовский зал", "3D печать", "PCшник", "iPhone у меня"]
)
def test_words_that_mix_scripts_on_purpose(text):
    assert check_text(text, "ru", frozenset(["lookalike_letters"])) is None


@pytest.mark.parametrize(
    ("text", "phrase", "times"),
    [
        ("Grazie. Grazie. Grazie. Grazie. Grazie. Grazie.", "grazie. ", 6),
        ("Thank you for watching! " * 10, "thank you for watching! ", 10),
        ("谢谢观看" * 8, "谢谢观看", 8),
        ("Inizio. " + "ancora e " * 7, "ancora e ", 7),
    ],
)
def test_repetition(text, phrase, times):
    found, count = longest_repetition(text)
    # the phrase may be cut anywhere, as a ring
    assert count == times and sorted(found) == sorted(phrase)
    assert f"{times} times in a row" in str(check_text(text, None, DEFAULT))


@pytest.mark.parametrize(
    "text",
    [
        "No, no, no, no, no, no, no!", "Ha ha ha ha ha ha ha ha ha.", "ciao ciao ciao ciao ciao",
        "uno due tre uno due tre",
        "La la la la la la la", "Zero zero zero sette zero zero zero", "Sì.", "a", "", "0 0 0 0 0 0 0 0",
        "Il cane e il gatto e il topo e il gallo e il bue e il mulo",
    ],
)  # fmt: skip
def test_no_repetition(text):
    assert check_text(text or "e", None, frozenset(["repeated_text"])) is None


@settings(deadline=None)
@given(st.text(max_size=200), st.sampled_from([None, *SENTENCES]))
def test_any_text_is_judged_without_an_error(text, language):
    reason = check_text(text, language, ALL)
    assert reason is None or (reason.kind and reason.details)
    longest_repetition(text)


@pytest.mark.parametrize(
    "text", ["[" * 5000, "[" + "a" * 4999, "()" * 2500, "(" * 5000, "<a" * 2500, "*a" * 2500, "{a" * 2500,
             "&aa" * 1600, "a://" * 1250, "ab" * 2500, "аa" * 2500]
)  # fmt: skip
def test_hostile_texts_take_no_time(text):
    import time

    start = time.process_time()
    check_text(text, "it", ALL)
    assert time.process_time() - start < 2


# ---- speech rate -------------------------------------------------------------------------------------------


def test_characters_that_are_spoken():
    assert count_characters("Sì, c'è: 25%!") == 6
    assert count_characters("नमस्ते") == 6  # with vowel signs and virama
    assert count_characters("… 🎵") == 0


def corpus(rate: float, spread: float, size: int = 400) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(0)
    seconds = random.uniform(1, 10, size)
    return rate * seconds * np.exp(random.normal(scale=spread, size=size)), seconds


def test_limits_come_from_the_corpus():
    limits = rate_limits(*corpus(15, 0.25))
    # five standard deviations of 0.25 to both sides
    assert limits.usual == pytest.approx(15, rel=0.05)
    assert limits.low == pytest.approx(15 * np.exp(-1.25), rel=0.2)
    assert limits.high == pytest.approx(15 * np.exp(1.25), rel=0.2)
    # a corpus of one tempo still allows 2.5 times slower and faster
    steady = rate_limits(*corpus(4.5, 0.01))
    assert (steady.low, steady.high) == (pytest.approx(1.8, rel=0.02), pytest.approx(11.25, rel=0.02))


def test_limits_are_robust_and_bounded():
    characters, seconds = corpus(15, 0.25)
    characters[:80] *= 20  # a fifth of the corpus is wrong
    limits = rate_limits(characters, seconds)
    assert 13 < limits.usual < 19 and limits.low > 2
    wild = rate_limits(*corpus(15, 3))
    assert (wild.low, wild.high) == (0.3, 50.0)


def test_too_few_utterances_set_no_limits():
    assert rate_limits(np.arange(49), np.ones(49)) is None
    assert rate_limits(np.array([]), np.array([])) is None
    assert rate_limits(np.zeros(1000), np.ones(1000)) is None
    assert rate_limits(np.full(50, 10), np.ones(50)) is not None


ITALIAN = RateLimits(usual=15, low=5, high=40)
CHINESE = RateLimits(usual=4.5, low=1.6, high=12)


@pytest.mark.parametrize(
    ("text", "seconds", "limits"),
    [
        ("Sì.", 0.3, ITALIAN),
        ("Sì.", 2.3, ITALIAN),
        ("A", 1.9, ITALIAN),
        ("Arrivederci", 0.4, ITALIAN),
        ("Interno 1 2 3 4 5 6 7 8", 5, ITALIAN),
        ("2024", 1.2, ITALIAN),
        ("是", 2.5, CHINESE),
        ("我不知道他什么时候回来", 2.5, CHINESE),
        ("Sì.", 8, None),
        ("a" * 200, 6, None),
    ],
)
def test_legitimate_pairs(text, seconds, limits):
    assert pair_problem(text, seconds, limits) is None


@pytest.mark.parametrize(
    ("text", "seconds", "limits", "words"),
    [
        ("Sì.", 9, ITALIAN, ["0.2 characters", "usual here 5.0 to 40.0", "less text"]),
        ("a" * 150, 3, ITALIAN, ["50.0 characters", "more text"]),
        ("我不知道" * 20, 4, CHINESE, ["20.0 characters", "usual here 1.6 to 12.0"]),
        ("a" * 400, 4, None, ["100.0 characters", "expected 0.3 to 50.0"]),
        ("Sì.", 20, None, ["0.1 characters", "less text"]),
        ("…", 5, ITALIAN, ["0.0 characters"]),
    ],
)
def test_unlikely_pairs(text, seconds, limits, words):
    reason = str(pair_problem(text, seconds, limits))
    assert reason.startswith("speech rate: ") and all(word in reason for word in words)
