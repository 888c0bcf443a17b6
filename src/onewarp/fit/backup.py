"""Backup and resume_fit: a run that was killed goes on with the next batch, and ends where it would have ended."""

from __future__ import annotations

import json
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np

from onewarp.errors import InputError
from onewarp.fit.loader import Loader
from onewarp.fit.snapshot import (
    Rows,
    Snapshot,
    arrays_of,
    assign,
    misfit,
    random_state,
    set_random_state,
    variables_of,
)


class Backup(keras.callbacks.Callback):
    """Keeps a run that trains on a `Loader` in a file, from which `resume_fit` goes on in the middle of an epoch.

    The file holds weights, optimizer, the counters of the layers' random seeds, the metrics' sums, the loader's state
    and the history so far, all of one moment. It is written every `save_every` batches and at the end of each epoch,
    beside its place, and renamed: at any moment there is a whole one. Put it last among the callbacks, so that it
    keeps what the others did; `resume_fit` does. It counts the trained batches itself and needs no `PipelineMonitor`.

    The state of other callbacks (how long `EarlyStopping` has waited, say) is not in it.

    Args:
        path: the file, such as "runs/first/backup.npz". Its folder is made.
        loader: the Loader that `fit` trains on.
        save_every: batches from one backup to the next within an epoch; None for the ends of epochs alone. A backup
            takes as long as writing all weights and the optimizer to the disk.

    Raises:
        InputError: arguments that cannot be; in training, a `fit` on other data than `loader`. A file that cannot be
            written is a warning: the run goes on, and the backup before it stays.
    """

    def __init__(self, path: str | Path, loader: Loader, *, save_every: int | None = 1000) -> None:
        super().__init__()
        if not isinstance(loader, Loader):
            raise InputError(f"Backup(loader={loader!r}): pass the Loader that fit trains on")
        if save_every is not None and (
            isinstance(save_every, bool) or not isinstance(save_every, int) or save_every < 1
        ):
            raise InputError(f"save_every={save_every!r} is not a positive whole number of batches, nor None")
        if Path(path).is_dir():
            raise InputError(f"{path} is a folder; name a file in it, such as {Path(path) / 'backup.npz'}")
        self.path, self.loader, self.save_every = Path(path), loader, save_every
        self.rows: Rows = []
        self._epoch = self._saved = 0
        self._ended: Sequence[np.ndarray] = ()
        self._sums: Sequence[np.ndarray] | None = None  # of the metrics, for the epoch that is to be gone on with
        # Of the backend's generators, for the epoch that begins, and for the first batch of one that is gone on with.
        # Keras draws from them between fits and, on torch, at the beginning of each pass.
        self._random: tuple[Sequence[np.ndarray], Sequence[np.ndarray]] = (), ()

    def set_model(self, model: Any) -> None:
        super().set_model(model)
        self._trained = model  # reading self.model would take the weights out of JAX' step after every batch

    def on_train_begin(self, logs: Any = None) -> None:
        self._saved = 0

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        self._epoch, self._saved = epoch, 0
        set_random_state(self._random[0])
        self._random = (), self._random[1]
        if self._sums is None:
            return
        variables = variables_of(self.model)["metrics"]
        unfit = misfit(variables, self._sums, "metrics")
        if unfit is None:
            assign(variables, self._sums)
        else:
            warnings.warn(
                f"{self.path}: the metrics are not those of the backup ({unfit}); their numbers for epoch {epoch} "
                "cover the rest of it",
                stacklevel=2,
            )
        self._sums = None

    def on_train_batch_begin(self, batch: int, logs: Any = None) -> None:
        if not self.loader.watched(0):
            raise InputError("Backup was given another Loader than the one that fit trains on; give it that one")
        if batch == 0:
            set_random_state(self._random[1])
            self._random = (), ()

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        done = batch + 1
        self.loader.watched(done)
        due = self.save_every is not None and done - self._saved >= self.save_every
        if done < len(self.loader) and (due or self._trained.stop_training):  # the epoch's end has a backup of its own
            self._saved = done
            self._save(self._epoch, metrics=True)

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        self._ended = random_state()
        if self.loader.state()["batch"]:
            return  # broken off in mid-epoch, and saved there
        self.rows = [row for row in self.rows if row[0] < epoch]
        self.rows.append((epoch, {name: float(value) for name, value in (logs or {}).items()}))
        self._save(epoch + 1, metrics=False)

    def load(self) -> Snapshot | None:
        """What the file holds; None where there is none. Raises InputError for one that does not fit the loader."""
        if not self.path.exists():
            return None
        found, facts = Snapshot.load(self.path), _facts(self.loader)
        for name, value in found.facts.items():
            if facts.get(name) != value:
                raise InputError(
                    f"{self.path} was written with {name}={_short(value)}, this Loader has {_short(facts.get(name))}; "
                    "make them equal, or remove the file to start anew"
                )
        return found

    def restore(self, snapshot: Snapshot) -> None:
        """Put model, loader and history to where they were; nothing is changed where one of them does not fit.

        Raises:
            InputError: a snapshot of another model or loader.
        """
        model, loader = self._trained, self.loader
        sums = snapshot.arrays.get("metrics") if snapshot.under_way else None
        if not model.built or (sums is not None and misfit(variables_of(model)["metrics"], sums, "metrics")):
            # Metrics, too, are only there once they have seen a batch; on TensorFlow fit would come to that too late.
            batches = loader.batches
            model.test_on_batch(*keras.utils.unpack_x_y_sample_weight(batches.xyw(batches.batch(0, 0))))
        if not model.optimizer.built:
            model.optimizer.build(model.trainable_variables)
        variables = variables_of(model)
        for group in ("model", "optimizer"):
            unfit = misfit(variables[group], snapshot.arrays[group], group)
            if unfit is not None:
                raise InputError(
                    f"{self.path} is the backup of another model: {unfit}; make the model as it was, or remove the "
                    "file to start anew"
                )
        try:
            loader.restore(snapshot.state)
        except InputError as fault:
            raise InputError(f"{self.path}: {fault}") from None
        for group in ("model", "optimizer"):
            assign(variables[group], snapshot.arrays[group])
        self.rows = list(snapshot.rows)
        self._sums = sums
        state = snapshot.arrays["random"]
        self._random = ((), state) if snapshot.under_way else (state, ())

    def next_fit(self) -> None:
        """Another `fit` follows that is to be one with the last."""
        self._random = self._ended, ()

    def _save(self, epoch: int, metrics: bool) -> None:
        snapshot = Snapshot(epoch, self.loader.state(), _facts(self.loader), self.rows, arrays_of(self.model, metrics))
        try:
            snapshot.save(self.path)
        except OSError as fault:
            kept = "the one before it stays" if self.path.exists() else "there is none yet"
            warnings.warn(
                f"{self.path}: the backup of epoch {epoch}, batch {snapshot.state['batch']} cannot be written: "
                f"{fault.strerror or fault}; {kept}; make room, training goes on",
                stacklevel=2,
            )


