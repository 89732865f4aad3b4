"""`*.call.yaml`: what it says, and the mistakes that people make in it."""

import wave

import pytest

from telephony.call_files import call_file
from telephony.call_files.call_file import load_call_file
from telephony.call_files.yaml_reading import FILE_BYTES_MAX, FileMistakesError
from telephony.expectations import (
    ANYTHING,
    AnswerTimes,
    Ended,
    HandedOff,
    Interruptions,
    Like,
    Matches,
    NoDeadAir,
    NotHandedOff,
    NotSaid,
    OneOf,
    Said,
    ToolCalled,
    ToolNotCalled,
    ToolsInOrder,
)
from telephony.testing import HangUp, InterruptAfter, InterruptAt, Pause, Press, Recorded

GOOD = """\
agent: desk:agent
caller:
  - Hello.
expect:
  - said: Welcome
"""


@pytest.fixture
def loaded(tmp_path):
    def load(text):
        path = tmp_path / "order.call.yaml"
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return load_call_file(path)

    return load


@pytest.fixture
def mistakes(loaded):
    def told(text):
        with pytest.raises(FileMistakesError) as caught:
            loaded(text)
        return str(caught.value)

    return told


def write_wav(path, *, seconds=0.5, rate=8000, width=2, channels=1):
    with wave.open(str(path), "wb") as file:
        file.setnchannels(channels)
        file.setsampwidth(width)
        file.setframerate(rate)
        file.writeframes(b"\1\2" * int(seconds * rate * width * channels / 2))


def test_the_example_of_the_docstring_is_understood_whole(loaded, tmp_path):
    write_wav(tmp_path / "hello.wav", rate=16000)
    example = call_file.__doc__.split("\n\n")[1]
    call = loaded("\n".join(line[4:] for line in example.splitlines()))
    assert call.agent == "front_desk:agent"
    recorded = call.caller[7]
    assert isinstance(recorded, Recorded)
    assert (recorded.text, len(recorded.mulaw)) == ("Hello.", 4000)
    assert [step for step in call.caller if step is not recorded] == [
        "Where is my order A1042?",
        InterruptAt("Tuesday"),
        "No, the other one.",
        Pause(3000),
        Press("1"),
        Press("2"),
        Press("#"),
        HangUp(),
    ]
    assert list(call.expect) == [
        ToolCalled("find_order", {"order_id": "A1042", "note": Like("by tuesday")}, times=1),
        ToolNotCalled("refund"),
        ToolsInOrder(["find_order", "cancel_order"]),
        Said("it was shipped on Monday"),
        Said(pattern="ship(ped|s)"),
        NotSaid("guarantee"),
        HandedOff("Billing"),
        NotHandedOff("Sales"),
        Ended("the caller hung up"),
        AnswerTimes(max_ms=1500, p50_ms=800),
        Interruptions(max=1),
        NoDeadAir(4),
    ]
    assert call.expected_at[0] == "order.call.yaml:12:5"
    assert (call.model, call.speech, call.tools, call.approvals, call.runs) == ("local", "auto", "live", "approve", 1)


