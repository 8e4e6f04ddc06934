"""Draw the study's figures from its tables."""


def matrix(*, families, persistence, outputs, log):
    """The whole study as a heat map, its families in this order. outputs: (SVG, PNG)."""
    from holdfast import log as logs

    logs.job(log)

    from holdfast.analysis import tables
    from holdfast.report import plots

    plots.matrix(tables.read_csv(persistence), families, *outputs)


def persistence(*, family, persistence, edits, outputs, log):
    """Persistence of a family's cells, and over tuning steps. outputs: figure's name -> (SVG, PNG)."""
    from holdfast import log as logs

    logs.job(log)

    from holdfast.analysis import tables
    from holdfast.report import plots

    frames = [frame[frame["family"] == family] for frame in map(tables.read_csv, (persistence, edits))]
    plots.persistence(*frames, *outputs["persistence"])
    plots.steps(*frames, *outputs["steps"])


def outcomes(*, family, rates, outputs, log):
    """Outcome rates and specificity of a family's states. outputs: figure's name -> (SVG, PNG)."""
    from holdfast import log as logs

    logs.job(log)

    from holdfast.analysis import tables
    from holdfast.report import state_plots

    frame = tables.read_csv(rates)
    frame = frame[frame["family"] == family]
    state_plots.outcomes(frame, *outputs["outcomes"])
    state_plots.specificity(frame, *outputs["specificity"])


def causes(*, family, causes, persistence, outputs, log):
    """Where a family's edits are lost, and persistence by dose. outputs: figure's name -> (SVG, PNG)."""
    from holdfast import log as logs

    logs.job(log)

    from holdfast.analysis import tables
    from holdfast.report import cause_plots, dose_plots

    frames = [frame[frame["family"] == family] for frame in map(tables.read_csv, (causes, persistence))]
    cause_plots.stations(*frames, *outputs["causes"])
    dose_plots.by_size(*frames, *outputs["doses"])
