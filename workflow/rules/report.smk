from holdfast.report.words import relative


rule plot_persistence:
    input:
        persistence="results/tables/persistence.csv",
        edits="results/tables/edits.csv",
    output:
        persistence=report(
            "results/figures/persistence.svg",
            caption="../../reports/plot_persistence.rst",
            category="Persistence",
            labels={"figure": "per cell"},
        ),
        persistence_png="results/figures/persistence.png",
        steps=report(
            "results/figures/steps.svg",
            caption="../../reports/plot_persistence.rst",
            category="Persistence",
            labels={"figure": "over tuning steps"},
        ),
        steps_png="results/figures/steps.png",
    log:
        "logs/plot_persistence.log",
    benchmark:
        "results/benchmarks/plot_persistence.tsv"
    conda:
        "../../envs/holdfast.yaml"
    params:
        code=code_digest(
            *("jobs.plot", "report.plots", "report.style", "report.words"),
            *("analysis.tables", "analysis.persistence", "analysis.statistics"),
        ),
    script:
        "../scripts/plot_persistence.py"


rule plot_outcomes:
    input:
        rates="results/tables/rates.csv",
    output:
        outcomes=report(
            "results/figures/outcomes.svg",
            caption="../../reports/plot_outcomes.rst",
            category="Outcomes",
            labels={"figure": "target, source or other"},
        ),
        outcomes_png="results/figures/outcomes.png",
        specificity=report(
            "results/figures/specificity.svg",
            caption="../../reports/plot_outcomes.rst",
            category="Outcomes",
            labels={"figure": "specificity"},
        ),
        specificity_png="results/figures/specificity.png",
    log:
        "logs/plot_outcomes.log",
    benchmark:
        "results/benchmarks/plot_outcomes.tsv"
    conda:
        "../../envs/holdfast.yaml"
    params:
        code=code_digest(
            *("jobs.plot", "report.plots", "report.style", "report.words"),
            *("analysis.tables", "analysis.persistence", "analysis.statistics"),
        ),
    script:
        "../scripts/plot_outcomes.py"


rule plot_grids:
    input:
        model=model,
        samples=family_samples,
        scores="results/tables/scores.parquet",
        edits=STUDY.config["edits"],
    output:
        grid=report(
            "results/figures/grids-{family}.svg",
            caption="../../reports/plot_grids.rst",
            category="Pictures",
            labels={"figure": "same prompt, same noise", "family": "{family}"},
        ),
        png="results/figures/grids-{family}.png",
        pictures="results/tables/pictures-{family}.parquet",
    log:
        "logs/plot_grids/{family}.log",
    benchmark:
        "results/benchmarks/plot_grids/{family}.tsv"
    conda:
        "../../envs/holdfast.yaml"
    threads: 1
    resources:
        gpu=GPU,
    params:
        kind=lookup(dpath="families/{family}/kind", within=STUDY.config),
        relations=STUDY.relations(),
        code=code_digest(
            *("jobs.plot", "jobs.aggregate", "report.pictures", "report.plots", "report.style", "report.words"),
            *("analysis.tables", "analysis.persistence", "analysis.statistics", "sampling"),
        ),
    script:
        "../scripts/plot_grids.py"


rule write_report:
    input:
        persistence="results/tables/persistence.csv",
        edits="results/tables/edits.csv",
        rates="results/tables/rates.csv",
        costs="results/tables/costs.csv",
        pictures=expand("results/tables/pictures-{family}.parquet", family=STUDY.config["families"]),
        figures=expand("results/figures/{figure}.svg", figure=["persistence", "steps", "outcomes", "specificity"]),
        templates=[locate("holdfast/report/templates/study.html"), locate("holdfast/report/templates/study.css")],
    output:
        page=report(
            "reports/study.html",
            caption="../../reports/write_report.rst",
            category="Page",
            labels={"page": "the study on one page"},
        ),
        headline="results/tables/headline.txt",
    log:
        "logs/write_report.log",
    benchmark:
        "results/benchmarks/write_report.tsv"
    conda:
        "../../envs/holdfast.yaml"
    params:
        config=relative(STUDY.config, workflow.basedir),
        code=code_digest(
            *("jobs.report", "report.page", "report.answer", "report.plots", "report.svg", "report.style"),
            *("report.words", "analysis.costs", "analysis.tables", "analysis.persistence", "analysis.statistics"),
        ),
    script:
        "../scripts/write_report.py"
