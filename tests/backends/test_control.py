"""Steering a training while it runs: changes of a loader, the control file; once per backend."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from augmented_helpers import TURNS, augmented, ignore_inside_keras, on_device
from loader_helpers import BATCH, POLICY, Recording, StopAfter, fingerprint, model, source, weights

import onewarp as ow
from onewarp.fit.changes import CHANGEABLE, Change
from onewarp.fit.control_keys import CHECKS, OF_THE_LOADER, TEMPLATE, checked_values
from onewarp.policy_file import parse_yaml

pytestmark = ignore_inside_keras
OTHER = ow.Policy([ow.CenterCrop(6), ow.Invert(), ow.Rescale(1 / 255)])


def expected(policy: ow.Policy, epoch: int, start: int = 0, **options: Any) -> list[str]:
    """The batches of an epoch of a loader that was made with `policy`."""
    batches = ow.Loader(source(), policy, BATCH, **options).batches
    return [fingerprint(batches.batch(epoch, index)["images"]) for index in range(start, len(batches))]


class At(keras.callbacks.Callback):
    """Does something at the end of an epoch, or of a batch of it."""

    def __init__(self, epoch: int, action: Callable[[], Any], batch: int | None = None) -> None:
        super().__init__()
        self.epoch, self.action, self.batch, self.running = epoch, action, batch, -1

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        self.running = epoch

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        if (self.epoch, self.batch) == (self.running, batch):
            self.action()

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        if (self.epoch, self.batch) == (epoch, None):
            self.action()


# --- Loader.reconfigure -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("batch", [None, 2, 5])
def test_a_change_is_in_effect_from_the_next_epoch_on(batch: int | None) -> None:
    loader = Recording(source(), POLICY, BATCH)
    model().fit(loader, epochs=3, verbose=0, callbacks=[At(0, lambda: loader.set_policy(OTHER), batch)])
    assert loader.passes[-3:] == [expected(POLICY, 0), expected(OTHER, 1), expected(OTHER, 2)]
    assert loader.policy == OTHER and loader.declared == POLICY


def test_a_change_before_the_first_epoch_and_in_a_loop() -> None:
    loader = ow.Loader(source(), POLICY, BATCH)
    assert fingerprint(loader[0][0]) == expected(POLICY, 0)[0]
    loader.reconfigure(policy=OTHER)
    assert fingerprint(loader[0][0]) == expected(OTHER, 0)[0]
    seen = []
    for number, (images, _) in enumerate(loader):
        if number == 1:
            loader.reconfigure(policy=POLICY)
        seen.append(fingerprint(images))
    assert seen == expected(OTHER, 0)
    assert [fingerprint(images) for images, _ in loader] == expected(POLICY, 1)


def test_the_state_keeps_what_is_and_what_comes() -> None:
    loader = ow.Loader(source(), POLICY, BATCH)
    plain = set(loader.state())
    loader.set_policy(OTHER)
    states = []
    for number, _ in enumerate(loader):
        if number == 2:
            loader.set_policy(POLICY.strength(0.5))
        states.append(json.loads(json.dumps(loader.state())))
    assert set(states[0]) - plain == {"changes"} and set(states[3]) - plain == {"changes", "coming"}
    assert states[5]["epoch"] == 1 and "coming" not in states[5]  # the last one: the next epoch is meant
    for index, state in enumerate(states[:5]):
        again = ow.Loader(source(), POLICY, BATCH)
        again.restore(state)
        assert [fingerprint(images) for images, _ in again] == expected(OTHER, 0, index + 1)
        assert [fingerprint(images) for images, _ in again] == expected(
            POLICY.strength(0.5) if index >= 2 else OTHER, 1
        )
    again.restore(states[0])  # back in time, on a loader that has changed meanwhile
    assert again.policy == OTHER
    again.restore({name: value for name, value in states[0].items() if name != "changes"})
    assert again.policy == POLICY
    again.restore(states[5])
    assert [fingerprint(images) for images, _ in again] == expected(POLICY.strength(0.5), 1)


def test_what_cannot_change_is_refused_and_nothing_changes() -> None:
    loader = ow.Loader(source(), POLICY, BATCH)
    for policy, says in (
        (
            ow.Policy([ow.CenterCrop(5), ow.Rescale(1 / 255)]),
            r"images of shape \(5, 5, 3\), the model was made for \(6, 6",
        ),
        (ow.Policy([ow.CenterCrop(6)]), "type uint8, the model was made for float32"),
        (ow.Policy([*POLICY, ow.MixUp()]), "mixed labels: True"),
        ("HorizontalFlip", "is not a Policy"),
    ):
        with pytest.raises((ow.InputError, ow.PolicyError), match=says) as caught:
            loader.reconfigure(policy=policy)
        assert "\n" not in str(caught.value)
    with pytest.raises(ow.InputError, match="'polcy' .* cannot change .*did you mean 'policy'"):
        loader.reconfigure(polcy=OTHER)
    assert loader.policy == POLICY and "changes" not in loader.state()
    with pytest.raises(ow.InputError, match="the state changes 'colour'"):
        loader.restore({**loader.state(), "changes": {"colour": 1}})


def test_a_change_of_the_length_waits_for_the_next_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    """With a thing to change that is not the library's: fewer batches in an epoch."""

    def shorter(batches: Any, value: int) -> Any:
        twin = ow.Loader(source(value), POLICY, BATCH).batches
        assert len(twin) != len(batches)
        return twin

    size = Change(of=lambda batches: len(batches.source), apply=shorter, plain=int, read=lambda batches, plain: plain)
    monkeypatch.setitem(CHANGEABLE, "samples", size)
    loader, said = ow.Loader(source(), POLICY, BATCH), []

    def change() -> None:
        with pytest.raises(
            ow.InputError, match="with samples changed an epoch has 3 batches, not 6, and fit keeps"
        ) as e:
            loader.reconfigure(samples=12)
        said.append(e)

    model().fit(loader, epochs=2, verbose=0, callbacks=[At(0, change)])
    assert len(said) == 1 and loader.epoch == 2
    loader.reconfigure(samples=12)
    assert len(loader) == 3
    model().fit(loader, epochs=1, verbose=0)


