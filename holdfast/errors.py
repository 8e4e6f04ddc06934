"""The errors that a user is meant to read."""


class HoldfastError(Exception):
    """Something the user can mend: one sentence that says what, where and what to do."""


class ArtifactError(HoldfastError):
    """A stored file that can't be trusted: damaged, foreign, stale, or of another kind."""
