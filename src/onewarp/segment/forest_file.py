"""A trained forest as a file: two lines that say what it is, and the trees as joblib writes them.

joblib is what scikit-learn saves with, and comes with it; skops, which runs no code on loading, would be a further
package and is bound to a version of scikit-learn just as well. So a file is looked at before joblib gets it: format,
version and checksum have to be right.
"""

from __future__ import annotations

import io
import json
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from onewarp.errors import InputError, MissingDependency

KIND = b"onewarp forest 1"  # the first line of a file, with the version of its format


def write(path: Path, head: Mapping[str, Any], trees: Any) -> None:
    """Write trees, and before them `head`, which JSON can hold, with the version of scikit-learn and a checksum.

    Raises:
        InputError: the file cannot be written.
    """
    joblib, sklearn = _libraries()
    buffer = io.BytesIO()
    joblib.dump(trees, buffer, compress=3)
    content = buffer.getvalue()
    facts = {**head, "scikit-learn": sklearn.__version__, "crc32": zlib.crc32(content)}
    try:
        path.write_bytes(b"\n".join([KIND, json.dumps(facts).encode(), content]))
    except OSError as fault:
        raise InputError(f"{path}: cannot be written: {fault.strerror}; choose another place") from None


def read(path: Path) -> tuple[dict[str, Any], Any]:
    """(head, trees) of a file. Trees are unpickled, and that only where all else is right.

    Raises:
        InputError: a file that cannot be read, is no forest or of another format, was written by another version of
            scikit-learn, or is damaged.
    """
    joblib, sklearn = _libraries()
    try:
        kind, _, rest = path.read_bytes().partition(b"\n")
    except OSError as fault:
        raise InputError(f"{path}: cannot be read: {fault.strerror}; check the path") from None
    if kind != KIND:
        raise InputError(f"{path} does not begin with {KIND.decode()!r}: no forest of this version; train it anew")
    line, _, content = rest.partition(b"\n")
    try:
        head = json.loads(line)
        found, checksum = head["scikit-learn"], head["crc32"]
    except (ValueError, TypeError, KeyError):
        raise InputError(f"{path} is damaged: its second line says nothing; copy it again, or train it anew") from None
    if found != sklearn.__version__:
        raise InputError(
            f"{path} was written by scikit-learn {found}, this is {sklearn.__version__}; "
            f"install scikit-learn=={found}, or train it anew"
        )
    if checksum != zlib.crc32(content):
        raise InputError(f"{path} is damaged: its checksum is wrong; copy it again, or train it anew")
    return head, joblib.load(io.BytesIO(content))


def _libraries() -> tuple[Any, Any]:
    try:
        import joblib
        import sklearn
    except ImportError:
        raise MissingDependency("a PixelForest needs scikit-learn; install it with: pip install scikit-learn") from None
    return joblib, sklearn
