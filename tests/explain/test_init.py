"""Every public name leads to its object, and no module hides a function of its name."""

import inspect
from types import ModuleType

import pytest

import striate.explain


@pytest.mark.parametrize("name", striate.explain.__all__)
def test_public_names(name):
    found = getattr(striate.explain, name)
    assert not isinstance(found, ModuleType)
    assert inspect.getdoc(found)


def test_an_unknown_name():
    with pytest.raises(AttributeError, match="no attribute 'gradcam'"):
        striate.explain.gradcam  # noqa: B018