class Tint(ow.Brightness):
    """A transform that the library does not know."""


def test_transforms_of_ones_own_come_back() -> None:
    policy = ow.Policy([ow.RandomCrop(6), ow.Sometimes([Tint(0.5)]), ow.Rescale(1 / 255)])
    loader = ow.Loader(source(), policy, BATCH)
    loader.set_policy(policy.strength(0.5))
    again = ow.Loader(source(), policy, BATCH)
    again.restore(json.loads(json.dumps(loader.state())))
    assert again.policy == policy.strength(0.5)


# --- on the device ----------------------------------------------------------------------------------------------------


def test_another_strength_needs_no_new_step_on_the_device() -> None:
    half, traced = TURNS.strength(0.5), []

    class Tracing(keras.layers.Layer):
        def call(self, x: Any) -> Any:
            traced.append(1)
            return x

    def network() -> keras.Model:
        keras.utils.set_random_seed(0)
        layers = [Tracing(), keras.layers.Flatten(), keras.layers.Dense(3, activation="softmax")]
        return keras.Sequential([keras.Input((6, 6, 3)), *layers])

    def run(device: bool, change: ow.Policy) -> list[np.ndarray]:
        counts = []
        trained = augmented(model=network()) if device else network()
        if not device:
            trained.compile(keras.optimizers.SGD(0.1), "sparse_categorical_crossentropy", metrics=["accuracy"])
        loader = ow.Loader(on_device().source, TURNS, 4, placement="device" if device else "host")
        steps = [At(0, lambda: loader.set_policy(change)), At(0, lambda: counts.append(len(traced)))]
        trained.fit(loader, epochs=3, verbose=0, callbacks=steps)
        if keras.backend.backend() != "torch":  # which traces nothing
            assert len(traced) == counts[0]
        return weights(trained)

    for mine, other in zip(run(True, half), run(False, half), strict=True):
        np.testing.assert_allclose(mine, other, atol=1e-5)
    assert any(np.abs(a - b).max() > 1e-4 for a, b in zip(run(False, half), run(False, TURNS), strict=True))


