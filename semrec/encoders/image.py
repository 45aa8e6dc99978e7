"""Embeds images, by URI, in calls of one fixed shape, so that a vector never depends on what it was batched with."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from itertools import islice
from typing import Any, ClassVar, Final

import numpy as np
import torch

from semrec.encoders.base import Encoder, folder_name
from semrec.encoders.contents import ContentError, read_ahead, read_content
from semrec.encoders.devices import (
    DeviceKind,
    Dtype,
    device_kind_of,
    device_name,
    resolve_device,
    resolve_device_of_kind,
    resolve_dtype,
)
from semrec.encoders.image_models import ImageModel, resolve_image_model
from semrec.encoders.pixels import MAX_PIXELS, View, crop_of, image_facts
from semrec.encoders.settings import EmbedSettings
from semrec.encoders.sources import check_weights
from semrec.encoders.vectors import finish_vectors
from semrec.torch_threads import single_threads
from semrec.workspace.digests import fingerprint

__all__ = ["ImageEncoder", "ImageIdentity"]

# Images of one call. On a CPU 4 take as long an image as 16, and a part that does not fill a call pays for the whole of it.
_IMAGES_PER_CALL: Final[dict[DeviceKind, int]] = {"cpu": 4, "cuda": 128}
_MAX_BYTES: Final = 64 << 20  # of one file
_READERS: Final = 16  # a store answers after tens of milliseconds: one reader would have the model wait
_DECODERS: Final = 4  # of the readers, at once: a large image takes 200 MB


@dataclass(frozen=True)
class ImageIdentity:
    """All that an image's vector depends on besides its bytes, the build and the make of the device."""

    kind: ClassVar[str] = "image"
    model: str
    weights_sha256: str
    view: View
    dtype: Dtype
    device_kind: DeviceKind
    images_per_call: int
    dimension: int

    @property
    def fingerprint(self) -> str:
        return fingerprint(self.to_json())

    @property
    def name(self) -> str:
        """The embedding's folder name: the model's short name and 8 digits of the fingerprint."""
        return folder_name(self.model, self.fingerprint, unnamed="images")

    def to_json(self) -> dict[str, Any]:
        view = {**asdict(self.view), "mean": list(self.view.mean), "std": list(self.view.std)}
        return {"kind": self.kind, **asdict(self), "view": view}


