"""Where the time of an optimiser step goes, beside what its arithmetic alone would take on this processor.

Steps of train.py on a CPU, taken apart: the same batches, modules and optimiser. The limit of a phase is its
multiplications by the rate of a large matrix product, measured in the same run; AdamW's is its traffic by the
rate of a copy. Of a clip 6 operations count for each weight and position, 2 forward and 4 backward: the
encoder's at 50 positions a second, the decoder's at its tokens, the projection's at its targets. Left out are
attention scores, the first convolution's double rate, and the decoder's keys and values of the audio.

    python benchmarks/step_profile.py --dataset data/demo
    OMP_NUM_THREADS=1 python benchmarks/step_profile.py --dataset data/demo --clock cpu    # on a busy machine
"""

import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import torch
from rich.console import Console
from rich.table import Table
from torch import nn
from transformers.modeling_outputs import BaseModelOutput

from benchmarks.side_by_side import MIXED_PRECISION
from utils.arguments.fields import ScriptArguments
from utils.arguments.parsing import parse_arguments
from utils.audio.log_mel import log_mel
from utils.data.length_batches import StepSize
from utils.data.prepared_dataset import load_prepared
from utils.model.kernels.fast_paths import take_fast_paths
from utils.model.kernels.onednn import choose_multiples
from utils.model.languages import check_languages
from utils.model.loading import LoadedModel, load_model
from utils.model.loss import WhisperLoss
from utils.model.silence import seconds_of_work
from utils.model.whisper import whisper_of
from utils.runtime.devices import default_micro_batch_seconds, sum_in_a_fixed_order
from utils.runtime.errors import user_errors_end_the_script
from utils.runtime.files import write_json
from utils.runtime.flags import argument
from utils.runtime.progress import silence_libraries
from utils.text.label_tokens import LabelWriter
from utils.training.batches import MicroBatches
from utils.training.clip_rows import DrawOptions, read_clips
from utils.training.clips import TrainingClips
from utils.training.optimizers import build_optimizer, parameter_groups
from utils.training.steps import Step, StepPlan

PARTS = ("encoder", "decoder", "projection and loss")
BACK = (*(f"{part} backward" for part in reversed(PARTS)), "gradient clipping", "AdamW")
PHASES = ("read and decode clips", "log-mel", *(f"{part} forward" for part in PARTS), *BACK)
CPU = torch.device("cpu")


@dataclass(frozen=True, kw_only=True)
class StepProfileArguments(ScriptArguments):
    output_dir: str = argument("Folder for the result.", default="runs/bench/profile")
    model_name_or_path: str = argument("Model to train.", default="openai/whisper-base")
    dataset: str = argument("Folder written by preprocess.py.", default="data/demo")
    language: str = argument("Language of rows that do not carry their own.", default="it")
    dtypes: list[Literal["float32", "bfloat16"]] = argument(
        "Precisions measured.", default=["float32", "bfloat16"]
    )
    batch_sizes: list[int] = argument("Clips in a batch.", default=[8, 16], at_least=1)
    silence_run: int = argument("How silence is condensed, as in train.py.", default=128)
    num_steps: int = argument("Steps measured, the first of an epoch.", default=10, at_least=1)
    rounds: int = argument("Repetitions; each step's fastest counts.", default=3, at_least=1)
    clock: Literal["wall", "cpu"] = argument("cpu: with OMP_NUM_THREADS=1 on a busy machine.", default="wall")


@dataclass
class Watch:
    """Adds up seconds by phase: each mark ends the phase that it names."""

    now: Callable[[], float]
    last: float = 0.0
    seconds: dict[str, float] = field(default_factory=dict)

    def start(self) -> None:
        self.seconds, self.last = dict.fromkeys(PHASES, 0.0), self.now()

    def mark(self, phase: str) -> None:
        now = self.now()
        self.seconds[phase] += now - self.last
        self.last = now


