"""Log lines on stderr."""

import asyncio
import json
import logging
import re

import pytest

from telephony.logs import CHATTY, JsonFormatter, call_context, call_logger, configure_logging
from telephony.redaction import Redactor

CALL = "CA" + "5" * 32


@pytest.fixture(autouse=True)
def loggers_as_before():
    loggers = [logging.getLogger(), *map(logging.getLogger, CHATTY)]
    before = [(logger, logger.handlers[:], logger.level) for logger in loggers]
    yield
    for logger, handlers, level in before:
        logger.handlers[:], logger.level = handlers, level


def test_machines_get_one_object_a_line(capsys):
    configure_logging("info", "json", worker="w2")
    log = logging.getLogger("telephony.test")
    log.debug("not shown")
    try:
        int("no number")
    except ValueError:
        log.exception("call %s failed", "CA1")
    (line,) = capsys.readouterr().err.splitlines()
    record = json.loads(line)
    assert (record["level"], record["logger"], record["message"]) == ("error", "telephony.test", "call CA1 failed")
    assert record["time"].endswith("+00:00")
    assert record["worker"] == "w2"
    assert record["exception"].startswith("Traceback")
    assert "ValueError" in record["exception"]


def test_people_get_plain_lines(capsys):
    configure_logging("warning", "console")
    logging.getLogger("telephony.test").info("not shown")
    logging.getLogger("telephony.test").warning("shown")
    assert capsys.readouterr().err.endswith("WARNING telephony.test: shown\n")


def test_a_line_break_in_a_message_makes_no_second_json_line():
    record = logging.makeLogRecord({"msg": "a\nb", "levelname": "INFO", "name": "x"})
    assert "\n" not in JsonFormatter(Redactor()).format(record)


@pytest.mark.parametrize("style", ["console", "json"])
def test_every_line_of_a_calls_work_carries_its_sid_and_no_others(capsys, style):
    configure_logging("info", style)
    log = logging.getLogger("telephony.test")

    async def tool():
        log.info("from a task of a task")

    async def call():
        log.info("from the task")
        await asyncio.create_task(tool())

    async def server():
        loop = asyncio.get_running_loop()
        await loop.create_task(call(), context=call_context(CALL))
        call_logger(log, CALL).warning("from a callback")
        log.info("from the server")

    asyncio.run(server())
    lines = capsys.readouterr().err.splitlines()
    assert [CALL in line for line in lines] == [True, True, True, False]
    if style == "json":
        assert [json.loads(line).get("call_sid") for line in lines] == [CALL, CALL, CALL, None]


@pytest.mark.parametrize("style", ["console", "json"])
def test_secrets_and_numbers_are_masked_in_messages_arguments_and_tracebacks(capsys, style):
    configure_logging("info", style, secrets=["the auth token"])
    log = logging.getLogger("telephony.test")
    number, error = "+14155552671", "the auth token of (415) 555-2671 was wrong"
    try:
        try:
            {}[number]
        except KeyError as e:
            raise ValueError(error) from e
    except ValueError:
        log.exception("call from %s", number, stack_info=True)
    said = capsys.readouterr().err
    assert said.count("***671") == 3, "in the message, in the error and in its cause"
    assert not re.search(r"555\D?2", said), "times of day hold all sorts of digits"
    assert "the auth token" not in said


def test_libraries_that_tell_of_every_request_are_quiet_unless_debugged(capsys):
    configure_logging("info", "console")
    logging.getLogger("uvicorn.error").info("connection open")
    logging.getLogger("httpx").info("HTTP Request: POST")
    logging.getLogger("uvicorn.error").warning("Exceeded")
    assert capsys.readouterr().err.count("\n") == 1
    configure_logging("debug", "console")
    logging.getLogger("uvicorn.error").info("connection open")
    assert "connection open" in capsys.readouterr().err


def test_configured_patterns_are_in_no_line(capsys):
    configure_logging("warning", "console", rules=("cards", r"(?i)password is (\w+)"))
    logging.getLogger("telephony.test").warning("The password is Grün, order 4711")
    assert capsys.readouterr().err.endswith("The password is ••••, order 4711\n")
