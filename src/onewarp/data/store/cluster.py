"""`onewarp prepare --engine ray`: the shards of a store written by the workers of a Ray cluster.

A shard is a task. Tasks write into the same folder (a shared file system), each shard whole or not at all and always
with the same bytes; so a task that is lost with its worker is simply given to another one, and a run that was broken
off goes on with the shards that are missing, whichever engine wrote the others.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2

from onewarp.data.base import Source
from onewarp.data.store import layout
from onewarp.data.store.job import Job, begin
from onewarp.data.store.prepare import Progress, finish, write_shard
from onewarp.data.store.settings import StoreSettings
from onewarp.errors import DataError, InputError, MissingDependency, OnewarpError

RETRIES = 10  # how often a shard is given to another worker when its worker has died


def prepare_on_ray(
    source: Source,
    out: str | Path,
    settings: StoreSettings | None = None,
    *,
    address: str | None = None,
    progress: Progress | None = None,
    on_error: str = "raise",
    shard_size: int | None = None,
    overwrite: bool = False,
) -> None:
    """`prepare` on a Ray cluster: the same bytes, by as many processes as the cluster has processors.

    Args:
        address: of the cluster ("auto": the one that this machine belongs to); without it the cluster that this process
            is connected to, or a new one on this machine.
        source, out, settings, progress, on_error, shard_size, overwrite: as in `prepare`. Source and `out` must be at
            the same paths on every machine, and progress moves shard by shard.

    Raises:
        MissingDependency: Ray is not installed.
        DataError, InputError: as in `prepare`.
    """
    try:
        import ray
        import ray.data
    except ImportError:
        raise MissingDependency("--engine ray needs Ray Data; install it with: pip install 'onewarp[ray]'") from None
    job = begin(source, out, settings or StoreSettings(), on_error, shard_size, overwrite)
    missing = job.missing()
    total = len(source)
    done = total - sum(len(layout.shard_rows(job.about, number)) for number in missing)
    if progress is not None:
        progress(done, total)
    if missing:
        mine, context = not ray.is_initialized(), ray.data.DataContext.get_current()
        bars, context.enable_progress_bars = context.enable_progress_bars, False  # ours is shown
        if mine:
            ray.init(address=address, log_to_driver=False, **({} if address else {"include_dashboard": False}))
        try:
            shared = ray.put(job)  # once per machine, not once per task
            numbers = ray.data.from_items([{"shard": number} for number in missing], override_num_blocks=len(missing))
            written = numbers.map(_write, fn_args=(shared,), num_cpus=1, max_retries=RETRIES)
            for row in written.iter_rows():
                if row["error"]:
                    raise (InputError if row["input"] else DataError)(row["error"])
                done += len(layout.shard_rows(job.about, int(row["shard"])))
                if progress is not None:
                    progress(done, total)
        finally:
            context.enable_progress_bars = bars
            if mine:
                ray.shutdown()
    finish(job)


def _write(row: dict[str, Any], shared: Any) -> dict[str, Any]:
    """A task: write the shard of a row. An error that another attempt would not mend comes back as text."""
    import ray

    cv2.setNumThreads(0)
    job: Job = ray.get(shared)
    number = int(row["shard"])
    try:
        write_shard(job, number)
    except OnewarpError as error:
        return {"shard": number, "error": str(error), "input": isinstance(error, InputError)}
    return {"shard": number, "error": "", "input": False}
