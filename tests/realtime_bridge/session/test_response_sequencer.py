import pytest

from realtime_bridge.session.ids import Ids
from realtime_bridge.session.responses import METADATA_KEY, QUEUE_MAX, Responses
from realtime_bridge.wire import Response


class Line:
    """The sequencer with a clock and the events a model would send."""

    def __init__(self):
        self.responses = Responses(Ids())
        self.now = 0.0

    def pump(self, *, may_speak=True, quiet=True):
        return self.responses.pump(self.now, may_speak=may_speak, quiet=quiet)

    def one(self, **line):
        (event,) = self.pump(**line)
        return event

    def began(self, response_id, request=None, metadata=None):
        if request is not None:
            metadata = request.response["metadata"]
        return self.responses.began(Response(id=response_id, metadata=metadata), self.now)


@pytest.fixture
def line():
    return Line()


def test_one_at_a_time(line):
    line.responses.demand()
    line.responses.demand()
    first = line.one()
    assert line.pump() == [], "the first has not begun"
    line.began("r1", first)
    assert line.pump() == [], "the first is active"
    line.responses.ended("r1")
    assert line.one().event_id != first.event_id


def test_automatic_asks_merge_and_explicit_ones_do_not(line):
    line.responses.want(items=("a",))
    line.responses.demand({"instructions": "one"})
    line.responses.want(items=("b",))
    line.responses.demand({"instructions": "two"})
    said = []
    for n in range(3):
        request = line.one()
        said.append(request.response.get("instructions"))
        line.began(f"r{n}", request)
        line.responses.ended(f"r{n}")
    assert said == [None, "one", "two"]
    assert line.responses.idle


def test_a_response_of_the_models_own_answers_what_it_already_knows(line):
    line.responses.want(items=("a",))
    line.responses.item_known("a")
    line.began("r1")
    line.responses.ended("r1")
    assert line.pump() == []


def test_a_response_that_began_before_the_item_was_there_does_not_answer_it(line):
    line.responses.want(items=("a",))
    line.began("r1")
    line.responses.item_known("a")
    line.responses.ended("r1")
    assert len(line.pump()) == 1


def test_an_explicit_ask_is_never_dropped_for_the_models_own_response(line):
    line.responses.demand()
    line.began("r1")
    line.responses.ended("r1")
    assert len(line.pump()) == 1


def test_nobody_talks_over_the_caller(line):
    line.responses.demand()
    assert line.pump(may_speak=False) == []
    assert len(line.pump()) == 1


def test_what_should_wait_for_a_quiet_line_does(line):
    line.responses.want(when_idle=True)
    assert line.pump(quiet=False) == []
    assert len(line.pump()) == 1


def test_a_later_ask_that_cannot_wait_hurries_a_merged_one(line):
    line.responses.want(when_idle=True)
    line.responses.want()
    assert len(line.pump(quiet=False)) == 1


def test_cancelled_before_it_began_it_is_an_orphan(line):
    line.responses.demand()
    request = line.one()
    assert line.responses.cancel() is None, "there is no response to cancel yet"
    assert line.began("r1", request).orphan
    assert line.responses.cancel() is None, "it is being cancelled"
    line.responses.ended("r1")
    assert line.responses.idle


def test_an_active_response_is_cancelled_once(line):
    line.began("r1")
    assert line.responses.cancel() == "r1"
    assert line.responses.cancel() is None


def test_a_collision_is_tried_again_after_the_other_response(line):
    line.responses.demand({"instructions": "x"})
    request = line.one()
    code = "conversation_already_has_active_response"
    assert line.responses.refused(request.event_id, code, line.now) == "retried"
    assert line.pump() == [], "somebody else speaks"
    line.began("other")
    line.responses.ended("other")
    again = line.one()
    assert again.response["instructions"] == "x"
    assert again.event_id != request.event_id


def test_a_collision_with_a_response_nobody_hears_of_does_not_block_for_ever(line):
    line.responses.demand()
    line.responses.refused(line.one().event_id, "conversation_already_has_active_response", line.now)
    line.now = line.responses.next_deadline()
    line.responses.expire(line.now)
    assert len(line.pump()) == 1


def test_other_refusals_are_final(line):
    line.responses.demand({"voice": "nonsense"})
    request = line.one()
    assert line.responses.refused(request.event_id, "invalid_value", line.now) == "gave_up"
    assert line.responses.idle
    assert line.responses.refused("somebody_else", None, line.now) == "not_ours"


def test_a_refused_orphan_is_not_asked_again(line):
    line.responses.demand()
    request = line.one()
    line.responses.cancel()
    line.responses.refused(request.event_id, "conversation_already_has_active_response", line.now)
    assert line.pump() == []


def test_a_server_that_drops_metadata_is_understood_at_the_end(line):
    line.responses.demand()
    line.one()
    assert line.began("r1", metadata={}).ask is None
    line.responses.ended("r1")
    assert line.responses.idle


def test_a_response_that_comes_late_is_still_ours(line):
    line.responses.demand()
    request = line.one()
    line.began("foreign")
    line.responses.ended("foreign")
    assert line.began("r1", request).ask is not None
    assert line.responses.active == "r1"


def test_out_of_band_responses_take_no_turn(line):
    line.began("r1")
    line.responses.demand({"conversation": "none"})
    request = line.one(may_speak=False)
    assert line.began("aside", request).ask.aside
    assert line.responses.active == "r1"
    assert not line.responses.ended("aside")


def test_the_programs_own_metadata_is_kept(line):
    line.responses.demand({"metadata": {"topic": "x"}})
    request = line.one()
    assert request.response["metadata"] == {"topic": "x", METADATA_KEY: request.event_id}


def test_a_response_put_back_is_asked_for_first(line):
    line.responses.demand({"instructions": "first"})
    line.responses.demand({"instructions": "second"})
    began = line.began("r1", line.one())
    line.responses.put_back(began.ask)
    line.responses.ended("r1")
    assert line.one().response["instructions"] == "first"


def test_an_unanswered_request_is_tried_again_and_then_given_up(line):
    line.responses.demand()
    tries = 0
    while line.responses.waiting:
        tries += len(line.pump())
        line.now = line.responses.next_deadline() or line.now
        assert line.responses.expire(line.now)
    assert tries == 4


def test_a_response_that_never_ends_is_given_up_when_it_falls_silent(line):
    line.began("r1")
    line.now = 60
    line.responses.heard_of("r1", line.now)
    assert line.responses.expire(line.now + 60) == []
    assert line.responses.expire(line.now + 91)
    assert line.responses.active is None


def test_a_lost_session_takes_requests_with_it_to_the_next(line):
    line.responses.demand({"instructions": "sent"})
    line.responses.demand({"instructions": "queued"})
    line.one()
    line.responses.lost()
    assert line.one().response["instructions"] == "sent"


def test_a_cancelled_request_does_not_survive_a_lost_session(line):
    line.responses.demand()
    line.one()
    line.responses.cancel()
    line.responses.lost()
    assert line.responses.idle


def test_the_queue_has_a_limit(line):
    assert all(line.responses.demand() for _ in range(QUEUE_MAX))
    assert not line.responses.demand()


def test_what_is_not_wanted_any_more_is_withdrawn(line):
    line.responses.demand(about="call_1")
    line.responses.demand(about="call_2")
    line.responses.withdraw("call_1")
    line.one()
    line.responses.withdraw("call_2")
    assert not line.responses.idle, "what was sent, was sent"
