"""What measures pictures, by kind. Adding a scorer is adding one module and one line here."""

from holdfast.scorers.classifier import Classifier
from holdfast.scorers.clip import Clip

SCORERS = {"clip": Clip, "classifier": Classifier}

# Where a score file's Parquet header tells them, in JSON: a list of scorer, kind, version and settings.
HEADER = "scorers"
