rule trace_causes:
    input:
        model=model,
        deltas=traced_deltas,
        corpora=traced_corpora,
    output:
        "results/causes/{family}/{lineage}.parquet",
    log:
        "logs/trace_causes/{family}/{lineage}.log",
    benchmark:
        "results/benchmarks/trace_causes/{family}/{lineage}.tsv"
    wildcard_constraints:
        lineage=lineage.EDIT_LINEAGE,
    # As the pictures: before new tunings, so that temporary states can go.
    priority: 1
    conda:
        "../../envs/holdfast.yaml"
    threads: 1
    resources:
        gpu=GPU,
        batch_size=machine("batch_size"),
        offload=machine("offload"),
    params:
        job=describe(partial(causes.job, STUDY)),
    script:
        "../scripts/trace_causes.py"


rule tabulate_causes:
    input:
        causes=causes.files(STUDY),
        persistence="results/tables/persistence.csv",
        edits="results/tables/edits.csv",
    output:
        causes=report(
            "results/tables/causes.csv",
            caption="../../reports/tabulate_causes.rst",
            category="Tables",
            labels={"table": "causes per state"},
        ),
        prediction=report(
            "results/tables/prediction.csv",
            caption="../../reports/tabulate_causes.rst",
            category="Tables",
            labels={"table": "what foretells persistence"},
        ),
        doses=report(
            "results/tables/doses.csv",
            caption="../../reports/tabulate_causes.rst",
            category="Tables",
            labels={"table": "tuners at equal strength"},
        ),
    log:
        "logs/tabulate_causes.log",
    benchmark:
        "results/benchmarks/tabulate_causes.tsv"
    conda:
        "../../envs/holdfast.yaml"
    params:
        relations=STUDY.relations(),
        statistics=dict(STUDY.config["statistics"]),
        code=traced("jobs.cause_tables"),
    script:
        "../scripts/tabulate_causes.py"
