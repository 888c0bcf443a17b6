"""The batches of a run over its epochs: what was changed on the way, and where it stands, as a few plain values."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from onewarp.data.batches import Batches
from onewarp.fit.changes import CHANGEABLE, as_plain, changed, from_plain
from onewarp.fit.passes import checked_state


class Course:
    """The batches of a run as they are, the changes that made them so, and those that come with the next epoch.

    Attributes:
        batches: as they are.
        coming: what changes with the next epoch, by name.
    """

    def __init__(self, batches: Batches) -> None:
        self.batches = batches
        self.coming: dict[str, Any] = {}
        self._changes: dict[str, Any] = {}  # in effect, by name
        self._first: dict[str, Any] = {}  # what it was before

    def check(self, changes: Mapping[str, Any]) -> Batches:
        """The batches of the next epoch with these changes, too. Raises InputError or PolicyError."""
        return changed(self.batches, {**self.coming, **changes})

    def take_up(self) -> bool:
        """The next epoch begins: what was to come is in effect. Returns whether that was anything."""
        if not self.coming:
            return False
        for name in self.coming:
            self._first.setdefault(name, CHANGEABLE[name].of(self.batches))
        self.batches = changed(self.batches, self.coming)
        self._changes.update(self.coming)
        self.coming = {}
        return True

    def state(self, epoch: int, index: int) -> dict[str, Any]:
        """Where a run stands that has `index` batches of `epoch` behind it."""
        changes, coming, batches = self._changes, self.coming, self.batches
        if index >= len(batches):
            batches = changed(batches, coming)
            epoch, index, changes, coming = epoch + 1, 0, {**changes, **coming}, {}
        extra = {"changes": as_plain(changes), "coming": as_plain(coming)}
        return {"epoch": epoch, "batch": index, **batches.key, **{name: kept for name, kept in extra.items() if kept}}

    def restored(self, state: Mapping[str, Any]) -> tuple[Course, int, int]:
        """The course of these batches at `state`, its epoch, and how many batches of that are behind it.

        Raises:
            InputError: no state, or one of other batches.
        """
        first = changed(self.batches, self._first)
        changes, coming = (from_plain(first, state.get(name, {})) for name in ("changes", "coming"))
        then = changed(first, changes)
        changed(then, coming)
        numbers = {name: value for name, value in state.items() if name not in ("changes", "coming")}
        epoch, batch = checked_state(numbers, then.key, len(then))
        course = Course(first)
        course._first, course.coming = dict(self._first), changes
        course.take_up()
        course.coming = coming
        return course, epoch, batch
