"""Fractions among a network's options, and what is said of a user's own data, through the configuration of a run."""

import pytest
import yaml

from pipeline.config import load_config
from pipeline.errors import PipelineError
from pipeline.report.provenance import options_of


def test_a_fraction_is_an_option_and_is_recorded(tiny):
    plain = load_config(options=tiny)
    config = load_config(options=tiny, sets=["model.options.dropout=0.25"])
    assert config.model_spec((1, 8, 8), 10).options == {"width": 16, "dropout": 0.25}
    recorded = yaml.safe_load(config.to_yaml())
    assert recorded["model"]["options"] == {"width": 16, "dropout": 0.25}
    assert type(config).model_validate(recorded) == config
    assert config.digest() != plain.digest()
    assert "model.options.dropout=0.25" in options_of(config)
    for text in ("0", "0.0"):
        assert load_config(options=tiny, sets=[f"model.options.dropout={text}"])


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("dropout=1.0", "mlp option dropout must be at least 0.0 and at most 0.9, got 1.0"),
        ("dropout=true", "mlp option dropout must be of type float, got True"),
        ("dropout='0.1'", "mlp option dropout must be of type float, got '0.1' .str.; write it without quotes"),
        ("depth=2.0", "mlp option depth must be of type int, got 2.0"),
    ],
)
def test_a_value_that_does_not_fit_is_one_line(tiny, setting, message):
    with pytest.raises(PipelineError, match=message):
        load_config(options=tiny, sets=[f"model.options.{setting}"])


def test_data_that_says_nothing_new_is_what_it_was():
    own = {"data.name": "folder:photos"}
    plain = load_config(options=own)
    assert sorted(plain.scientific()["data"]) == ["mode", "name", "skip_bad", "test_fraction"]
    assert load_config(options=own, sets=["data.stratified=false"]).digest() == plain.digest()
    before = yaml.safe_load(plain.to_yaml())
    for name in ("stratified", "leave_out"):  # as a version before wrote it down
        before["data"].pop(name)
    assert type(plain).model_validate(before).digest() == plain.digest()


def test_stratified_and_left_out_classes_are_set_recorded_and_told_apart():
    own = {"data.name": "folder:photos"}
    sets = ["data.stratified=true", "data.leave_out=[BACKGROUND_Google]"]
    config = load_config(options=own, sets=sets)
    assert config.data.image_options.stratified is True
    assert config.data.image_options.left_out == ("BACKGROUND_Google",)
    assert load_config(options=own, sets=[sets[0], "data.leave_out=BACKGROUND_Google"]) == config
    assert type(config).model_validate(yaml.safe_load(config.to_yaml())) == config
    digests = {load_config(options=own, sets=some).digest() for some in ([], sets[:1], sets[1:], sets)}
    assert len(digests) == 4
    said = options_of(config)
    assert {"data.stratified=true", "data.leave_out=[BACKGROUND_Google]"} <= set(said)
    for setting in sets:
        with pytest.raises(PipelineError, match="expected folder:PATH or npz:PATH with it, got 'digits'"):
            load_config(sets=[setting])
