"""Bring a MobileNetV2 with torchvision's tensor names into the layout of transformers, and prove that it is the same.

    python scripts/convert_mobilenetv2.py SOURCE OUTPUT [--images FOLDER]

SOURCE holds `model.safetensors` and a file of label names, one a line, in the order of the classes (a `background`
line, first or last, is dropped when the classifier has no row for it). OUTPUT is then a directory for `--model`.

The proof: the network of torchvision (Sandler et al. 2018, https://arxiv.org/abs/1801.04381), written out below in
plain `torch.nn.functional` calls that read the source tensors, gives the same logits as the converted model that was
saved and loaded again, on random images and on real ones. A difference above 1e-4 is refused, and nothing is kept.
"""

from __future__ import annotations

import argparse
import shutil
import sys
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor
from torch.nn import functional
from transformers import AutoModelForImageClassification, MobileNetV2Config, MobileNetV2ForImageClassification
from transformers.models.mobilenet_v2.image_processing_pil_mobilenet_v2 import MobileNetV2ImageProcessorPil

from trimtab.core.errors import ModelError, TrimtabError
from trimtab.models.integrity import check_weights
from trimtab.models.loading import load_processor, save_model
from trimtab.models.quiet import quiet_transformers
from trimtab.models.sources import resolve_model

LARGEST_DIFFERENCE = 1e-4
BATCH_NORM_EPSILON = 1e-5
CLASSIFIER_DROPOUT = 0.2
IMAGENET_MEAN, IMAGENET_STD = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]
# Below 0.35 torchvision adds its input to the first block's output, as their channels are equal; transformers does not.
WIDTHS = (1.0, 0.75, 0.5, 0.35, 1.3, 1.4)
# Blocks 2 to 17 of torchvision: the first of each stage halves the resolution, or not.
STRIDES = (2, 1, 2, 1, 1, 2, 1, 1, 1, 1, 1, 1, 2, 1, 1, 1)
# Some ImageNet classes by their index, to notice labels in another order.
IMAGENET_ANCHORS = {0: "tench", 309: "bee", 310: "ant", 717: "pickup", 999: "toilet tissue"}
IMAGE_SUFFIXES = {".jpg", ".jpeg", ".png"}


