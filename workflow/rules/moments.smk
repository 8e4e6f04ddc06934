rule gather_moments:
    input:
        model=model,
        texts=moments_texts,
    output:
        "results/moments/{family}.safetensors",
    log:
        "logs/gather_moments/{family}.log",
    benchmark:
        "results/benchmarks/gather_moments/{family}.tsv"
    conda:
        "../../envs/holdfast.yaml"
    threads: 1
    resources:
        gpu=GPU,
    params:
        job=describe(STUDY.moments_job),
    script:
        "../scripts/gather_moments.py"
