"""Sources of samples, and batches as a pure function of (epoch, index). Nothing here imports Keras."""

from onewarp.data.base import Source, SubsetSource
from onewarp.data.concat import ConcatSource
from onewarp.data.decode import EncodedImage, EncodedMask, decode_mask
from onewarp.data.files import FileSource, FolderSource
from onewarp.data.huggingface import HuggingFaceSource
from onewarp.data.named import CIFAR10_CLASSES, Cifar10Source, DigitsSource, cifar10
from onewarp.data.order import order
from onewarp.data.pairs import PairSource
from onewarp.data.sources import ArraySource
from onewarp.data.splitting import split
from onewarp.data.store import StoreSettings, StoreSource
from onewarp.data.table import TableSource
from onewarp.data.tar import TarSource
from onewarp.data.webdataset import WebDatasetSource

__all__ = [
    "CIFAR10_CLASSES",
    "ArraySource",
    "Cifar10Source",
    "ConcatSource",
    "DigitsSource",
    "EncodedImage",
    "EncodedMask",
    "FileSource",
    "FolderSource",
    "HuggingFaceSource",
    "PairSource",
    "Source",
    "StoreSettings",
    "StoreSource",
    "SubsetSource",
    "TableSource",
    "TarSource",
    "WebDatasetSource",
    "cifar10",
    "decode_mask",
    "order",
    "split",
]
