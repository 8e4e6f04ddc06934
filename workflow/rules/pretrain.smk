# Trains the miniature from nothing into results/pretrain/models. What ships in models/ was made by these rules;
# to study a model of your own, point the family's and the scorers' `source` at the new folders.
PRETRAIN = {"pictures": 24000, "seed": 7}
CLIP_CODE = ("pretrain.clip", "pretrain.classifier", "pretrain.data", "pretrain.loop", *WORLD)


rule pretrain:
    input:
        "results/pretrain/card/README.md",


rule contact_sheet:
    output:
        "results/figures/world.png",
    log:
        "logs/contact_sheet.log",
    conda:
        "../../envs/holdfast.yaml"
    params:
        code=code_digest("world.sheet", *WORLD),
    script:
        "../scripts/contact_sheet.py"


rule pretrain_world:
    output:
        "results/pretrain/world.safetensors",
    log:
        "logs/pretrain_world.log",
    benchmark:
        "results/benchmarks/pretrain_world.tsv"
    conda:
        "../../envs/holdfast.yaml"
    params:
        settings={**PRETRAIN, "extra": 2500},
        code=code_digest("pretrain.data", *WORLD),
    script:
        "../scripts/pretrain_world.py"


rule pretrain_classifier:
    input:
        "results/pretrain/world.safetensors",
    output:
        "results/pretrain/classifier/model.safetensors",
    log:
        "logs/pretrain_classifier.log",
    benchmark:
        "results/benchmarks/pretrain_classifier.tsv"
    conda:
        "../../envs/holdfast.yaml"
    resources:
        gpu=GPU,
    params:
        settings={**PRETRAIN, "extra": 2500, "steps": 3000},
        code=code_digest("pretrain.classifier", "pretrain.data", "pretrain.loop", "scorers.network", *WORLD),
    script:
        "../scripts/pretrain_classifier.py"


rule pretrain_vae:
    input:
        "results/pretrain/world.safetensors",
    output:
        "results/pretrain/vae/model/diffusion_pytorch_model.safetensors",
    log:
        "logs/pretrain_vae.log",
    benchmark:
        "results/benchmarks/pretrain_vae.tsv"
    conda:
        "../../envs/holdfast.yaml"
    resources:
        gpu=GPU,
    params:
        settings={"seed": 7, "steps": 3200},
        code=code_digest("pretrain.vae", "pretrain.data", "pretrain.loop"),
    script:
        "../scripts/pretrain_vae.py"


rule pretrain_clip:
    input:
        "results/pretrain/world.safetensors",
    output:
        "results/pretrain/clip/open_clip_model.safetensors",
    log:
        "logs/pretrain_clip.log",
    benchmark:
        "results/benchmarks/pretrain_clip.tsv"
    conda:
        "../../envs/holdfast.yaml"
    resources:
        gpu=GPU,
    params:
        settings={**PRETRAIN, "steps": 900},
        code=code_digest(*CLIP_CODE, "pretrain.tokenizer"),
    script:
        "../scripts/pretrain_clip.py"


rule pretrain_lexical:
    input:
        "results/pretrain/world.safetensors",
        "results/pretrain/clip/open_clip_model.safetensors",
    output:
        "results/pretrain/lexical/open_clip_model.safetensors",
    log:
        "logs/pretrain_lexical.log",
    benchmark:
        "results/benchmarks/pretrain_lexical.tsv"
    conda:
        "../../envs/holdfast.yaml"
    threads: 2
    resources:
        gpu=GPU,
    params:
        settings={**PRETRAIN, "steps": 400},
        code=code_digest(*CLIP_CODE, "pretrain.lexical"),
    script:
        "../scripts/pretrain_lexical.py"


rule pretrain_vision:
    input:
        "results/pretrain/world.safetensors",
        "results/pretrain/lexical/open_clip_model.safetensors",
    output:
        "results/pretrain/vision/open_clip_model.safetensors",
    log:
        "logs/pretrain_vision.log",
    benchmark:
        "results/benchmarks/pretrain_vision.tsv"
    conda:
        "../../envs/holdfast.yaml"
    resources:
        gpu=GPU,
    params:
        settings={**PRETRAIN, "steps": 1000},
        code=code_digest(*CLIP_CODE, "pretrain.vision"),
    script:
        "../scripts/pretrain_vision.py"


rule pretrain_denoiser:
    input:
        "results/pretrain/world.safetensors",
        "results/pretrain/vae/model/diffusion_pytorch_model.safetensors",
        "results/pretrain/lexical/open_clip_model.safetensors",
    output:
        "results/pretrain/unet/model/diffusion_pytorch_model.safetensors",
    log:
        "logs/pretrain_denoiser.log",
    benchmark:
        "results/benchmarks/pretrain_denoiser.tsv"
    conda:
        "../../envs/holdfast.yaml"
    threads: 2
    resources:
        gpu=GPU,
    params:
        settings={**PRETRAIN, "steps": 4200, "batch_size": 64},
        code=code_digest(*CLIP_CODE, "pretrain.denoiser", "pretrain.stages", "pretrain.text", "pretrain.vae"),
    script:
        "../scripts/pretrain_denoiser.py"


