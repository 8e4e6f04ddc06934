from contextlib import contextmanager
from functools import cache, partial
from pathlib import Path

from snakemake.exceptions import WorkflowError

from holdfast import causes, concepts, corpora, devices, judges, labels, lineage, methods, paths, plugins, tables
from holdfast.config import bound, check, read
from holdfast.edits import read_preserve, read_shown
from holdfast.errors import HoldfastError
from holdfast.hub import Source, access, folders
from holdfast.plan import downloads
from holdfast.report import TABLES, latex
from holdfast.scorers.weights import BUNDLED
from holdfast.study import WORLD, Study, code_digest, traced


@contextmanager
def sentences():
    """Let Snakemake print a HoldfastError as its sentence, without a traceback."""
    try:
        yield
    except HoldfastError as error:
        raise WorkflowError(str(error)) from None


def locate(path):
    """A path of the configuration: in the working directory or, where there is none, beside the Snakefile."""
    beside = Path(workflow.basedir) / path
    return str(beside) if beside.exists() and not Path(path).exists() else path


def edit_tables(checked):
    """The study's tables of edits, those behind URLs fetched."""
    return [{**entry, "source": tables.fetch(entry, paths.TABLES)} for entry in tables.entries(checked["edits"])]


def read_study():
    """The checked study of Snakemake's configuration, its paths located."""
    bound(config)
    checked = check(config, Path(workflow.basedir) / "workflow/schemas/config.schema.yaml")
    for section, keys in {
        "families": ("source",),
        "scorers": ("source", "kind"),
        "editors": ("method",),
        "tuners": ("method",),
        "corpora": ("path", "source"),
    }.items():
        for name, entry in checked[section].items():
            elsewhere = "source" in entry and Source.of(entry).is_remote
            if elsewhere and Path(locate(entry["source"])).is_dir():
                raise HoldfastError(
                    f"config: {section}.{name}.source is a folder of this machine, {entry['source']}, but its revision "
                    "makes it a repository of the hub: set revision to null, or move the folder away."
                )
            for key in keys:
                if key in entry and (key in ("source", "path") or plugins.is_file(entry[key])):
                    entry[key] = locate(entry[key])
    checked["edits"] = tables.located(checked["edits"], locate)
    preserve = checked["preserve"]
    if named := preserve not in (None, concepts.NEIGHBOURS):
        checked["preserve"] = preserve = locate(preserve)
    if checked["moments"]["texts"] not in ("world", *checked["corpora"]):
        checked["moments"]["texts"] = locate(checked["moments"]["texts"])
    if checked["costs"]:
        checked["costs"] = locate(checked["costs"])
    kept, shown = (read_preserve(preserve), read_shown(preserve)) if named else ({}, {})
    study = Study(checked, tables.read(edit_tables(checked)), kept, shown)
    labels.check(study)
    return study


# A configuration named on the command line replaces the default one: merged, the two would be a third study.
if not workflow.configfiles:
    with sentences():
        read(locate("config.yaml"))

    configfile: locate("config.yaml")


with sentences():
    STUDY = read_study()
    CELLS = STUDY.cells()
    GENERAL = STUDY.general_cells()
    EDIT_TABLES = edit_tables(STUDY.config)

# Snakemake starts as many jobs at once as there are devices; without one, jobs share the cores.
GPU = int(devices.count() > 0)


wildcard_constraints:
    family=lineage.ID,
    scorer=lineage.ID,
    corpus=lineage.ID,
    lineage=lineage.LINEAGE,
    probes=rf"edits-\d+|{paths.GENERAL}",


def describe(job):
    """A params function: what `job`, a method of the study, says about a rule's wildcards."""

    def described(wildcards):
        with sentences():
            return job(**dict(wildcards.items()))

    return described


def machine(setting):
    """A resources function: a setting of the machine, of the family and, in a tuning, of the tuner."""

    def found(wildcards):
        steps = lineage.parse(wildcards.lineage) if "lineage" in wildcards.keys() else []
        tuner = steps[-1].tuner if steps and isinstance(steps[-1], lineage.TuneStep) else None
        with sentences():
            return STUDY.machine(wildcards.family, tuner)[setting]

    return found


def tuning_gpus(wildcards):
    """The devices that a tuning takes: where there are any, or where jobs go to machines that have some."""
    return (GPU or int(workflow.non_local_exec)) * machine("gpus")(wildcards)