def test_less_common_ways_to_write_things(loaded):
    call = loaded(
        """
agent: desk.agents:agent
runs: 3
pass-rate: 90%
tools: {find: {status: shipped, "no": 0042, many: [1, 2.5, true, null]}}
caller:
  - say: "yes"
  - interrupt: Stop
    after: 1.5 s
  - hang up
expect:
  - tool: find
    with: {a: {matches: ^x}, b: {one_of: [1, two]}, c: {any: true}, d: {plain: object}, e: 0042, f: 10:30, g: yes}
    agent: Desk
    outcome: failed
  - never called: find
    with: {a: 1}
  - said: {text: hello, by: caller, likeness: 70%}
  - not said: {means: it promises money}
    agent: Billing
  - handoff: Billing
    from: Desk
  - no-handoff: any
  - interruptions: 2
""".replace("hand-off", "handoff")
    )
    assert (call.runs, call.pass_rate) == (3, 0.9)
    assert call.tools == {"find": {"status": "shipped", "no": "0042", "many": [1, 2.5, True, None]}}
    assert call.caller == ("yes", InterruptAfter(1500), "Stop", HangUp())
    arguments = {
        "a": Matches("^x"),
        "b": OneOf((1, "two")),
        "c": ANYTHING,
        "d": {"plain": "object"},
        "e": "0042",
        "f": "10:30",
        "g": "yes",
    }
    assert list(call.expect) == [
        ToolCalled("find", arguments, agent="Desk", outcome="failed"),
        ToolNotCalled("find", {"a": 1}),
        Said("hello", by="caller", likeness_min=70),
        NotSaid(meaning="it promises money", agent="Billing"),
        HandedOff("Billing", from_="Desk"),
        NotHandedOff(),
        Interruptions(max=2, min=2),
    ]