@pytest.mark.parametrize(
    "policy",
    [
        ow.Policy([ow.RandomCrop(6), ow.Rescale(1 / 255)]),
        ow.Policy([*TURNS.transforms[:-1], ow.GaussianBlur(), ow.Rescale(1 / 255)]),
        ow.Policy(TURNS.transforms, interpolation="nearest"),
        ow.Policy([*TURNS.transforms[:3], ow.ColorJitter(contrast=0.2), ow.Rescale(1 / 255)]),  # needs the mean
        ow.Policy([*TURNS.transforms[:2], ow.Scale((0.3, 1)), ow.ColorJitter(0.2), ow.Rescale(1 / 255)]),
    ],
)
def test_other_stages_on_the_device_are_refused(policy: ow.Policy) -> None:
    loader = on_device()
    with pytest.raises(ow.PolicyError, match="other stages than the one that the train step was compiled for"):
        loader.set_policy(policy)
    assert loader.policy == TURNS
    on_host = ow.Loader(loader.source, TURNS, 4)
    on_host.set_policy(policy)
    assert on_host.policy == policy


# --- the control file -------------------------------------------------------------------------------------------------


class Control:
    """A small training with a control file."""

    def __init__(self, folder: Path, **options: Any) -> None:
        self.path = folder / "control.yaml"
        self.loader = Recording(source(), POLICY, BATCH)
        self.examples = ow.SaveExamples(folder / "examples", self.loader, 0.0, 8)
        self.control = ow.ControlFile(self.path, self.loader, examples=self.examples, **options)
        self.model = model()

    def write(self, text: str) -> Callable[[], Any]:
        return lambda: self.path.write_text(text)

    def fit(self, *before: Any, epochs: int = 3) -> list[list[str]]:
        """The batches of each epoch."""
        self.model.fit(self.loader, epochs=epochs, verbose=0, callbacks=[*before, self.examples, self.control])
        return self.loader.passes[-epochs:]

    def log(self) -> list[dict[str, Any]]:
        path = self.path.with_suffix(".jsonl")
        lines = [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
        assert all(line.pop("time")[:2] == "20" for line in lines)
        return lines


def test_a_template_is_written_that_says_nothing(tmp_path: Path) -> None:
    one = Control(tmp_path)
    assert one.fit() == [expected(POLICY, epoch) for epoch in range(3)]
    text = one.path.read_text()
    assert text == TEMPLATE and checked_values(parse_yaml(text)) == {} and one.log() == []
    assert "notes" not in one.loader.state()
    said = [line[2:] for line in text.splitlines() if line.startswith("# ") and ": " in line.split("#")[1]]
    values = [checked_values(parse_yaml(line)) for line in said if line.split(":")[0] in CHECKS]
    explained = {key for value in values for key in value}  # by what it may be
    assert explained == {key for key in CHECKS if key not in OF_THE_LOADER or key in CHANGEABLE}


def test_strength_and_policy(tmp_path: Path) -> None:
    one = Control(tmp_path)
    OTHER.to_yaml(tmp_path / "other.yaml")
    passes = one.fit(
        At(0, one.write("strength: 0.5")),
        At(1, one.write("policy: other.yaml\nstrength: 0.5")),
        At(2, one.write("policy: [{CenterCrop: 6}, {Rescale: 0.5}]\nstrength: 1")),
        epochs=4,
    )
    last = ow.Policy([ow.CenterCrop(6), ow.Rescale(0.5)])
    policies = [POLICY, POLICY.strength(0.5), OTHER.strength(0.5), last]
    assert passes == [expected(policy, epoch) for epoch, policy in enumerate(policies)]
    assert one.log() == [
        {"epoch": 0, "key": "strength", "from": None, "to": 0.5},
        {"epoch": 1, "key": "policy", "from": None, "to": "other.yaml"},
        {"epoch": 2, "key": "policy", "from": "other.yaml", "to": [{"CenterCrop": 6}, {"Rescale": 0.5}]},
        {"epoch": 2, "key": "strength", "from": 0.5, "to": 1},
    ]


def test_stop_ends_after_the_epoch(tmp_path: Path) -> None:
    one = Control(tmp_path)
    one.fit(At(1, one.write("stop: true"), batch=2), epochs=5)
    assert one.loader.epoch == 2 and one.loader.state()["batch"] == 0
    with pytest.warns(UserWarning, match="stop: true since before the training; that is ignored"):
        two = Control(tmp_path)
        two.fit(epochs=2)
    assert two.loader.epoch == 2


def test_the_learning_rate(tmp_path: Path) -> None:
    one, rates = Control(tmp_path), []
    note = keras.callbacks.LambdaCallback(
        on_epoch_begin=lambda epoch, logs: rates.append(float(one.model.optimizer.learning_rate))
    )
    one.fit(At(0, one.write("learning_rate: 1e-3")), note)
    assert rates == pytest.approx([0.1, 0.001, 0.001])
    one.fit(At(4, one.write("learning_rate: 1e-3\nstrength: 1")), epochs=1)  # said before: not done again
    assert [line["key"] for line in one.log()] == ["learning_rate"]


def test_a_schedule_is_not_overruled(tmp_path: Path) -> None:
    one = Control(tmp_path)
    schedule = keras.optimizers.schedules.ExponentialDecay(0.1, 10, 0.9)
    one.model = model(optimizer=keras.optimizers.SGD(schedule))
    with pytest.warns(UserWarning, match="follows a schedule.*training goes on"):
        one.fit(At(0, one.write("learning_rate: 0.001")))


def test_examples_now_and_their_probability(tmp_path: Path) -> None:
    one = Control(tmp_path)
    one.fit(
        At(0, one.write("save_examples: 1"), batch=2),
        At(0, one.write("save_examples: 2\nexample_probability: 1"), batch=4),
        At(1, one.write("save_examples: 2\nexample_probability: 0.0")),
    )
    names = sorted(path.name for path in (tmp_path / "examples").iterdir())
    assert len(names) == 8 and all(name.startswith("e0001-b00000") for name in names)  # the ring holds the last eight
    assert one.examples.probability == 0.0
    assert [(line["epoch"], line["key"], line["to"]) for line in one.log()] == [
        (0, "save_examples", 1),
        (0, "save_examples", 2),
        (0, "example_probability", 1),
        (1, "example_probability", 0.0),
    ]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("stren: 0.5", "there is no 'stren' .did you mean 'strength'..; there are stop, "),
        ("strength: 1.5\nstop: true", r"strength: 1.5 must be a number in \[0, 1\]"),
        ("stop: 1", "stop: 1 must be true or false"),
        ("learning_rate: -1", "learning_rate: -1 must be a positive number"),
        ("learning_rate: fast", "learning_rate: 'fast' must be a positive number"),
        ("learning_rate: true", "learning_rate: True must be a positive number"),
        ("save_examples: soon", "save_examples: 'soon' must be a whole number"),
        ("strength: [0.5", "while parsing"),
        ("just words", "is not a list of 'key: value' lines"),
        ("samples_per_class: 50", "with samples_per_class changed an epoch has .* train with resume_fit"),
        ("samples_per_class: many", "samples_per_class: 'many' must be a whole number of at least 1"),
        ("policy: none.yaml", "none.yaml: the policy cannot be read: No such file"),
        ("policy: [Rotat]", "there is no transform 'Rotat' .did you mean 'Rotate'"),
        ("policy: [{Resize: 7}]\nstop: true", r"the new policy gives images of shape \(7, 7, 3\)"),
        ("strength: !!python/object/apply:os.getpid []", "could not determine a constructor"),
    ],
)
def test_a_file_that_cannot_be_is_reported_once_and_ignored(text: str, says: str, tmp_path: Path) -> None:
    one = Control(tmp_path)
    with pytest.warns(
        UserWarning, match=f"control.yaml: .*{says}.*; nothing of it is done, training goes on"
    ) as caught:
        passes = one.fit(At(0, one.write(text)), At(2, one.write("strength: 0.5")), epochs=4)
    ours = [warning for warning in caught if "control.yaml" in str(warning.message)]
    assert len(ours) == 1 and "\n" not in str(ours[0].message)
    policies = [POLICY, POLICY, POLICY, POLICY.strength(0.5)]
    assert passes == [expected(policy, epoch) for epoch, policy in enumerate(policies)]
    refused, followed = one.log()
    assert refused["epoch"] == 0 and "refused" in refused and followed["key"] == "strength"


