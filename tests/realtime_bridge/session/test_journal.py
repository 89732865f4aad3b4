import pytest

from realtime_bridge.errors import ProtocolError
from realtime_bridge.session import inputs
from realtime_bridge.session.journal import Opening, decode_record, encode_record
from realtime_bridge.session.specs import AgentSpec, McpSpec, SessionSettings
from realtime_bridge.transport import base
from realtime_bridge.wire import ContentPart, Item, UnknownEvent, client, server

RECORDS = [
    inputs.Tick(),
    inputs.MessageSent(content=(ContentPart(type="input_text", text="hi"),), role="system", respond=False),
    inputs.ClientEventWanted(event=client.ConversationItemDelete(item_id="i")),
    inputs.GuardrailVerdict(run_id="g", tripped="x", errors=(("y", "z"),)),
    server.ConversationItemAdded(item=Item(type="message", id="i")),
    server.ErrorEvent(error=server.ErrorDetail(type="t", message="m")),
    UnknownEvent(type="brand.new", payload={"type": "brand.new", "value": [1, {"a": None}]}),
    base.PlaybackInterrupted(
        cuts=(base.ItemCut(response_id="r", item_id="i", content_index=0, heard_ms=1, audio_ms=2),), by="speech"
    ),
    Opening(agent=AgentSpec(name="a"), settings=SessionSettings(config={"audio": {"output": {"speed": 1.5}}})),
]


@pytest.mark.parametrize("record", RECORDS, ids=lambda r: type(r).__name__)
def test_a_record_reads_back_as_it_was(record):
    assert decode_record(encode_record(record)) == record


@pytest.mark.parametrize("data", [b"", b"[]", b"{}", b'{"type":3}', b'{"type":"tick"', b'{"type":"message_sent"}'])
def test_what_is_no_record_is_refused(data):
    with pytest.raises(ProtocolError):
        decode_record(data)


def test_credentials_are_not_written():
    definition = {"type": "mcp", "server_label": "s", "authorization": "Bearer sesame", "headers": {"X-Key": "sesame"}}
    agent = AgentSpec(name="a", mcp=(McpSpec(server_label="s", definition=definition),))
    for record in (
        Opening(agent=agent, settings=SessionSettings()),
        inputs.AgentSwitched(agent=agent),
        inputs.HandoffReady(call_id="c", agent=agent, output="ok"),
    ):
        assert b"sesame" not in encode_record(record)
        assert decode_record(encode_record(record)).agent.mcp[0].definition["server_label"] == "s"
