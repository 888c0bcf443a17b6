"""Declared parameters of transforms: each states its range once, for checking, for messages and for the tests.

A rule turns what the user passed into what is stored, or raises `InputError` naming the argument, the value and the
remedy. `bad` lists values that the rule must refuse: the tests read it.

A parameter with a value at which it changes nothing declares that as its `identity`; `policy.strength` moves it there.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from typing import Any

from onewarp.errors import InputError


@dataclasses.dataclass(frozen=True)
class Rule:
    """How one parameter is checked: `read` returns the value to store, or raises ValueError or TypeError."""

    wanted: str
    read: Callable[[Any], Any]
    bad: tuple[Any, ...]

    def check(self, owner: str, name: str, value: Any) -> Any:
        """The value to store; raises InputError that names `owner`, `name`, the value and what is wanted."""
        try:
            return self.read(value)
        except (TypeError, ValueError):
            raise InputError(f"{owner}({name}={value!r}): {name} must be {self.wanted}") from None


_MISSING = dataclasses.MISSING

Range = Any  # a user passes a number or a pair; a pair (low, high) is stored


def _declare(rule: Rule, default: Any, kw_only: bool = False, identity: float | None = None) -> Any:
    return dataclasses.field(default=default, kw_only=kw_only, metadata={"rule": rule, "identity": identity})


def _number(value: Any, low: float = -math.inf, high: float = math.inf) -> float:
    if hasattr(value, "item") and getattr(value, "ndim", 1) == 0:
        value = value.item()
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        raise TypeError("not a finite number")
    if not low <= value <= high:
        raise ValueError("out of range")
    return float(value)  # 15 and 15.0 are one parameter


def _whole(value: Any, low: int, high: int) -> int:
    number = _number(value, low, high)
    if number != int(number):
        raise ValueError("not whole")
    return int(number)


def _is_sequence(value: Any) -> bool:
    return isinstance(value, (tuple, list)) or getattr(value, "ndim", 0) == 1


def _pair(value: Any, low: float = -math.inf, high: float = math.inf) -> tuple[float, float]:
    first, last = value
    pair = _number(first, low, high), _number(last, low, high)
    if pair[0] > pair[1]:
        raise ValueError("the low end comes first")
    return pair


def _in(unit: str) -> str:
    return f" ({unit})" if unit else ""


def interval(low: float, high: float, *, default: Any = _MISSING, unit: str = "", identity: float | None = None) -> Any:
    """A number in [low, high]."""
    rule = Rule(
        f"a number in [{low}, {high}]{_in(unit)}",
        lambda value: _number(value, low, high),
        (low - 1, high + 1, math.nan, "much", (low, high)),
    )
    return _declare(rule, default, identity=identity)


def spread(limit: float, *, default: Any = _MISSING, unit: str = "", optional: bool = False) -> Any:
    """A range to draw from: s means (-s, s); a pair (low, high) is itself. Stored as a pair within [-limit, limit].

    0 changes nothing.
    """

    def read(value: Any) -> tuple[float, float] | None:
        if optional and value is None:
            return None
        if _is_sequence(value):
            return _pair(value, -limit, limit)
        number = _number(value, 0, limit)
        return -number, number

    wanted = f"s for (-s, s) with 0 <= s <= {limit}, or (low, high) within [{-limit}, {limit}]{_in(unit)}"
    bad = (-limit - 1, limit + 1, (limit / 2, -limit / 2), (-limit - 1, limit + 1), math.nan, "much", (0,))
    return _declare(Rule(wanted, read, bad), default, identity=0.0)


def span(low: float, high: float, *, default: Any = _MISSING, unit: str = "", identity: float | None = None) -> Any:
    """A range to draw from: a number is fixed, a pair (low, high) is drawn from.

    Stored as a pair within [low, high].
    """

    def read(value: Any) -> tuple[float, float]:
        return _pair(value if _is_sequence(value) else (value, value), low, high)

    wanted = f"a number or a pair (low, high) within [{low}, {high}]{_in(unit)}"
    rule = Rule(wanted, read, (low - 1, high + 1, (high, low), math.nan, "much", (low,)))
    return _declare(rule, default, identity=identity)


def factor(*, default: Any = _MISSING) -> Any:
    """A multiplicative range: f means (max(0, 1 - f), 1 + f); a pair with 0 <= low is itself. 1 changes nothing."""

    def read(value: Any) -> tuple[float, float]:
        if _is_sequence(value):
            return _pair(value, 0)
        number = _number(value, 0)
        return max(0.0, round(1.0 - number, 12)), round(1.0 + number, 12)

    wanted = "f >= 0 for (max(0, 1 - f), 1 + f), or (low, high) with 0 <= low <= high; 1 changes nothing"
    return _declare(Rule(wanted, read, (-0.1, (-0.5, 1.0), (1.5, 0.5), math.nan, "much")), default, identity=1.0)


def label(*, default: Any = None) -> Any:
    """A text that is not empty, or None; keyword only."""

    def read(value: Any) -> str | None:
        if value is not None and not (isinstance(value, str) and value):
            raise TypeError("not a text")
        return value

    return _declare(Rule("a text that is not empty", read, (5, b"tilt", "", ["a"])), default, kw_only=True)


def probability(default: float = 1.0) -> Any:
    """The probability, in [0, 1], that the transform acts on a sample; keyword only."""
    rule = Rule("a probability in [0, 1]", lambda value: _number(value, 0, 1), (-0.1, 1.1, math.nan, "often"))
    return _declare(rule, default, kw_only=True)


def count(low: int, high: int, *, default: Any = _MISSING, unit: str = "") -> Any:
    """A whole number in [low, high]."""
    wanted = f"a whole number in [{low}, {high}]{_in(unit)}"
    rule = Rule(wanted, lambda value: _whole(value, low, high), (low - 1, high + 1, low + 0.5, "many"))
    return _declare(rule, default)


def counts(low: int, high: int, *, default: Any = _MISSING, unit: str = "") -> Any:
    """A range of whole numbers: n is fixed, (low, high) is drawn from, both ends included. Stored as a pair."""

    def read(value: Any) -> tuple[int, int]:
        first, last = value if _is_sequence(value) else (value, value)
        pair = _pair((_whole(first, low, high), _whole(last, low, high)))
        return int(pair[0]), int(pair[1])

    wanted = f"a whole number or a pair (low, high) of them within [{low}, {high}]{_in(unit)}"
    return _declare(Rule(wanted, read, (low - 1, high + 1, (high, low), low + 0.5, "many")), default)


def size(*, default: Any = _MISSING) -> Any:
    """A frame size in pixels: an int is a square, a pair is (height, width)."""

    def read(value: Any) -> tuple[int, int]:
        height, width = value if _is_sequence(value) else (value, value)
        return _whole(height, 1, 32767), _whole(width, 1, 32767)

    wanted = "a whole number of pixels (a square) or (height, width), each in [1, 32767]"
    return _declare(Rule(wanted, read, (0, -3, (5, 0), (1, 2, 3), 2.5, "big")), default)


def choice(*options: str, default: Any = _MISSING) -> Any:
    """One of the given words."""

    def read(value: Any) -> str:
        if value not in options:
            raise ValueError("not an option")
        return str(value)

    wanted = "one of " + ", ".join(repr(option) for option in options)
    return _declare(Rule(wanted, read, ("no such option", 7)), default)


def numbers(*, default: Any = _MISSING, words: tuple[str, ...] = (), optional: bool = False) -> Any:
    """A number, or one number per channel (stored as a tuple); also one of `words`, and None where `optional`."""

    def read(value: Any) -> Any:
        if (optional and value is None) or (isinstance(value, str) and value in words):
            return value
        if _is_sequence(value) and len(value):
            return tuple(_number(v) for v in value)
        return _number(value)

    wanted = "a finite number or one number per channel" + "".join(f", or {word!r}" for word in words)
    return _declare(Rule(wanted, read, (math.nan, "no such word", (), (1.0, math.inf))), default)


def validate(owner: Any) -> None:
    """Check and normalise every declared parameter of a frozen dataclass, in place (called from `__post_init__`)."""
    for field in dataclasses.fields(owner):
        rule = field.metadata.get("rule")
        if rule is not None:
            value = rule.check(type(owner).__name__, field.name, getattr(owner, field.name))
            object.__setattr__(owner, field.name, value)


def towards_identity(owner: Any, strength: float) -> dict[str, Any]:
    """The parameters of a dataclass that have an identity, moved there: value * strength + identity * (1 - strength).

    Of a pair both ends move. What is None stays None.
    """
    moved: dict[str, Any] = {}
    for field in dataclasses.fields(owner):
        identity, value = field.metadata.get("identity"), getattr(owner, field.name)
        if identity is not None and value is not None:
            ends = [end * strength + identity * (1.0 - strength) for end in (value if _is_sequence(value) else [value])]
            moved[field.name] = tuple(ends) if _is_sequence(value) else ends[0]
    return moved
