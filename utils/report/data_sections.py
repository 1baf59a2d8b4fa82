"""Sections of the data report: splits, histograms, silence, names, characters, rejects."""

from collections.abc import Mapping, Sequence

from utils.data.data_report import DataReport, Distribution, DynamicContext, Silence, Statistics
from utils.model.context import FULL_CONTEXT
from utils.report.histogram import histogram_chart
from utils.report.labels import share_in_percent
from utils.report.page import Html, isolated, join, meter, table, tag
from utils.report.players import Player, audio_element

OPEN_REASONS = 3  # the commonest kinds are shown unfolded

FEWEST_BINS, MOST_COLUMNS = 8, 40  # of a histogram that is cut behind its last value; of one in the terminal

# What a reader can do about each kind of reject, by how the kind begins.
ADVICE: Mapping[str, str] = {
    "too long": "Whisper hears 30 seconds at a time: give start and end of each utterance, or subtitles.",
    "segment too long": "Whisper hears 30 seconds at a time: cut the segment in its transcript.",
    "too short": "Nothing can be learnt from so short a clip. Check the times if they should be longer.",
    "segment too short": "Lower --min_segment_duration if these are words; most are slips in the times.",
    "label too long": "The text has more tokens than the decoder can write: cut the utterance in two.",
    "empty text": "Nothing was left of the text after cleaning: transcribe the clip, or drop its line.",
    "control token": "Remove Whisper's own tokens, such as <|0.00|>, from the text.",
    "broken characters": "Save the text as UTF-8 again from its source.",
    "not UTF-8": "Save the file as UTF-8.",
    "unreadable transcript": "Save the file as UTF-8.",
    "no such file": "Check the paths: they are relative to the file that names them.",
    "empty file": "The file has no bytes: copy or download it again.",
    "not audio": "No decoder recognises the file: check what it is, convert it to WAV or FLAC.",
    "broken audio": "The file cannot be decoded to its end: copy or download it again.",
    "truncated": "The file ends before it should: copy or download it again.",
    "unreadable file": "Check the file's name and that you may read it.",
    "not a file": "Name a file of audio here.",
    "no samples": "The file is audio without sound in it: record it again, or drop its line.",
    "NaN or infinite": "Export the audio again as 16-bit WAV or FLAC.",
    "samples out of range": "The samples are not scaled to -1 … 1: export the audio again.",
    "segment beyond the end": "The times do not belong to this recording, or the recording was cut.",
    "end not after start": "Swap or correct the times.",
    "start without end": "Give both times or neither.",
    "end without start": "Give both times or neither.",
    "time out of range": "Give times in seconds from the start of the recording.",
    "malformed line": "Write start, end and text with a tab between each.",
    "no transcript": "Put a text beside the recording, or drop the recording.",
    "no recording": "Put the recording beside the text, or drop the text.",
    "two recordings of one stem": "Keep one of the recordings.",
    "faulty transcript": "Correct the transcript.",
    "no speech": "Nothing to do: there is nothing to transcribe in these.",
    "unknown language": "Use a code that Whisper knows, such as it, en or fa.",
    "unknown split": "Use train, validation or test.",
    "bad JSON": "Each line of a manifest must be one JSON object.",
    "missing key": "Each line of a manifest needs audio and text.",
    "wrong type": "Correct the value in the manifest.",
    "silent": "Nothing can be heard in these: check the microphone or the channel, or drop the clips.",
    "DC offset": "Take the offset out with a high-pass filter, or record with another sound card.",
    "clipped": "Recorded too loud: what is cut off is lost. Use a quieter take where there is one.",
    "steady sound": "Listen: if these are noise or tones, drop them; --skip_rules steady_sound keeps them.",
    "no words": "Transcribe the clip, or drop its line.",
    "text too long": "Nobody says that much in 30 seconds: the text belongs to a longer recording.",
    "markup": "Write only what is said: take tags, links and notes out of the text.",
    "digits": "Write numbers as they are spoken.",
    "wrong script": "Check that text and language belong together.",
    "lookalike letters": "Replace the letters of the other alphabet.",
    "repeated text": "A sign of machine transcripts: transcribe these by hand, or drop them.",
    "speech rate": "Far too much or too little text for the time: check that text and sound belong together.",
    "low alignment confidence": "The text hardly fits the sound here: check what is said.",
    "duplicate": "Nothing to do: the other one was kept.",
    "leak": "Nothing to do: left out so that scores on validation and test can be trusted.",
}

OTHER_ADVICE = "rejects.jsonl names each one and says what was found and what was expected."


def example_list(players: Sequence[Player]) -> Html:
    """Cards with text, sound and origin of each example."""
    cards = []
    for player in players:
        example, parts = player.example, []
        if example.text:
            parts.append(tag("p", example.text, dir="auto", class_="text"))
        parts.append(audio_element(player))
        parts.append(tag("p", isolated(example.title), class_="title"))
        parts += [tag("p", isolated(line), class_="detail") for line in (example.detail, player.note) if line]
        cards.append(tag("li", *parts))
    return tag("ul", *cards, class_="examples")


