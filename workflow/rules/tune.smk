rule tune_model:
    input:
        model=model,
        parents=parents,
        corpus=corpus,
    output:
        "results/states/{family}/{lineage}/delta.safetensors",
    log:
        "logs/tune_model/{family}/{lineage}.log",
    benchmark:
        "results/benchmarks/tune_model/{family}/{lineage}.tsv"
    wildcard_constraints:
        lineage=lineage.TUNE_LINEAGE,
    conda:
        "../../envs/holdfast.yaml"
    threads: 1
    resources:
        gpu=GPU,
    params:
        job=describe(STUDY.tune_job),
        # Outside the declared outputs, which Snakemake deletes before a job starts: what a killed job saved must stay.
        checkpoints="results/checkpoints/{family}/{lineage}",
    script:
        "../scripts/tune_model.py"
