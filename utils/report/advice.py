"""Gives advice to the readers of the reports: for each kind of reject, and for error rates over 100 %."""

from collections.abc import Mapping

from utils.scoring.error_causes import CASE_OR_PUNCTUATION, INSERTION, OTHER
from utils.scoring.failures import DECODER_ERROR, LOOP, WRONG_LANGUAGE

# By how the kind begins.
ADVICE: Mapping[str, str] = {
    "too long": "Whisper reads 30 seconds at a time. Give the start and end of each utterance, or subtitles.",
    "segment too long": "Whisper reads 30 seconds at a time: cut the segment in its transcript.",
    "too short": "A model cannot learn from such short clips. If they should be longer, check the times.",
    "segment too short": "If these are words, lower --min_segment_duration. Often the times are wrong.",
    "label too long": "The text has more tokens than the decoder can write: cut the utterance in two.",
    "empty text": "The text is empty after cleaning: transcribe the clip, or remove its line.",
    "control token": "Remove Whisper's own tokens, such as <|0.00|>, from the text.",
    "broken characters": "Save the text as UTF-8 again from its source.",
    "not UTF-8": "Save the file as UTF-8.",
    "unreadable transcript": "Save the file as UTF-8.",
    "no such file": "Check the paths: they are relative to the file that names them.",
    "empty file": "The file has no bytes: copy or download it again.",
    "not audio": "No decoder can read the file. Check its format, or convert it to WAV or FLAC.",
    "broken audio": "The file cannot be decoded to its end: copy or download it again.",
    "truncated": "The file ends before it should: copy or download it again.",
    "unreadable file": "Check the name of the file, and that you have permission to read it.",
    "not a file": "Give the path of an audio file here.",
    "no samples": "The file has no samples: record it again, or remove its line.",
    "NaN or infinite": "Export the audio again as 16-bit WAV or FLAC.",
    "samples out of range": "The samples are not scaled to -1 … 1: export the audio again.",
    "segment beyond the end": "The times do not belong to this recording, or the recording was cut.",
    "end not after start": "Swap or correct the times.",
    "start without end": "Give both times or neither.",
    "end without start": "Give both times or neither.",
    "time out of range": "Give times in seconds from the start of the recording.",
    "malformed line": "Write start, end and text with a tab between each.",
    "no transcript": "Put a transcript beside the recording, or remove the recording.",
    "no recording": "Put the recording beside the transcript, or remove the transcript.",
    "two recordings of one name": "Keep one of the recordings.",
    "faulty transcript": "Correct the transcript.",
    "no speech": "You need not do anything: there is no speech to transcribe in these.",
    "no language": "Give --language, which is for all utterances that have none.",
    "unknown language": "Use a code that Whisper knows, such as it, en or fa.",
    "unknown split": "Use train, validation or test.",
    "bad JSON": "Each line of a manifest must be one JSON object.",
    "missing key": "Each line of a manifest needs audio and text.",
    "wrong type": "Correct the value in the manifest.",
    "silent": "There is no sound in these clips: check the microphone or the channel, or remove the clips.",
    "DC offset": "Remove the offset with a high-pass filter, or record with another sound card.",
    "clipped": "The recording is too loud and its peaks are lost. Use a quieter recording if there is one.",
    "steady sound": "If these are noise or tones, remove them. To keep them, use --skip_rules steady_sound.",
    "no words": "Transcribe the clip, or remove its line.",
    "text too long": "Nobody can say so much in 30 seconds: the text belongs to a longer recording.",
    "markup": "Write only what is said. Remove tags, links and notes from the text.",
    "digits": "Write numbers as words, as they are spoken.",
    "wrong script": "Check that text and language belong together.",
    "lookalike letters": "Replace the letters of the other alphabet.",
    "repeated text": "Probably a program wrote these. Transcribe the clips by hand, or remove them.",
    "speech rate": "The text is far too long or short: check that text and sound belong together.",
    "low alignment confidence": "The text differs much from the speech. Check what is said.",
    "duplicate": "You need not do anything: one copy was kept.",
    "leak": "You need not do anything. It was left out so that validation and test scores are correct.",
}

OTHER_ADVICE = "rejects.jsonl lists each one, and says what was found and what was expected."


def advice_for(kind: str) -> str:
    """Return what the user can do about a kind of reject."""
    return next((advice for start, advice in ADVICE.items() if kind.startswith(start)), OTHER_ADVICE)


# By the causes of errors.
CURES: Mapping[str, str] = {
    LOOP: "Look for repeated phrases in the training texts, and train with --non_speech_share 0.1. "
    "faster-whisper decodes such clips again by itself.",
    WRONG_LANGUAGE: "Give --language. If it was given, train longer or start from a larger model.",
    DECODER_ERROR: "predictions.jsonl has the reason for each clip.",
    CASE_OR_PUNCTUATION: "Read the normalised rate, which ignores both. Or train on texts that are written "
    "like the references.",
    INSERTION: "Check that the references have all words that are spoken. If the model writes text for "
    "silence or noise, train with --non_speech_share 0.1.",
    OTHER: "Train longer, on more data, or start from a larger model.",
}