def splits_section(report: DataReport) -> Html:
    """A table of the splits."""
    rows = []
    for name, split in report.splits.items():
        names = report.statistics.splits[name]
        cells = [name, f"{split.utterances:,}", f"{split.hours:.2f}", f"{split.mean_duration:.1f}"]
        cells += [f"{split.longest:.1f}", f"{split.distinct_texts:,}"]
        rows.append(cells + [f"{count:,}" if count else "–" for count in (names.speakers, names.groups)])
    headings = ("split", "utterances", "hours", "mean s", "longest s", "distinct texts", "speakers", "groups")
    caption = "Train is learnt from, validation chooses the best step, test is scored once at the end."
    parts = [table(caption, headings, rows, numeric=range(1, len(headings)))]
    if report.split_by:
        words = f"The splits were cut so that no {report.split_by} is in two of them."
        parts.append(tag("p", words, class_="soft"))
    return join(parts)


def histograms_section(statistics: Statistics) -> Html:
    """How long clips and labels are, and how fast people speak."""
    pace = "Clips far from the others often have a text that does not belong to their sound."
    return join(
        [
            histogram_figure(
                "duration", "Duration of clips", "Whisper hears 30 seconds at a time.", statistics.duration
            ),
            histogram_figure(
                "label_tokens",
                "Tokens of a label",
                "Whisper's decoder writes 448 tokens at most.",
                statistics.label_tokens,
            ),
            histogram_figure("speech_rate", "Speech rate", pace, statistics.speech_rate),
        ]
    )


def histogram_figure(key: str, title: str, why: str, counted: Distribution) -> Html:
    """A chart, its caption, and the same numbers as a table; nothing where nothing was counted."""
    edges, counts = trimmed(counted)
    if counted.median is None:
        return Html("")
    middle = (
        f"Nine of ten clips lie between {counted.p5:.1f} and {counted.p95:.1f} "
        f"{counted.unit}, half below {counted.median:.1f} (dashed)."
    )
    if counted.above:
        middle += f" {counted.above:,} above {edges[-1]:g} are not drawn."
    chart = histogram_chart(
        key, edges, counts, title=title, description=middle, unit=counted.unit, mark=counted.median
    )
    rows = [
        [f"{low:g} to {high:g}", f"{count:,}"]
        for low, high, count in zip(edges[:-1], edges[1:], counts, strict=True)
        if count
    ]
    numbers = table(title, (counted.unit, "clips"), rows, numeric=(1,))
    caption = tag("figcaption", tag("strong", title), f"{middle} {why}")
    as_table = tag("details", tag("summary", "Numbers"), numbers, class_="numbers")
    return tag("figure", caption, chart, as_table)


def trimmed(counted: Distribution) -> tuple[list[float], list[int]]:
    """Edges and counts up to the last bin that holds something, a few at least."""
    used = [place for place, count in enumerate(counted.counts) if count]
    last = len(counted.counts) if counted.above or not used else max(used[-1] + 1, FEWEST_BINS)
    return counted.edges[: last + 1], counted.counts[:last]


def silence_section(silence: Silence, dynamic: DynamicContext) -> Html:
    """How much of Whisper's window is silence, and what the dynamic context saves of it."""
    rows = [
        ("the clips themselves", FULL_CONTEXT * (1 - silence.share_of_window), None),
        ("padded to the longest of a batch", dynamic.mean_context, None),
        ("dynamic context: with the silence condensed", dynamic.mean_seconds_of_work, dynamic.speed_up),
        ("full context", FULL_CONTEXT, 1.0),
    ]
    cells = [
        [label, f"{seconds:.1f}", f"× {faster:.1f}" if faster else "–", meter(seconds / FULL_CONTEXT)]
        for label, seconds, faster in rows
    ]
    share = share_in_percent(silence.share_of_window)
    words = f"Padded to 30 seconds, {share} of what Whisper hears would be silence."
    note = (
        "The speed-up is an estimate for training Whisper base, from the durations of the clips: batches of "
        f"{dynamic.batch_size} as the sampler makes them, the arithmetic of encoder and decoder, and a "
        "fixed part of every step. Larger models gain more, slow disks and busy machines less. Condensed: "
        f"after the first second of silence, {dynamic.silence_run} positions of it are heard as one."
    )
    headings = ("seconds heard for a clip", "mean s", "training speed", "share of 30 s")
    bars = table("Mean context of a training step", headings, cells, numeric=(1, 2))
    return join([tag("p", words), bars, tag("p", note, class_="soft")])


def rejects_section(report: DataReport, players: Mapping[str, Sequence[Player]]) -> Html:
    """Each reason with its count, what to do about it, and examples."""
    if not report.rejected:
        return tag("p", "Nothing was rejected.")
    rows = [
        [isolated(kind), f"{count:,}", meter(count / report.rejected), advice_for(kind)]
        for kind, count in report.reasons.items()
    ]
    caption = "Why items are not in the dataset. rejects.jsonl names every one of them with its reason."
    parts = [table(caption, ("reason", "count", "share", "what to do"), rows, numeric=(1,))]
    for place, kind in enumerate(kind for kind in report.reasons if players.get(kind)):
        heading = tag("summary", isolated(kind), f" · {report.reasons[kind]:,}")
        unfolded = {"open": ""} if place < OPEN_REASONS else {}
        parts.append(tag("details", heading, example_list(players[kind]), class_="reason", **unfolded))
    return join(parts)


def advice_for(kind: str) -> str:
    """What to do about a kind of reject."""
    return next((advice for start, advice in ADVICE.items() if kind.startswith(start)), OTHER_ADVICE)
