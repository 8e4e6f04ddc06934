"""What the study's tables have to know of its editors and tuners besides their names: method, place and settings.

It stands apart from the editors' own modules so that the workflow reads it without loading torch, and so that no edit
is made again because of it. A test holds PLACES against the deltas that the editors write.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from holdfast import plugins

# Where a method writes, in the words of a tuning's `site`.
PLACES = {"uce": "denoiser", "refact": "text_encoder"}
# T5 is no part of any tuning's site, so an edit of it alone has no tuning in its own place.
UNTUNED = "t5"
# What of an editor's entry in the configuration says whom it edits, and not how.
WHOM = ("method", "tasks", "families")


def described(config: Mapping[str, Any]) -> dict[str, Any]:
    """Editors, tuners and switches of a checked configuration, as plain dicts.

    `editors`: name -> {method, site}; the site is empty where a file doesn't say. `tuners`: name -> method. `switches`:
    pairs of editors that differ in one switch alone, {setting, faithful, corrected}.
    """
    editors, tuners = config["editors"], config["tuners"]
    return {
        "editors": {name: {"method": one["method"], "site": site(one)} for name, one in editors.items()},
        "tuners": {name: tuner["method"] for name, tuner in tuners.items()},
        "switches": switches(editors),
    }


def site(editor: Mapping[str, Any]) -> str:
    """Where an editor of the configuration writes: `denoiser`, `text_encoder`, `t5`; empty if its file has no SITE."""
    method = editor["method"]
    if plugins.is_file(method):
        return str(plugins.constant(method, "SITE") or "")
    return UNTUNED if editor.get("encoder") == UNTUNED else PLACES[method]


def switches(editors: Mapping[str, Mapping[str, Any]]) -> list[dict[str, str]]:
    """Pairs of one method's editors, of which one does as the released code and the other is corrected, in one thing.

    Settings count with their defaults filled in. Of several corrected ones the first is taken.
    """
    found: dict[tuple[str, str], dict[str, str]] = {}
    for faithful, one in editors.items():
        for corrected, other in editors.items():
            if one["method"] != other["method"]:
                continue
            names = [name for name in {**one, **other} if name not in WHOM and one.get(name) != other.get(name)]
            if len(names) == 1 and (one.get(names[0]), other.get(names[0])) == ("faithful", "corrected"):
                pair = {"setting": names[0], "faithful": faithful, "corrected": corrected}
                found.setdefault((names[0], faithful), pair)
    return list(found.values())
