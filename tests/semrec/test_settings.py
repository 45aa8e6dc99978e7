"""The settings of a workspace: one definition of each, kept in a file that people edit, refused by name where it is wrong."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from semrec.errors import InputError, SettingsError
from semrec.settings import EncoderSettings, QuarantineSettings, ReleaseSettings, ScoreSettings, Settings
from semrec.settings_file import (
    SETTINGS_FILE,
    change_settings,
    has_settings,
    read_settings,
    setting_fields,
    setting_value,
    value_text,
    write_settings,
)
from semrec.workspace.storage import Storage

KEYS = [
    "encoder.kind",
    "encoder.model",
    "encoder.image_model",
    "encoder.dtype",
    "encoder.backend",
    "encoder.ocr",
    "encoder.max_tokens",
    "encoder.beside",
    "release.eligibility",
    "release.half_life_days",
    "release.as_of",
    "release.relations_from",
    "release.coarse_format",
    "models.kinds",
    "models.min_interactions",
    "models.search",
    "models.search_users",
    "models.max_fall",
    "models.content_regularization",
    "models.graph_regularization",
    "models.nsvd_dimension",
    "models.nsvd_degree_exponent",
    "models.ials_dimension",
    "models.ials_regularization",
    "models.ials_unobserved_weight",
    "score.k",
    "score.approximate",
    "verify.num_sampled_users",
    "publish.export",
    "publish.export_users",
    "quarantine.max_share",
]
NAMES = st.text(st.characters(codec="utf-8"), min_size=1)


@pytest.fixture(params=["folder", "store"])
def storage(request: pytest.FixtureRequest, tmp_path: Path) -> Storage:
    return Storage(str(tmp_path) if request.param == "folder" else f"memory://settings{tmp_path}")


def written(storage: Storage, text: str) -> Storage:
    storage.write_bytes(SETTINGS_FILE, text.encode())
    return storage


def test_a_workspace_without_a_file_has_the_defaults(storage: Storage) -> None:
    assert not has_settings(storage)
    settings = read_settings(storage)
    assert [value_text(setting_value(settings, key)) for key in KEYS] == [
        *("text", "all-MiniLM-L6-v2", "efficientnet-lite0", "auto", "torch", "False", "256", ""),
        *("platform", "180", "", "", "auto"),
        *("auto", "5000", "True", "20000", "0.1", "", "", "", "", "", "", ""),
        *("20", "False", "8", "", "False", "0.01"),
    ]
    assert list(setting_fields()) == KEYS


def test_every_setting_and_section_is_explained() -> None:
    assert all(field.description and field.description.endswith(".") for field in setting_fields().values())
    assert all(type(section).__doc__ for _, section in Settings())


def test_the_file_holds_every_setting_under_its_sentence(storage: Storage) -> None:
    write_settings(storage, Settings())
    text = storage.read_bytes(SETTINGS_FILE).decode()
    assert has_settings(storage)
    assert [f"{section}.{name}" for section, values in tomllib.loads(text).items() for name in values] == [
        key for key in KEYS if setting_value(Settings(), key) is not None
    ]
    assert "# Recommendations per user. Default: 20.\nk = 20\n" in text
    assert "\n# as_of is not set\n" in text
    prose = text.replace("\n# ", " ")
    assert all(str(field.description) in prose for field in setting_fields().values())


@given(
    model=NAMES,
    eligibility=st.lists(NAMES, unique=True),
    half_life_days=st.floats(min_value=0, exclude_min=True, allow_infinity=False),
    as_of=st.none() | st.integers(0, 2**62),
    max_share=st.floats(0, 1),
    k=st.integers(1, 10_000),
)
def test_what_is_written_is_read(
    model: str, eligibility: list[str], half_life_days: float, as_of: int | None, max_share: float, k: int
) -> None:
    storage = Storage("memory://round-trip")
    settings = Settings(
        encoder=EncoderSettings(model=model),
        release=ReleaseSettings(eligibility=tuple(eligibility), half_life_days=half_life_days, as_of=as_of),
        score=ScoreSettings(k=k),
        quarantine=QuarantineSettings(max_share=max_share),
    )
    write_settings(storage, settings)
    assert read_settings(storage) == settings


def test_a_file_may_name_some_settings_only(storage: Storage) -> None:
    settings = read_settings(written(storage, '[release]\nhalf_life_days = 90\neligibility = ["tier"]\n'))
    assert settings == Settings(release=ReleaseSettings(half_life_days=90.0, eligibility=("tier",)))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[score]\nk = 0\n", "score.k = 0: Input should be greater than or equal to 1; expected Recommendations per user."),
        ('[score]\nk = "20"\n', "score.k = '20': Input should be a valid integer"),
        ("[score]\nk = true\n", "score.k = True: Input should be a valid integer"),
        ("[score]\nkk = 1\n", "unknown setting score.kk; expected one of encoder.kind, "),
        ('[publish]\nexport = ["qdrant"]\n', "publish.export = "),
        ("k = 20\n", "unknown setting k; expected one of encoder.kind, "),
        ("score = 20\n", "score: "),
        ("[scoring]\nk = 20\n", "unknown setting scoring; expected one of "),
        ('[encoder]\nbeside = ["text"]\n', "image or document or primitives, each once, and another than encoder.kind"),
        ('[encoder]\nkind = "image"\nbeside = ["image"]\n', "encoder.beside = "),
        ("[release]\nhalf_life_days = 0\n", "release.half_life_days = 0: Input should be greater than 0"),
        ("[release]\nhalf_life_days = inf\n", "half_life_days"),
        ("[release]\nas_of = 2024-01-01\n", "release.as_of = '2024-01-01': Input should be a valid integer"),
        ('[release]\neligibility = "tier"\n', "release.eligibility = 'tier': "),
        ('[release]\neligibility = ["tier", "tier"]\n', "names of attributes must not be empty or repeated"),
        ('[encoder]\ndtype = "float16"\n', "encoder.dtype = 'float16': Input should be 'auto', 'float32' or 'bfloat16'"),
        ('[models]\nkinds = ["auto", "ials"]\n', "auto alone, or names of models, each once"),
        ("[models]\nials_unobserved_weight = 0\n", "models.ials_unobserved_weight = 0: Input should be greater than 0"),
        ("[score\n", "is not TOML"),
        ("[score]\nk = 1\nk = 2\n", "is not TOML"),
    ],
)  # fmt: skip
def test_a_wrong_file_is_refused_with_its_name_and_key(storage: Storage, text: str, message: str) -> None:
    with pytest.raises(SettingsError) as caught:
        read_settings(written(storage, text))
    assert str(caught.value).startswith(f"{SETTINGS_FILE} in {storage.uri}")
    assert message in str(caught.value)


def test_a_file_that_is_not_text_is_refused(storage: Storage) -> None:
    storage.write_bytes(SETTINGS_FILE, b"\xff\xfe")
    with pytest.raises(SettingsError, match="is not TOML"):
        read_settings(storage)


@pytest.mark.parametrize(
    ("key", "text", "value"),
    [
        ("score.k", "50", 50),
        ("release.half_life_days", "0.5", 0.5),
        ("release.eligibility", "platform, region", ("platform", "region")),
        ("release.eligibility", "", ()),
        ("release.as_of", "1700000000", 1_700_000_000),
        ("release.as_of", "", None),
        ("encoder.model", "owner/name", "owner/name"),
        ("models.kinds", "content", ("content",)),
        ("models.search", "false", False),
        ("models.ials_dimension", "64", 64),
    ],
)
def test_a_setting_is_changed_by_text(key: str, text: str, value: object) -> None:
    before = Settings(release=ReleaseSettings(as_of=7))
    after = change_settings(before, {key: text})
    assert setting_value(after, key) == value
    assert {other for other in KEYS if setting_value(after, other) != setting_value(before, other)} == {key}
    assert setting_value(change_settings(before, {key: value_text(value)}), key) == value


@pytest.mark.parametrize(
    ("key", "text"), [("score.k", "many"), ("score.k", ""), ("score.kk", "1"), ("release.half_life_days", "-1")]
)
def test_an_impossible_change_is_refused_as_wrong_usage(key: str, text: str) -> None:
    with pytest.raises(SettingsError, match=rf"^--here: .*{key}") as caught:
        change_settings(Settings(), {key: text}, source="--here")
    assert isinstance(caught.value, InputError)  # of the kind for which a command ends with exit code 2
