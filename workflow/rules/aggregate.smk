rule aggregate_scores:
    input:
        scores=score_files(),
    output:
        scores="results/tables/scores.parquet",
        persistence=report(
            "results/tables/persistence.csv",
            caption="../../reports/aggregate_scores.rst",
            category="Tables",
            labels={"table": "persistence per cell"},
        ),
        edits="results/tables/edits.csv",
        rates=report(
            "results/tables/rates.csv",
            caption="../../reports/aggregate_scores.rst",
            category="Tables",
            labels={"table": "rates per state"},
        ),
        costs="results/tables/costs.csv",
    log:
        "logs/aggregate_scores.log",
    benchmark:
        "results/benchmarks/aggregate_scores.tsv"
    conda:
        "../../envs/holdfast.yaml"
    params:
        relations=STUDY.relations(),
        statistics=dict(STUDY.config["statistics"]),
        code=code_digest(
            "jobs.aggregate", "analysis.tables", "analysis.persistence", "analysis.statistics", "analysis.costs"
        ),
    script:
        "../scripts/aggregate_scores.py"
