"""The conversion of torchvision's MobileNetV2 gives the same logits, and is refused where it would not."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import MappingProxyType, ModuleType

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn
from transformers import MobileNetV2Config, MobileNetV2ForImageClassification

from trimtab.core.errors import ModelError
from trimtab.models.blocks import map_blocks
from trimtab.models.integrity import CHECKSUM_FILE

REPOSITORY = Path(__file__).resolve().parents[2]
SIZE = 64
CLASSES = 7


@pytest.fixture(scope="module")
def script() -> ModuleType:
    spec = importlib.util.spec_from_file_location(
        "convert_mobilenetv2", REPOSITORY / "scripts" / "convert_mobilenetv2.py"
    )
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class ConvNormActivation(nn.Sequential):
    def __init__(self, inputs: int, outputs: int, kernel: int = 3, stride: int = 1, groups: int = 1) -> None:
        convolution = nn.Conv2d(inputs, outputs, kernel, stride, (kernel - 1) // 2, groups=groups, bias=False)
        super().__init__(convolution, nn.BatchNorm2d(outputs), nn.ReLU6(inplace=True))


class InvertedResidual(nn.Module):
    def __init__(self, inputs: int, outputs: int, stride: int, expansion: int) -> None:
        super().__init__()
        hidden = inputs * expansion
        self.residual = stride == 1 and inputs == outputs
        layers: list[nn.Module] = [ConvNormActivation(inputs, hidden, kernel=1)] if expansion != 1 else []
        layers += [
            ConvNormActivation(hidden, hidden, stride=stride, groups=hidden),
            nn.Conv2d(hidden, outputs, 1, bias=False),
            nn.BatchNorm2d(outputs),
        ]
        self.conv = nn.Sequential(*layers)

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        return values + self.conv(values) if self.residual else self.conv(values)


class TorchvisionMobileNetV2(nn.Module):
    """The module tree of torchvision's `mobilenet_v2`, whose names are those of its state dict: an independent
    witness beside the functional version of the script. Numbers of channels: those of table 2 of Sandler et al. 2018
    times the width, in multiples of 8."""

    CHANNELS = MappingProxyType({0.5: (16, 8, 16, 16, 32, 48, 80, 160), 0.25: (8, 8, 8, 8, 16, 24, 40, 80)})
    REPEATS = (1, 2, 3, 4, 3, 3, 1)
    STRIDES = (1, 2, 2, 2, 1, 2, 1)

    def __init__(self, width: float) -> None:
        super().__init__()
        channels, *stages = self.CHANNELS[width]
        features: list[nn.Module] = [ConvNormActivation(3, channels, stride=2)]
        for outputs, repeats, first_stride in zip(stages, self.REPEATS, self.STRIDES, strict=True):
            expansion = 1 if len(features) == 1 else 6
            for index in range(repeats):
                features.append(InvertedResidual(channels, outputs, first_stride if index == 0 else 1, expansion))
                channels = outputs
        features.append(ConvNormActivation(channels, 1280, kernel=1))
        self.features = nn.Sequential(*features)
        self.classifier = nn.Sequential(nn.Dropout(0.2), nn.Linear(1280, CLASSES))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.classifier(self.features(images).mean(dim=(2, 3)))


def make_original(width: float) -> TorchvisionMobileNetV2:
    """Random weights whose statistics are those of data, so that no activation dies or saturates."""
    torch.manual_seed(0)
    model = TorchvisionMobileNetV2(width)
    with torch.no_grad():
        for module in model.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.weight.uniform_(0.5, 1.5)
                module.bias.normal_(0.3, 0.5)
                module.momentum = None
        for _ in range(2):
            model.train()(torch.randn(8, 3, SIZE, SIZE))
    return model.eval()


@pytest.fixture(scope="module")
def original() -> TorchvisionMobileNetV2:
    return make_original(0.5)


@pytest.fixture
def source(original: TorchvisionMobileNetV2, tmp_path: Path) -> Path:
    folder = tmp_path / "source"
    folder.mkdir()
    save_file(original.state_dict(), folder / "model.safetensors")
    names = ["background", "crane", "bee", "crane", *(f"species {index}" for index in range(4))]
    (folder / "some_labels.txt").write_text("\n".join(names) + "\n")
    return folder


def convert(script: ModuleType, source: Path, output: Path) -> dict[str, float]:
    labels = source / "some_labels.txt"
    return script.convert(source, output, labels=labels, image_size=SIZE, photos=[])


@pytest.mark.parametrize("width", [0.5, 0.25])
def test_functional_version_is_torchvisions(script: ModuleType, width: float) -> None:
    original = make_original(width)
    images = torch.randn(4, 3, SIZE, SIZE)
    with torch.inference_mode():
        expected, found = original(images), script.torchvision_forward(original.state_dict(), images)
    assert float(expected.std()) > 0.01
    assert torch.allclose(found, expected, atol=1e-5)


def test_converted_model_has_equal_logits(
    script: ModuleType, original: TorchvisionMobileNetV2, source: Path, tmp_path: Path
) -> None:
    from transformers import AutoImageProcessor, AutoModelForImageClassification

    differences = convert(script, source, tmp_path / "out")
    assert differences.keys() == {"random"}
    assert differences["random"] <= 1e-4
    assert {file.name for file in (tmp_path / "out").iterdir()} == {
        "config.json", "model.safetensors", "preprocessor_config.json", CHECKSUM_FILE,
    }  # fmt: skip
    model = AutoModelForImageClassification.from_pretrained(tmp_path / "out").eval()
    for size in (SIZE, 75):  # an odd size too: strides then round
        images = torch.randn(4, 3, size, size)
        with torch.inference_mode():
            assert torch.allclose(model(images).logits, original(images), atol=1e-4)
    assert model.config.id2label[0] == "crane"
    assert model.config.id2label[1] == "bee"
    assert model.config.id2label[2] == "crane [2]"
    assert len(model.config.label2id) == CLASSES
    assert map_blocks(model).depth == 16
    processor = AutoImageProcessor.from_pretrained(tmp_path / "out", backend="pil")
    assert [*processor.image_mean, *processor.image_std] == [0.485, 0.456, 0.406, 0.229, 0.224, 0.225]
    assert dict(processor.size)["shortest_edge"] == SIZE * 8 // 7


def test_difference_is_refused_and_nothing_kept(
    script: ModuleType, source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another stride in one block: the comparison must notice."""
    monkeypatch.setattr(script, "STRIDES", (2, 1, 2, 1, 1, 2, 1, 1, 1, 2, 1, 1, 2, 1, 1, 1))
    with pytest.raises(ModelError, match="logits differ"):
        convert(script, source, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_padding_of_tensorflow_would_be_noticed(
    script: ModuleType, original: TorchvisionMobileNetV2, source: Path, tmp_path: Path
) -> None:
    convert(script, source, tmp_path / "out")
    config = MobileNetV2Config.from_pretrained(tmp_path / "out")
    images = torch.randn(2, 3, SIZE, SIZE)
    for tf_padding in (False, True):
        config.tf_padding = tf_padding
        model = MobileNetV2ForImageClassification.from_pretrained(tmp_path / "out", config=config).eval()
        difference = script.largest_difference(original.state_dict(), model, images)
        assert difference > 1e-3 if tf_padding else difference <= 1e-4


def test_width_that_transformers_cannot_build_is_refused(script: ModuleType, source: Path, tmp_path: Path) -> None:
    save_file(make_original(0.25).state_dict(), source / "model.safetensors")
    with pytest.raises(ModelError, match="No MobileNetV2 of a known width"):
        convert(script, source, tmp_path / "out")


@pytest.mark.parametrize(("remove", "add"), [("features.3.conv.1.0.weight", None), (None, "features.19.weight")])
def test_other_tensors_are_refused(
    script: ModuleType, source: Path, tmp_path: Path, remove: str | None, add: str | None
) -> None:
    tensors = load_file(source / "model.safetensors")
    tensors = {name: tensor for name, tensor in tensors.items() if name != remove}
    save_file(tensors | ({add: torch.ones(1)} if add else {}), source / "model.safetensors")
    with pytest.raises(ModelError, match=remove or add):
        convert(script, source, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_wrong_labels_are_refused(script: ModuleType, source: Path, tmp_path: Path) -> None:
    (source / "some_labels.txt").write_text("one\ntwo\n")
    with pytest.raises(ModelError, match="names 2 labels, and the classifier has 7 classes"):
        convert(script, source, tmp_path / "out")
    file = tmp_path / "imagenet_labels.txt"
    file.write_text("\n".join(f"class {index}" for index in range(1000)))
    with pytest.raises(ModelError, match="class 0 should be 'tench', found 'class 0'"):
        script.read_labels(file, 1000)


def test_command_line_answers_errors_with_code_2(
    script: ModuleType, source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert script.main([str(source), str(tmp_path / "out"), "--image-size", str(SIZE)]) == 0
    assert "largest difference of a logit, random" in capsys.readouterr().out
    assert script.main([str(source), str(tmp_path / "out"), "--image-size", str(SIZE)]) == 2
    assert "File exists" in capsys.readouterr().err


def test_real_imagenet_weights(script: ModuleType, shared_data: Path, tmp_path: Path) -> None:
    """Equal logits on photos, and ImageNet's own `ant` and `bee` recognised without training."""
    from transformers import AutoModelForImageClassification

    weights, photos = shared_data / "weights" / "mobilenetv2_imagenet", shared_data / "hymenoptera" / "val"
    for folder in (weights, photos):
        if not folder.is_dir():
            pytest.skip(f"no {folder}")
    files = {name: sorted((photos / name).iterdir()) for name in ("ants", "bees")}
    differences = script.convert(
        weights,
        tmp_path / "out",
        labels=weights / "imagenet_labels.txt",
        image_size=224,
        photos=files["ants"][:4] + files["bees"][:4],
    )
    assert max(differences["random"], differences["photos"]) <= 1e-4
    model = AutoModelForImageClassification.from_pretrained(tmp_path / "out").eval()
    labels = {name: model.config.id2label[index] for name, index in (("ants", 310), ("bees", 309))}
    assert labels == {"ants": "ant, emmet, pismire", "bees": "bee"}
    right = total = 0
    for name, paths in files.items():
        for start in range(0, len(paths), 8):
            images = script.prepare_photos(tmp_path / "out", paths[start : start + 8])
            with torch.inference_mode():
                found = [model.config.id2label[index] for index in model(images).logits.argmax(dim=1).tolist()]
            right += found.count(labels[name])
            total += len(found)
    assert total == 153
    assert 0.6 < right / total < 0.75


def test_real_insect_weights(script: ModuleType, shared_data: Path, tmp_path: Path) -> None:
    weights = shared_data / "weights" / "mobilenetv2_insects"
    if not weights.is_dir():
        pytest.skip(f"no {weights}")
    labels = weights / "inat_insect_labels.txt"
    differences = script.convert(weights, tmp_path / "out", labels=labels, image_size=224, photos=[])
    assert differences["random"] <= 1e-4
    assert script.read_labels(labels, 1021)[0] == "Nicrophorus tomentosus (Tomentose Burying Beetle)"
