"""Policy: the front door. Transforms in order, and what belongs to all of them; plan, draw and run behind one call."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterable, Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from onewarp.arguments import (
    as_dictionary,
    check_replay,
    checked_following,
    checked_occurrence,
    draw_keys,
    same_sizes,
    sizes_of,
    thread_count,
)
from onewarp.batch import check_batch
from onewarp.boxes import to_corners
from onewarp.draw import draw
from onewarp.engine.outlines import boxes_of_masks
from onewarp.engine.run import run
from onewarp.errors import InputError, PolicyError
from onewarp.lower import lower
from onewarp.params import Params
from onewarp.plan import Plan, Settings
from onewarp.policy_file import from_plain, read_json, read_yaml, to_plain, write_json, write_yaml
from onewarp.spec import Spec
from onewarp.transform import Transform


class Policy:
    """An augmentation policy: declared once, run anywhere, every image resampled once.

    transforms: transforms and combinators, in order.
    interpolation, fill_mode, fill_value, mask_fill_value, antialias, min_area, min_visibility, dtype, data_format: see
        `onewarp.plan.Settings`; they belong to the policy because there is one resample.

    A policy is immutable, hashable and comparable. Raises InputError or PolicyError for arguments that cannot be.
    """

    __slots__ = ("_hash", "settings", "transforms")

    transforms: tuple[Transform, ...]
    settings: Settings
    _hash: int

    def __init__(
        self,
        transforms: Iterable[Transform],
        *,
        interpolation: str = "bilinear",
        fill_mode: str = "constant",
        fill_value: Any = 0,
        mask_fill_value: float = 0,
        antialias: bool = True,
        min_area: float = 0.0,
        min_visibility: float = 0.0,
        dtype: str | None = None,
        data_format: str = "channels_last",
    ) -> None:
        if not isinstance(transforms, (Transform, Iterable)):
            raise PolicyError(
                f"Policy: {transforms!r} is not a transform, nor a list of them such as [HorizontalFlip()]"
            )
        members = (transforms,) if isinstance(transforms, Transform) else tuple(transforms)
        for member in members:
            if not isinstance(member, Transform):
                raise PolicyError(
                    f"Policy: {member!r} is not a transform; pass instances such as HorizontalFlip(), with parentheses"
                )
        settings = Settings(
            interpolation,
            fill_mode,
            fill_value,
            mask_fill_value,
            antialias,
            min_area,
            min_visibility,
            dtype,
            data_format,
        )
        object.__setattr__(self, "transforms", members)
        object.__setattr__(self, "settings", settings)
        object.__setattr__(self, "_hash", hash((members, settings)))

    def __setattr__(self, name: str, value: Any) -> None:
        raise AttributeError(f"a Policy does not change; make another one (tried to set {name})")

    def __reduce__(self) -> Any:
        return _rebuild, (self.transforms, dataclasses.asdict(self.settings))

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Policy):
            return NotImplemented
        return self.transforms == other.transforms and self.settings == other.settings

    def __hash__(self) -> int:
        return self._hash

    def __iter__(self) -> Iterator[Transform]:
        return iter(self.transforms)

    def __len__(self) -> int:
        return len(self.transforms)

    def __repr__(self) -> str:
        changed = [
            f"{field.name}={getattr(self.settings, field.name)!r}"
            for field in dataclasses.fields(Settings)
            if getattr(self.settings, field.name) != field.default
        ]
        inside = "".join(f"    {transform.expression()},\n" for transform in self.transforms)
        return "Policy([" + (f"\n{inside}" if inside else "") + "]" + "".join(f", {c}" for c in changed) + ")"

    def plan(self, spec: Spec) -> Plan:
        """What will run on batches of `spec`, stage by stage: print it. Cached.

        Raises PolicyError where it cannot run.
        """
        if not isinstance(spec, Spec):
            raise InputError(f"plan({spec!r}): pass a Spec, such as Spec(images=(480, 640, 3))")
        return _plan(self, spec)

    def draw(
        self,
        batch: Any,
        *,
        seed: int | None = None,
        epoch: int = 0,
        ids: Any = None,
        occurrence: Any = None,
        sizes: Any = None,
        value_range: tuple[float, float] | None = None,
    ) -> Params:
        """The parameters of one batch, as a value that can be saved and replayed: `policy(batch, params=params)`.

        batch: what the policy would be called with, or a Spec. ids: [n] integers (0...n-1 by default; needed with a
        Spec). occurrence: None, or [n] integers: how many times an epoch has shown the sample before. sizes: [n, 2]
        (height, width), needed with a Spec whose sizes are open. The other arguments are those of a call.
        """
        if isinstance(batch, Spec):
            spec = batch
            if ids is None or np.ndim(ids) != 1:
                raise InputError("draw(spec) needs ids=, [n] integers, one per sample; or pass the batch itself")
            if sizes is None:
                if None in spec.images[:2]:
                    raise InputError(
                        "draw(spec) with open sizes needs sizes=, [n, 2] (height, width); or pass the batch itself"
                    )
                sizes = same_sizes(spec, len(ids))
        else:
            images = as_dictionary(batch)[0]["images"]
            spec = Spec.of(images, value_range)
            sizes = sizes_of(spec, images)
        sizes = np.asarray(sizes)
        if sizes.ndim != 2 or sizes.shape[1] != 2 or (ids is not None and len(sizes) != len(ids)):
            raise InputError(f"sizes has shape {sizes.shape}; it must be [n, 2] (height, width), one row for each id")
        seed, ids = draw_keys(seed, epoch, ids, len(sizes))
        return draw(self.plan(spec), seed, epoch, ids, checked_occurrence(occurrence, len(ids)), sizes)

    def __call__(
        self,
        batch: Any,
        *,
        seed: int | None = None,
        epoch: int = 0,
        ids: Any = None,
        occurrence: Any = None,
        params: Params | None = None,
        bounding_box_format: str = "xyxy",
        boxes_follow: str = "corners",
        num_classes: int | None = None,
        value_range: tuple[float, float] | None = None,
        threads: int | None = None,
    ) -> Any:
        """Augment a batch. Without `seed` every call draws afresh; with it the result is the same every time.

        batch: images [n, h, w, c] (uint8, uint16 or float32) or a list of [h, w, c]; a pair (images, labels); or a
            dictionary with "images" and any of "labels", "segmentation_masks", "bounding_boxes", "keypoints",
            "sample_weight" (shapes: `onewarp.spec`). NumPy in, NumPy out; a backend tensor in, a backend tensor out.
        seed, epoch, ids ([n] integers, 0...n-1 by default), occurrence: the key of the draws.
        params: replay these (from `draw`) instead of drawing.
        bounding_box_format: a Keras name, of the boxes that come and go.
        boxes_follow: "corners": a warped box is that of its warped corners, which after a turn is larger than what it
            holds; "masks": of the pixels of its object, where segmentation_masks [n, h, w, k] have a channel for each
            box. Box rows and channels stay in step. num_classes: for mixing integer labels.
        value_range: (low, high) of float images, (0, 1) by default. threads: all cores by default.

        Returns the same structure. The caller's arrays are not written to. Raises InputError for a batch that does not
        fit.
        """
        entries, rebuild = as_dictionary(batch)
        spec = Spec.of(entries["images"], value_range)
        sizes = sizes_of(spec, entries["images"])
        corners = None
        if "bounding_boxes" in entries:
            boxes = entries["bounding_boxes"]["boxes"]
            if boxes.ndim != 3 or boxes.shape[2] != 4:
                raise InputError(f"bounding_boxes has boxes of shape {boxes.shape}; they must be [n, k, 4]")
            height, width = sizes[:, 0].astype(float), sizes[:, 1].astype(float)
            if len(boxes) == len(sizes):
                corners = to_corners(boxes.astype(np.float64), bounding_box_format, height, width, np)
            else:
                corners = boxes
        n = check_batch(entries, spec, corners)
        plan = self.plan(spec)
        if params is None:
            seed, ids = draw_keys(seed, epoch, ids, n)
            params = draw(plan, seed, epoch, ids, checked_occurrence(occurrence, n), sizes)
        else:
            check_replay(plan, params, sizes)
        outlined = None
        if checked_following(boxes_follow, entries):
            masks, labels = entries["segmentation_masks"], entries["bounding_boxes"]["labels"]
            outlined = boxes_of_masks(plan, params, masks, labels)
        result = run(
            plan,
            params,
            entries,
            bounding_box_format=bounding_box_format,
            outlined=outlined,
            num_classes=num_classes,
            threads=thread_count(threads),
        )
        return rebuild(result)

    def deterministic(self, resize: float = 256 / 224) -> Policy:
        """The policy for validation: what sizes and normalises stays, what is random goes.

        A RandomResizedCrop becomes a resize to `resize` times its output and a centre crop of its output; a RandomCrop
        becomes a centre crop.
        """
        if not isinstance(resize, (int, float)) or not 1.0 <= resize < float("inf"):
            raise InputError(
                f"deterministic(resize={resize!r}): resize must be at least 1, the frame has to cover the crop"
            )
        kept = [left for transform in self.transforms for left in transform.deterministic(resize)]
        return Policy(kept, **dataclasses.asdict(self.settings))

    def strength(self, strength: float) -> Policy:
        """The policy with everything random at a fraction of its strength: 1 is this policy, 0 changes nothing.

        strength: s in [0, 1]. A parameter v with an identity i, at which it does nothing, becomes v * s + i * (1 - s):
            angles, shifts, shears, hue, noise, distortions and erased areas have 0; factors, magnifications, gamma and
            the area of a RandomResizedCrop have 1. A RandomCrop goes towards the centre. A transform without such a
            parameter (flips, quarter turns, curves with steps, blur, mixes), or a crop with p < 1, has its p
            multiplied by s. Members of a combinator are scaled, unless they set the size of the frame: then p of the
            combinator is. What is certain (Resize, Normalize, whatever has p = 1 and nothing to draw) stays.

        The frame's size, the stages and the random numbers stay as they are, so that a step that was compiled for one
        strength takes any other.
        """
        if isinstance(strength, bool) or not isinstance(strength, (int, float)) or not 0.0 <= strength <= 1.0:
            raise InputError(f"strength({strength!r}): strength must be a number in [0, 1]")
        kept = [t if t.deterministic(1.0) == (t,) else t.scaled(float(strength)) for t in self.transforms]
        return Policy(kept, **dataclasses.asdict(self.settings))

    def as_layer(self, *, seed: int = 0, value_range: tuple[float, float] | None = None, **kwargs: Any) -> Any:
        """The policy as a Keras layer for images: random in training, `deterministic()` otherwise.

        seed, value_range: as in a call. kwargs: of `keras.layers.Layer`, such as name=.
        """
        from onewarp.fit.layer import PolicyLayer

        return PolicyLayer(self, seed=seed, value_range=value_range, **kwargs)

    def to_dict(self) -> dict[str, Any]:
        """Plain values that `from_dict` reads, defaults left out."""
        return to_plain(self.transforms, self.settings)

    @classmethod
    def from_dict(cls, plain: Any, transforms: Iterable[type[Transform]] = ()) -> Policy:
        """The policy of `to_dict`. `transforms`: classes of your own that it may name.

        Raises PolicyError naming what is wrong.
        """
        members, settings = from_plain(plain, transforms)
        return cls(members, **settings)

    def to_json(self, path: str | Path) -> None:
        """Write the policy to a JSON file."""
        write_json(self.to_dict(), path)

    @classmethod
    def from_json(cls, path: str | Path, transforms: Iterable[type[Transform]] = ()) -> Policy:
        """Read a policy from a JSON file."""
        return read_json(path, lambda plain: cls.from_dict(plain, transforms))  # type: ignore[no-any-return]

    def to_yaml(self, path: str | Path) -> None:
        """Write the policy to a YAML file."""
        write_yaml(self.to_dict(), path)

    @classmethod
    def from_yaml(cls, path: str | Path, transforms: Iterable[type[Transform]] = ()) -> Policy:
        """Read a policy from a YAML file."""
        return read_yaml(path, lambda plain: cls.from_dict(plain, transforms))  # type: ignore[no-any-return]


def checked_policy(value: Any, name: str = "policy") -> Policy:
    """`value`, where it is a policy. Raises InputError, which says how to make one of what it is."""
    if isinstance(value, Policy):
        return value
    if isinstance(value, (str, os.PathLike)):
        remedy = f"read it by Policy.from_yaml({os.fspath(value)!r})"
    elif value is None:
        remedy = "Policy([]) changes nothing"
    else:
        remedy = "pass one such as Policy([HorizontalFlip()])"
    raise InputError(f"{name}={value!r} is not a Policy; {remedy}")


@lru_cache(maxsize=256)
def _plan(policy: Policy, spec: Spec) -> Plan:
    return lower(policy.transforms, policy.settings, spec)


def _rebuild(transforms: tuple[Transform, ...], settings: dict[str, Any]) -> Policy:
    return Policy(transforms, **settings)
