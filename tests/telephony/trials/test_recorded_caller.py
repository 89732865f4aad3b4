"""The caller of a recorded call: what she said, which keys she pressed, and what of the agent's she did it after."""

import pytest
from support.hummed_call import SCRIPT, SPEECH, Shop, desk

from realtime_bridge.audio.g711 import MULAW_SILENCE
from realtime_bridge.errors import ProtocolError
from realtime_bridge.tape import Source, TapeError, TapeKey, TapeKeys, TapeWriter, read_tape
from telephony.testing import AfterTurn, GoOn, HangUp, IntoUtterance, Pause, Press, Say, StayOnLine
from telephony.testing.hum import HumVad, hum
from telephony.testing.speech import LINES
from telephony.tools import hang_up, pause_recording
from telephony.trials.caller_turns import CallSound, Span, Spoken, turns_of, utterances_of
from telephony.trials.recorded_caller import RecordedCaller
from telephony.trials.trial import try_agent

LEAD_MS = 200


def track(*words, seconds=20):
    """The caller's side: (second, mu-law) each."""
    caller = bytearray(MULAW_SILENCE * (8000 * seconds))
    for at, mulaw in words:
        caller[round(at * 8000) : round(at * 8000) + len(mulaw)] = mulaw
    return bytes(caller)


def begins(sound):
    turns, hangs_up = turns_of(sound, HumVad)
    return [turn.begins for turn in turns], hangs_up


WORDS = hum("hello there")  # 0.7 s


def test_what_is_said_after_the_agent_begins_so_long_after_its_turn():
    [begin], _ = begins(CallSound(caller=track((5.0, WORDS)), agent=[Span(1000, 4000)]))
    assert isinstance(begin, AfterTurn)
    assert begin.gap_ms == pytest.approx(1000 - LEAD_MS, abs=40)
    assert begin.utterances == 1


def test_what_is_said_into_the_agent_s_words_begins_so_far_into_them():
    sound = CallSound(
        caller=track((5.0, WORDS)),
        agent=[Span(500, 2000), Span(3000, 5300)],
        planned=[(3000, 9000.0), (6000, 6000.0)],
    )
    [begin], _ = begins(sound)
    assert isinstance(begin, IntoUtterance)
    assert begin.heard_ms == pytest.approx(2000 - LEAD_MS, abs=40)
    assert begin.utterance == 2


def test_who_begins_in_the_last_syllable_does_not_interrupt():
    sound = CallSound(caller=track((5.0, WORDS)), agent=[Span(1000, 5050)], planned=[(1000, 5100.0)])
    [begin], _ = begins(sound)
    assert isinstance(begin, AfterTurn)
    assert begin.gap_ms == pytest.approx(-100 - LEAD_MS, abs=40)


def test_what_the_agent_said_before_the_caller_s_last_word_is_no_answer():
    sound = CallSound(caller=track((2.0, WORDS), (6.0, WORDS)), agent=[Span(500, 1500)])
    [_, begin], _ = begins(sound)
    assert isinstance(begin, GoOn)
    assert begin.gap_ms == pytest.approx(6000 - 2700 - LEAD_MS - 300, abs=60)


def test_a_pause_of_her_own_is_part_of_what_she_says_unless_the_agent_speaks_in_it():
    caller = track((2.0, WORDS), (3.4, WORDS))
    [alone], _ = turns_of(CallSound(caller=caller, agent=[]), HumVad)
    assert len(alone.mulaw) / 8 == pytest.approx(2100 + LEAD_MS + 300, abs=60)
    turns, _ = turns_of(CallSound(caller=caller, agent=[Span(3050, 3150)]), HumVad)
    assert len(turns) == 2


