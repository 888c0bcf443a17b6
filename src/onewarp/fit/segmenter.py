"""A trained segmentation model with all that is needed to use it on a photograph: what to feed it, names, a CRF."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import keras
import numpy as np
import yaml

from onewarp.errors import InputError, OnewarpError
from onewarp.policy import Policy
from onewarp.segment.crf import DenseCRF

CONFIG, MODEL = "config.yaml", "model.keras"


@dataclass(frozen=True)
class Task:
    """What a segmentation model expects and says, as the entry `segmentation` of a run's config.yaml.

    Attributes:
        class_names: one per class number.
        colours: (red, green, blue) of each class, 0 to 255.
        preprocess: the policy, nothing random in it, that makes of a photograph what the model takes.
        crf: arguments of the `DenseCRF` that suits the model, or None.
    """

    class_names: tuple[str, ...]
    colours: tuple[tuple[int, int, int], ...]
    preprocess: Policy
    crf: Mapping[str, Any] | None = None

    def to_dict(self) -> dict[str, Any]:
        """As plain values, for YAML."""
        return {
            "class_names": list(self.class_names),
            "colours": [list(colour) for colour in self.colours],
            "preprocess": self.preprocess.to_dict(),
            "crf": None if self.crf is None else dict(self.crf),
        }

    @classmethod
    def from_dict(cls, entry: Mapping[str, Any]) -> Task:
        """Of what `to_dict` gave. Raises KeyError, TypeError, ValueError or PolicyError for anything else."""
        names = tuple(str(name) for name in entry["class_names"])
        colours = tuple((int(red), int(green), int(blue)) for red, green, blue in entry["colours"])
        if len(names) != len(colours) or not names:
            raise ValueError(f"{len(names)} class names and {len(colours)} colours")
        crf = entry.get("crf")
        if crf is not None:
            DenseCRF(**crf)
        return cls(names, colours, Policy.from_dict(entry["preprocess"]), crf)


class Segmenter:
    """Class probabilities for photographs of any size.

    Args:
        model: a Keras model, images [n, h, w, 3] as `task.preprocess` makes them -> probabilities [n, h, w, classes].
        task: what it expects and says.
    """

    def __init__(self, model: Any, task: Task) -> None:
        self.model, self.task = model, task

    @classmethod
    def load(cls, run: str | Path) -> Segmenter:
        """The model of a run folder, or a .keras file with the run's config.yaml beside it.

        Raises:
            InputError: there is no such folder or file, or it holds something else.
        """
        run = Path(run)
        path = run / MODEL if run.is_dir() else run
        if not path.is_file():
            what = (
                f"there is no {MODEL} in it; name a run folder of a segmentation"
                if run.is_dir()
                else "no such file or folder; check the path"
            )
            raise InputError(f"{run}: {what}")
        task = read_task(path.parent)
        try:
            model = keras.saving.load_model(path, compile=False)
        except Exception as error:  # Keras raises what it comes across: bad zip files, missing keys, unknown layers
            reason = str(error).strip().partition("\n")[0]
            raise InputError(f"{path}: not a Keras model: {reason}; name a .keras file") from None
        classes = model.output_shape[-1]
        if len(model.output_shape) != 4 or classes != len(task.class_names):
            raise InputError(
                f"{path}: gives {model.output_shape}, but {CONFIG} names {len(task.class_names)} classes; "
                "put the model beside its own config"
            )
        return cls(model, task)

    def probabilities(self, image: np.ndarray) -> np.ndarray:
        """float32 [h, w, classes] for an image uint8 [h, w, 3] of any size: enlarged bilinearly to its pixels."""
        fed = self.task.preprocess(image[None])
        return enlarged(np.asarray(self.model.predict_on_batch(fed))[0], image.shape[:2])


def enlarged(probabilities: np.ndarray, size: tuple[int, ...]) -> np.ndarray:
    """Probabilities [h, w, classes] -> float32 [*size, classes], bilinearly, pixel centres at +0.5."""
    pixels = np.ascontiguousarray(probabilities, np.float32)
    found = cv2.resize(pixels, (size[1], size[0]), interpolation=cv2.INTER_LINEAR)
    return found.reshape(*size, pixels.shape[-1])


def read_task(folder: Path) -> Task:
    """The `Task` in a run folder's config.yaml.

    Raises:
        InputError: there is none.
    """
    path = folder / CONFIG
    try:
        config = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError(f"{path}: no such file; keep the model in the run folder that it was trained into") from None
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise InputError(f"{path}: cannot be read: {str(error).partition(chr(10))[0]}") from None
    entry = config.get("segmentation") if isinstance(config, dict) else None
    if not isinstance(entry, dict):
        raise InputError(f"{path}: has no entry segmentation; name a run folder of a segmentation")
    try:
        return Task.from_dict(entry)
    except OnewarpError as error:
        raise InputError(f"{path}: segmentation: {error}") from None
    except (KeyError, TypeError, ValueError) as error:
        reason = f"{error} is missing" if isinstance(error, KeyError) else str(error)
        raise InputError(f"{path}: segmentation: {reason}; mend it, or train again") from None


def crf_terms(crf: DenseCRF) -> dict[str, Any]:
    """The arguments of a `DenseCRF` as plain values."""
    return {
        "gaussian": _plain(crf.gaussian),
        "bilateral": _plain(crf.bilateral),
        "iterations": crf.iterations,
    }


def _plain(term: Mapping[str, Any] | None) -> dict[str, Any] | None:
    if term is None:
        return None
    return {name: np.asarray(value).tolist() for name, value in term.items()}
