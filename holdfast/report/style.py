"""One look for all figures: Okabe and Ito's colours, which colour-blind readers can tell apart, and quiet axes.

Figures are narrow (5 inches), so that on a phone one point is about one pixel and nothing must be zoomed.
"""

import contextlib

INK, MUTED, LINE, PAPER = "#1d2127", "#686f79", "#d9dce1", "#ffffff"
OUTCOMES = {"target": "#0072b2", "source": "#e69f00", "other": "#a9afb8"}
ON_OUTCOMES = {"target": "#fffffe", "source": "#1d2126", "other": "#1d2126"}  # never themed: they lie on a colour
SERIES = ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9"]
SIDES = {"up": "#0072b2", "down": "#d55e00"}  # of a heat map: what held, what is gone
ON_COLOUR = "#1d2126"  # never themed: it lies on a heat map's colour
WIDTH = 5.0

SETTINGS = {
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],
    "font.size": 9,
    "axes.titlesize": 9.5,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.labelsize": 9,
    "axes.labelcolor": MUTED,
    "axes.edgecolor": LINE,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.spines.left": False,
    "axes.axisbelow": True,
    "axes.grid": False,
    "grid.color": LINE,
    "grid.linewidth": 0.7,
    "text.color": INK,
    "text.parse_math": False,  # names are data: a dollar sign in one is a dollar sign
    "xtick.color": MUTED,
    "ytick.color": INK,
    "xtick.major.size": 0,
    "ytick.major.size": 0,
    "legend.frameon": False,
    "legend.fontsize": 9,
    "figure.facecolor": PAPER,
    "savefig.facecolor": PAPER,
    "svg.fonttype": "none",  # text stays text: it can be selected, searched and read aloud
    "svg.hashsalt": "holdfast",  # equal figures are equal bytes
}


def mixed(colour, strength):
    """A colour thinned with paper so that dark text can lie on it: strength 0 is nearly white, 1 the fullest."""
    share = 0.06 + 0.5 * strength
    parts = (int(colour[n : n + 2], 16) for n in (1, 3, 5))
    return "#" + "".join(f"{round(share * part + (1 - share) * 254):02x}" for part in parts)


@contextlib.contextmanager
def figure(width, height):
    """Yield an empty figure of this size (inches) in the study's style, without any window system; free it after."""
    import matplotlib
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    with matplotlib.rc_context(SETTINGS):
        new = Figure(figsize=(width, height))
        FigureCanvasAgg(new)
        yield new


def save(drawn, svg, png):
    """Write one figure as SVG and as PNG (200 dpi), atomically and without a date."""
    from holdfast.artifacts import atomic

    with atomic(svg) as temporary:
        drawn.savefig(temporary, format="svg", metadata={"Date": None, "Creator": None})
    with atomic(png) as temporary:
        drawn.savefig(temporary, format="png", dpi=200, metadata={"Software": None})
