"""Commands that are tried in the tests' own process: where they find themselves, and that they leave logging as it was."""

import logging

import pytest

from telephony.settings import Settings


@pytest.fixture
def empty_directory(tmp_path, monkeypatch):
    """The current directory, with nothing in it; no setting in the environment, and no handler of the log."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(logging.getLogger(), "handlers", [])
    for name in Settings.model_fields:
        monkeypatch.delenv(name.upper(), raising=False)
    return tmp_path


@pytest.fixture(autouse=True)
def logging_as_before():
    root = logging.getLogger()
    handlers, levels = root.handlers[:], {logger: (logger.level, logger.disabled) for logger in loggers()}
    yield
    root.handlers[:] = handlers
    for logger in loggers():
        level, logger.disabled = levels.get(logger, (logging.NOTSET, False))
        logger.setLevel(level)


def loggers():
    known = list(logging.Logger.manager.loggerDict.values())
    return [logging.getLogger(), *(logger for logger in known if isinstance(logger, logging.Logger))]
