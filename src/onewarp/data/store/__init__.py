"""Stores: samples decoded, reduced and encoded once, memory-mapped, every byte under a checksum."""

from onewarp.data.store.prepare import prepare
from onewarp.data.store.reader import StoreSource
from onewarp.data.store.settings import StoreSettings
from onewarp.data.store.verify import verify

__all__ = ["StoreSettings", "StoreSource", "prepare", "verify"]