def test_a_tape_needs_no_expectations_and_its_tools_are_the_recorded_ones(loaded, tmp_path):
    (tmp_path / "call.tape").write_bytes(b"")
    call = loaded("agent: desk:agent\ntape: call.tape\n")
    assert (call.expect, call.tools, call.approvals) == (None, "recorded", "recorded")
    assert call.tape == tmp_path / "call.tape"


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("expect:", "expcet:", "4:1: a call has no 'expcet'; did you mean 'expect'?\n    expcet:\n    ^"),
        ("agent: desk:agent\n", "", "1:1: no agent: add 'agent: MODULE:NAME'"),
        ("desk:agent", "", "1:7: 'agent' must be text, not nothing"),
        ("desk:agent", "desk", "1:8: 'agent' must be MODULE:NAME, as in 'front_desk:agent', not 'desk'"),
        ("desk:agent", "./desk.py:agent", "perhaps desk:agent"),
        ("desk:agent", "desk.py:agent", "not 'desk.py:agent'; perhaps desk:agent"),
        ("desk:agent", "[desk, agent]", "1:8: 'agent' must be text, not a list"),
        ("caller:\n  - Hello.\n", "", "1:1: nobody calls: add 'caller' with what is said, 'tape' or 'wav'"),
        ("caller:\n  - Hello.\n", "caller: Hello.\n", "2:9: 'caller' must be a list, each entry behind '- ', not 'Hello.'"),
        ("  - Hello.\n", "  []\n", "3:3: 'caller' is empty; one who only listens says 'hang up'"),
        ("caller:\n  - Hello.\n", "tape: nowhere.tape\n", "2:7: there is no 'nowhere.tape' beside this file"),
        ("  - Hello.\n", "  - Hello.\ntape: x\n", "4:1: both 'caller' and 'tape'; one of them calls"),
        ("- Hello.", "- sya: Hello.", "3:5: a step of the caller has no 'sya'; did you mean 'say'?"),
        ("- Hello.", "- wait: 2 s", "3:5: a step of the caller has no 'wait'; did you mean 'silence'?"),
        ("- Hello.", "- Are you open: on Sunday?", "has no 'Are you open'; a text with ': ' in it must be in quotes"),
        ("- Hello.", "- say: Hello.\n    press: 1", "3:5: a step does one thing, this one does 'say' and 'press'"),
        ("- Hello.", "- interrupt: Stop.", "3:16: an interruption needs its moment: say when, with 'at: WORD'"),
        ("- Hello.", "- interrupt: Stop.\n    after: 800", "4:12: 'after' must be a time with its unit"),
        ("- Hello.", "- interrupt: Stop.\n    after: 800", "(perhaps '800 s' or '800 ms'?)"),
        ("- Hello.", "- say: Hello.\n    at: word", "4:5: 'at' belongs to 'interrupt'"),
        ("- Hello.", "- silence: soon", "3:14: 'silence' must be a time with its unit, such as 800 ms or 2.5 s, not 'soon'"),
        ("- Hello.", "- press: 12x", "3:12: a telephone has no key 'X'"),
        ("- Hello.", "- recording: no.wav", "3:16: there is no 'no.wav' beside this file"),
        ("- Hello.", "-", "3:4: a step of the caller must be 'key: value' lines, not nothing"),
        ("  - said: Welcome\n", "", "4:8: 'expect' must be a list, each entry behind '- ', not nothing"),
        ("  - said: Welcome\n", "  []\n", "5:3: 'expect' is empty"),
        ("- said: Welcome", "- sad: Welcome", "5:5: an expectation has no 'sad'; did you mean 'said'?"),
        ("- said: Welcome", "- tool: x\n    arguments: {a: 1}", "an expectation has no 'arguments'; did you mean 'with'?"),
        ("- said: Welcome", "- latency: 2 s", "an expectation has no 'latency'; did you mean 'answers_within'?"),
        ("- said: Welcome", "- no dead air: 4 s", "has no 'no dead air'; did you mean 'no_dead_air_over'?"),
        ("- said: Welcome", "- weather: fine", "an expectation has no 'weather'; it may have tool, with"),
        ("- said: Welcome", "- said: [Welcome]", "5:11: 'text' must be text, not a list"),
        ("- said: Welcome", "- said: {matches: '('}", "is no regular expression: missing ), unterminated subpattern"),
        ("- said: Welcome", "- said: {text: a, matches: b}", "5:11: words need exactly one of text, pattern and meaning"),
        ("- said: Welcome", "- said: '!?'", "5:11: there is no word in '!?'"),
        ("- said: Welcome", "- said: {text: a, by: robot}", "'by' must be agent or caller, not 'robot'"),
        ("- said: Welcome", "- said: a\n    not_said: b", "5:5: one expectation after the other, each behind '- '; here is 'said' and"),
        ("- said: Welcome", "- said: a\n    times: 2", "6:5: 'times' does not belong to 'said'; it may have by, agent, likeness"),
        ("- said: Welcome", "- with: {a: 1}", "here is none of tool, never_called"),
        ("- said: Welcome", "- tool: x\n    with: [1]", "6:11: 'with' must name arguments, as in {order_id: A1042}"),
        ("- said: Welcome", "- tool: x\n    times: often", "6:12: 'times' must be a whole number from 0 on, not 'often'"),
        ("- said: Welcome", "- tool: x\n    with: {a: {matches: '['}}", "6:25: '[' is no regular expression"),
        ("- said: Welcome", "- order: [x]", "5:12: an order needs two tools at least"),
        ("- said: Welcome", "- interruptions: {maximum: 1}", "5:21: 'interruptions' has no 'maximum'; did you mean 'max'?"),
        ("- said: Welcome", "- no_dead_air_over: 4", "5:23: 'no_dead_air_over' must be a time with its unit"),
        ("- said: Welcome", "- said: a\n  - said: b\nagent: x:y", "7:1: 'agent' is here twice; the first is in line 1"),
        ("agent:", "model: gpt\nagent:", "1:8: 'model' must be local or openai, not 'gpt'"),
        ("agent:", "speech: txet\nagent:", "must be auto, real or text, not 'txet'; did you mean 'text'?"),
        ("agent:", "tools: recorded\nagent:", "1:8: only a tape has recorded tools"),
        ("agent:", "runs: 0\nagent:", "1:7: 'runs' must be a whole number from 1 on, not '0'"),
        ("agent:", "runs: 1000\nagent:", "1:7: 'runs' may be 100 at most"),
        ("agent:", "pass_rate: 90\nagent:", "1:12: 'pass_rate' must be from 0 to 1, or per cent (90%), not '90'"),
        ("agent:", "script: no.yaml\nagent:", "1:9: there is no 'no.yaml' beside this file"),
    ],
)  # fmt: skip
def test_mistakes_are_told_with_place_and_remedy(mistakes, old, new, told):
    assert old in GOOD
    said = mistakes(GOOD.replace(old, new, 1))
    assert told in said
    assert said.startswith("order.call.yaml:")


