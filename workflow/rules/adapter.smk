rule export_adapter:
    input:
        delta="results/states/{family}/{lineage}/delta.safetensors",
    output:
        "results/adapters/{family}/{lineage}/{variant}/pytorch_lora_weights.safetensors",
    log:
        "logs/export_adapter/{family}/{lineage}/{variant}.log",
    benchmark:
        "results/benchmarks/export_adapter/{family}/{lineage}/{variant}.tsv"
    wildcard_constraints:
        lineage=lineage.TUNE_LINEAGE,
        variant=rf"{lineage.ID}(?:@\d+)?",
    conda:
        "../../envs/holdfast.yaml"
    threads: 1
    params:
        job=describe(STUDY.adapter_job),
    script:
        "../scripts/export_adapter.py"
