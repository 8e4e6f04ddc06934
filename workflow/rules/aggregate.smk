rule aggregate_scores:
    input:
        scores=score_files(),
        quality=quality_files(),
    output:
        scores=report(
            "results/tables/scores.parquet",
            caption="../../reports/aggregate_scores.rst",
            category="Tables",
            labels={"table": "every picture's scores"},
        ),
        persistence=report(
            "results/tables/persistence.csv",
            caption="../../reports/tables/persistence.rst",
            category="Tables",
            labels={"table": "persistence per cell"},
        ),
        edits=report(
            "results/tables/edits.csv",
            caption="../../reports/tables/edits.rst",
            category="Tables",
            labels={"table": "persistence per edit"},
        ),
        curves=report(
            "results/tables/curves.csv",
            caption="../../reports/tables/curves.rst",
            category="Tables",
            labels={"table": "half-lives"},
        ),
        comparisons=report(
            "results/tables/comparisons.csv",
            caption="../../reports/tables/comparisons.rst",
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
            caption="../../reports/tables/power.rst",
            category="Tables",
            labels={"table": "what the tests can see"},
        ),
        before=report(
            "results/tables/before.csv",
            caption="../../reports/tables/before.rst",
            category="Tables",
            labels={"table": "before tuning"},
        ),
        before_edits=report(
            "results/tables/before_edits.csv",
            caption="../../reports/tables/before_edits.rst",
            category="Tables",
            labels={"table": "before tuning, per edit"},
        ),
        arms=report(
            "results/tables/arms.csv",
            caption="../../reports/tables/arms.rst",
            category="Tables",
            labels={"table": "other orders"},
        ),
        quality=report(
            "results/tables/quality.csv",
            caption="../../reports/tables/quality.rst",
            category="Tables",
            labels={"table": "quality per state"},
        ),
        broken=report(
            "results/tables/broken.csv",
            caption="../../reports/tables/broken.rst",
            category="Tables",
            labels={"table": "pictures that show nothing"},
        ),
        scorers=report(
            "results/tables/scorers.csv",
            caption="../../reports/tables/scorers.rst",
            category="Tables",
            labels={"table": "who measured"},
        ),
        rates=report(
            "results/tables/rates.csv",
            caption="../../reports/tables/rates.rst",
            category="Tables",
            labels={"table": "rates per state"},
        ),
        costs=report(
            "results/tables/costs.csv",
            caption="../../reports/tables/costs.rst",
            category="Tables",
            labels={"table": "costs per job"},
        ),
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