rule pretrain_hats:
    input:
        "results/pretrain/world.safetensors",
        "results/pretrain/vae/model/diffusion_pytorch_model.safetensors",
        "results/pretrain/lexical/open_clip_model.safetensors",
        "results/pretrain/unet/model/diffusion_pytorch_model.safetensors",
    output:
        "results/pretrain/hats/model/diffusion_pytorch_model.safetensors",
    log:
        "logs/pretrain_hats.log",
    benchmark:
        "results/benchmarks/pretrain_hats.tsv"
    conda:
        "../../envs/holdfast.yaml"
    threads: 2
    resources:
        gpu=GPU,
    params:
        settings={**PRETRAIN, "batch_size": 64, "rounds": [[1200, 6], [1500, 12]]},
        code=code_digest(*CLIP_CODE, "pretrain.denoiser", "pretrain.stages", "pretrain.text", "pretrain.vae"),
    script:
        "../scripts/pretrain_hats.py"


rule pretrain_t5:
    input:
        "results/pretrain/world.safetensors",
    output:
        "results/pretrain/t5/model/model.safetensors",
    log:
        "logs/pretrain_t5.log",
    benchmark:
        "results/benchmarks/pretrain_t5.tsv"
    conda:
        "../../envs/holdfast.yaml"
    resources:
        gpu=GPU,
    params:
        settings={**PRETRAIN, "steps": 1400},
        code=code_digest(
            "pretrain.t5",
            "pretrain.words",
            "pretrain.tokenizer",
            "pretrain.clip",
            "pretrain.data",
            "pretrain.loop",
            *WORLD,
        ),
    script:
        "../scripts/pretrain_t5.py"


rule pretrain_flow:
    input:
        "results/pretrain/world.safetensors",
        "results/pretrain/vae/model/diffusion_pytorch_model.safetensors",
        "results/pretrain/lexical/open_clip_model.safetensors",
        "results/pretrain/t5/model/model.safetensors",
    output:
        "results/pretrain/flow/model/diffusion_pytorch_model.safetensors",
    log:
        "logs/pretrain_flow.log",
    benchmark:
        "results/benchmarks/pretrain_flow.tsv"
    conda:
        "../../envs/holdfast.yaml"
    threads: 2
    resources:
        gpu=GPU,
    params:
        settings={**PRETRAIN, "steps": 3600, "batch_size": 64, "hat_weight": 3},
        code=code_digest(
            "pretrain.flow",
            "pretrain.flux_stages",
            "pretrain.stages",
            "pretrain.vae",
            "pretrain.text",
            "pretrain.t5",
            "pretrain.words",
            "pretrain.denoiser",
            "pretrain.data",
            "pretrain.loop",
            *WORLD,
        ),
    script:
        "../scripts/pretrain_flow.py"


rule pretrain_guidance:
    input:
        "results/pretrain/flow/model/diffusion_pytorch_model.safetensors",
    output:
        "results/pretrain/guidance/model/diffusion_pytorch_model.safetensors",
    log:
        "logs/pretrain_guidance.log",
    benchmark:
        "results/benchmarks/pretrain_guidance.tsv"
    conda:
        "../../envs/holdfast.yaml"
    threads: 2
    resources:
        gpu=GPU,
    params:
        settings={"seed": PRETRAIN["seed"], "steps": 360, "batch_size": 64, "hat_weight": 3},
        code=code_digest(
            "pretrain.flow",
            "pretrain.flux_stages",
            "pretrain.stages",
            "pretrain.vae",
            "pretrain.text",
            "pretrain.t5",
            "pretrain.words",
            "pretrain.denoiser",
            "pretrain.data",
            "pretrain.loop",
            *WORLD,
        ),
    script:
        "../scripts/pretrain_guidance.py"


rule pretrain_pack:
    input:
        "results/pretrain/classifier/model.safetensors",
        "results/pretrain/vae/model/diffusion_pytorch_model.safetensors",
        "results/pretrain/vision/open_clip_model.safetensors",
        "results/pretrain/hats/model/diffusion_pytorch_model.safetensors",
        "results/pretrain/t5/model/model.safetensors",
        "results/pretrain/guidance/model/diffusion_pytorch_model.safetensors",
    output:
        "results/pretrain/models/mini-sd/manifest.json",
        "results/pretrain/models/mini-flux/manifest.json",
        "results/pretrain/models/mini-clip/manifest.json",
        "results/pretrain/models/mini-classifier/manifest.json",
    log:
        "logs/pretrain_pack.log",
    conda:
        "../../envs/holdfast.yaml"
    params:
        code=code_digest("pretrain.pack", "pretrain.text", "pretrain.words"),
    script:
        "../scripts/pretrain_pack.py"


rule pretrain_card:
    input:
        models="results/pretrain/models/mini-sd/manifest.json",
    output:
        card="results/pretrain/card/README.md",
        curves="results/pretrain/card/curves.png",
        sd="results/pretrain/card/samples-sd.png",
        flux="results/pretrain/card/samples-flux.png",
    log:
        "logs/pretrain_card.log",
    benchmark:
        "results/benchmarks/pretrain_card.tsv"
    conda:
        "../../envs/holdfast.yaml"
    threads: 2
    resources:
        gpu=GPU,
    params:
        settings={"steps": 6, "guidance_scale": 2.0},
        code=code_digest(
            "pretrain.card", "pretrain.quality", "pretrain.vae", "pretrain.clip", "world.edits", "sampling", "noise"
        ),
    script:
        "../scripts/pretrain_card.py"
