"""Where the time of an optimiser step goes, beside what its arithmetic alone would take on this processor.

Steps of train.py on a CPU, taken apart: the same batches, modules and optimiser. The limit of a phase is its
multiplications by the rate of a large matrix product, measured in the same run; AdamW's is its traffic by the
rate of a copy. Of a clip 6 operations count for each weight and position, 2 forward and 4 backward: the
encoder's at 50 positions a second, the decoder's at its tokens, the projection's at its targets. Left out are
attention scores, the first convolution's double rate, and the decoder's keys and values of the audio.

    python benchmarks/step_profile.py --dataset data/demo

On a busy machine:

    OMP_NUM_THREADS=1 python benchmarks/step_profile.py --dataset data/demo --clock cpu
"""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import torch
from rich.console import Console
from rich.table import Table
from torch import nn
from transformers import WhisperForConditionalGeneration
from transformers.modeling_outputs import BaseModelOutput

from benchmarks.arguments import StepProfileArguments
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
from utils.runtime.progress import silence_libraries
from utils.text.label_tokens import LabelWriter
from utils.training.batches import Batch, MicroBatches
from utils.training.clip_rows import DrawOptions, read_clips
from utils.training.clips import TrainingClips
from utils.training.optimizers import build_optimizer, parameter_groups
from utils.training.steps import Step, StepPlan

PHASES = (
    *(
        "read and decode clips",
        "log-mel",
        "encoder forward",
        "decoder forward",
        "projection and loss forward",
    ),
    *("projection and loss backward", "decoder backward", "encoder backward", "gradient clipping", "AdamW"),
)
CPU = torch.device("cpu")


@dataclass(frozen=True)
class Rates:
    """What this processor does with the threads it is given."""

    operations: float  # a second, in a large matrix product
    bytes: float  # a second, read and written, in a copy


@dataclass
class Watch:
    """Adds up seconds by phase."""

    now: Callable[[], float]
    seconds: dict[str, float] = field(default_factory=lambda: dict.fromkeys(PHASES, 0.0))

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        started = self.now()
        yield
        self.seconds[name] += self.now() - started


def main(argv: list[str] | None = None) -> None:
    args = parse_arguments(StepProfileArguments, argv, __doc__)
    silence_libraries()
    sum_in_a_fixed_order()
    now = time.process_time if args.clock == "cpu" else time.perf_counter
    cases = []
    for dtype in args.dtypes:
        rates = measure_rates(dtype, now)
        for batch_size in args.batch_sizes:
            seconds, limits, losses = profile_steps(args, dtype, batch_size, rates, now)
            cases.append(
                {
                    "dtype": dtype,
                    "batch_size": batch_size,
                    "rates": asdict(rates),
                    "seconds": seconds,
                    "limits": limits,
                    "losses": losses,
                }
            )
            Console(width=100).print(build_table(f"{dtype}, batch {batch_size}", seconds, limits, rates))
    path = Path(args.output_dir) / "step_profile.json"
    write_json(path, {"clock": args.clock, "threads": torch.get_num_threads(), "cases": cases})
    print(f"Every figure: {path}")


def measure_rates(dtype: str, now: Callable[[], float]) -> Rates:
    """The best of several large products and copies."""
    size = 2048
    one, other = (torch.randn(size, size).to(getattr(torch, dtype)) for _ in range(2))
    source = torch.ones(1 << 26)
    target = torch.empty_like(source)
    products = min(_seconds(lambda: one @ other, now) for _ in range(12))
    copies = min(_seconds(lambda: target.copy_(source), now) for _ in range(12))
    return Rates(2 * size**3 / products, 2 * source.nbytes / copies)


def _seconds(act: Callable[[], object], now: Callable[[], float]) -> float:
    started = now()
    act()
    return now() - started