def test_what_only_the_model_took_for_speech_is_hers_too():
    spoken = [Spoken(Span(2200, 3200), "hello there")]
    [turn], _ = turns_of(CallSound(caller=track((2.0, WORDS)), agent=[], spoken=spoken), Never)
    assert turn.text == "hello there"
    assert turn.at_ms == pytest.approx(2000 - LEAD_MS, abs=20)
    assert len(turn.mulaw) / 8 == pytest.approx(700 + LEAD_MS + 300, abs=40)


def test_two_utterances_of_the_model_s_are_two_though_their_sound_runs_on():
    caller = track((2.0, WORDS), (5.0, WORDS))
    spoken = [Spoken(Span(2200, 3000), "one"), Spoken(Span(5200, 6000), "two")]
    turns, _ = turns_of(CallSound(caller=caller, agent=[], spoken=spoken), Always)
    assert [turn.text for turn in turns] == ["one", "two"]


def test_recorded_speech_of_people_is_found():
    line = LINES["representative"].mulaw
    [turn], _ = turns_of(CallSound(caller=track((2.0, line)), agent=[]))
    assert turn.at_ms == pytest.approx(2000 - LEAD_MS, abs=100)
    assert line in turn.mulaw


def test_keys_and_the_end_are_told_by_the_agent_s_turns_too():
    sound = CallSound(caller=track(), agent=[Span(1000, 3000)], keys=[(3500.0, "4"), (3900.0, "2")], hung_up=5000.0)
    turns, hangs_up = turns_of(sound, HumVad)
    assert [turn.key for turn in turns] == ["4", "2"]
    assert [type(turn.begins) for turn in turns] == [AfterTurn, GoOn]
    assert turns[1].begins.gap_ms == pytest.approx(400)
    assert isinstance(hangs_up, GoOn)
    assert hangs_up.gap_ms == pytest.approx(1100)


def test_a_caller_who_waited_long_waits_long_again():
    sound = CallSound(caller=track((19.0, WORDS), seconds=22), agent=[Span(1000, 2000), Span(14000, 15000)])
    [begin], _ = begins(sound)
    assert begin.utterances == 2
    assert begin.patience.short_ms == pytest.approx(18_000)
    assert begin.patience.long_ms == pytest.approx(18_000)


def test_short_gaps_do_not_part_the_agent_s_words():
    assert utterances_of([Span(0, 100), Span(300, 400), Span(800, 900)]) == [Span(0, 400), Span(800, 900)]


class Never(HumVad):
    def probability(self, window):
        return 0.0


class Always(HumVad):
    def probability(self, window):
        return 1.0


# ---- from tapes


@pytest.fixture(scope="module")
def script(tmp_path_factory):
    path = tmp_path_factory.mktemp("script") / "desk.yaml"
    path.write_text(SCRIPT.replace("say: Bye.", "call: hang_up\n    with: {reason: done}"))
    return path


def taped(steps, script, data_dir):
    agent = desk(Shop())
    agent.tools.append(hang_up)
    [run] = try_agent(steps, agent, script=script, speech=SPEECH, tools="live", keep=data_dir).runs
    assert run.failures == ()
    return run.folder.tape


def test_a_caller_who_was_hung_up_on_stays_on_the_line(script, tmp_path):
    tape = taped([AfterTurn(300), Say(hum("Goodbye.")), StayOnLine()], script, tmp_path)
    caller = RecordedCaller.from_tape(tape)
    assert caller.hangs_up is None
    assert isinstance(caller.steps()[-1], StayOnLine)
    assert [tool.name for tool in caller.deeds.tools] == ["hang_up"]
    agent = desk(Shop())
    agent.tools.append(hang_up)
    [run] = try_agent(caller, agent, script=script, speech=SPEECH).runs
    assert run.failures == ()
    assert run.record.disposition == "done"


def test_keys_are_pressed_again(script, tmp_path):
    steps = [AfterTurn(300), Press("4"), Pause(200), Press("#"), Pause(500), HangUp()]
    tape = taped(steps, script, tmp_path)
    caller = RecordedCaller.from_tape(tape)
    assert [turn.key for turn in caller.turns] == ["4", "#"]
    [run] = try_agent(caller, desk(Shop()), script=script, speech=SPEECH, keep=tmp_path / "again").runs
    assert [turn.key for turn in RecordedCaller.from_tape(run.folder.tape).turns] == ["4", "#"]