def test_all_mistakes_are_told_at_once_in_order(mistakes):
    said = mistakes(GOOD.replace("desk:agent", "desk").replace("said", "sad"))
    assert [line for line in said.splitlines() if line.startswith("order")] == [
        "order.call.yaml:1:8: 'agent' must be MODULE:NAME, as in 'front_desk:agent', not 'desk'",
        "order.call.yaml:5:5: an expectation has no 'sad'; did you mean 'said'?",
    ]


def test_many_mistakes_do_not_fill_the_screen(mistakes):
    said = mistakes(GOOD + "  - sad: x\n" * 50)
    assert said.endswith("and 40 more")


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "order.call.yaml: empty"),
        ("# nothing\n", "order.call.yaml: empty"),
        ("Hello", "1:1: a call must be 'key: value' lines, not 'Hello'"),
        ("- a\n", "1:1: a call must be 'key: value' lines, not a list"),
        ("agent: desk:agent\n\tcaller: x\n", "2:1: a tab: YAML is indented with spaces"),
        ("agent: it's: this\n", "1:12: ': ' has a meaning in YAML: put the text in quotes"),
        ('agent: "desk\n', "a quotation mark or bracket is not closed"),
        (GOOD + "---\n" + GOOD, "6:1: one file is one call"),
        (b"agent: \xff\n", "1:8: not UTF-8 text; save it as UTF-8"),
        (b"agent: a\x00b\n", "a character that no YAML may hold"),
        ("a: &x 1\nb: *x\n", "2:4: *x: aliases are not understood here; write it out, or in quotes"),
        ("caller: [*hello*]\n", "1:16: a text that begins with '*' or '&' must be in quotes"),
        ("caller: " + "[" * 10_000, "nested more than 20 deep"),
        ("caller: " + "{a: " * 10_000, "nested more than 20 deep"),
        ("#" * (FILE_BYTES_MAX + 1), "longer than 100,000 bytes; is it the right file?"),
    ],
)
def test_what_is_no_call_at_all_is_refused(mistakes, text, told):
    assert told in mistakes(text)


def test_a_bomb_of_aliases_does_not_go_off(mistakes):
    bomb = "a: &a [x, x, x, x, x, x, x, x, x]\n" + "".join(
        f"{chr(98 + n)}: &{chr(98 + n)} [{', '.join(['*' + chr(97 + n)] * 9)}]\n" for n in range(20)
    )
    assert "aliases are not understood" in mistakes(bomb)


def test_ten_megabytes_are_refused_unread(mistakes):
    assert "longer than" in mistakes("a: b\n" * 2_000_000)


def test_a_file_that_cannot_be_read_is_told(tmp_path):
    with pytest.raises(FileMistakesError, match=r"no\.call\.yaml: cannot be read: No such file"):
        load_call_file(tmp_path / "no.call.yaml")


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"channels": 2}, "x.wav has two channels: a recording of one who speaks has one"),
        ({"width": 1}, "8-bit samples"),
        ({"rate": 4000}, "4000 Hz"),
        ({"seconds": 61}, "x.wav is too long: something said takes 60 s at most"),
        ({"seconds": 130, "rate": 16000}, "x.wav is too long"),
        ({"seconds": 0}, "there is no sound in it"),
    ],
)
def test_recordings_of_the_wrong_kind_are_refused(mistakes, tmp_path, options, told):
    write_wav(tmp_path / "x.wav", **options)
    said = mistakes(GOOD.replace("- Hello.", "- recording: x.wav"))
    assert said.startswith("order.call.yaml:3:16: ")
    assert told in said


def test_a_recording_that_is_no_wav_is_refused(mistakes, tmp_path):
    (tmp_path / "x.wav").write_bytes(b"RIFFxxxx")
    assert "order.call.yaml:3:16: not a WAV file" in mistakes(GOOD.replace("- Hello.", "- recording: x.wav"))