class ImageEncoder(Encoder):
    """A loaded model of images. Raises EncoderError when it is not that of the identity, DeviceError without the device."""

    kind: ClassVar[str] = "image"
    modality: ClassVar[str] = "image"

    def __init__(
        self, identity: ImageIdentity, model: ImageModel, *, device: str = "auto", num_threads: int | None = None
    ) -> None:
        check_weights(model.name, model.weights_sha256, identity.weights_sha256)
        self.identity = identity
        self.device = resolve_device_of_kind(device, identity.device_kind, identity.name)
        self._dtype: torch.dtype = getattr(torch, identity.dtype)
        self._features = model.build().eval().to(self.device, self._dtype)
        self._mean, self._std = (
            torch.tensor(v, device=self.device).view(3, 1, 1) for v in (model.view.mean, model.view.std)
        )
        is_cpu = identity.device_kind == "cpu"
        self._num_threads = (num_threads or torch.get_num_threads()) if is_cpu else 1
        # A convolution's bytes depend on the number of threads that share it: so calls share a CPU, and each has one thread.
        self._threads = single_threads(self._num_threads, "semrec-encoder")
        self._decoding = threading.Semaphore(_DECODERS)

    @classmethod
    def plan(cls, settings: EmbedSettings, *, device_kind: DeviceKind | None = None) -> ImageIdentity:
        kind = device_kind or device_kind_of(resolve_device(settings.device))
        model = resolve_image_model(settings.image_model)
        return ImageIdentity(
            model=model.name,
            weights_sha256=model.weights_sha256,
            view=model.view,
            dtype=resolve_dtype(settings.dtype, kind),
            device_kind=kind,
            images_per_call=_IMAGES_PER_CALL[kind],
            dimension=model.dimension,
        )

    @classmethod
    def load(cls, identity: ImageIdentity, settings: EmbedSettings, *, num_threads: int | None = None) -> ImageEncoder:
        model = resolve_image_model(settings.image_model)
        return cls(identity, model, device=settings.device, num_threads=num_threads)

    @classmethod
    def limits(cls, identity: Mapping[str, Any]) -> dict[str, int]:
        return {"max_bytes": _MAX_BYTES, "max_pixels": MAX_PIXELS}

    @classmethod
    def for_callers(cls, identity: ImageIdentity) -> ImageIdentity:
        """See `Encoder.for_callers`: images are embedded one by one."""
        return replace(identity, images_per_call=1)

    @classmethod
    def settings_of(cls, identity: Mapping[str, Any]) -> dict[str, Any]:
        return {"image_model": identity["model"]}

    @property
    def device_name(self) -> str:
        return device_name(self.device)

    def metadata(self, content: str, *, num_thumbnails: int = 0) -> dict[str, Any]:
        """Its format, and its size in pixels."""
        return image_facts(read_content(content, max_bytes=_MAX_BYTES))

    def embed(self, contents: Sequence[str]) -> tuple[np.ndarray, list[tuple[int, str]]]:
        """Embeds the images at the URIs `contents`; see `Encoder.embed`.

        Reasons are those of `read_content` and `crop_of`, "non-finite vector" and "zero vector". Images of a few calls are in
        memory at once. Raises StoreUnavailableError when a store cannot serve now.
        """
        rejected: dict[int, str] = {}
        raw_ND = np.zeros((len(contents), self.identity.dimension), dtype=np.float32)
        crops, calls = self._crops(contents, rejected), deque[tuple[list[int], Future[np.ndarray]]]()
        while batch := list(islice(crops, self.identity.images_per_call)):
            calls.append(([index for index, _ in batch], self._threads.submit(self._call, [crop for _, crop in batch])))
            if len(calls) > 2 * self._num_threads:
                rows, features = calls.popleft()
                raw_ND[rows] = features.result()
        for rows, features in calls:
            raw_ND[rows] = features.result()
        return finish_vectors(raw_ND, rejected)

    def _crops(self, uris: Sequence[str], rejected: dict[int, str]) -> Iterator[tuple[int, np.ndarray]]:
        """The number and pixels of each image that has some, in order; the others go to `rejected`.

        While the caller computes, the images of the next calls are read.
        """
        num_ahead = 2 * max(self.identity.images_per_call, _READERS)
        for index, crop in enumerate(read_ahead(self._readers, self._crop, uris, num_ahead)):
            if isinstance(crop, ContentError):
                rejected[index] = crop.reason
                self.num_unread += crop.is_unread
            else:
                yield index, crop

    def _crop(self, uri: str) -> np.ndarray | ContentError:
        try:
            data = read_content(uri, max_bytes=_MAX_BYTES)
            with self._decoding:
                return crop_of(data, self.identity.view)
        except ContentError as error:
            return error

    @cached_property
    def _readers(self) -> ThreadPoolExecutor:
        return ThreadPoolExecutor(_READERS, "semrec-images")

    def _call(self, crops: list[np.ndarray]) -> np.ndarray:
        """The features of up to `images_per_call` crops, uint8 [height, width, 3] each: float32 [len(crops), D]."""
        view = self.identity.view
        batch = np.zeros((self.identity.images_per_call, view.height, view.width, 3), dtype=np.uint8)
        batch[: len(crops)] = crops
        with torch.inference_mode():
            pixels = (
                torch.from_numpy(batch).to(self.device, torch.float32).permute(0, 3, 1, 2)
            )  # channels_last as it lies
            images = ((pixels - self._mean) / self._std).to(self._dtype)
            return np.asarray(self._features(images).float().cpu().numpy())[: len(crops)]