def resume_fit(
    model: Any,
    loader: Loader,
    backup: Backup | str | Path,
    *,
    epochs: int,
    callbacks: Sequence[Any] | None = None,
    validation_data: Any = None,
    **options: Any,
) -> keras.callbacks.History:
    """`model.fit(loader, epochs=epochs, ...)` that goes on where a killed run stood: call it again, as it was called.

    Without a backup file the run starts. With one, model and loader are put to where they were, and there are up to two
    `fit` calls: the rest of the epoch that was under way, then the rest of the run, with `initial_epoch` of `fit` set
    so that callbacks and schedules that go by the epoch are right. The remaining batches are those of the undisturbed
    run, byte for byte. Where the backend computes the same twice, weights and history are, too. A `ControlFile` that
    changes how many batches an epoch has (`samples_per_class`) makes another `fit` follow at the end of the epoch.

    Args:
        model: compiled as it was; also an `AugmentedModel`.
        loader: made as it was: the same source, policy, seed and batch size.
        backup: a `Backup` of this loader, or the path of the file for one.
        epochs: of the whole run, counted from its start.
        callbacks, validation_data, options: as in `fit`.

    Returns:
        The history of the whole run, with the epochs before the interruption.

    Raises:
        InputError: a backup of another model, policy, seed or batch size, or a damaged one; nothing is changed then.
    """
    for name in ("x", "y", "initial_epoch", "steps_per_epoch"):
        if name in options:
            raise InputError(f"resume_fit takes no {name}=: what is trained on, and from where, comes from the loader")
    if isinstance(backup, (str, Path)):
        backup = Backup(backup, loader)
    if backup.loader is not loader:
        raise InputError("the Backup was made for another Loader; make it with the one that resume_fit gets")
    before = [callback for callback in callbacks or () if callback is not backup]
    if any(isinstance(callback, (Backup, keras.callbacks.BackupAndRestore)) for callback in before):
        raise InputError("resume_fit keeps a backup of its own; leave other Backups and BackupAndRestore out")
    backup.set_model(model)
    epoch, found = 0, backup.load()
    if found is not None:
        backup.restore(found)
        epoch = found.epoch
        if options.get("verbose", "auto") not in (0, "0"):
            print(f"{backup.path}: going on in epoch {epoch + 1}, {found.state['batch']} of its batches are done")
    given = {"callbacks": [*before, backup], "validation_data": validation_data, **options}
    loader.refits, again = True, False
    try:
        while epoch < epochs:
            if again:
                backup.next_fit()
            begun, again, loader.refit = loader.epoch, True, False
            model.fit(loader, initial_epoch=epoch, epochs=epoch + 1 if loader.start else epochs, **given)
            epoch += loader.epoch - begun
            if model.stop_training and not loader.refit:
                break
    finally:
        loader.refits = loader.refit = False
    return _history(model, backup.rows)


def _history(model: Any, rows: Rows) -> keras.callbacks.History:
    """Keras' record of the epochs of `rows`."""
    history = keras.callbacks.History()
    history.set_model(model)
    history.on_train_begin()
    for epoch, logs in rows:
        history.on_epoch_end(epoch, logs)
    return history


def _facts(loader: Loader) -> dict[str, Any]:
    """What a loader was made with and its state does not tell, as JSON keeps it."""
    batches = loader.batches
    plain = {"policy": loader.declared.to_dict(), "shuffle": batches.shuffle, "last_batch": batches.last_batch}
    return dict(json.loads(json.dumps(plain)))


def _short(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 120 else f"{text[:117]}..."
