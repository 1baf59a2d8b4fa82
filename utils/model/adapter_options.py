"""Flags for adapters and quantised weights, with PEFT's and transformers' names."""

from dataclasses import dataclass
from typing import ClassVar, Literal

from utils.runtime.flags import argument, changed_flags


@dataclass(frozen=True, kw_only=True)
class AdapterOptions:
    """An adapter of the LoRA family, and the number of bits of the frozen weights.

    LoRA: https://arxiv.org/abs/2106.09685. AdaLoRA: https://arxiv.org/abs/2303.10512. rsLoRA:
    https://arxiv.org/abs/2312.03732. DoRA: https://arxiv.org/abs/2402.09353. QLoRA:
    https://arxiv.org/abs/2305.14314.
    """

    group_name: ClassVar = "adapters"

    use_peft: bool = argument("Train a LoRA adapter instead of all weights.", default=False)
    lora_r: int = argument(
        "Rank of LoRA. With adalora: the mean rank at the end.",
        default=16,
        at_least=1,
    )
    lora_alpha: int = argument("LoRA scales its update by alpha / r.", default=32)
    lora_dropout: float = argument("Dropout before the LoRA matrices.", default=0.05, at_least=0, below=1)
    lora_target_modules: list[str] = argument(
        "Layers with LoRA: names, regular expressions, or all-linear.",
        default=["q_proj", "v_proj"],
    )
    load_in_8bit: bool = argument("Keep the frozen weights in 8 bits.", default=False)
    load_in_4bit: bool = argument("Keep the frozen weights in 4 bits (QLoRA).", default=False)
    peft_type: Literal["lora", "adalora"] = argument(
        "Kind of adapter. adalora gives higher ranks to the modules that need them most.",
        default="lora",
        advanced=True,
    )
    init_r: int | None = argument(
        "With adalora: the rank at the start. Not given: 1.5 times lora_r.", default=None, advanced=True
    )
    use_rslora: bool = argument("Scale LoRA by alpha / sqrt(r) (rsLoRA).", default=False, advanced=True)
    use_dora: bool = argument(
        "Train the direction and the magnitude of weights separately (DoRA).", default=False, advanced=True
    )
    bnb_4bit_quant_type: Literal["nf4", "fp4"] = argument(
        "Data type of 4-bit weights.", default="nf4", advanced=True
    )
    bnb_4bit_use_double_quant: bool = argument(
        "Quantise the scales of 4-bit weights too, to save a little more memory.", default=True, advanced=True
    )

    def problems(self) -> list[str]:
        found = []
        ranks = ("lora_r", "lora_alpha", "lora_dropout", "lora_target_modules")
        kinds = ("peft_type", "use_rslora", "use_dora", "load_in_8bit", "load_in_4bit")
        if (given := changed_flags(self, *kinds, *ranks)) and not self.use_peft:
            found.append(f"{', '.join(given)}: only for adapters. Add --use_peft.")
        given = changed_flags(self, "bnb_4bit_quant_type", "bnb_4bit_use_double_quant")
        if given and not self.load_in_4bit:
            found.append(f"{', '.join(given)}: only for 4 bits. Add --load_in_4bit.")
        if self.load_in_8bit and self.load_in_4bit:
            found.append("load_in_8bit and load_in_4bit: expected only one of them.")
        if self.peft_type == "adalora" and (self.use_dora or self.use_rslora):
            found.append("use_dora and use_rslora need peft_type lora.")
        if self.init_r is not None and self.peft_type != "adalora":
            found.append("init_r needs peft_type adalora. The rank of lora is lora_r.")
        elif self.init_r is not None and self.init_r <= self.lora_r:
            found.append(f"init_r {self.init_r}: expected more than lora_r {self.lora_r}.")
        return found
