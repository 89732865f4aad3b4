"""Steering a call from anywhere: an operator's request reaches whichever process the call lives in.

A call in this process is steered at once. For any other, the command travels over the store's bus to the node of the
call's row, which carries it out, once, and answers. What takes long (a transfer, a goodbye) is answered as `started`; how
it went is then among the call's events.

    "call.command"  {id, call_sid, verb, args, by, sent_at}      to the call's node
    "call.result"   {id, ok, done, result | code, detail}        back to the sender
"""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections import OrderedDict
from collections.abc import Callable
from datetime import datetime
from typing import Any, ClassVar, Final, Literal, TypeAlias

import msgspec

from realtime_bridge.errors import BridgeError, MisuseError
from telephony.calls.live import LiveCall, LiveCalls
from telephony.store import Store, StoreError, Subscription
from telephony.store.rows import BusMessage
from telephony.store.states import is_final

log = logging.getLogger(__name__)

COMMAND_TOPIC: Final = "call.command"
RESULT_TOPIC: Final = "call.result"
ANSWER_S_MAX: Final = 5.0  # for an answer from another node
STARTED_AFTER_S: Final = 2.0  # what takes longer is answered as started
AGE_S_MAX: Final = 30.0  # a command older than this is not carried out
AT_ONCE_MAX: Final = 20  # commands to one call
REMEMBERED_MAX: Final = 5000  # ids of commands, so that one told twice runs once
DETAIL_CHARS_MAX: Final = 500


