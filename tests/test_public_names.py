"""What the packages offer at their top is there, although it is imported only on first use."""

import importlib

import pytest


@pytest.mark.parametrize("package", ["realtime_bridge", "realtime_bridge.transport", "telephony"])
def test_every_public_name_can_be_had_and_no_other(package):
    module = importlib.import_module(package)
    assert sorted(module.__all__) == sorted(module._HOMES)
    for name in module.__all__:
        assert getattr(module, name) is not None
    with pytest.raises(AttributeError, match="no_such_thing"):
        _ = module.no_such_thing
