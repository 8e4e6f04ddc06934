"""What measures pictures, by kind. Adding a scorer is adding one module and one line here."""

from holdfast.scorers.classifier import Classifier
from holdfast.scorers.clip import Clip

SCORERS = {"clip": Clip, "classifier": Classifier}
