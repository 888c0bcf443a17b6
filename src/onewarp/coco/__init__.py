"""COCO: annotation files, photographs with their annotations as a source, augmented samples written back."""

from onewarp.coco.annotations import CocoFile, Problem, Rle
from onewarp.coco.source import CocoSource
from onewarp.coco.writer import CocoWriter, coco_writer

__all__ = ["CocoFile", "CocoSource", "CocoWriter", "Problem", "Rle", "coco_writer"]
