"""The policies that `onewarp train` uses without --policy. The files in recipes/policies say the same; a test compares them."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from onewarp.policy import Policy

CIFAR10_MEAN, CIFAR10_STD = (0.4914, 0.4822, 0.4465), (0.247, 0.2435, 0.2616)


def digits_policy() -> Policy:
    """For 8x8 scanned digits, to 32x32: small turns, shears, scales and shifts. No flips: a mirrored 2 is not a 2."""
    import onewarp as ow

    return ow.Policy(
        [ow.Rotate(10), ow.Shear(8), ow.Scale((0.9, 1.1)), ow.Translate(0.08), ow.Resize(32), ow.Rescale(1 / 255)]
    )


def cifar10_policy() -> Policy:
    """For 32x32 photographs: shifts of up to a tenth and mirror images, as in Keras' ResNet example, and normalisation."""
    import onewarp as ow

    return ow.Policy(
        [ow.Translate(0.1), ow.HorizontalFlip(), ow.Normalize(CIFAR10_MEAN, CIFAR10_STD)], fill_mode="nearest"
    )