def test_a_file_that_is_removed_or_binary_changes_nothing(tmp_path: Path) -> None:
    one = Control(tmp_path)
    with pytest.warns(UserWarning, match="nothing of it is done"):
        passes = one.fit(
            At(0, lambda: one.path.write_bytes(b"\xff\xfe\x00strength")), At(1, lambda: one.path.unlink()), epochs=3
        )
    assert passes == [expected(POLICY, epoch) for epoch in range(3)]


def test_without_examples_their_keys_are_refused(tmp_path: Path) -> None:
    loader = ow.Loader(source(), POLICY, BATCH)
    path = tmp_path / "control.yaml"
    path.write_text("example_probability: 0.5")
    with pytest.warns(UserWarning, match="nobody writes examples; pass ControlFile.examples="):
        model().fit(loader, verbose=0, callbacks=[ow.ControlFile(path, loader)])


@pytest.mark.parametrize("file_there", [True, False])
def test_a_resumed_run_repeats_the_changes(file_there: bool, tmp_path: Path) -> None:
    """Broken off in the epoch after a change: the rest of it, and the next epochs, are as they would have been."""

    def run(folder: Path, stop: bool) -> tuple[Control, Any]:
        folder.mkdir(exist_ok=True)
        one = Control(folder)
        text = "strength: 0.5\nlearning_rate: 0.03\nexample_probability: 0.25"
        first = [At(0, one.write(text))] if not (folder / "b.npz").exists() else []
        breaks = [StopAfter(2, epoch=1)] if stop else []
        callbacks = [*first, *breaks, one.examples, one.control]
        found = ow.resume_fit(one.model, one.loader, folder / "b.npz", epochs=4, callbacks=callbacks, verbose=0)
        return one, found

    straight, history = run(tmp_path / "a", stop=False)
    broken, _ = run(tmp_path / "b", stop=True)
    if not file_there:
        broken.path.unlink()
    resumed, again = run(tmp_path / "b", stop=False)
    half = POLICY.strength(0.5)
    assert resumed.loader.passes[-3:] == [expected(half, 1, 2), expected(half, 2), expected(half, 3)]
    assert resumed.examples.probability == 0.25
    for mine, other in zip(weights(resumed.model), weights(straight.model), strict=True):
        np.testing.assert_array_equal(mine, other)
    assert again.history == history.history
    assert resumed.log() == straight.log()  # nothing was done twice
    assert {p.name for p in (tmp_path / "a/examples").iterdir()} == {
        p.name for p in (tmp_path / "b/examples").iterdir()
    }


