"""Log lines on stderr."""

import json
import logging

import pytest

from telephony.logs import JsonFormatter, configure_logging


@pytest.fixture(autouse=True)
def root_logger_as_before():
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:], root.level = handlers, level


def test_machines_get_one_object_a_line(capsys):
    configure_logging("info", "json")
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
    assert record["exception"].startswith("Traceback")
    assert "ValueError" in record["exception"]


def test_people_get_plain_lines(capsys):
    configure_logging("warning", "console")
    logging.getLogger("telephony.test").info("not shown")
    logging.getLogger("telephony.test").warning("shown")
    assert capsys.readouterr().err.endswith("WARNING telephony.test: shown\n")


def test_a_line_break_in_a_message_makes_no_second_json_line():
    record = logging.makeLogRecord({"msg": "a\nb", "levelname": "INFO", "name": "x"})
    assert "\n" not in JsonFormatter().format(record)
