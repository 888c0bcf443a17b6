"""What a control file may say: each key with its check, and the template that explains them."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from typing import Any

from onewarp.errors import InputError

TEMPLATE = """\
# Steer the training that reads this file: take the # away in front of a line, change it, save.
# It is read at the end of each epoch (save_examples: of each batch). Only what changed is done, once,
# and what is no longer said stays as it is. A line that cannot be is reported, and nothing is done then.

# stop: true                 # end the training after this epoch
# learning_rate: 0.0003      # of the optimizer, from the next epoch on
# strength: 0.5              # of the policy, 0 (nothing random) to 1 (as declared); see Policy.strength
# policy: policy.yaml        # another policy: a file, or the policy itself, with images of the same shape and type
# samples_per_class: 500     # of a Loader with balance= or samples_per_class=; epochs change their length: resume_fit
# reuse: 5                   # epochs for which an augmented sample is shown
# example_probability: 0.01  # of each sample to be written by SaveExamples
# save_examples: 1           # write the batch at hand; another number writes once more
"""


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) < float("inf")


OF_THE_LOADER = ("samples_per_class", "reuse")  # what `Loader.reconfigure` takes as it stands, where it can
CHECKS: dict[str, tuple[str, Any]] = {
    "stop": ("true or false", lambda value: isinstance(value, bool)),
    "learning_rate": ("a positive number", lambda value: _is_number(value) and value > 0),
    "strength": ("a number in [0, 1]", lambda value: _is_number(value) and 0 <= value <= 1),
    "policy": (
        "the name of a file, or a policy such as [HorizontalFlip, {Rotate: 10}]",
        lambda value: isinstance(value, (str, list, dict)) and bool(value),
    ),
    "samples_per_class": (
        "a whole number of at least 1",
        lambda value: isinstance(value, int) and not isinstance(value, bool) and value >= 1,
    ),
    "reuse": (
        "a whole number of at least 1",
        lambda value: isinstance(value, int) and not isinstance(value, bool) and value >= 1,
    ),
    "example_probability": ("a number in [0, 1]", lambda value: _is_number(value) and 0 <= value <= 1),
    "save_examples": (
        "a whole number, another one each time",
        lambda value: isinstance(value, int) and not isinstance(value, bool) and value >= 0,
    ),
}


def checked_values(plain: Any) -> dict[str, Any]:
    """What a control file says, by key; an empty file says nothing.

    Raises:
        InputError: no mapping, a key that does not exist, or a value that cannot be.
    """
    if plain is None:
        return {}
    if not isinstance(plain, Mapping):
        raise InputError(f"{plain!r} is not a list of 'key: value' lines; write such as 'learning_rate: 0.001'")
    for key, value in plain.items():
        if key not in CHECKS:
            close = difflib.get_close_matches(str(key), CHECKS, n=1)
            hint = f" (did you mean {close[0]!r}?)" if close else ""
            raise InputError(f"there is no {key!r}{hint}; there are {', '.join(CHECKS)}")
        wanted, check = CHECKS[key]
        if not check(value):
            raise InputError(f"{key}: {value!r} must be {wanted}")
    return dict(plain)
