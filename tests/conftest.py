"""The models load slowly, so all tests of a session share them."""

from __future__ import annotations

import pytest

from realtime_bridge.localmodel.hibari_voice import HibariVoice
from realtime_bridge.localmodel.moonshine import MoonshineRecognizer


@pytest.fixture(scope="session")
def recognizer() -> MoonshineRecognizer:
    return MoonshineRecognizer()


@pytest.fixture(scope="session")
def voice() -> HibariVoice:
    return HibariVoice()
