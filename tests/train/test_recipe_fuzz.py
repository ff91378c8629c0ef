"""Whatever is given as a recipe ends in a recipe or in one line that says why not, soon."""

import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from striate.errors import UsageError
from striate.train.recipe import Recipe
from striate.train.written import recipe, to_yaml

FIELDS = sorted(Recipe.model_fields)
SCRAPS = st.sampled_from(
    ["off", "30:0.1", "010", "!!int ", "&a ", "*a", "[", "]", "{", "}", ": ", "\n", "- ", "# ", "'", '"', "? ",
     "---\n", "|\n ", "9" * 5000, "1e999", ".nan", "~", "<<", "=", "\0", "\t", "\ud800", "1h30m", "70/15/15", "20GB",
     "random_crop(", "cuda:"]
)  # fmt: skip
TEXTS = st.lists(st.one_of(SCRAPS, st.sampled_from(FIELDS), st.text(max_size=8)), max_size=30).map("".join)
PLAIN = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), TEXTS, st.binary(max_size=4), st.just(object())
)
VALUES = st.recursive(
    PLAIN,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXTS | st.integers(), inner, max_size=3),
)
MAPPINGS = st.dictionaries(st.sampled_from(FIELDS) | TEXTS | st.integers(), VALUES, max_size=6)
NEEDED = {"data": st.text(min_size=1), "model": st.text(min_size=1)}
VALID: dict[str, st.SearchStrategy[Any]] = {
    "epochs": st.integers(1, 10**6),
    "lr": st.floats(1e-9, 1e3),
    "sched": st.sampled_from(["step", "3:0.1", "2:0.5,30:1e-3"]),
    "split": st.sampled_from(["70/15/15", (0.5, 0.25, 0.25)]),
    "img_size": st.integers(1, 4096) | st.just("24x32"),
    "cache": st.sampled_from(["off", "ram"]),
    "health": st.booleans(),
    "stop_after": st.floats(1e-3, 1e9),
    "classes": st.none() | st.text(),
    "augment": st.sampled_from(["none", "cutmix, cutout(3)"]),
    "columns": st.none() | st.text(),
}
SHORT = settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
LONG = settings(SHORT, max_examples=3000)


def refused_or_right(given_settings: Any, config: Path | None = None) -> None:
    began = time.process_time()
    said = ""
    with suppress(UsageError):
        try:
            assert isinstance(recipe(given_settings, config), Recipe)
        except UsageError as error:
            said = str(error)
            raise
    assert "\n" not in said
    assert len(said) < 1000
    assert time.process_time() - began < 1.5


@pytest.mark.parametrize("effort", [SHORT, pytest.param(LONG, marks=pytest.mark.slow)])
def test_any_text(effort: settings, tmp_path: Path) -> None:
    @effort
    @given(TEXTS)
    def check(text: str) -> None:
        (tmp_path / "r.yaml").write_text(text, "utf-8", "surrogatepass")
        refused_or_right({"data": "digits", "model": "lenet5"}, tmp_path / "r.yaml")

    check()


@pytest.mark.parametrize("effort", [SHORT, pytest.param(LONG, marks=pytest.mark.slow)])
def test_any_mapping(effort: settings) -> None:
    @effort
    @given(MAPPINGS)
    def check(mapping: dict[Any, Any]) -> None:
        refused_or_right({"data": "digits", "model": "lenet5", **mapping})

    check()


@pytest.mark.parametrize("effort", [SHORT, pytest.param(LONG, marks=pytest.mark.slow)])
def test_what_is_written_is_read_back_equal(effort: settings, tmp_path: Path) -> None:
    @effort
    @given(st.fixed_dictionaries(NEEDED, optional=VALID))
    def check(fields: dict[str, Any]) -> None:
        written = recipe(fields)
        (tmp_path / "r.yaml").write_text(to_yaml(written), "utf-8")
        assert recipe({}, tmp_path / "r.yaml") == written

    check()
