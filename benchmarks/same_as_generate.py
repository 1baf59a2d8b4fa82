"""Whether evaluate.py writes what `model.generate` writes: clip by clip, greedy, in the full context.

python benchmarks/same_as_generate.py
python benchmarks/same_as_generate.py --model_name_or_path openai/whisper-base --split train
"""

import sys
import time
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import torch

from benchmarks.arguments import SameAsGenerateArguments
from utils.arguments.parsing import parse_arguments
from utils.audio.flac import SAMPLE_RATE, decode_flac
from utils.data.prepared_dataset import draw_rows, load_prepared
from utils.model.decoding import ready_to_decode, transcribe_batch
from utils.model.loading import LoadedModel, load_model
from utils.model.transcription import transcribe_clips
from utils.runtime.devices import pick_device
from utils.runtime.errors import user_errors_end_the_script
from utils.runtime.files import write_json
from utils.runtime.progress import silence_libraries


def main(argv: list[str] | None = None) -> None:
    args = parse_arguments(SameAsGenerateArguments, argv, __doc__)
    silence_libraries()
    rows = load_prepared([args.dataset], args.split, language=args.language)
    rows = draw_rows(rows, args.max_samples, args.seed)
    loaded = load_model(args.model_name_or_path, dtype=getattr(torch, args.dtype))
    loaded.model.to(pick_device()).eval()
    clips, durations = list(rows["audio"]), list(rows["duration"])
    decode = partial(transcribe_batch, loaded.model, loaded.processor, max_length=args.max_length)
    languages = [args.language] * len(clips)
    started = time.perf_counter()
    with ready_to_decode(loaded.model):
        heard = transcribe_clips(
            decode, clips, durations, languages, audio_context="full", batch_size=args.batch_size
        )
    ours = [hypothesis.text for hypothesis in heard.values()]
    between = time.perf_counter()
    theirs = generate(loaded, clips, args)
    ended = time.perf_counter()
    different = [
        {"id": row_id, "ours": one, "generate": other}
        for row_id, one, other in zip(rows["id"], ours, theirs, strict=True)
        if one != other
    ]
    seconds = {"ours": between - started, "generate": ended - between}
    result = {"clips": len(clips), "different": different, "seconds": seconds}
    write_json(Path(args.output_dir) / "same_as_generate.json", result)
    print(f"{len(clips) - len(different)} of {len(clips)} clips have the same text in {args.dtype}.")
    for line in different:
        print(f"{line['id']}\n  ours:     {line['ours']}\n  generate: {line['generate']}")


def generate(loaded: LoadedModel, clips: list[bytes], args: SameAsGenerateArguments) -> list[str]:
    """The text of each clip by transformers' own `generate`."""
    model, processor, texts = loaded.model, loaded.processor, []
    for start in range(0, len(clips), args.batch_size):
        waveforms = [decode_flac(clip) for clip in clips[start : start + args.batch_size]]
        inputs = processor.feature_extractor(waveforms, sampling_rate=SAMPLE_RATE, return_tensors="pt")
        features = inputs.input_features.to(model.device, model.dtype)
        with torch.inference_mode():
            tokens = model.generate(
                features,
                language=args.language,
                task="transcribe",
                num_beams=1,
                do_sample=False,
                max_length=args.max_length,
            )
        texts += processor.tokenizer.batch_decode(tokens, skip_special_tokens=True)
    return [text.strip() for text in texts]


if __name__ == "__main__":
    with user_errors_end_the_script():
        main()