def profile_steps(
    args: StepProfileArguments, dtype: str, batch_size: int, rates: Rates, now: Callable[[], float]
) -> tuple[dict[str, float], dict[str, float], list[float]]:
    """Do the same steps in every round.

    Returns:
        By phase the seconds of all steps together, each step's from its fastest round, and the limits; and
        the mean loss of each step in the first round.
    """
    mixed_precision = "bf16" if dtype == "bfloat16" else "no"
    loaded = load_model(args.model_name_or_path)
    whisper = whisper_of(loaded.model)
    whisper.model.encoder.embed_positions.requires_grad_(False)
    take_fast_paths(whisper, CPU, mixed_precision, torch_compile=args.torch_compile)
    multiples = choose_multiples(CPU, mixed_precision)
    loss = WhisperLoss(whisper, silence_run=args.silence_run, multiples=multiples).train()
    clips = load_clips(args, loaded)
    steps = plan_steps(args, clips, batch_size)
    optimizer = build_optimizer(
        "adamw_torch_fused",
        parameter_groups(whisper.named_parameters(), 0.0),
        learning_rate=1e-6,
        betas=(0.9, 0.999),
        epsilon=1e-8,
        device=CPU,
    )
    fastest: list[dict[str, float]] = []
    losses: list[float] = []
    for number in range(args.rounds + 1):  # the first warms up
        for index, step in enumerate(steps):
            watch = Watch(now)
            mean = do_step(step, clips, loaded, loss, optimizer, mixed_precision == "bf16", watch)
            if number == 0:
                losses.append(mean)
            elif number == 1:
                fastest.append(watch.seconds)
            elif sum(watch.seconds.values()) < sum(fastest[index].values()):
                fastest[index] = watch.seconds
    seconds = {name: sum(step[name] for step in fastest) for name in PHASES}
    return seconds, compute_limits(whisper, steps, clips, rates, args.silence_run), losses


def load_clips(args: StepProfileArguments, loaded: LoadedModel) -> TrainingClips:
    rows = load_prepared([args.dataset], "train", language=args.language)
    languages = check_languages(loaded.model, rows["language"], args.model_name_or_path)
    tokenizer = loaded.processor.tokenizer
    clips = read_clips(rows, tokenizer, languages, list(rows["text"]))
    return TrainingClips(rows, clips, [0] * len(clips), LabelWriter(tokenizer), DrawOptions(), args.seed)


def plan_steps(args: StepProfileArguments, clips: TrainingClips, batch_size: int) -> list[Step]:
    plan = StepPlan(
        clips.draw,
        StepSize(clips=batch_size),
        audio_context="dynamic",
        jitter=[0.0],
        seed=args.seed,
    )
    return list(plan.steps(0, args.num_steps))


def do_step(
    step: Step,
    clips: TrainingClips,
    loaded: LoadedModel,
    loss: WhisperLoss,
    optimizer: torch.optim.Optimizer,
    autocast: bool,
    watch: Watch,
) -> float:
    """One optimiser step as train.py does it, timed by phase; its mean loss."""
    whisper = whisper_of(loaded.model)
    most = default_micro_batch_seconds(CPU)
    share = step.micro_batches(
        *(1, 0),
        accumulation=1,
        clips_that_fit=lambda context: int(most / seconds_of_work(context, loss.silence_run)),
    )
    reader = MicroBatches(clips, whisper.config.pad_token_id)
    total = 0.0
    for micro_batch in share:
        with watch.phase("read and decode clips"):
            batch = reader[micro_batch]
        with watch.phase("log-mel"):
            features = log_mel(batch.waveforms, loaded.processor.feature_extractor)
        total += forward_and_backward(loss, features, batch, step.num_targets, autocast, watch)
    with watch.phase("gradient clipping"):
        nn.utils.clip_grad_norm_(whisper.parameters(), 1.0)
    with watch.phase("AdamW"):
        optimizer.step()
        optimizer.zero_grad()
    return total


