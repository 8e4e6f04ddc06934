"""Editors: methods that turn edits into a weight delta, each one file with one public function `edit`."""

from holdfast.editors import refact, uce

EDITORS = {"uce": uce.edit, "refact": refact.edit}