def test_what_was_said_while_the_recording_was_paused_is_left_out_and_told_of(script, tmp_path):
    asks = tmp_path / "card.yaml"
    asks.write_text(script.read_text().replace("call: transfer_to_care", "call: pause_recording"))
    agent = desk(Shop())
    agent.tools.append(pause_recording)
    steps = [
        *(AfterTurn(300), Say(hum("A person, please.")), GoOn(1500), Say(hum("Order 47."))),
        *(AfterTurn(300), HangUp()),
    ]
    [run] = try_agent(steps, agent, script=asks, speech=SPEECH, tools="live", keep=tmp_path / "data").runs
    assert run.failures == ()
    caller = RecordedCaller.from_tape(run.folder.tape)
    assert [turn.text for turn in caller.turns] == ["A person, please."]
    assert len(caller.paused_ms) == 1
    [again] = try_agent(caller, agent, script=asks, speech=SPEECH).runs
    assert again.failures[-1].startswith("perhaps because the recording was paused at ")


def test_a_sealed_tape_needs_its_key(script, tmp_path):
    key = TapeKey(bytes(range(32)))
    steps = [AfterTurn(300), HangUp()]
    [run] = try_agent(steps, desk(Shop()), script=script, speech=SPEECH, keep=tmp_path, key=key).runs
    with pytest.raises(TapeError, match="key"):
        RecordedCaller.from_tape(run.folder.tape)
    caller = RecordedCaller.from_tape(run.folder.tape, TapeKeys([key]))
    assert caller.deeds.said == ("Desk here.",)


def test_a_torn_tape_gives_the_caller_as_far_as_it_goes(script, tmp_path):
    tape = taped([AfterTurn(300), Say(hum("Order 47.")), AfterTurn(300), HangUp()], script, tmp_path)
    whole = tape.read_bytes()
    tape.write_bytes(whole[: len(whole) * 2 // 3])
    caller = RecordedCaller.from_tape(tape)
    assert len(caller.turns) == 1
    assert caller.hangs_up is None


def test_what_is_no_tape_of_a_call_is_refused(script, tmp_path):
    path = tmp_path / "other.tape"
    path.write_bytes(b"RIFF")
    with pytest.raises(TapeError):
        RecordedCaller.from_tape(path)
    tape = taped([AfterTurn(300), HangUp()], script, tmp_path)
    reader = read_tape(tape.read_bytes())
    writer = TapeWriter(created_at=reader.header.created_at, metadata=reader.header.metadata)
    writer.append(0.0, Source.SESSION, b'{"type":"started"}')
    path.write_bytes(writer.end())
    with pytest.raises(ProtocolError, match="before its opening"):
        RecordedCaller.from_tape(path)
    writer = TapeWriter(created_at=reader.header.created_at, metadata={"call_sid": "CA1"})
    path.write_bytes(writer.end())
    with pytest.raises(ProtocolError, match=r"not the tape of a call.*at metadata"):
        RecordedCaller.from_tape(path)


def test_audio_that_is_stamped_far_ahead_is_none(script, tmp_path):
    tape = taped([AfterTurn(300), HangUp()], script, tmp_path)
    reader = read_tape(tape.read_bytes())
    writer = TapeWriter(created_at=reader.header.created_at, metadata=reader.header.metadata)
    for record in reader:
        payload = record.payload
        if record.source is Source.PHONE and b'"timestamp":"100"' in payload:
            payload = payload.replace(b'"timestamp":"100"', b'"timestamp":"900000000"')
        writer.append(record.time, record.source, payload)
    tape.write_bytes(writer.end())
    assert RecordedCaller.from_tape(tape).turns == ()
