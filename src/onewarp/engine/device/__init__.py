"""The device engine: a plan carried out by the array verbs of the active Keras backend, inside a compiled step.

`run` is all it takes: static shapes, no callback, no loop over the batch, nothing in Python that depends on data, so it
compiles with XLA (JAX, TensorFlow) and torch.compile. The same pixels as on the host: `tests/backends/test_device.py`.

    batch    what becomes of every entry of a batch       pixels   images and masks through passes and filters
    warp     where a pixel comes from                     sample   reading between pixels, and outside
    reduce   box-reduced levels                           colour   maps, tables, hue, statistics
    filters, noise, erase, mix                            verbs    the few verbs that Keras lacks
"""

from __future__ import annotations

from onewarp.engine.device.batch import run
from onewarp.engine.device.pixels import check_device

__all__ = ["check_device", "run"]
