"""ControlFile: steer a training while it runs, by editing a file."""

from __future__ import annotations

import json
import time
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import keras
import yaml

from onewarp.errors import InputError, OnewarpError
from onewarp.fit.changes import own_transforms
from onewarp.fit.control_keys import OF_THE_LOADER, TEMPLATE, checked_values
from onewarp.fit.examples import SaveExamples
from onewarp.fit.loader import Loader
from onewarp.policy import Policy
from onewarp.policy_file import parse_yaml

NOTE = "control"  # the name of our note in the loader's state


class ControlFile(keras.callbacks.Callback):
    """Does what a YAML file says, while a training on a `Loader` runs: `stop`, `learning_rate`, `strength`, `policy`,
    `example_probability`, `save_examples`. A file that is not there yet is written as a template that explains them.

    The file is read when training begins, at the end of each epoch, and for `save_examples` at the end of each batch in
    which it changed. Only what differs from the last time is done; what is no longer said stays as it is. All of it
    is checked first: a file that cannot be read or says something that cannot be is reported once, by a warning, and
    nothing of it is done. Changes are logged as JSON lines, and kept in the loader's state: a run that is resumed
    (`resume_fit`) has them without the file. `stop: true` from before the training is ignored until it changes.

    Put it before `Backup`, and behind callbacks that set the learning rate themselves.

    Args:
        path: the file, such as "runs/first/control.yaml".
        loader: the Loader that `fit` trains on.
        examples: the `SaveExamples` among the callbacks, for `example_probability` and `save_examples`.
        log: where changes are logged; by default beside the file, with the suffix .jsonl. Each line has the time, the
            epoch (from 0) that had just ended or was under way, the key, and its value before and now.

    Raises:
        InputError: arguments that cannot be.
    """

    def __init__(
        self,
        path: str | Path,
        loader: Loader,
        *,
        examples: SaveExamples | None = None,
        log: str | Path | None = None,
    ) -> None:
        super().__init__()
        if not isinstance(loader, Loader):
            raise InputError(f"ControlFile(loader={loader!r}): pass the Loader that fit trains on")
        if examples is not None and not isinstance(examples, SaveExamples):
            raise InputError(f"ControlFile(examples={examples!r}): pass the SaveExamples among the callbacks")
        self.path, self.loader, self.examples = Path(path), loader, examples
        self.log = Path(log) if log is not None else self.path.with_suffix(".jsonl")
        self._seen: Any = None  # what tells one state of the file from another
        self._at_batch: Any = None
        self._epoch = 0

    def on_train_begin(self, logs: Any = None) -> None:
        self._epoch, self._at_batch = self.loader.epoch, self._mark()
        if not self.path.exists():
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self.path.write_text(TEMPLATE, encoding="utf-8")
        if self.examples is not None and "example_probability" in self._said():
            self.examples.probability = self._said()["example_probability"]
        self._read(begin=True)

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        self._epoch = epoch

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        mark = self._mark()
        if mark != self._at_batch:
            self._at_batch = mark
            self._read(batch=batch)

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        self._read()

    def _mark(self) -> tuple[int, int, int] | None:
        try:
            stat = self.path.stat()
        except OSError:
            return None
        return stat.st_mtime_ns, stat.st_size, stat.st_ino

    def _said(self) -> dict[str, Any]:
        """What the file said when it was last followed."""
        return dict(self.loader.notes.get(NOTE, {}))

    def _read(self, begin: bool = False, batch: int | None = None) -> None:
        """Follow the file: at the end of a batch `save_examples` alone, otherwise all of it."""
        mark = self._mark()
        if mark is None or (mark == self._seen and batch is None):
            return
        try:
            values = checked_values(parse_yaml(self.path.read_text(encoding="utf-8")))
            said = self._said()
            fresh = {key: value for key, value in values.items() if said.get(key) != value}
            steps = self._checked(fresh, {**said, **values})
        except (OSError, UnicodeDecodeError, yaml.YAMLError, OnewarpError) as fault:
            if mark != self._seen:
                self._report(fault)
            self._seen = mark
            return
        if batch is not None:
            fresh = {key: value for key, value in fresh.items() if key == "save_examples"}
        else:
            self._seen = mark
            if not begin:
                fresh.pop("save_examples", None)  # there is no batch at hand
        if begin and fresh.pop("stop", False):
            warnings.warn(
                f"{self.path} says stop: true since before the training; that is ignored until it changes",
                stacklevel=2,
            )
            said["stop"] = True
        if begin and set(OF_THE_LOADER) & set(fresh):  # fit has asked for the epoch's length: at its end
            fresh = {key: value for key, value in fresh.items() if key not in OF_THE_LOADER}
            self._seen = None
        if begin and "save_examples" in fresh:
            said["save_examples"] = fresh.pop("save_examples")
        length = len(self.loader.batches)
        for key, value in fresh.items():
            self._do(key, value, steps, batch)
            self._write({"key": key, "from": said.get(key), "to": value})
            said[key] = value
        if said != self._said():
            self.loader.notes[NOTE] = said
        if len(self.loader.batches) != length and not self.model.stop_training:
            self.model.stop_training = self.loader.refit = True  # another fit, of the new length, follows

    def _checked(self, fresh: Mapping[str, Any], all_of_it: Mapping[str, Any]) -> dict[str, Any]:
        """What is to be done that may fail, done in advance as far as it can be; raises for what cannot be."""
        if "learning_rate" in fresh:
            optimizer = self.model.optimizer
            try:
                optimizer.learning_rate = float(keras.ops.convert_to_numpy(optimizer.learning_rate))
            except (TypeError, AttributeError):
                raise InputError(
                    "learning_rate: the optimizer follows a schedule, which sets it at every step; take the line out"
                ) from None
        for key in ("example_probability", "save_examples"):
            if key in fresh and self.examples is None:
                raise InputError(f"{key}: nobody writes examples; pass ControlFile(examples=SaveExamples(...))")
        self.loader.check(**{key: fresh[key] for key in OF_THE_LOADER if key in fresh})
        if not {"policy", "strength"} & set(fresh):
            return {}
        policy = self._policy(all_of_it.get("policy"))
        if "strength" in all_of_it:
            policy = policy.strength(all_of_it["strength"])
        self.loader.check(policy=policy)
        return {"policy": policy}

    def _policy(self, said: Any) -> Policy:
        """The policy that the file names or holds; the loader's own where it says none."""
        own = own_transforms(self.loader.declared)
        if said is None:
            return self.loader.declared
        if isinstance(said, str):
            return Policy.from_yaml(self.path.parent / said, own)
        return Policy.from_dict(said, own)

    def _do(self, key: str, value: Any, steps: Mapping[str, Any], batch: int | None) -> None:
        if key == "stop":
            self.model.stop_training = value or self.model.stop_training
        elif key == "learning_rate":
            self.model.optimizer.learning_rate = value
        elif key in ("policy", "strength"):
            self.loader.reconfigure(policy=steps["policy"])
        elif key in OF_THE_LOADER:
            self.loader.reconfigure(**{key: value})
        elif key == "example_probability" and self.examples is not None:
            self.examples.probability = value
        elif key == "save_examples" and self.examples is not None and batch is not None and value:
            self.examples.save_now(batch)

    def _report(self, fault: Exception) -> None:
        text = " ".join(str(fault).split())
        text = text if text.startswith(str(self.path)) else f"{self.path}: {text}"
        warnings.warn(f"{text}; nothing of it is done, training goes on", stacklevel=3)
        self._write({"refused": text})

    def _write(self, line: Mapping[str, Any]) -> None:
        """Append a line to the log."""
        when = time.strftime("%Y-%m-%dT%H:%M:%S%z")
        try:
            self.log.parent.mkdir(parents=True, exist_ok=True)
            with self.log.open("a", encoding="utf-8") as file:
                file.write(json.dumps({"time": when, "epoch": self._epoch, **line}) + "\n")
        except OSError as fault:
            warnings.warn(f"{self.log}: the log cannot be written: {fault.strerror}; make room", stacklevel=2)