@pytest.mark.parametrize("stop", [False, True])
def test_samples_per_class_and_reuse_change_in_mid_run(stop: bool, tmp_path: Path) -> None:
    """Longer epochs need another fit, which resume_fit begins by itself; a run that is resumed has them, too."""
    one = Control(tmp_path)
    one.loader = Recording(source(), POLICY, BATCH, balance="classes", samples_per_class=4)
    one.control = ow.ControlFile(one.path, one.loader, examples=one.examples)
    before = len(one.loader)
    text = "samples_per_class: 8\nreuse: 2\n"
    breaks = [StopAfter(1, epoch=2)] if stop else []
    callbacks = [At(0, one.write(text)), *breaks, one.control]
    options: dict[str, Any] = {"epochs": 4, "verbose": 0}
    found = ow.resume_fit(one.model, one.loader, tmp_path / "b.npz", callbacks=callbacks, **options)
    assert len(one.loader) > before or one.loader.start
    loader = one.loader
    if stop:
        assert len(found.epoch) == 2
        loader = Recording(source(), POLICY, BATCH, balance="classes", samples_per_class=4)
        found = ow.resume_fit(one.model, loader, tmp_path / "b.npz", **options)
    assert found.epoch == [0, 1, 2, 3] and loader.reuse == 2
    changed = {"balance": "classes", "samples_per_class": 8, "reuse": 2}
    assert loader.passes[-1] == expected(POLICY, 3, **changed)
    assert loader.passes[-2] == expected(POLICY, 2, start=1 if stop else 0, **changed)


def test_bad_arguments_are_refused(tmp_path: Path) -> None:
    loader = ow.Loader(source(), POLICY, BATCH)
    with pytest.raises(ow.InputError, match="pass the Loader"):
        ow.ControlFile(tmp_path / "c.yaml", source())
    with pytest.raises(ow.InputError, match="pass the SaveExamples"):
        ow.ControlFile(tmp_path / "c.yaml", loader, examples=tmp_path)
