"""What the tests of the tuners share: a corpus of noise, short settings, and peft's own adapters to compare with."""

import json

import numpy as np
from PIL import Image

from holdfast.tuners import adapters

CAPTIONS = ("a rose", "a blue fish", "a photo of a plum")
OPTIONS = {"seed": 3, "steps": 4, "batch_size": 2, "learning_rate": 1e-2}
SAMPLING = {"steps": 2, "guidance_scale": 1.0, "batch_size": 2}
# The settings of every tuner that a test of all of them needs, small.
TUNINGS = {
    "lora": OPTIONS | {"rank": 2, "alpha": 6},
    "dora": OPTIONS | {"rank": 2, "alpha": 6},
    "full": OPTIONS | {"learning_rate": 1e-3, "accumulate": 1},
    "dreambooth": OPTIONS
    | {"learning_rate": 1e-3, "class_prompt": "a fish", "class_images": 2, "sampling": SAMPLING, "batch_size": 1},
}


def write_corpus(folder, captions=CAPTIONS):
    """Three pictures of noise with captions; returns the folder."""
    folder.mkdir(exist_ok=True)
    pixels = np.random.default_rng(0).integers(0, 256, (len(captions), 32, 32, 3), dtype=np.uint8)
    for number, picture in enumerate(pixels):
        Image.fromarray(picture).save(folder / f"{number}.png")
    lines = [json.dumps({"file_name": f"{n}.png", "text": text}) for n, text in enumerate(captions)]
    (folder / "metadata.jsonl").write_text("\n".join(lines))
    return folder


def as_bytes(snapshots):
    """What two runs must have in common to be equal bit for bit."""
    return {step: {name: tensor.numpy().tobytes() for name, tensor in kept.items()} for step, kept in snapshots.items()}


def with_peft(module, component, factors, rank, alpha, use_dora=False):
    """Put peft's adapters with these factors into a module; returns the parameters, named as ours are."""
    import torch
    from peft import LoraConfig, inject_adapter_in_model
    from peft.tuners.lora import LoraLayer

    targets = [name for name in adapters.ATTENTION if name != "out_proj" or component == "text_encoder"]
    inject_adapter_in_model(LoraConfig(r=rank, lora_alpha=alpha, target_modules=targets, use_dora=use_dora), module)
    parameters = {}
    for path, layer in module.named_modules():
        if isinstance(layer, LoraLayer):
            name = f"{component}.{path}"
            parameters[f"{name}.down"] = layer.lora_A["default"].weight
            parameters[f"{name}.up"] = layer.lora_B["default"].weight
            if use_dora:
                parameters[f"{name}.magnitude"] = layer.lora_magnitude_vector["default"].weight
    assert parameters.keys() == factors.keys()
    with torch.no_grad():
        for name, parameter in parameters.items():
            parameter.copy_(factors[name])
    return parameters


def merged(module):
    """path -> weight after peft merged its adapters into every layer."""
    from peft.tuners.lora import LoraLayer

    weights = {}
    for path, layer in module.named_modules():
        if isinstance(layer, LoraLayer):
            layer.merge()
            weights[path] = layer.get_base_layer().weight.detach()
    return weights