def main(argv: list[str] | None = None) -> None:
    args = parse_arguments(StepProfileArguments, argv, __doc__)
    silence_libraries()
    sum_in_a_fixed_order()
    watch = Watch(time.process_time if args.clock == "cpu" else time.perf_counter)
    cases = []
    for dtype in args.dtypes:
        rates = measure_rates(dtype, watch.now)
        for batch_size in args.batch_sizes:
            seconds, limits = profile_steps(args, dtype, batch_size, rates, watch)
            case = {"dtype": dtype, "batch_size": batch_size, "rates": rates, "seconds": seconds}
            cases.append({**case, "limits": limits})
            title = f"{dtype}, batch {batch_size}: {rates[0] / 1e9:,.0f} GFLOP/s, {rates[1] / 1e9:.0f} GB/s"
            print_table(title, seconds, limits)
    path = Path(args.output_dir) / "step_profile.json"
    write_json(path, {"clock": args.clock, "threads": torch.get_num_threads(), "cases": cases})
    print(f"Every figure: {path}")


def print_table(title: str, seconds: dict[str, float], limits: dict[str, float]) -> None:
    table = Table("phase", "seconds", "share", "limit", "achieved", title=title)
    total = sum(seconds.values())
    for name, own in [*seconds.items(), ("all", total)]:
        limit = sum(limits.values()) if name == "all" else limits.get(name)
        bound = ("", "") if limit is None else (f"{limit:.2f}", f"{100 * limit / own:.0f} %")
        table.add_row(name, f"{own:.2f}", f"{100 * own / total:.1f} %", *bound)
    Console(width=100).print(table)


def measure_rates(dtype: str, now: Callable[[], float]) -> tuple[float, float]:
    """Operations a second in a large matrix product, bytes read and written a second in a copy: the best."""
    small = torch.randn(256, 256).to(getattr(torch, dtype))
    torch.mm(small, small)  # the first product also compiles
    started = now()
    torch.mm(small, small)
    # a processor without instructions for bfloat16 would need minutes for large products
    size = 2048 if (now() - started) * (2048 / 256) ** 3 < 2 else 256
    one, other = torch.randn(2, size, size).to(getattr(torch, dtype))
    source = torch.ones(1 << 26)
    target = torch.empty_like(source)
    product = copy = float("inf")
    for _ in range(12):
        started = now()
        torch.mm(one, other)
        between = now()
        target.copy_(source)
        product, copy = min(product, between - started), min(copy, now() - between)
    return 2 * size**3 / product, 2 * source.nbytes / copy


def profile_steps(
    args: StepProfileArguments, dtype: str, batch_size: int, rates: tuple[float, float], watch: Watch
) -> tuple[dict[str, float], dict[str, float]]:
    """By phase the seconds of all steps together, each step's from its fastest round; and the limits."""
    precision = MIXED_PRECISION[dtype]
    loaded = load_model(args.model_name_or_path)
    whisper = whisper_of(loaded.model)
    whisper.model.encoder.embed_positions.requires_grad_(False)
    take_fast_paths(whisper, CPU, precision, torch_compile=False)
    multiples = choose_multiples(CPU, precision)
    loss = WhisperLoss(whisper, silence_run=args.silence_run, multiples=multiples).train()
    mark_parts(loss, watch)
    clips = load_clips(args, loaded)
    shape = {"audio_context": "dynamic", "jitter": [0.0], "seed": args.seed}
    steps = list(StepPlan(clips.draw, StepSize(clips=batch_size), **shape).steps(0, args.num_steps))
    groups = parameter_groups(whisper.named_parameters(), 0.0)
    rest = {"learning_rate": 1e-6, "betas": (0.9, 0.999), "epsilon": 1e-8, "device": CPU}
    optimizer = build_optimizer("adamw_torch_fused", groups, **rest)
    fastest: dict[int, dict[str, float]] = {}
    for number in range(args.rounds + 1):
        for index, step in enumerate(steps):
            watch.start()
            do_step(step, clips, loaded, loss, optimizer, watch, autocast=precision == "bf16")
            known = fastest.get(index) if number > 1 else None  # the first round warms up
            if known is None or sum(watch.seconds.values()) < sum(known.values()):
                fastest[index] = watch.seconds
    seconds = {name: sum(step[name] for step in fastest.values()) for name in PHASES}
    return seconds, compute_limits(loss, steps, clips, rates)


