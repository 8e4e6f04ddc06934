"""Put a figure's SVG into a page: its own ids, the page's colours and font, no declarations and no scripts."""

import re
import xml.etree.ElementTree as ET

from holdfast.errors import HoldfastError
from holdfast.report import style

SVG, XLINK = "http://www.w3.org/2000/svg", "http://www.w3.org/1999/xlink"
# The figures' colours -> the page's custom properties, so that a figure follows the page into dark mode. Its own colour
# stands behind the comma: the page's script puts it back when a figure is downloaded.
NAMES = {style.INK: "ink", style.MUTED: "muted", style.LINE: "line", style.PAPER: "paper"}
NAMES |= {colour: f"series-{n}" for n, colour in enumerate(style.SERIES)} | {style.OUTCOMES["other"]: "other"}
THEME = {colour: f"var(--{name}, {colour})" for colour, name in NAMES.items()}


def inline(text, name, title):
    """SVG text of a figure -> markup for a page. name: prefix of its ids; title: what a screen reader says."""
    for prefix, space in (("", SVG), ("xlink", XLINK)):
        ET.register_namespace(prefix, space)
    try:
        root = ET.fromstring(text)
    except ET.ParseError as error:
        raise HoldfastError(
            f"The figure {name} is not SVG ({error}): delete results/figures and run the study again."
        ) from error
    for parent in list(root.iter()):
        for child in list(parent):
            if child.tag in (f"{{{SVG}}}metadata", f"{{{SVG}}}script"):
                parent.remove(child)
    for element in root.iter():
        for key, value in list(element.attrib.items()):
            if key == "id":
                element.set(key, f"{name}-{value}")
            elif key == f"{{{XLINK}}}href" and value.startswith("#"):
                element.set(key, f"#{name}-{value[1:]}")
            elif "url(#" in value:
                element.set(key, value.replace("url(#", f"url(#{name}-"))
    for key in ("width", "height"):
        root.attrib.pop(key, None)
    root.set("role", "img")
    root.set("aria-label", title)
    markup = ET.tostring(root, encoding="unicode")
    return re.sub("|".join(THEME), lambda match: THEME[match[0]], markup)
