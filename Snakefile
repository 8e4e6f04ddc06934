from snakemake.utils import min_version

min_version("9.0")


include: "workflow/rules/common.smk"
include: "workflow/rules/download.smk"
include: "workflow/rules/moments.smk"
include: "workflow/rules/edit.smk"
include: "workflow/rules/tune.smk"
include: "workflow/rules/sample.smk"
include: "workflow/rules/score.smk"
include: "workflow/rules/aggregate.smk"
include: "workflow/rules/causes.smk"
include: "workflow/rules/report.smk"
include: "workflow/rules/export.smk"
include: "workflow/rules/adapter.smk"
include: "workflow/rules/pretrain.smk"


localrules:
    study,
    download,
    plan,
    preflight,
    check_access,
    download_model,
    download_scorer,
    draw_corpus,
    plot_matrix,
    plot_persistence,
    plot_outcomes,
    plot_causes,
    write_report,
    write_latex,


rule study:
    default_target: True
    input:
        study_files(),


rule download:
    input:
        download_files(),


rule plan:
    log:
        "logs/plan.log",
    conda:
        "envs/holdfast.yaml"
    params:
        study=vars(STUDY),
    script:
        "workflow/scripts/plan.py"