def load_clips(args: StepProfileArguments, loaded: LoadedModel) -> TrainingClips:
    rows = load_prepared([args.dataset], "train", language=args.language)
    languages = check_languages(loaded.model, rows["language"], args.model_name_or_path)
    tokenizer = loaded.processor.tokenizer
    clips = read_clips(rows, tokenizer, languages, list(rows["text"]))
    return TrainingClips(rows, clips, [0] * len(clips), LabelWriter(tokenizer), DrawOptions(), args.seed)


def mark_parts(loss: WhisperLoss, watch: Watch) -> None:
    """Mark when encoder and decoder are through, forward; and when their outputs get their gradients."""
    model = whisper_of(loss.model).model

    def after_encoder(_module: nn.Module, _inputs: tuple, states: torch.Tensor) -> None:
        watch.mark("encoder forward")
        states.register_hook(lambda _: watch.mark("decoder backward"))

    def after_decoder(_module: nn.Module, _inputs: tuple, decoded: BaseModelOutput) -> None:
        watch.mark("decoder forward")
        decoded.last_hidden_state.register_hook(lambda _: watch.mark("projection and loss backward"))

    model.encoder.layer_norm.register_forward_hook(after_encoder)
    model.decoder.register_forward_hook(after_decoder)


def do_step(
    step: Step,
    clips: TrainingClips,
    loaded: LoadedModel,
    loss: WhisperLoss,
    optimizer: torch.optim.Optimizer,
    watch: Watch,
    autocast: bool,
) -> None:
    """One optimiser step as train.py does it, timed by phase."""
    whisper = whisper_of(loaded.model)
    reader = MicroBatches(clips, whisper.config.pad_token_id)
    most, run = default_micro_batch_seconds(CPU), loss.silence_run
    for micro_batch in step.micro_batches(
        1, 0, accumulation=1, clips_that_fit=lambda context: int(most / seconds_of_work(context, run))
    ):
        batch = reader[micro_batch]
        watch.mark("read and decode clips")
        features = log_mel(batch.waveforms, loaded.processor.feature_extractor)
        watch.mark("log-mel")
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=autocast):
            mean = loss(features, batch.decoder_input_ids, batch.labels) / step.num_targets
        watch.mark("projection and loss forward")
        mean.backward()
        watch.mark("encoder backward")
    nn.utils.clip_grad_norm_(whisper.parameters(), 1.0)
    watch.mark("gradient clipping")
    optimizer.step()
    optimizer.zero_grad()
    watch.mark("AdamW")


def compute_limits(
    loss: WhisperLoss, steps: list[Step], clips: TrainingClips, rates: tuple[float, float]
) -> dict[str, float]:
    """Seconds of arithmetic by phase for all steps; AdamW reads four numbers a weight and writes three."""
    whisper = whisper_of(loss.model)
    encoder, decoder = (
        sum(p.numel() for name, p in part.named_parameters() if "embed" not in name)
        for part in (whisper.model.encoder, whisper.model.decoder)
    )
    frames, tokens, targets = 0.0, 0, 0
    for step in steps:
        frames += 50 * len(step.examples) * seconds_of_work(step.context, loss.silence_run)
        tokens += max(len(clips.sequence(item).inputs) for item in step.examples) * len(step.examples)
        targets += step.num_targets
    work = (encoder * frames, decoder * tokens, whisper.proj_out.weight.numel() * targets)
    limits = {
        f"{part} {way}": times * count / rates[0]
        for part, count in zip(PARTS, work, strict=True)
        for way, times in (("forward", 2), ("backward", 4))
    }
    trained = sum(p.numel() for p in whisper.parameters() if p.requires_grad)
    limits["AdamW"] = 7 * 4 * trained * len(steps) / rates[1]
    return limits


if __name__ == "__main__":
    with user_errors_end_the_script():
        main()
