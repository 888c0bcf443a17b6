"""Where the time of a training goes, and what each remedy would gain: from measured parts to advice, nothing else.

The loader's threads and the train step work at the same time, so a step takes as long as the slower of the two, and
more where they want the same processors. How much more is told by the training itself, and carried over to what is
predicted.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.table import Table

REUSE = 10  # epochs, in the advice
WORTH = 1.05  # times as fast, from where on advice is given
_BAR = 20


@dataclass(frozen=True)
class OnDevice:
    """The same training with the policy in the train step, seconds per batch.

    Attributes:
        host: what is left for one thread of the loader: reading, decoding, making the images one size.
        copy, step: of the batch as it then is, and of the step with the policy in it.
    """

    host: float
    copy: float
    step: float


@dataclass(frozen=True)
class Parts:
    """What was measured, in seconds per batch.

    Attributes:
        batch_size: samples in a batch.
        threads, processors: of the loader, and of the machine.
        read, decode, augment: one thread's work on a batch; decode is 0 for samples in arrays.
        feed: from batch to batch of the loader alone, with all its threads.
        copy: a batch from the host to the device.
        step: a train step on a batch that lies there.
        together: from step to step of the training as it is.
        data_wait: fraction of that time in which the step waited for data, 0 to 1.
        frame: one thread's work on a batch of frames that are kept; None where it was not measured, as below.
        on_device: with the policy in the train step.
        fast: one thread's work with decode="fast".
        copied: one thread's work to copy decoded images, as a raw store needs.
        short_side: to which a store would reduce the images, in pixels; None where they are no larger.
        shrunk: pixels that would be left of them, 0 to 1.
    """

    batch_size: int
    threads: int
    processors: int
    read: float
    decode: float
    augment: float
    feed: float
    copy: float
    step: float
    together: float
    data_wait: float
    frame: float | None = None
    on_device: OnDevice | None = None
    fast: float | None = None
    copied: float | None = None
    short_side: int | None = None
    shrunk: float = 1.0

    @property
    def work(self) -> float:
        """One thread's work on a batch."""
        return self.read + self.decode + self.augment

    @property
    def busy(self) -> float:
        """What the device needs for a batch, were there nothing to wait for."""
        return self.copy + self.step

    @property
    def at_once(self) -> float:
        """How many threads' worth of work the loader does at a time."""
        return min(max(self.work / self.feed, 1e-9), float(self.threads)) if self.feed > 0 else float(self.threads)

    @property
    def contention(self) -> float:
        """0 where loader and step do not disturb each other, 1 where one works only while the other does not."""
        slower, faster = max(self.feed, self.busy), min(self.feed, self.busy)
        return min(max((self.together - slower) / faster, 0.0), 1.0) if faster > 0 else 0.0

    def predicted(self, work: float, busy: float | None = None, at_once: float | None = None) -> float:
        """Seconds from step to step with other work for the loader, another step, or other threads."""
        feed = work / (self.at_once if at_once is None else at_once)
        busy = self.busy if busy is None else busy
        return max(feed, busy) + self.contention * min(feed, busy)


@dataclass(frozen=True)
class Advice:
    """A change, why it helps, and the seconds from step to step that are expected with it."""

    what: str
    why: str
    seconds: float


def advise(parts: Parts) -> list[Advice]:
    """What would make the training faster, most helpful first; what gains less than 5 % is left out."""
    kinds = (_store, _raw, _fast, _threads, _device, _reuse, _smaller)
    found = [advice for kind in kinds if (advice := kind(parts)) is not None]
    worth = [advice for advice in found if gain(parts, advice) >= WORTH]
    return sorted(worth, key=lambda advice: advice.seconds)


def gain(parts: Parts, advice: Advice) -> float:
    """How many times as fast the training is expected to be with it."""
    return parts.predicted(parts.work) / advice.seconds if advice.seconds > 0 else math.inf


def _store(parts: Parts) -> Advice | None:
    if parts.short_side is None or parts.decode <= 0:
        return None
    work = parts.read * parts.shrunk + parts.decode * parts.shrunk + parts.augment
    return Advice(
        f"prepare a store: onewarp prepare SOURCE STORE --short-side {parts.short_side}",
        f"the images have {1 / parts.shrunk:.1f} times the pixels that the policy can use",
        parts.predicted(work),
    )


def _raw(parts: Parts) -> Advice | None:
    if parts.copied is None or parts.decode <= 0:
        return None
    work = parts.copied * parts.shrunk + parts.augment
    side = "" if parts.short_side is None else f" --short-side {parts.short_side}"
    return Advice(
        f"prepare a store of pixels: onewarp prepare SOURCE STORE{side} --raw",
        "nothing is left to decode; it takes ten times the space of JPEG",
        parts.predicted(work),
    )