def torchvision_forward(tensors: dict[str, Tensor], images: Tensor) -> Tensor:
    """MobileNetV2 as torchvision computes it in evaluation mode, from the tensors alone.

    Args:
        tensors: by torchvision's names.
        images: `[batch, 3, height, width]`, normalised.

    Returns:
        Logits `[batch, classes]`.
    """

    def layer(values: Tensor, conv: str, norm: str, stride: int = 1, depthwise: bool = False) -> Tensor:
        weight = tensors[f"{conv}.weight"]
        groups = weight.shape[0] if depthwise else 1
        values = functional.conv2d(values, weight, stride=stride, padding=weight.shape[-1] // 2, groups=groups)
        mean, variance = tensors[f"{norm}.running_mean"], tensors[f"{norm}.running_var"]
        scale, shift = tensors[f"{norm}.weight"], tensors[f"{norm}.bias"]
        return functional.batch_norm(values, mean, variance, scale, shift, False, 0.0, BATCH_NORM_EPSILON)

    values = functional.relu6(layer(images, "features.0.0", "features.0.1", stride=2))
    block = "features.1.conv"
    inner = functional.relu6(layer(values, f"{block}.0.0", f"{block}.0.1", depthwise=True))
    inner = layer(inner, f"{block}.1", f"{block}.2")
    values = values + inner if values.shape[1] == inner.shape[1] else inner
    for index, stride in enumerate(STRIDES, start=2):
        block = f"features.{index}.conv"
        inner = functional.relu6(layer(values, f"{block}.0.0", f"{block}.0.1"))
        inner = functional.relu6(layer(inner, f"{block}.1.0", f"{block}.1.1", stride=stride, depthwise=True))
        inner = layer(inner, f"{block}.2", f"{block}.3")
        values = values + inner if stride == 1 and values.shape[1] == inner.shape[1] else inner
    values = functional.relu6(layer(values, "features.18.0", "features.18.1"))
    return functional.linear(values.mean(dim=(2, 3)), tensors["classifier.1.weight"], tensors["classifier.1.bias"])


def convert_names(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """The same tensors under the names of `MobileNetV2ForImageClassification`.

    Raises:
        ModelError: tensors are missing, or there are some that MobileNetV2 does not have.
    """
    layers = {
        "conv_stem.first_conv": ("features.0.0", "features.0.1"),
        "conv_stem.conv_3x3": ("features.1.conv.0.0", "features.1.conv.0.1"),
        "conv_stem.reduce_1x1": ("features.1.conv.1", "features.1.conv.2"),
        "conv_1x1": ("features.18.0", "features.18.1"),
    }
    for index in range(2, 18):
        source, target = f"features.{index}.conv", f"layer.{index - 2}"
        layers[f"{target}.expand_1x1"] = (f"{source}.0.0", f"{source}.0.1")
        layers[f"{target}.conv_3x3"] = (f"{source}.1.0", f"{source}.1.1")
        layers[f"{target}.reduce_1x1"] = (f"{source}.2", f"{source}.3")
    names = {f"classifier.{part}": f"classifier.1.{part}" for part in ("weight", "bias")}
    for target, (conv, norm) in layers.items():
        names[f"mobilenet_v2.{target}.convolution.weight"] = f"{conv}.weight"
        for part in ("weight", "bias", "running_mean", "running_var", "num_batches_tracked"):
            names[f"mobilenet_v2.{target}.normalization.{part}"] = f"{norm}.{part}"
    required = {source for source in names.values() if not source.endswith("num_batches_tracked")}
    missing, surplus = sorted(required - set(tensors)), sorted(set(tensors) - set(names.values()))
    if missing or surplus:
        raise ModelError(
            f"The tensors are not those of torchvision's MobileNetV2: missing {missing[:3]}, not known {surplus[:3]}.",
            remedy="Give a model.safetensors with torchvision's names (features.0.0.weight … classifier.1.bias).",
        )
    return {target: tensors.get(source, torch.tensor(0)) for target, source in names.items()}


def build_model(tensors: dict[str, Tensor], labels: list[str], image_size: int) -> MobileNetV2ForImageClassification:
    """The converted model in evaluation mode; its width multiplier is the one whose shapes agree with the tensors.

    Raises:
        ModelError: no width multiplier fits.
    """
    converted = convert_names(tensors)
    shapes = {name: tensor.shape for name, tensor in converted.items()}
    for width in WIDTHS:
        config = MobileNetV2Config(
            depth_multiplier=width,
            hidden_act="relu6",
            tf_padding=False,
            layer_norm_eps=BATCH_NORM_EPSILON,
            classifier_dropout_prob=CLASSIFIER_DROPOUT,
            image_size=image_size,
            id2label=dict(enumerate(labels)),
            label2id={label: index for index, label in enumerate(labels)},
        )
        with torch.device("meta"):
            skeleton = MobileNetV2ForImageClassification(config)
        if {name: tensor.shape for name, tensor in skeleton.state_dict().items()} == shapes:
            model = MobileNetV2ForImageClassification(config)
            model.load_state_dict(converted)
            return model.eval()
    raise ModelError(
        f"No MobileNetV2 of a known width ({', '.join(map(str, WIDTHS))}) has the shapes of these tensors.",
        remedy="Check that the tensors are those of torchvision's mobilenet_v2.",
    )


def read_labels(file: Path, num_classes: int) -> list[str]:
    """Label names in the order of the classes; a name that occurs again gets its class index.

    Raises:
        ModelError: their number is not that of the classes, or a file of ImageNet labels is in another order.
    """
    names = [line.strip() for line in file.read_text(encoding="utf-8").splitlines() if line.strip()]
    if len(names) == num_classes + 1 and "background" in (names[0], names[-1]):
        names = names[1:] if names[0] == "background" else names[:-1]
    if len(names) != num_classes:
        raise ModelError(
            f"{file} names {len(names)} labels, and the classifier has {num_classes} classes.",
            remedy="Give the file of labels that belongs to the weights with --labels.",
        )
    if "imagenet" in file.name.lower():
        for index, start in IMAGENET_ANCHORS.items():
            if not names[index].startswith(start):
                raise ModelError(
                    f"{file} is not in ImageNet's order: class {index} should be {start!r}, found {names[index]!r}.",
                    remedy="Give the labels in the order of the classes with --labels.",
                )
    return [name if names.index(name) == index else f"{name} [{index}]" for index, name in enumerate(names)]


def make_image_processor(image_size: int) -> MobileNetV2ImageProcessorPil:
    """Torchvision's evaluation transform: shorter edge to 8/7 of the size, bilinear; centre crop; ImageNet's mean and
    standard deviation."""
    return MobileNetV2ImageProcessorPil(
        size={"shortest_edge": image_size * 8 // 7},
        crop_size={"height": image_size, "width": image_size},
        image_mean=IMAGENET_MEAN,
        image_std=IMAGENET_STD,
        do_convert_rgb=True,
    )


def largest_difference(tensors: dict[str, Tensor], model: Any, images: Tensor) -> float:
    """Largest absolute difference between torchvision's logits and the model's on `images`."""
    with torch.inference_mode():
        return float((torchvision_forward(tensors, images) - model(images).logits).abs().max())


def convert(source: Path, output: Path, *, labels: Path, image_size: int, photos: list[Path]) -> dict[str, float]:
    """Convert, save, load again, and compare.

    Returns:
        Largest difference of a logit on random images and, where there are any, on real photos.

    Raises:
        ModelError: the source cannot be converted, or the logits differ; `output` is removed then.
        FileExistsError: `output` exists.
    """
    check_weights(source)
    tensors = load_file(source / "model.safetensors")
    model = build_model(tensors, read_labels(labels, len(tensors["classifier.1.bias"])), image_size)
    output.mkdir(parents=True)
    save_model(model, make_image_processor(image_size), output)
    with quiet_transformers():
        loaded = AutoModelForImageClassification.from_pretrained(output, trust_remote_code=False).eval()
    batches = {"random": torch.randn(8, 3, image_size, image_size, generator=torch.Generator().manual_seed(0))}
    if photos:
        batches["photos"] = prepare_photos(output, photos)
    differences = {name: largest_difference(tensors, loaded, images) for name, images in batches.items()}
    if not max(differences.values()) <= LARGEST_DIFFERENCE:
        shutil.rmtree(output)
        raise ModelError(
            f"The converted model's logits differ from torchvision's by {max(differences.values()):.1e}, more than "
            f"{LARGEST_DIFFERENCE:.0e}.",
            remedy="The source is not a MobileNetV2 as torchvision computes it.",
        )
    return differences


def prepare_photos(model: Path, photos: list[Path]) -> Tensor:
    """Photos through the saved image processor, `[photos, 3, height, width]`."""
    from PIL import Image

    processor = load_processor(resolve_model(str(model.absolute())), "image")
    images = [Image.open(photo).convert("RGB") for photo in photos]
    return processor(images, return_tensors="pt")["pixel_values"]


def main(arguments: list[str] | None = None) -> int:
    """Run the command line and return its exit code."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("source", type=Path, help="folder with model.safetensors and a file of labels")
    parser.add_argument("output", type=Path, help="folder to make")
    parser.add_argument("--labels", type=Path, help="file of labels; the *labels*.txt in SOURCE when absent")
    parser.add_argument("--images", type=Path, help="folder of photos to compare on, besides random images")
    parser.add_argument("--image-size", type=int, default=224, help="edge of the images in pixels")
    options = parser.parse_args(arguments)
    try:
        labels = options.labels or next(iter(sorted(options.source.glob("*labels*.txt"))), None)
        if labels is None:
            raise ModelError(f"{options.source} holds no *labels*.txt.", remedy="Name the file with --labels.")
        photos = []
        if options.images is not None:
            photos = sorted(file for file in options.images.rglob("*") if file.suffix.lower() in IMAGE_SUFFIXES)[:16]
        differences = convert(
            options.source, options.output, labels=labels, image_size=options.image_size, photos=photos
        )
    except TrimtabError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    except OSError as error:
        print(f"{error.filename}: {error.strerror}", file=sys.stderr)
        return 2
    for name, difference in differences.items():
        print(f"largest difference of a logit, {name}: {difference:.1e} (allowed {LARGEST_DIFFERENCE:.0e})")
    print(f"{options.output} is ready: trimtab train DATA --model {options.output}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
