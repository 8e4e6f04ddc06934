from holdfast.report.words import relative


rule plot_matrix:
    input:
        persistence="results/tables/persistence.csv",
    output:
        svg=report(
            "results/figures/matrix.svg",
            caption="../../reports/plot_matrix.rst",
            category="Persistence",
            labels={"figure": "the whole matrix", "family": "all"},
        ),
        png="results/figures/matrix.png",
    log:
        "logs/plot_matrix.log",
    benchmark:
        "results/benchmarks/plot_matrix.tsv"
    conda:
        "../../envs/holdfast.yaml"
    params:
        families=list(STUDY.config["families"]),
        code=traced("jobs.plot"),
    script:
        "../scripts/plot_matrix.py"


rule plot_persistence:
    input:
        persistence="results/tables/persistence.csv",
        edits="results/tables/edits.csv",
    output:
        persistence=report(
            "results/figures/persistence-{family}.svg",
            caption="../../reports/plot_persistence.rst",
            category="Persistence",
            labels={"figure": "per cell", "family": "{family}"},
        ),
        persistence_png="results/figures/persistence-{family}.png",
        steps=report(
            "results/figures/steps-{family}.svg",
            caption="../../reports/plot_persistence.rst",
            category="Persistence",
            labels={"figure": "over tuning steps", "family": "{family}"},
        ),
        steps_png="results/figures/steps-{family}.png",
    log:
        "logs/plot_persistence/{family}.log",
    benchmark:
        "results/benchmarks/plot_persistence/{family}.tsv"
    conda:
        "../../envs/holdfast.yaml"
    params:
        code=traced("jobs.plot"),
    script:
        "../scripts/plot_persistence.py"


rule plot_outcomes:
    input:
        rates="results/tables/rates.csv",
    output:
        outcomes=report(
            "results/figures/outcomes-{family}.svg",
            caption="../../reports/plot_outcomes.rst",
            category="Outcomes",
            labels={"figure": "target, source or other", "family": "{family}"},
        ),
        outcomes_png="results/figures/outcomes-{family}.png",
        specificity=report(
            "results/figures/specificity-{family}.svg",
            caption="../../reports/plot_outcomes.rst",
            category="Outcomes",
            labels={"figure": "specificity", "family": "{family}"},
        ),
        specificity_png="results/figures/specificity-{family}.png",
    log:
        "logs/plot_outcomes/{family}.log",
    benchmark:
        "results/benchmarks/plot_outcomes/{family}.tsv"
    conda:
        "../../envs/holdfast.yaml"
    params:
        code=traced("jobs.plot"),
    script:
        "../scripts/plot_outcomes.py"


rule plot_causes:
    input:
        causes="results/tables/causes.csv",
        persistence="results/tables/persistence.csv",
    output:
        causes=report(
            "results/figures/causes-{family}.svg",
            caption="../../reports/plot_causes.rst",
            category="Causes",
            labels={"figure": "where edits are lost", "family": "{family}"},
        ),
        causes_png="results/figures/causes-{family}.png",
        doses=report(
            "results/figures/doses-{family}.svg",
            caption="../../reports/plot_causes.rst",
            category="Causes",
            labels={"figure": "persistence by dose", "family": "{family}"},
        ),
        doses_png="results/figures/doses-{family}.png",
    log:
        "logs/plot_causes/{family}.log",
    benchmark:
        "results/benchmarks/plot_causes/{family}.tsv"
    conda:
        "../../envs/holdfast.yaml"
    params:
        code=traced("jobs.plot"),
    script:
        "../scripts/plot_causes.py"


rule plot_grids:
    input:
        model=model,
        samples=family_samples,
        scores="results/tables/scores.parquet",
        edits=[table["source"] for table in EDIT_TABLES],
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
        edits=EDIT_TABLES,
        relations=STUDY.relations(),
        code=traced("jobs.grids"),
    script:
        "../scripts/plot_grids.py"


rule write_report:
    input:
        tables=expand("results/tables/{table}.csv", table=TABLES),
        pictures=expand("results/tables/pictures-{family}.parquet", family=STUDY.config["families"]),
        figures=expand("results/figures/{figure}.svg", figure=page_figures()),
        templates=templates(),
    output:
        page=report(
            "reports/study.html",
            caption="../../reports/write_report.rst",
            category="Page",
            labels={"page": "the study on one page"},
        ),
        headline=report(
            "results/tables/headline.txt",
            caption="../../reports/headline.rst",
            category="Page",
            labels={"page": "the answer in a few lines"},
        ),
    log:
        "logs/write_report.log",
    benchmark:
        "results/benchmarks/write_report.tsv"
    conda:
        "../../envs/holdfast.yaml"
    params:
        config=relative(STUDY.config, workflow.basedir),
        code=traced("jobs.report"),
    script:
        "../scripts/write_report.py"


rule write_latex:
    input:
        table="results/tables/{table}.csv",
    output:
        tex=report(
            "results/latex/{table}.tex",
            caption="../../reports/write_latex.rst",
            category="LaTeX",
            labels={"table": "{table}"},
        ),
    log:
        "logs/write_latex/{table}.log",
    benchmark:
        "results/benchmarks/write_latex/{table}.tsv"
    wildcard_constraints:
        table="|".join(latex.BY_NAME),
    conda:
        "../../envs/holdfast.yaml"
    params:
        families=list(STUDY.config["families"]),
        study=STUDY.config["study"],
        statistics=dict(STUDY.config["statistics"]),
        code=traced("jobs.latex"),
    script:
        "../scripts/write_latex.py"
