"""The transforms, by kind. `vocabulary()` is what policy files know;
adding a transform is one class in one of these files.
"""

from __future__ import annotations

from onewarp.transform import Transform
from onewarp.transforms import color, combine, crop, erase, filter, geometric, mix, normalize

_MODULES = (geometric, crop, color, normalize, filter, erase, mix, combine)


def vocabulary() -> dict[str, type[Transform]]:
    """Name -> class of every transform and combinator of the library."""
    return {name: getattr(module, name) for module in _MODULES for name in module.__all__}
