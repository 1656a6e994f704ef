"""Why a bundle cannot teach a student."""

from __future__ import annotations

__all__ = ["TeacherBundleError"]


class TeacherBundleError(ValueError):
    """A bundle, or a setting given with it, that makes no teacher; the message names it and the remedy."""

    #: `ckdmed.bundle.errors` leaves out the traceback; it cannot import this package, which brings the training code.
    explains_itself = True