def _fast(parts: Parts) -> Advice | None:
    if parts.fast is None:
        return None
    return Advice(
        'Loader(..., decode="fast")', "JPEGs decode faster; pixels differ a little", parts.predicted(parts.fast)
    )


def _threads(parts: Parts) -> Advice | None:
    if parts.threads >= parts.processors:
        return None
    at_once = parts.at_once * parts.processors / parts.threads
    why = f"{parts.threads} of {parts.processors} processors read, decode and augment"
    return Advice(f"Loader(..., threads={parts.processors})", why, parts.predicted(parts.work, at_once=at_once))


def _device(parts: Parts) -> Advice | None:
    there = parts.on_device
    if there is None:
        return None
    seconds = parts.predicted(there.host, busy=there.copy + there.step)
    return Advice('Loader(..., placement="device"), AugmentedModel', "the policy runs in the train step", seconds)


def _reuse(parts: Parts) -> Advice | None:
    if parts.frame is None:
        return None
    work = parts.frame + parts.work / REUSE
    why = f"each sample is augmented once in {REUSE} epochs; fewer different images are seen"
    return Advice(f"Loader(..., reuse={REUSE})", why, parts.predicted(work))


def _smaller(parts: Parts) -> Advice | None:
    """Three quarters of the side: the step and the copy, where their time goes with the pixels."""
    if parts.busy < parts.feed:
        return None
    seconds = parts.predicted(parts.work, busy=parts.busy * 0.75**2)
    return Advice(
        "smaller images: 3/4 of the side", "the step takes longest; if its time goes with its pixels", seconds
    )


def verdict(parts: Parts) -> str:
    """Who waits for whom, in a sentence or two."""
    alone, now = parts.batch_size / parts.busy, parts.batch_size / parts.together
    first = f"The model alone could do {alone:,.0f} images/s; the training does {now:,.0f}. "
    if parts.data_wait < 0.05 and parts.together < 1.15 * parts.busy:
        return first + "The input keeps up: what takes the time is the train step."
    if parts.feed > parts.busy:
        rows: list[tuple[float, str]] = [
            (parts.read, "reading"),
            (parts.decode, "decoding"),
            (parts.augment, "augmenting"),
        ]
        most, name = max(rows)
        share = most / parts.work
        return (
            first + f"The step waits for data {parts.data_wait:.0%} of the time; {share:.0%} of the loader's is {name}."
        )
    return first + "Loader and step could keep up with each other, but they want the same processors."


def table(parts: Parts) -> Table:
    """One line per part, with a bar."""
    from rich import box
    from rich.table import Table

    rows = [
        ("read", parts.read, "one thread"),
        ("decode", parts.decode, "one thread"),
        ("augment", parts.augment, "one thread"),
        ("loader", parts.feed, f"{parts.threads} threads" if parts.threads > 1 else "1 thread"),
        ("copy", parts.copy, "to the device"),
        ("step", parts.step, "the model alone"),
        ("training", parts.together, f"data_wait {parts.data_wait:.0%}"),
    ]
    longest = max(seconds for _, seconds, _ in rows)
    made = Table("part", "ms per batch", "", "images/s", "", box=box.SIMPLE_HEAD, title_justify="left")
    for column in (1, 3):
        made.columns[column].justify = "right"
    for name, seconds, note in rows:
        rate = f"{parts.batch_size / seconds:,.0f}" if seconds > 0 else ""
        made.add_row(name, f"{1e3 * seconds:.2f}", bar(seconds / longest), rate, note)
    return made


def bar(share: float) -> str:
    """A bar of a share of the longest, 0 to 1, in eighths of a character."""
    eighths = round(max(0.0, min(share, 1.0)) * _BAR * 8)
    return "█" * (eighths // 8) + " ▏▎▍▌▋▊▉"[eighths % 8].strip()


def report(parts: Parts, print_it: Callable[..., None]) -> None:
    """The table, the verdict and the advice, through a rich console's `print`."""
    print_it(table(parts))
    print_it(verdict(parts), highlight=False, soft_wrap=True)
    found = advise(parts)
    if not found:
        print_it("Nothing that onewarp can change would make it 5 % faster.", highlight=False)
    for number, advice in enumerate(found):
        print_it(
            "What to change, and how many times as fast that should be:" if number == 0 else "",
            end="\n" * (number == 0),
        )
        text = f"  {gain(parts, advice):.2f}x  {advice.what}\n         {advice.why}"
        print_it(text, highlight=False, soft_wrap=True, markup=False)
