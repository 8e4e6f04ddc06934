"""The configuration: defaults, and the schema that agrees with the code."""

import copy
import inspect

import pytest
import yaml

from holdfast.config import check, read
from holdfast.errors import HoldfastError
from tests.workspace import ROOT

SCHEMA = ROOT / "workflow/schemas/config.schema.yaml"


@pytest.fixture
def smoke():
    return read(ROOT / "studies/smoke.yaml")


@pytest.mark.parametrize("name", ["config.yaml", "studies/smoke.yaml"])
def test_the_shipped_studies_are_valid(name):
    assert check(read(ROOT / name), SCHEMA)["statistics"]["confidence"] == 0.95


def test_defaults_are_filled_in_and_the_input_is_left_alone(smoke):
    before = copy.deepcopy(smoke)
    checked = check(smoke, SCHEMA)
    assert smoke == before
    assert checked["tuners"]["lora"]["rank"] == 4
    assert checked["tunings"][0]["site"] == "denoiser"
    assert checked["statistics"] == {"draws": 1000, "confidence": 0.95, "seed": 0}
    del smoke["tuners"]["lora"]["snapshots"]
    assert check(smoke, SCHEMA)["tuners"]["lora"]["snapshots"] == [4], "the last step"
    # Filled once, there is nothing left to fill.
    assert check(checked, SCHEMA) == checked


@pytest.mark.parametrize(("section", "method"), [("editors", "uce"), ("tuners", "lora")])
def test_the_schema_has_a_methods_settings_with_its_defaults(section, method):
    """A setting that the schema lacks can't be studied, one that the method lacks would be a dead option."""
    from holdfast import editors, tuners

    function = {"editors": editors.EDITORS, "tuners": tuners.TUNERS}[section][method]
    parameters = {
        name: parameter.default
        for name, parameter in inspect.signature(function).parameters.items()
        if parameter.kind is parameter.KEYWORD_ONLY
    }
    # What the job decides and not the study: where, on what, and how it goes on after a kill.
    for name in ("seed", "site", "checkpoint_dir", "checkpoint_every", "cache", "progress"):
        parameters.pop(name, None)
    settings = yaml.safe_load(SCHEMA.read_text())["$defs"][method]["properties"]
    settings.pop("method")
    assert settings.keys() == parameters.keys()
    for name, default in parameters.items():
        if default is not None:
            assert settings[name]["default"] == (list(default) if isinstance(default, tuple) else default), name


def test_registries_and_schema_name_the_same_methods():
    from holdfast import editors, families, scorers, tuners

    properties = yaml.safe_load(SCHEMA.read_text())["properties"]
    names = {
        section: properties[section]["additionalProperties"]["properties"][key]["enum"]
        for section, key in (("editors", "method"), ("tuners", "method"), ("scorers", "kind"))
    }
    assert names == {
        "editors": [*editors.EDITORS],
        "tuners": [*tuners.TUNERS],
        "scorers": [*scorers.SCORERS],
    }
    kinds = yaml.safe_load(SCHEMA.read_text())["$defs"]["family"]["properties"]["kind"]["enum"]
    assert kinds == [*families.FAMILIES]


def test_yaml_that_is_none(tmp_path):
    path = tmp_path / "study.yaml"
    for text, sentence in {
        "a: [1": "line 2: this is no valid YAML",
        "a: 1\na: 2": "the key 'a' is there twice",
        "- 1": "keys at its top level",
        "a: !!python/object/apply:os.system [true]": "no valid YAML",
    }.items():
        path.write_text(text + "\n")
        with pytest.raises(HoldfastError, match=sentence):
            read(path)
