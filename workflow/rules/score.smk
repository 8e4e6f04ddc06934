rule score_images:
    input:
        model=model,
        scorers=scorers,
        deltas=state,
        samples="results/samples/{family}/{lineage}/{probes}.safetensors",
    output:
        "results/scores/{family}/{lineage}/{probes}.parquet",
    log:
        "logs/score_images/{family}/{lineage}/{probes}.log",
    benchmark:
        "results/benchmarks/score_images/{family}/{lineage}/{probes}.tsv"
    conda:
        "../../envs/holdfast.yaml"
    threads: 1
    resources:
        gpu=GPU,
    params:
        job=describe(STUDY.score_job),
    script:
        "../scripts/score_images.py"
