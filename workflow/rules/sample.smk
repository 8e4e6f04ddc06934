rule sample_images:
    input:
        model=model,
        deltas=state,
        captions=captions,
    output:
        "results/samples/{family}/{lineage}/{probes}.safetensors",
    log:
        "logs/sample_images/{family}/{lineage}/{probes}.log",
    benchmark:
        "results/benchmarks/sample_images/{family}/{lineage}/{probes}.tsv"
    conda:
        "../../envs/holdfast.yaml"
    threads: 1
    resources:
        gpu=GPU,
    params:
        job=describe(STUDY.sample_job),
    script:
        "../scripts/sample_images.py"
