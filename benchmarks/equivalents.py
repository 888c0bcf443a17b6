"""The table of equivalents: what stands for each of our transforms in the other libraries. One row each, as
expressions, so that the page can show what was compared.

Parameters are the same where the definitions are; where they are not, they were chosen so that the work is the
same, and `note` says how a peer's differs. None: that library has nothing like it. Everything fires on every image.
Albumentations' brightness and contrast are RandomBrightnessContrast, its fastest way (one table look-up).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Row:
    """Expressions of `ow` = onewarp, `A` = albumentations, `v2` = torchvision.transforms.v2, `K` = kornia.augmentation.

    frame: what it runs on: "photo" (480x640), "square" (480x480), or "batch" (mixes: batches of 224x224 with labels).
    floats: torchvision gets floats in [0, 1], because it does not take uint8 here. (kornia always gets floats.)
    """

    onewarp: str
    albumentations: str | None = None
    torchvision: str | None = None
    kornia: str | None = None
    frame: str = "photo"
    floats: bool = False
    label: str = ""
    note: str = ""

    @property
    def name(self) -> str:
        return self.label or self.transform

    @property
    def transform(self) -> str:
        """The class of ours that the row is about."""
        return self.onewarp.split("(")[0].removeprefix("ow.")

    def make(self, library: str, **modules: Any) -> Any:
        """The transform of `library`, or None. modules: what the expression may name, such as `A`."""
        expression = getattr(self, library)
        return None if expression is None else eval(expression, {"__builtins__": {"dict": dict}, **NAMES, **modules})


_STILL = {"brightness": (1, 1), "contrast": (1, 1), "saturation": (1, 1), "hue": (0, 0), "p": 1}
NAMES = {"MEAN": (0.485, 0.456, 0.406), "STD": (0.229, 0.224, 0.225), "STILL": _STILL}
ANTIALIAS = "albumentations and kornia do not antialias, onewarp and torchvision do"
ROWS = (
    # geometry
    Row(
        "ow.HorizontalFlip(p=1)",
        "A.HorizontalFlip(p=1)",
        "v2.RandomHorizontalFlip(p=1)",
        "K.RandomHorizontalFlip(p=1.0)",
    ),
    Row("ow.VerticalFlip(p=1)", "A.VerticalFlip(p=1)", "v2.RandomVerticalFlip(p=1)", "K.RandomVerticalFlip(p=1.0)"),
    Row("ow.Transpose(p=1)", "A.Transpose(p=1)", frame="square"),
    Row(
        "ow.Rotate90()",
        "A.RandomRotate90(p=1)",
        kornia="K.RandomRotation90((0, 3), p=1.0)",
        frame="square",
        note="kornia interpolates",
    ),
    Row("ow.D4()", "A.D4(p=1)", frame="square"),
    Row(
        "ow.Rotate(15)",
        "A.Rotate(limit=15, p=1)",
        "v2.RandomRotation(15, interpolation=v2.InterpolationMode.BILINEAR)",
        "K.RandomRotation(15.0, p=1.0)",
    ),
    Row(
        "ow.Translate(0.1)",
        "A.Affine(translate_percent=(-0.1, 0.1), p=1)",
        "v2.RandomAffine(0, translate=(0.1, 0.1), interpolation=v2.InterpolationMode.BILINEAR)",
        "K.RandomAffine(0.0, translate=(0.1, 0.1), p=1.0)",
        note="albumentations and torchvision shift by whole pixels",
    ),
    Row(
        "ow.Scale((0.8, 1.2))",
        "A.Affine(scale=(0.8, 1.2), p=1)",
        "v2.RandomAffine(0, scale=(0.8, 1.2), interpolation=v2.InterpolationMode.BILINEAR)",
        "K.RandomAffine(0.0, scale=(0.8, 1.2), p=1.0)",
    ),
    Row(
        "ow.Shear(10)",
        "A.Affine(shear=dict(x=(-10, 10), y=(0, 0)), p=1)",
        "v2.RandomAffine(0, shear=10, interpolation=v2.InterpolationMode.BILINEAR)",
        "K.RandomShear((-10.0, 10.0), p=1.0)",
    ),
    Row(
        "ow.Affine(degrees=15, translate=0.1, scale=(0.8, 1.2), shear=10)",
        "A.Affine(rotate=15, translate_percent=0.1, scale=(0.8, 1.2), shear=dict(x=(-10, 10), y=(0, 0)), p=1)",
        "v2.RandomAffine(15, (0.1, 0.1), (0.8, 1.2), 10, v2.InterpolationMode.BILINEAR)",
        "K.RandomAffine(15.0, (0.1, 0.1), (0.8, 1.2), 10.0, p=1.0)",
    ),
    Row(
        "ow.Perspective(0.3, p=1)",
        "A.Perspective(scale=(0.05, 0.1), p=1)",
        "v2.RandomPerspective(0.3, p=1)",
        "K.RandomPerspective(0.3, p=1.0)",
        note="albumentations draws the corners from a normal distribution",
    ),
    Row(
        "ow.ElasticTransform(0.03, 4, p=1)",
        "A.ElasticTransform(alpha=50, sigma=5, p=1)",
        "v2.ElasticTransform(alpha=50.0, sigma=5.0)",
        "K.RandomElasticTransform((41, 41), (5.0, 5.0), (0.1, 0.1), p=1.0)",
        note="the peers blur noise per pixel (a wider blur would be slower), onewarp has a spline on a coarse grid",
    ),
    Row("ow.GridDistortion(5, 0.3, p=1)", "A.GridDistortion(num_steps=5, distort_limit=0.3, p=1)"),
    # crops and sizes
    Row(
        "ow.CenterCrop(224)",
        "A.CenterCrop(224, 224)",
        "v2.CenterCrop(224)",
        "K.CenterCrop(224)",
    ),
    Row(
        "ow.RandomCrop(224)",
        "A.RandomCrop(224, 224)",
        "v2.RandomCrop(224)",
        "K.RandomCrop((224, 224))",
    ),
    Row(
        "ow.RandomResizedCrop(224, scale=(0.35, 1.0))",
        "A.RandomResizedCrop((224, 224), scale=(0.35, 1.0))",
        "v2.RandomResizedCrop(224, scale=(0.35, 1.0))",
        "K.RandomResizedCrop((224, 224), scale=(0.35, 1.0))",
        note=ANTIALIAS,
    ),
    Row("ow.Resize(224)", "A.Resize(224, 224)", "v2.Resize((224, 224))", "K.Resize((224, 224))", note=ANTIALIAS),
    Row(
        "ow.ResizeShortest(224)",
        "A.SmallestMaxSize(224)",
        "v2.Resize(224)",
        "K.SmallestMaxSize(224)",
        note=ANTIALIAS,
    ),
    Row(
        "ow.ResizeLongest(224)",
        "A.LongestMaxSize(224)",
        "v2.Resize(None, max_size=224)",
        "K.LongestMaxSize(224)",
        note=ANTIALIAS,
    ),
    Row("ow.ResizeCover(224)", "A.SmallestMaxSize(224)", "v2.Resize(224)", "K.SmallestMaxSize(224)", note=ANTIALIAS),
    Row(
        "ow.LetterBox(224)",
        "A.Compose([A.LongestMaxSize(224), A.PadIfNeeded(224, 224)])",
        "v2.Compose([v2.Resize(None, max_size=224), v2.CenterCrop(224)])",
        note=ANTIALIAS,
    ),
    Row("ow.Pad(16)", "A.Pad(padding=16)", "v2.Pad(16)", "K.PadTo((512, 672))", note="kornia pads right and bottom"),
    # colour
    Row(
        "ow.Brightness(0.2)",
        "A.RandomBrightnessContrast(brightness_limit=0.2, contrast_limit=0, p=1)",
        "v2.ColorJitter(brightness=0.2)",
        "K.RandomBrightness((0.8, 1.2))",
        note="albumentations and kornia shift, onewarp and torchvision scale",
    ),
    Row(
        "ow.Contrast(0.2)",
        "A.RandomBrightnessContrast(brightness_limit=0, contrast_limit=0.2, p=1)",
        "v2.ColorJitter(contrast=0.2)",
        "K.RandomContrast((0.8, 1.2))",
        note="albumentations and kornia scale about 0, not about the mean, for which the image is read twice",
    ),
    Row(
        "ow.Saturation(0.2)",
        "A.ColorJitter(**STILL | dict(saturation=(0.8, 1.2)))",
        "v2.ColorJitter(saturation=0.2)",
        "K.RandomSaturation((0.8, 1.2))",
    ),
    Row(
        "ow.Hue(0.1)",
        "A.ColorJitter(**STILL | dict(hue=(-0.1, 0.1)))",
        "v2.ColorJitter(hue=0.1)",
        "K.RandomHue((-0.1, 0.1))",
        label="Hue, linear",
        note="a rotation about the grey axis; the peers turn the hue in HSV",
    ),
    Row(
        'ow.Hue(0.1, method="hsv")',
        "A.ColorJitter(**STILL | dict(hue=(-0.1, 0.1)))",
        "v2.ColorJitter(hue=0.1)",
        "K.RandomHue((-0.1, 0.1))",
        label="Hue, HSV",
    ),
    Row(
        "ow.ColorJitter(0.2, 0.2, 0.2, 0.1)",
        "A.ColorJitter(0.2, 0.2, 0.2, 0.1, p=1)",
        "v2.ColorJitter(0.2, 0.2, 0.2, 0.1)",
        "K.ColorJitter(0.2, 0.2, 0.2, 0.1)",
        label="ColorJitter, linear hue",
        note="the peers turn the hue in HSV",
    ),
    Row(
        'ow.ColorJitter(0.2, 0.2, 0.2, 0.1, hue_method="hsv")',
        "A.ColorJitter(0.2, 0.2, 0.2, 0.1, p=1)",
        "v2.ColorJitter(0.2, 0.2, 0.2, 0.1)",
        "K.ColorJitter(0.2, 0.2, 0.2, 0.1)",
        label="ColorJitter, HSV hue",
    ),
    Row("ow.Gamma((0.8, 1.25))", "A.RandomGamma(gamma_limit=(80, 125), p=1)", kornia="K.RandomGamma((0.8, 1.25))"),
    Row("ow.Grayscale(p=1)", "A.ToGray(p=1)", "v2.RandomGrayscale(p=1)", "K.RandomGrayscale(p=1.0)"),
    Row("ow.Invert(p=1)", "A.InvertImg(p=1)", "v2.RandomInvert(p=1)", "K.RandomInvert(p=1.0)"),
    Row("ow.Posterize(4, p=1)", "A.Posterize(4, p=1)", "v2.RandomPosterize(4, p=1)", "K.RandomPosterize(4, p=1.0)"),
    Row(
        "ow.Solarize(0.5, p=1)",
        "A.Solarize(threshold_range=(0.5, 0.5), p=1)",
        "v2.RandomSolarize(128, p=1)",
        "K.RandomSolarize((0.5, 0.5), (0.0, 0.0), p=1.0)",
    ),
    Row("ow.AutoContrast(p=1)", "A.AutoContrast(p=1)", "v2.RandomAutocontrast(p=1)", "K.RandomAutoContrast()"),
    Row(
        "ow.Equalize(p=1)",
        "A.Equalize(p=1)",
        "v2.RandomEqualize(p=1)",
        "K.RandomEqualize(p=1.0)",
        note="albumentations has OpenCV's definition, the others Pillow's",
    ),
    Row(
        "ow.ChannelShuffle(p=1)",
        "A.ChannelShuffle(p=1)",
        "v2.RandomChannelPermutation()",
        "K.RandomChannelShuffle(p=1.0)",
    ),
    Row(
        "ow.ChannelShift(0.1)",
        "A.RGBShift(25.5, 25.5, 25.5, p=1)",
        kornia="K.RandomRGBShift(0.1, 0.1, 0.1, p=1.0)",
    ),
    Row(
        'ow.Normalize("imagenet")',
        "A.Normalize(MEAN, STD)",
        "v2.Compose([v2.ToDtype(torch.float32, scale=True), v2.Normalize(MEAN, STD)])",
        "K.Normalize(MEAN, STD)",
        note="uint8 in, float32 out; kornia starts from floats",
    ),
    Row(
        "ow.Rescale(1 / 255)",
        "A.ToFloat(max_value=255)",
        "v2.ToDtype(torch.float32, scale=True)",
        note="uint8 in, float32 out",
    ),
    # filters
    Row(
        "ow.GaussianBlur((0.1, 2), p=1)",
        "A.GaussianBlur(blur_limit=(13, 13), sigma_limit=(0.1, 2), p=1)",
        "v2.GaussianBlur(13, (0.1, 2))",
        "K.RandomGaussianBlur((13, 13), (0.1, 2.0), p=1.0)",
    ),
    Row(
        "ow.GaussianNoise((0.01, 0.05), p=1)",
        "A.GaussNoise(std_range=(0.01, 0.05), p=1)",
        "v2.GaussianNoise(sigma=0.03)",
        "K.RandomGaussianNoise(std=0.03, p=1.0)",
        note="torchvision and kornia have one strength for all",
    ),
    # erasing
    Row("ow.RandomErasing(p=1)", "A.Erasing(p=1)", "v2.RandomErasing(p=1)", "K.RandomErasing(p=1.0)"),
    Row("ow.CoarseDropout(p=1)", "A.CoarseDropout((1, 8), (0.05, 0.15), (0.05, 0.15), p=1)"),
    Row("ow.GridDropout(0.5, (0.1, 0.3), p=1)", "A.GridDropout(ratio=0.5, unit_size_range=(48, 144), p=1)"),
    # mixing
    Row(
        "ow.MixUp()",
        torchvision="v2.MixUp(alpha=0.2, num_classes=10)",
        kornia="K.RandomMixUpV2()",
        frame="batch",
        floats=True,
    ),
    Row("ow.CutMix()", torchvision="v2.CutMix(num_classes=10)", kornia="K.RandomCutMixV2()", frame="batch"),
)
