"""The product's bridge as a machine of the simulation."""

from simulation.world import FromModel, FromPhone, ModelOpen, ToModel, ToPhone

from realtime_bridge.audio.transcode import Transcoder
from realtime_bridge.wire import client, decode_server_event
from telephony import bridge, bridge_commands, bridge_inputs
from telephony.twilio.media_stream import MediaStreamReader
from telephony.twilio.messages import Connected, Start


class BridgeMachine:
    """Opens the session as the product does, and keeps what the bridge reports.

    `program`: (seconds since the start, input), in order: what the program does to the bridge meanwhile.
    """

    def __init__(self, transcoder: Transcoder, *, interrupt_response: bool = True, program=()) -> None:
        self.reports = []
        self.played = {}  # own audio -> (when it was over, whether the phone said so)
        self._program = list(program)
        self._began = None
        self._transcoder = transcoder
        self._interrupt_response = interrupt_response
        self._reader = MediaStreamReader()
        self._bridge = None

    def next_deadline(self):
        if self._bridge is None:
            return None
        return min([self._bridge.next_deadline, *(self._began + at for at, _ in self._program[:1])])

    def handle(self, event, now):
        match event:
            case FromPhone():
                message = self._reader.receive(event.frame)
                if isinstance(message, Start):
                    self._began = now
                    self._bridge = bridge.Bridge(message.stream_sid, self._transcoder, now=now)
                if isinstance(message, Start | Connected):
                    return []
                return self._give(message, now)
            case FromModel():
                return self._give(decode_server_event(event.frame), now)
            case ModelOpen():
                detection = {"type": "server_vad", "interrupt_response": self._interrupt_response}
                session = {"type": "realtime", "audio": {"input": {"turn_detection": detection}}}
                return self._give(client.SessionUpdate(session=session), now)
        if self._program and self._began + self._program[0][0] <= now:
            return self._give(self._program.pop(0)[1], now)
        return self._give(bridge_inputs.Tick(), now)

    def _give(self, event, now):
        outputs = []
        for command in self._bridge.handle(event, now):
            match command:
                case bridge_commands.ToPhone():
                    outputs.append(ToPhone(command.frame))
                case bridge_commands.ToModel():
                    outputs.append(ToModel(command.frame))
                case bridge_commands.Report():
                    self.reports.append((now, command.event))
                case bridge_commands.Played():
                    assert command.audio_id not in self.played
                    self.played[command.audio_id] = (now, command.echoed)
        return outputs