def model(wildcards):
    """The manifest of the base model: its presence says that the model is there, whole and verified."""
    return f"{paths.model(wildcards.family)}/manifest.json"


def parents(wildcards):
    """The deltas that a step builds on, in order."""
    with sentences():
        return STUDY.delta_files(wildcards.family, lineage.parent(wildcards.lineage))


def state(wildcards):
    """The deltas that make a state, in order."""
    with sentences():
        return STUDY.delta_files(wildcards.family, wildcards.lineage)


def state_headers(wildcards):
    """What the deltas of a state were, in order: of tunings the headers alone, whose deltas may be temporary."""
    with sentences():
        files = STUDY.delta_files(wildcards.family, wildcards.lineage)
    sources = lineage.sources(wildcards.lineage)
    return [
        paths.header(wildcards.family, source) if isinstance(lineage.parse(source)[-1], lineage.TuneStep) else file
        for source, file in zip(sources, files, strict=True)
    ]


def traced_deltas(wildcards):
    """The deltas of an edited state, of all that was tuned from it, and of the same tunings of the base."""
    with sentences():
        return causes.deltas(STUDY, wildcards.family, wildcards.lineage)


def traced_corpora(wildcards):
    """The captions of the corpora that these tunings learned."""
    with sentences():
        names = causes.corpora(STUDY, wildcards.family, wildcards.lineage)
        return [f"{STUDY.corpus_folder(wildcards.family, name)}/metadata.jsonl" for name in names]


def corpus(wildcards):
    """The captions of the corpus that the last step learns."""
    step = lineage.parse(wildcards.lineage)[-1]
    learned, gpus = step.corpus, STUDY.config["tuners"].get(step.tuner, {}).get("gpus", 1)
    # Snakemake gives a job no more than there is, and the job itself would find out after hours of others.
    here = workflow.is_main_process and not workflow.non_local_exec_or_dryrun
    with sentences():
        if here and 0 < devices.count() < gpus:
            raise HoldfastError(
                f"The tuner {step.tuner} takes {gpus} GPUs and this machine has {devices.count()}: set its gpus to no "
                "more, or take its tunings out of the configuration."
            )
        return f"{STUDY.corpus_folder(wildcards.family, learned)}/metadata.jsonl"


def scorers(choose):
    """An input function: the manifests of the family's scorers that `choose`, a function of `judges`, gives."""

    def manifests(wildcards):
        return [f"{paths.scorer(name)}/manifest.json" for name in choose(STUDY.config, wildcards.family)]

    return manifests


def moments(wildcards):
    """The second moments that an edit step reads; none where its editor reads none."""
    with sentences():
        needed = STUDY.needs_moments(wildcards.family, wildcards.lineage)
    return [paths.moments(wildcards.family)] if needed else []


def moments_texts(wildcards):
    """The file of texts whose second moments are taken; none for the miniature's captions."""
    texts = STUDY.config["moments"]["texts"]
    if texts in STUDY.config["corpora"]:
        return [f"{paths.corpus(texts)}/metadata.jsonl"]
    return [] if texts == "world" else [texts]


def judge(wildcards):
    """The manifest of the CLIP scorer that an edit step measures its own pictures with; none where it draws none."""
    with sentences():
        if not STUDY.needs_scorer(wildcards.family, wildcards.lineage):
            return []
    return [f"{paths.scorer(judges.of_attributes(STUDY.config, wildcards.family))}/manifest.json"]


def captions(wildcards):
    """The captions of the general probes; none for an edit's probes, which the job itself lists."""
    return general_corpus() if wildcards.probes == paths.GENERAL else []


def reference(wildcards):
    """What the general probes' pictures are compared with: the corpus's, told by its captions, or the base's own."""
    general = STUDY.config["general"]
    if general and general["reference"] == "base":
        return [paths.samples(wildcards.family, "base", paths.GENERAL)]
    return general_corpus()


def general_corpus():
    """The captions, and by their digests the pictures, of the corpus that the general probes come from."""
    general = STUDY.config["general"]
    return [f"{paths.corpus(general['corpus'])}/metadata.jsonl"] if general else []


def placebo_captions(wildcards):
    """The captions that a family draws its placebo from."""
    return f"{paths.corpus(STUDY.placebo_job(**dict(wildcards.items()))['captions'])}/metadata.jsonl"