class CommandError(BridgeError):
    """The command was not, or perhaps not, carried out. `code`: unknown_call, not_live, busy, refused, failed or
    no_answer; only after the last it is open whether it was."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """`done` False: it has been started, and takes longer. `result`: what the command gave, if anything."""

    done: bool
    result: dict[str, Any] | None = None


class _Command(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="verb"):
    noted: ClassVar[bool] = True  # among the call's events

    @property
    def verb(self) -> str:
        tag = self.__struct_config__.tag
        assert isinstance(tag, str)
        return tag


class HangUp(_Command, frozen=True, kw_only=True, tag="hang_up"):
    """`after_goodbye`: let the caller hear out what the agent is saying."""

    reason: str = "hung up by an operator"
    after_goodbye: bool = True

    async def run(self, call: LiveCall) -> dict[str, Any]:
        return {"ended": await call.control.hang_up(self.reason, after_goodbye=self.after_goodbye)}


class Transfer(_Command, frozen=True, kw_only=True, tag="transfer"):
    """`warm`: the person who answers hears `summary` first, and may decline."""

    to: str
    warm: bool = False
    summary: str | None = None

    async def run(self, call: LiveCall) -> dict[str, Any]:
        how: dict[str, Any] = msgspec.to_builtins(
            await call.control.transfer(self.to, warm=self.warm, summary=self.summary)
        )
        return how


class Press(_Command, frozen=True, kw_only=True, tag="press"):
    """Keypad tones towards the other party."""

    digits: str

    async def run(self, call: LiveCall) -> dict[str, Any]:
        return {"played": await call.control.press(self.digits)}


class Hold(_Command, frozen=True, kw_only=True, tag="hold"):
    async def run(self, call: LiveCall) -> None:
        await call.control.hold()


class Resume(_Command, frozen=True, kw_only=True, tag="resume"):
    async def run(self, call: LiveCall) -> None:
        await call.control.resume()


class Mute(_Command, frozen=True, kw_only=True, tag="mute"):
    """While muted, the model hears silence instead of the caller; or (`who` agent) the caller hears nothing of the agent."""

    muted: bool = True
    who: Literal["caller", "agent"] = "caller"

    async def run(self, call: LiveCall) -> None:
        mute = call.control.mute if self.who == "caller" else call.control.mute_agent
        await mute(self.muted)


class Say(_Command, frozen=True, kw_only=True, tag="say"):
    """The agent says this now, word for word."""

    text: str

    async def run(self, call: LiveCall) -> dict[str, Any]:
        return {"heard": await call.control.say(self.text)}


class PauseRecording(_Command, frozen=True, kw_only=True, tag="pause_recording"):
    """Silence in the recording, for so long or as long as a pause may last."""

    seconds: float | None = None

    async def run(self, call: LiveCall) -> dict[str, Any]:
        return {"recording": call.control.recording.pause(self.seconds)}


class ResumeRecording(_Command, frozen=True, kw_only=True, tag="resume_recording"):
    async def run(self, call: LiveCall) -> dict[str, Any]:
        return {"recording": call.control.recording.resume()}


class StopRecording(_Command, frozen=True, kw_only=True, tag="stop_recording"):
    """`delete`: and keep nothing of what was recorded before."""

    delete: bool = False

    async def run(self, call: LiveCall) -> dict[str, Any]:
        desk = call.control.recording
        return {"recording": desk.stop(delete=self.delete, because="an operator deleted it")}


class ShowState(_Command, frozen=True, kw_only=True, tag="state"):
    """How the call stands at this moment; changes nothing."""

    noted = False

    async def run(self, call: LiveCall) -> dict[str, Any]:
        return live_state(call)


class MachineAnswered(_Command, frozen=True, kw_only=True, tag="machine_answered"):
    """Twilio has found out who has answered a call of ours."""

    answered_by: str

    async def run(self, call: LiveCall) -> None:
        if self.answered_by == "unknown" and call.details.on_unknown == "hang_up":
            await call.control.hang_up("nobody could tell who answered", after_goodbye=False)
        else:
            await call.control.machine_detected(self.answered_by)


class TransferAsked(_Command, frozen=True, kw_only=True, tag="transfer_asked"):
    """Twilio asks what the person of a transfer is to hear. The result has `twiml`, None when the transfer is over."""

    noted = False
    transfer_id: str
    form: dict[str, str]

    async def run(self, call: LiveCall) -> dict[str, str | None]:
        return {"twiml": call.control.transfer_asked(self.transfer_id, self.form)}


class TransferTold(_Command, frozen=True, kw_only=True, tag="transfer_told"):
    """Twilio tells how the call to the person of a transfer goes."""

    noted = False
    transfer_id: str
    form: dict[str, str]

    async def run(self, call: LiveCall) -> None:
        call.control.transfer_told(self.transfer_id, self.form)


CallCommand: TypeAlias = (
    HangUp
    | Transfer
    | Press
    | Hold
    | Resume
    | Mute
    | Say
    | PauseRecording
    | ResumeRecording
    | StopRecording
    | ShowState
    | MachineAnswered
    | TransferAsked
    | TransferTold
)


def live_state(call: LiveCall) -> dict[str, Any]:
    """The agent who has the call, and the conversation as heard; the newest 200 items at most."""
    session = call.session
    return {
        "call_sid": call.sid,
        "agent": session.current_agent.name,
        "started_at": call.started_at.isoformat(),
        "muted": session.muted,
        "recording": call.control.recording.state,
        "quiet": session.quiet,
        "history": msgspec.to_builtins(session.history[-200:]),
        "usage": msgspec.to_builtins(session.usage),
    }


class CallCommands:
    """Sends commands, and carries out those for the calls of this process. `start` it when the store's bus runs."""

    def __init__(
        self,
        store: Store,
        live: LiveCalls,
        *,
        answer_s_max: float = ANSWER_S_MAX,
        started_after_s: float = STARTED_AFTER_S,
        clock: Callable[[], datetime] | None = None,
    ) -> None:
        self._store = store
        self._live = live
        self._answer_s_max = answer_s_max
        self._started_after_s = started_after_s
        self._clock = clock or store.now
        self._answers: dict[str, asyncio.Future[dict[str, Any]]] = {}
        self._seen: OrderedDict[str, None] = OrderedDict()
        self._running: dict[asyncio.Task[Any], str] = {}  # the command's task -> its call
        self._jobs: set[asyncio.Task[None]] = set()
        self._subscriptions: list[Subscription] = []

    def start(self) -> None:
        bus = self._store.bus
        self._subscriptions = [
            bus.subscribe(COMMAND_TOPIC, self._commanded),
            bus.subscribe(RESULT_TOPIC, self._answered),
        ]

    async def close(self) -> None:
        """Stop listening. Commands under way are cancelled; their calls are ending anyway."""
        for subscription in self._subscriptions:
            subscription.close()
        tasks = [*self._jobs, *self._running]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def run(self, call_sid: str, command: CallCommand, *, by: str) -> Outcome:
        """Have it carried out, wherever the call is. `by`: who wants it. Raises CommandError, StoreError."""
        call = self._live.get(call_sid)
        if call is not None:
            return await self._carry_out(call, command, by)
        row = await self._store.calls.get(call_sid)
        if row is None:
            raise CommandError("unknown_call", f"there is no call {call_sid}")
        if row.finished_at is not None or is_final(row.status):
            raise CommandError("not_live", f"call {call_sid} is over")
        if row.node is None or row.node == self._store.node:
            raise CommandError("not_live", f"call {call_sid} is not connected to an agent")
        return await self._send(row.node, call_sid, command, by)

    # -- the sender's side --

    async def _send(self, node: str, call_sid: str, command: CallCommand, by: str) -> Outcome:
        command_id = secrets.token_hex(16)
        args = msgspec.to_builtins(command)
        verb = args.pop("verb")
        body = {
            "id": command_id, "call_sid": call_sid, "verb": verb, "args": args, "by": by, "sent_at": self._clock().timestamp(),
        }  # fmt: skip
        answer = self._answers[command_id] = asyncio.get_running_loop().create_future()
        try:
            await self._store.bus.publish(COMMAND_TOPIC, body, node=node)
            async with asyncio.timeout(self._answer_s_max):
                result = await answer
        except TimeoutError:
            raise CommandError(
                "no_answer",
                f"the process that has call {call_sid} did not answer within {self._answer_s_max:g} s: it may have "
                f"carried out {verb} or not; look at the call before you repeat it",
            ) from None
        finally:
            del self._answers[command_id]
        if not result.get("ok"):
            raise CommandError(str(result.get("code", "failed")), str(result.get("detail", "")))
        return Outcome(done=bool(result.get("done")), result=result.get("result"))

    def _answered(self, message: BusMessage) -> None:
        answer = self._answers.get(str(message.body.get("id")))
        if answer is not None and not answer.done():
            answer.set_result(message.body)

    # -- the owner's side --

    def _commanded(self, message: BusMessage) -> None:
        command_id = str(message.body.get("id"))
        if command_id in self._seen:
            return
        self._seen[command_id] = None
        if len(self._seen) > REMEMBERED_MAX:
            self._seen.popitem(last=False)
        job = asyncio.get_running_loop().create_task(self._serve(message))
        self._jobs.add(job)
        job.add_done_callback(self._jobs.discard)

    async def _serve(self, message: BusMessage) -> None:
        body = message.body
        answer: dict[str, Any] = {"id": body.get("id"), "ok": True}
        try:
            outcome = await self._execute(body)
            answer |= {"done": outcome.done, "result": outcome.result}
        except CommandError as e:
            answer |= {"ok": False, "code": e.code, "detail": str(e)}
        try:
            await self._answer(answer, message.sender)
        except StoreError as e:
            log.error("call %s: the answer to a command is lost: %s", body.get("call_sid"), e)  # noqa: TRY400 - no fault of ours

    async def _answer(self, answer: dict[str, Any], node: str) -> None:
        try:
            await self._store.bus.publish(RESULT_TOPIC, answer, node=node)
        except MisuseError as e:  # longer than a message may be
            refusal = {"id": answer["id"], "ok": False, "code": "failed", "detail": str(e)}
            await self._store.bus.publish(RESULT_TOPIC, refusal, node=node)

    async def _execute(self, body: dict[str, Any]) -> Outcome:
        call_sid = str(body.get("call_sid"))
        age_s = self._clock().timestamp() - float(body.get("sent_at", 0.0))
        if age_s > AGE_S_MAX:
            raise CommandError("refused", f"the command is {age_s:.0f} s old; it was not carried out")
        call = self._live.get(call_sid)
        if call is None:
            raise CommandError("not_live", f"call {call_sid} is not connected to an agent (any more)")
        try:
            command = msgspec.convert({**body.get("args", {}), "verb": body.get("verb")}, CallCommand)
        except msgspec.ValidationError as e:  # another version of this program sent it
            raise CommandError("refused", f"this node does not understand the command: {e}") from e
        return await self._carry_out(call, command, str(body.get("by")))

    async def _carry_out(self, call: LiveCall, command: CallCommand, by: str) -> Outcome:
        if sum(sid == call.sid for sid in self._running.values()) >= AT_ONCE_MAX:
            raise CommandError("busy", f"{AT_ONCE_MAX} commands to call {call.sid} are under way; wait for them")
        task = asyncio.get_running_loop().create_task(self._run(call, command, by))
        self._running[task] = call.sid
        task.add_done_callback(self._over)
        await asyncio.wait([task], timeout=self._started_after_s)
        return Outcome(done=True, result=task.result()) if task.done() else Outcome(done=False)

    async def _run(self, call: LiveCall, command: CallCommand, by: str) -> dict[str, Any] | None:
        log.info("call %s: %s by %s", call.sid, command.verb, by)
        error: CommandError | None = None
        result: dict[str, Any] | None = None
        try:
            result = await command.run(call)
        except BridgeError as e:
            error = CommandError("refused", str(e)[:DETAIL_CHARS_MAX])
        except Exception as e:
            log.exception("call %s: %s failed", call.sid, command.verb)
            error = CommandError("failed", f"{command.verb} failed: {type(e).__name__}; the server's log has more")
        if command.noted:
            await self._note(call.sid, command, by, error, result)
        if error is not None:
            raise error
        return result

    async def _note(
        self, call_sid: str, command: CallCommand, by: str, error: CommandError | None, result: dict[str, Any] | None
    ) -> None:
        data = {"verb": command.verb, "by": by, "ok": error is None, "detail": str(error or ""), "result": result}
        try:
            await self._store.calls.event(call_sid, "command", data, self._clock())
        except StoreError as e:
            log.warning("call %s: %s is not among its events: %s", call_sid, command.verb, e)

    def _over(self, task: asyncio.Task[Any]) -> None:
        del self._running[task]
        if not task.cancelled():
            task.exception()  # seen: told to whoever waited, and noted among the call's events
