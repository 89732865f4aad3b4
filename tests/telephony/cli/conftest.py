"""Commands that are tried in the tests' own process set up its logging: what they changed is put back."""

import logging

import pytest


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
