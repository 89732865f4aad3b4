"""The page at /metrics: who may read it, what its labels may hold, and the sum over workers."""

import subprocess
import sys

import pytest
from fastapi import FastAPI
from starlette.testclient import TestClient

from telephony.metrics import LABEL_VALUES_MAX, bounded, metrics_route


def client(token: str | None) -> TestClient:
    app = FastAPI()
    app.include_router(metrics_route(token))
    return TestClient(app)


def test_the_page_is_prometheus_text():
    answer = client(None).get("/metrics")
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/plain")
    assert "# TYPE realtime_bridge_calls_total counter" in answer.text
    assert "realtime_bridge_loop_lag_seconds_bucket" in answer.text


@pytest.mark.parametrize(
    "given", [None, "", "Bearer", "Bearer wrong", "secret token", "Bearer secret token ", "Bearer ä"]
)
def test_with_a_token_nobody_else_may_read_it(given):
    guarded = client("secret token")
    headers = {} if given is None else {"Authorization": given.encode()}
    refused = guarded.get("/metrics", headers=headers)
    assert (refused.status_code, refused.headers["www-authenticate"]) == (401, "Bearer")
    assert "realtime_bridge" not in refused.text
    assert guarded.get("/metrics", headers={"Authorization": "Bearer secret token"}).status_code == 200


@pytest.mark.parametrize("value", ["+14155552671", "4155552671", "a14155552671", "x y", "", None, "ä", "a" * 65])
def test_labels_are_nothing_like_numbers_or_text(value):
    assert bounded("test", value) == "other"


def test_labels_from_outside_have_an_end():
    values = {bounded("endless", f"code_{n}") for n in range(3 * LABEL_VALUES_MAX)}
    assert len(values) == LABEL_VALUES_MAX + 1
    assert bounded("endless", "code_0") == "code_0"
    assert bounded("endless", "one_more") == "other"


WORKER = """
import sys
from telephony import metrics
metrics.CALLS.labels("inbound", "they_hung_up").inc(int(sys.argv[1]))
metrics.CALLS_ACTIVE.labels("inbound").inc(int(sys.argv[1]))
"""


def test_workers_numbers_are_added_up(tmp_path):
    environment = {"PROMETHEUS_MULTIPROC_DIR": str(tmp_path), "PYTHONPATH": ":".join(sys.path)}
    for count in ("2", "3"):
        subprocess.run([sys.executable, "-c", WORKER, count], env=environment, check=True, timeout=120)
    show = "from telephony import metrics; print(metrics.page().decode())"
    page = subprocess.run(
        [sys.executable, "-c", show], env=environment, check=True, timeout=120, capture_output=True, text=True
    ).stdout
    assert 'realtime_bridge_calls_total{direction="inbound",outcome="they_hung_up"} 5.0' in page
    assert 'realtime_bridge_calls_active{direction="inbound"} 5.0' in page
