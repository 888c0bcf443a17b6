"""The exceptions that onewarp raises. Every message is one line: the fact, the value, the remedy.

OnewarpError
├── InputError         (ValueError)    an argument or a batch that cannot be used as it is
├── PolicyError        (ValueError)    a policy that cannot be built, read or lowered to a plan
├── DataError          (RuntimeError)  a sample that cannot be read; the message names the file
└── MissingDependency  (ImportError)   an optional package is not installed; the message says how to install it
"""

from __future__ import annotations


class OnewarpError(Exception):
    """Base of all errors raised on purpose by onewarp."""


class InputError(OnewarpError, ValueError):
    """An argument, array or batch that cannot be used as it is."""


class PolicyError(OnewarpError, ValueError):
    """A policy that cannot be built, read from a file, or lowered to a plan."""


class DataError(OnewarpError, RuntimeError):
    """A sample that cannot be read; the message names the file or index."""


class MissingDependency(OnewarpError, ImportError):
    """An optional package that a feature needs is not installed."""
