"""Errors that the user can fix: each says what was wrong, which value was received, and what to do.

Commands print them as one line and exit with code 1; the node logs them and keeps running. Any other exception is a bug
in this package and keeps its traceback.
"""


class LcrSegError(Exception):
    """Base of all errors that a user can cause and fix."""


class FrameError(LcrSegError, ValueError):
    """A camera frame that cannot be used: wrong shape, type, size or intrinsics."""


class LabelSetError(LcrSegError, ValueError):
    """A label set that contradicts itself or cannot be read."""


class BundleError(LcrSegError, ValueError):
    """A model file that is truncated, of the wrong kind, or contradicts itself."""


class SourceError(LcrSegError, ValueError):
    """A dataset folder, bag or image file that cannot be read."""


class BackendError(LcrSegError, RuntimeError):
    """No backend can run the model here, or the chosen one failed."""
