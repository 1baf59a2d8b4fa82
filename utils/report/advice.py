"""What a reader of the data report can do about each kind of reject."""

from collections.abc import Mapping

# By how the kind begins.
ADVICE: Mapping[str, str] = {
    "too long": "Whisper hears 30 seconds at a time. Give the start and end of each utterance, or subtitles.",
    "segment too long": "Whisper hears 30 seconds at a time: cut the segment in its transcript.",
    "too short": "Nothing can be learnt from so short a clip. Check the times if they should be longer.",
    "segment too short": "Lower --min_segment_duration if these are words. Most are errors in the times.",
    "label too long": "The text has more tokens than the decoder can write: cut the utterance in two.",
    "empty text": "Nothing was left of the text after cleaning: transcribe the clip, or drop its line.",
    "control token": "Remove Whisper's own tokens, such as <|0.00|>, from the text.",
    "broken characters": "Save the text as UTF-8 again from its source.",
    "not UTF-8": "Save the file as UTF-8.",
    "unreadable transcript": "Save the file as UTF-8.",
    "no such file": "Check the paths: they are relative to the file that names them.",
    "empty file": "The file has no bytes: copy or download it again.",
    "not audio": "No decoder recognises the file. Check what it is, or convert it to WAV or FLAC.",
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
    "DC offset": "Remove the offset with a high-pass filter, or record with another sound card.",
    "clipped": "The recording is too loud and its peaks are lost. Use a quieter recording if there is one.",
    "steady sound": "Listen: if these are noise or tones, drop them; --skip_rules steady_sound keeps them.",
    "no words": "Transcribe the clip, or drop its line.",
    "text too long": "Nobody says that much in 30 seconds: the text belongs to a longer recording.",
    "markup": "Write only what is said. Remove tags, links and notes from the text.",
    "digits": "Write numbers as words, as they are spoken.",
    "wrong script": "Check that text and language belong together.",
    "lookalike letters": "Replace the letters of the other alphabet.",
    "repeated text": "Probably written by a machine. Transcribe these clips by hand, or drop them.",
    "speech rate": "Far too much or too little text for the time: check that text and sound belong together.",
    "low alignment confidence": "The text hardly matches the speech. Check what is said.",
    "duplicate": "Nothing to do: one copy was kept.",
    "leak": "Nothing to do: it was left out so that validation and test scores can be trusted.",
}

OTHER_ADVICE = "rejects.jsonl names each one and says what was found and what was expected."


def advice_for(kind: str) -> str:
    """Return what the user can do about a kind of reject."""
    return next((advice for start, advice in ADVICE.items() if kind.startswith(start)), OTHER_ADVICE)
