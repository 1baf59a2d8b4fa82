"""What tests of several modules share: random LoRA adapters."""

import pytest


@pytest.fixture
def adapters(tiny_whisper, tmp_path):
    """A function that saves random LoRA adapters on the tiny model."""

    def build(count: int, **options):
        import torch
        from peft import LoraConfig, get_peft_model

        from utils.model.loading import load_model

        folders = []
        for number in range(count):
            loaded = load_model(str(tiny_whisper))
            config = LoraConfig(r=2, lora_alpha=6, target_modules=["q_proj", "fc1", "conv1"], **options)
            model = get_peft_model(loaded.model, config)
            config.base_model_name_or_path = str(tiny_whisper)
            torch.manual_seed(number)
            for name, parameter in model.named_parameters():
                if "lora_" in name:
                    torch.nn.init.normal_(parameter, std=0.3)
            folder = tmp_path / f"adapter-{number}"
            model.save_pretrained(folder)
            loaded.processor.save_pretrained(folder)
            folders.append(folder)
        return folders

    return build