def forward_and_backward(
    loss: WhisperLoss,
    features: torch.Tensor,
    batch: Batch,
    num_targets: int,
    autocast: bool,
    watch: Watch,
) -> float:
    """`WhisperLoss`; hooks on what its parts exchange tell when each is through, forward and backward."""
    whisper = whisper_of(loss.model)
    reached: dict[str, float] = {}

    def note_encoder(_module: nn.Module, _inputs: tuple, states: torch.Tensor) -> None:
        reached["encoded"] = watch.now()
        states.register_hook(partial(_note, reached, "encoder", watch))

    def note_decoder(_module: nn.Module, _inputs: tuple, decoded: BaseModelOutput) -> None:
        reached["decoded"] = watch.now()
        decoded.last_hidden_state.register_hook(partial(_note, reached, "decoder", watch))

    hooks = [
        whisper.model.encoder.layer_norm.register_forward_hook(note_encoder),
        whisper.model.decoder.register_forward_hook(note_decoder),
    ]
    started = watch.now()
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=autocast):
        mean = loss(features, batch.decoder_input_ids, batch.labels) / num_targets
    ended = watch.now()
    watch.seconds["encoder forward"] += reached["encoded"] - started
    watch.seconds["decoder forward"] += reached["decoded"] - reached["encoded"]
    watch.seconds["projection and loss forward"] += ended - reached["decoded"]
    started = watch.now()
    mean.backward()
    ended = watch.now()
    watch.seconds["projection and loss backward"] += reached["decoder"] - started
    watch.seconds["decoder backward"] += reached["encoder"] - reached["decoder"]
    watch.seconds["encoder backward"] += ended - reached["encoder"]
    for hook in hooks:
        hook.remove()
    return mean.item()


def _note(reached: dict[str, float], part: str, watch: Watch, _gradient: torch.Tensor) -> None:
    reached[part] = watch.now()


def compute_limits(
    whisper: WhisperForConditionalGeneration,
    steps: list[Step],
    clips: TrainingClips,
    rates: Rates,
    silence_run: int,
) -> dict[str, float]:
    """Seconds of arithmetic by phase for all steps; AdamW reads four numbers a weight and writes three."""
    encoder, decoder = (
        sum(p.numel() for name, p in part.named_parameters() if "embed" not in name)
        for part in (whisper.model.encoder, whisper.model.decoder)
    )
    projection = whisper.proj_out.weight.numel()
    frames = sum(50 * len(step.examples) * seconds_of_work(step.context, silence_run) for step in steps)
    tokens = sum(
        max(len(clips.sequence(example).inputs) for example in step.examples) * len(step.examples)
        for step in steps
    )
    targets = sum(step.num_targets for step in steps)
    forward = {
        "encoder": 2 * encoder * frames,
        "decoder": 2 * decoder * tokens,
        "projection and loss": 2 * projection * targets,
    }
    limits = {f"{part} forward": work / rates.operations for part, work in forward.items()}
    limits |= {f"{part} backward": 2 * work / rates.operations for part, work in forward.items()}
    trained = sum(p.numel() for p in whisper.parameters() if p.requires_grad)
    limits["AdamW"] = 7 * 4 * trained * len(steps) / rates.bytes
    return limits


def build_table(title: str, seconds: dict[str, float], limits: dict[str, float], rates: Rates) -> Table:
    table = Table(
        title=f"{title}: {rates.operations / 1e9:,.0f} GFLOP/s, {rates.bytes / 1e9:.0f} GB/s",
    )
    table.add_column("phase", no_wrap=True)
    for name in ("seconds", "share", "limit", "achieved"):
        table.add_column(name, justify="right")
    total = sum(seconds.values())
    for name in PHASES:
        table.add_row(*_row(name, seconds[name], total, limits.get(name)))
    table.add_section()
    table.add_row(*_row("all", total, total, sum(limits.values())))
    return table


def _row(name: str, seconds: float, total: float, limit: float | None) -> tuple[str, ...]:
    bound = ("", "") if limit is None else (f"{limit:.2f}", f"{100 * limit / seconds:.0f} %")
    return name, f"{seconds:.2f}", f"{100 * seconds / total:.1f} %", *bound


if __name__ == "__main__":
    with user_errors_end_the_script():
        main()
