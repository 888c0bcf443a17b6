"""Policies as plain values, JSON and YAML. A file reads like the code:

transforms:
  - RandomResizedCrop: {size: 224, scale: [0.35, 1.0]}
  - HorizontalFlip
  - OneOf:
      transforms: [GaussianBlur, {GaussianNoise: {std: 0.02}}]
fill_mode: reflect
"""

from __future__ import annotations

import dataclasses
import difflib
import json
import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import yaml

from onewarp.errors import InputError, PolicyError
from onewarp.plan import Settings
from onewarp.transform import Combinator, Transform
from onewarp.transforms import vocabulary


def to_plain(transforms: Iterable[Transform], settings: Settings) -> dict[str, Any]:
    """Transforms and settings as lists, dictionaries, strings and numbers; defaults are left out."""
    changed = {
        field.name: _plain(getattr(settings, field.name))
        for field in dataclasses.fields(settings)
        if getattr(settings, field.name) != field.default
    }
    return {"transforms": [_transform_to_plain(transform) for transform in transforms], **changed}


def _plain(value: Any) -> Any:
    if isinstance(value, tuple):
        return [_transform_to_plain(v) if isinstance(v, Transform) else _plain(v) for v in value]
    return value


def _transform_to_plain(transform: Transform) -> Any:
    name, settings = type(transform).__name__, transform.settings()
    return {name: {key: _plain(value) for key, value in settings.items()}} if settings else name


def from_plain(plain: Any, own: Iterable[type[Transform]] = ()) -> tuple[list[Transform], dict[str, Any]]:
    """(transforms, settings) of what `to_plain` gave. `own`: classes beyond the library's."""
    if isinstance(plain, list):
        plain = {"transforms": plain}
    if not isinstance(plain, dict) or not isinstance(plain.get("transforms"), list):
        raise PolicyError(
            f"a policy is a dictionary with a list 'transforms', got {_shown(plain)}; write transforms: and "
            "one entry a line"
        )
    known = {**vocabulary(), **{cls.__name__: cls for cls in own}}
    settings = {key: _tuples(value) for key, value in plain.items() if key != "transforms"}
    names = [field.name for field in dataclasses.fields(Settings)]
    for key in settings:
        if key not in names:
            raise PolicyError(
                f"a policy has no setting {key!r}{_hint(key, names)}; the settings are {', '.join(names)}"
            )
    return [_transform_from_plain(entry, known) for entry in plain["transforms"]], settings


def _transform_from_plain(entry: Any, known: dict[str, type[Transform]]) -> Transform:
    arguments: Any = {}
    if isinstance(entry, str):
        name = entry
    elif isinstance(entry, dict) and len(entry) == 1:
        name, arguments = next(iter(entry.items()))
        arguments = {} if arguments is None else arguments
    else:
        raise PolicyError(f"{_shown(entry)} is not a transform; write its name, or 'Name: {{argument: value}}'")
    cls = known.get(name)
    if cls is None:
        raise PolicyError(f"there is no transform {name!r}{_hint(name, known)}; there are {', '.join(sorted(known))}")
    accepted = [field.name for field in dataclasses.fields(cls)]
    if not isinstance(arguments, dict):
        if issubclass(cls, Combinator) and isinstance(arguments, list):
            arguments = {"transforms": arguments}
        else:
            arguments = {accepted_first(cls): arguments}
    for key in arguments:
        if key not in accepted:
            raise PolicyError(f"{name} has no argument {key!r}{_hint(key, accepted)}; it takes {', '.join(accepted)}")
    values = {key: _tuples(value) for key, value in arguments.items()}
    if issubclass(cls, Combinator):
        members = arguments.get("transforms", [])
        if not isinstance(members, list):
            raise PolicyError(f"{name} has transforms {_shown(members)}; write a list of transforms")
        values["transforms"] = tuple(_transform_from_plain(member, known) for member in members)
    try:
        return cls(**values)
    except TypeError as fault:
        raise PolicyError(f"{name}: {fault}; it takes {', '.join(accepted)}") from None
    except InputError as fault:
        raise PolicyError(str(fault)) from None


def accepted_first(cls: type[Transform]) -> str:
    """The first positional argument of a transform: `Rotate: 15` means `Rotate: {degrees: 15}`."""
    positional = [field.name for field in dataclasses.fields(cls) if not field.kw_only]
    if not positional:
        raise PolicyError(f"{cls.__name__} takes no argument without a name; write '{cls.__name__}: {{p: 0.5}}'")
    return positional[0]


def _tuples(value: Any) -> Any:
    return tuple(_tuples(v) for v in value) if isinstance(value, list) else value


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


def _hint(name: Any, known: Iterable[str]) -> str:
    close = difflib.get_close_matches(str(name), list(known), n=1)
    return f" (did you mean {close[0]!r}?)" if close else ""


def _read(path: str | Path, parse: Callable[[str], Any], build: Callable[[Any], Any], kind: str) -> Any:
    try:
        text = Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as fault:
        reason = getattr(fault, "strerror", None) or "it is not UTF-8 text"
        raise PolicyError(f"{path}: the policy cannot be read: {reason}; check the path") from None
    try:
        plain = parse(text)
    except (yaml.YAMLError, json.JSONDecodeError) as fault:
        raise PolicyError(
            f"{path} is not {kind}: {' '.join(str(fault).split())}; see the docs for an example"
        ) from None
    try:
        return build(plain)
    except (PolicyError, InputError) as fault:
        raise PolicyError(f"{path}: {fault}") from None


class _Loader(yaml.SafeLoader):
    """YAML 1.2's numbers: 1e-2 is one, too."""


_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:float"]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"^[-+]?(?:\.[0-9]+|[0-9]+\.[0-9]*)(?:[eE][-+]?[0-9]+)?$|^[-+]?[0-9]+[eE][-+]?[0-9]+$"),
    list("-+.0123456789"),
)


def parse_yaml(text: str) -> Any:
    """The plain values in a YAML text. Raises yaml.YAMLError."""
    return yaml.load(text, Loader=_Loader)


def read_yaml(path: str | Path, build: Callable[[Any], Any]) -> Any:
    """`build` of the plain values in a YAML file; a PolicyError names the file."""
    return _read(path, parse_yaml, build, "YAML")


def read_json(path: str | Path, build: Callable[[Any], Any]) -> Any:
    """`build` of the plain values in a JSON file; a PolicyError names the file."""
    return _read(path, json.loads, build, "JSON")


def write_yaml(plain: Any, path: str | Path) -> None:
    """Write plain values as YAML, in their order."""
    Path(path).write_text(yaml.safe_dump(plain, sort_keys=False, default_flow_style=None), encoding="utf-8")


def write_json(plain: Any, path: str | Path) -> None:
    """Write plain values as JSON."""
    Path(path).write_text(json.dumps(plain, indent=2) + "\n", encoding="utf-8")
