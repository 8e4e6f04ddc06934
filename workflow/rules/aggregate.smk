rule aggregate_scores:
    input:
        scores=score_files(),
        quality=quality_files(),
    output:
        scores="results/tables/scores.parquet",
        persistence=report(
            "results/tables/persistence.csv",
            caption="../../reports/aggregate_scores.rst",
            category="Tables",
            labels={"table": "persistence per cell"},
        ),
        edits="results/tables/edits.csv",
        curves="results/tables/curves.csv",
        comparisons=report(
            "results/tables/comparisons.csv",
            caption="../../reports/aggregate_scores.rst",
            category="Tables",
            labels={"table": "differences between cells"},
        ),
        sites=report(
            "results/tables/sites.csv",
            caption="../../reports/aggregate_scores.rst",
            category="Tables",
            labels={"table": "method or place"},
        ),
        claims=report(
            "results/tables/claims.csv",
            caption="../../reports/aggregate_scores.rst",
            category="Tables",
            labels={"table": "the paper's claims"},
        ),
        power=report(
            "results/tables/power.csv",
            caption="../../reports/aggregate_scores.rst",
            category="Tables",
            labels={"table": "what the tests can see"},
        ),
        before=report(
            "results/tables/before.csv",
            caption="../../reports/aggregate_scores.rst",
            category="Tables",
            labels={"table": "before tuning"},
        ),
        before_edits="results/tables/before_edits.csv",
        arms=report(
            "results/tables/arms.csv",
            caption="../../reports/aggregate_scores.rst",
            category="Tables",
            labels={"table": "other orders"},
        ),
        quality=report(
            "results/tables/quality.csv",
            caption="../../reports/aggregate_scores.rst",
            category="Tables",
            labels={"table": "quality per state"},
        ),
        broken="results/tables/broken.csv",
        scorers="results/tables/scorers.csv",
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
        methods=methods.described(STUDY.config),
        statistics=dict(STUDY.config["statistics"]),
        code=traced("jobs.aggregate"),
    script:
        "../scripts/aggregate_scores.py"
