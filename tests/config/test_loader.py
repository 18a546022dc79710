from collections.abc import Iterator
from typing import Any

import pytest
from hydra import initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.errors import ConfigCompositionException, HydraException
from hydra.types import RunMode
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from omegaconf import OmegaConf

from src.config.loader import Composer
from tests.helpers.commands import ROOT


@pytest.fixture(scope="module")
def loader() -> Iterator[Any]:
    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        yield GlobalHydra.instance().config_loader()


OVERRIDES = {
    "optimizer": st.sampled_from(["sgd", "adam"]),
    "model.hidden": st.sampled_from(["[1,2,3]", "[4,5,6]"]),
    "lr": st.sampled_from(["0.1", "1e-3", "5"]),
    "seed": st.integers(0, 9).map(str),
    "+optimizer.foo": st.just("{a: 1, b: [2]}"),
    "~schedule.warmup": st.just(""),
    "hydra.job.name": st.just("x"),
    "output_dir": st.just("'a b/${lr}'"),
}


@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.fixed_dictionaries({"model": st.just("mlp")}, optional=OVERRIDES), st.randoms(use_true_random=False))
def test_composes_as_hydra_does(loader: Any, chosen: dict[str, str], order: Any) -> None:
    overrides = [f"{key}={value}" if value else key for key, value in chosen.items()]
    order.shuffle(overrides)
    master = loader.load_configuration("config", ["hydra/sweeper=basic"], RunMode.MULTIRUN)
    composer = Composer(loader)
    for each in (["model=mlp"], overrides, overrides[::-1], overrides):  # what one gets leaves the next alone
        composed = composer.load_sweep_config(master, list(each))
        expected = loader.load_sweep_config(master, list(each))
        assert OmegaConf.to_yaml(composed) == OmegaConf.to_yaml(expected)
        assert OmegaConf.is_struct(composed) == OmegaConf.is_struct(expected)


@pytest.mark.parametrize("wrong", ["lrr=1", "optimizer=adamm", "model.hiden=1", "seed"])
def test_errors_are_hydras(wrong: str, loader: Any) -> None:
    master = loader.load_configuration("config", [], RunMode.MULTIRUN)
    with pytest.raises((HydraException, ConfigCompositionException)) as expected:
        loader.load_sweep_config(master, [wrong])
    with pytest.raises(type(expected.value)) as found:
        Composer(loader).load_sweep_config(master, [wrong])
    assert str(found.value) == str(expected.value)