def source(section):
    """An input function: the manifest at the configured source of a model or scorer, or a scorer's own file; nothing
    for what comes over a network."""

    def manifest(wildcards):
        entry = STUDY.config[section][wildcards[0]]
        if entry["kind"] in BUNDLED and "source" not in entry:
            return []
        if "source" not in entry:
            # What a file does is told by the jobs' digests: a comment in it shall make nothing anew.
            return ancient(entry["kind"])
        if Source.of(entry).is_remote:
            return []
        with sentences():
            folders.check_described(entry["source"])
        return f"{entry['source']}/manifest.json"

    return manifest


def bundled(wildcards):
    """The kind of a scorer whose package brings the weights, where the configuration names no others; else None."""
    scorer = STUDY.config["scorers"][wildcards.scorer]
    return scorer["kind"] if scorer["kind"] in BUNDLED and "source" not in scorer else None


def checked(section):
    """An input function: that all of the study's sources were asked for before the first one is brought, those of this
    machine too, so that no job computes where another's source can't be had.

    What that found is no part of what is fetched, so that asking again fetches nothing again.
    """

    def found(wildcards):
        return ancient(paths.ACCESS) if from_elsewhere() else []

    return found


@cache
def from_elsewhere():
    """All that the study uses and takes over a network (`access.wanted`)."""
    used = {f"{found.section}/{found.name}" for found in downloads.sources(STUDY)}
    return [entry for entry in access.wanted(STUDY.config) if entry["name"] in used]


def wanted(wildcards, input):
    """All that the study takes over a network.

    It is a function of `input` so that Snakemake makes nothing anew because of it: were check_access run again for a
    changed source, Snakemake 9.27 would overlook that the download of that source has changed as well.
    """
    return from_elsewhere()


def remote(section):
    """A params function: what an entry takes over a network, None for one of this machine."""

    def described(wildcards):
        entry = STUDY.config[section][wildcards[0]]
        return access.described(entry) if "source" in entry and Source.of(entry).is_remote else None

    return described


def corpus_source(wildcards):
    """The files of a corpus that the user brought; none for one that is drawn or comes from elsewhere."""
    corpus = STUDY.config["corpora"][wildcards.corpus]
    if corpus["kind"] == "folder":
        with sentences():
            # Now, and not once other jobs have run for hours.
            corpora.pictures(corpus["path"], prompt=corpus["prompt"])
        return sorted(str(path) for path in Path(corpus["path"]).rglob("*") if path.is_file())
    return [corpus["source"]] if corpus["kind"] == "captions" and not tables.is_url(corpus["source"]) else []


def score_files():
    """Every score file of the study."""
    return [paths.scores(*cell) for cell in CELLS]


def quality_files():
    """Every table of what the general probes' pictures are worth."""
    return [paths.quality(cell.family, cell.lineage) for cell in GENERAL]


def family_samples(wildcards):
    """Every samples file of a family."""
    return [paths.samples(*cell) for cell in CELLS if cell.family == wildcards.family]


def page_figures():
    """The name of every figure that the page shows."""
    kinds = ("persistence", "steps", "outcomes", "specificity", "causes", "doses")
    return [f"{kind}-{family}" for kind in kinds for family in STUDY.config["families"]]


def templates():
    """The parts that the page is put together from, followed by their content."""
    folder = "holdfast/report/templates"
    return [locate(f"{folder}/{path.name}") for path in sorted((Path(workflow.basedir) / folder).iterdir())]


def study_files():
    """What the default target asks for: both pages' content, the tables, every figure and the tables for a paper."""
    figures = ["matrix", *page_figures(), *(f"grids-{family}" for family in STUDY.config["families"])]
    return [
        "reports/study.html",
        "results/tables/headline.txt",
        "results/tables/scores.parquet",
        *(f"results/tables/{name}.csv" for name in (*TABLES, "before_edits", "power")),
        *(f"results/figures/{name}.{kind}" for name in figures for kind in ("svg", "png")),
        *(f"results/latex/{name}.tex" for name in latex.BY_NAME),
    ]


def download_files():
    """Everything that comes from outside the study, for a machine that will lose its network."""
    used = {name for family in STUDY.config["families"].values() for name in family["scorers"]}
    return [
        *(f"{paths.model(name)}/manifest.json" for name in STUDY.config["families"]),
        *(f"{paths.scorer(name)}/manifest.json" for name in STUDY.config["scorers"] if name in used),
        # A placebo is drawn, by a model and perhaps on another machine.
        *(f"{paths.corpus(name)}/metadata.jsonl" for name in downloads.corpora(STUDY)),
    ]
