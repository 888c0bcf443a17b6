"""Write an augmentation policy once, resample every image once, get the same pixels wherever it runs.

Importing it is quick and imports no backend: names load on first use (PEP 562).
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

# Where each public name lives. Transforms are listed by their modules' __all__, and found there.
_HOMES = {
    "Policy": "onewarp.policy",
    "Spec": "onewarp.spec",
    "Params": "onewarp.params",
    "Plan": "onewarp.plan",
    "OnewarpError": "onewarp.errors",
    "InputError": "onewarp.errors",
    "PolicyError": "onewarp.errors",
    "DataError": "onewarp.errors",
    "MissingDependency": "onewarp.errors",
    "Transform": "onewarp.transform",
    "Geometric": "onewarp.transform",
    "Color": "onewarp.transform",
    "Filter": "onewarp.transform",
    "Erase": "onewarp.transform",
    "Mix": "onewarp.transform",
    **dict.fromkeys(
        (
            "ArraySource",
            "Cifar10Source",
            "ConcatSource",
            "DigitsSource",
            "FileSource",
            "FolderSource",
            "HuggingFaceSource",
            "PairSource",
            "Source",
            "StoreSettings",
            "StoreSource",
            "TableSource",
            "TarSource",
            "WebDatasetSource",
            "cifar10",
            "split",
        ),
        "onewarp.data",
    ),
    **dict.fromkeys(("CocoFile", "CocoSource", "coco_writer"), "onewarp.coco"),
    "Albumentations": "onewarp.interop.albumentations",
    "AugmentedModel": "onewarp.fit.model",
    "Backup": "onewarp.fit.backup",
    "ControlFile": "onewarp.fit.control",
    "Loader": "onewarp.fit.loader",
    "PipelineMonitor": "onewarp.fit.callbacks",
    "SaveExamples": "onewarp.fit.examples",
    "evaluate": "onewarp.fit.evaluate",
    "predict": "onewarp.fit.evaluate",
    "set_memory": "onewarp.fit.memory",
    "resume_fit": "onewarp.fit.backup",
}

if TYPE_CHECKING:
    from onewarp.coco import (
        CocoFile as CocoFile,
    )
    from onewarp.coco import (
        CocoSource as CocoSource,
    )
    from onewarp.coco import (
        coco_writer as coco_writer,
    )
    from onewarp.data import (
        ArraySource as ArraySource,
    )
    from onewarp.data import (
        Cifar10Source as Cifar10Source,
    )
    from onewarp.data import (
        ConcatSource as ConcatSource,
    )
    from onewarp.data import (
        DigitsSource as DigitsSource,
    )
    from onewarp.data import (
        FileSource as FileSource,
    )
    from onewarp.data import (
        FolderSource as FolderSource,
    )
    from onewarp.data import (
        HuggingFaceSource as HuggingFaceSource,
    )
    from onewarp.data import (
        PairSource as PairSource,
    )
    from onewarp.data import (
        Source as Source,
    )
    from onewarp.data import (
        StoreSettings as StoreSettings,
    )
    from onewarp.data import (
        StoreSource as StoreSource,
    )
    from onewarp.data import (
        TableSource as TableSource,
    )
    from onewarp.data import (
        TarSource as TarSource,
    )
    from onewarp.data import (
        WebDatasetSource as WebDatasetSource,
    )
    from onewarp.data import (
        cifar10 as cifar10,
    )
    from onewarp.data import (
        split as split,
    )
    from onewarp.errors import (
        DataError as DataError,
    )
    from onewarp.errors import (
        InputError as InputError,
    )
    from onewarp.errors import (
        MissingDependency as MissingDependency,
    )
    from onewarp.errors import (
        OnewarpError as OnewarpError,
    )
    from onewarp.errors import (
        PolicyError as PolicyError,
    )
    from onewarp.fit.backup import (
        Backup as Backup,
    )
    from onewarp.fit.backup import (
        resume_fit as resume_fit,
    )
    from onewarp.fit.callbacks import (
        PipelineMonitor as PipelineMonitor,
    )
    from onewarp.fit.control import (
        ControlFile as ControlFile,
    )
    from onewarp.fit.evaluate import (
        evaluate as evaluate,
    )
    from onewarp.fit.evaluate import (
        predict as predict,
    )
    from onewarp.fit.examples import (
        SaveExamples as SaveExamples,
    )
    from onewarp.fit.loader import (
        Loader as Loader,
    )
    from onewarp.fit.memory import (
        set_memory as set_memory,
    )
    from onewarp.fit.model import (
        AugmentedModel as AugmentedModel,
    )
    from onewarp.interop.albumentations import (
        Albumentations as Albumentations,
    )
    from onewarp.params import (
        Params as Params,
    )
    from onewarp.plan import (
        Plan as Plan,
    )
    from onewarp.policy import (
        Policy as Policy,
    )
    from onewarp.spec import (
        Spec as Spec,
    )
    from onewarp.transform import (
        Color as Color,
    )
    from onewarp.transform import (
        Erase as Erase,
    )
    from onewarp.transform import (
        Filter as Filter,
    )
    from onewarp.transform import (
        Geometric as Geometric,
    )
    from onewarp.transform import (
        Mix as Mix,
    )
    from onewarp.transform import (
        Transform as Transform,
    )
    from onewarp.transforms.color import *
    from onewarp.transforms.combine import *
    from onewarp.transforms.crop import *
    from onewarp.transforms.erase import *
    from onewarp.transforms.filter import *
    from onewarp.transforms.geometric import *
    from onewarp.transforms.mix import *
    from onewarp.transforms.normalize import *


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(importlib.import_module(_HOMES[name]), name)
    if not name.startswith("_"):
        from onewarp.transforms import vocabulary

        known = vocabulary()
        if name in known:
            return known[name]
    raise AttributeError(f"module 'onewarp' has no attribute {name!r}")


def __dir__() -> list[str]:
    from onewarp.transforms import vocabulary

    return sorted([*globals(), *_HOMES, *vocabulary()])
