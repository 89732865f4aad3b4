"""Opens all that a phone server stands on, in order, and closes it in the opposite one.

The store and what writes to it; Twilio's API, where there are credentials; a model to talk to, which without an OpenAI key
is the offline one; and the switchboard with everything that follows its calls.
"""

from __future__ import annotations

import logging
import os
import secrets
import socket
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from msgspec.structs import replace
from openai import AsyncOpenAI

from realtime_bridge.agent import Agent
from realtime_bridge.approvals import ApprovalSettings
from telephony.agents import PhoneAgent, load_directory
from telephony.announce import Announcer
from telephony.api import Services
from telephony.call_details import CallDetails
from telephony.calls.answering import Switchboard
from telephony.calls.approvals import ApprovalDesk
from telephony.calls.book import CallBook
from telephony.calls.commands import CallCommands
from telephony.calls.live import CallListener
from telephony.calls.machine_news import MachineNews
from telephony.calls.measures import CallMeasures
from telephony.calls.recording_policy import RecordingPolicy
from telephony.demo.agent import SCRIPT, front_desk
from telephony.housekeeping import Keep, housekeeping
from telephony.offline import OFFLINE_KEY, offline_model
from telephony.outbound.dialler import Dialler
from telephony.settings import Settings, database_url, recording_key, recording_keys
from telephony.shared_tokens import SharedTokens
from telephony.steering.control import CallControl
from telephony.steering.control_settings import (
    ControlSettings,
    RecordingSettings,
    SilenceSettings,
)
from telephony.steering.transfers import Transfers
from telephony.store import RecordKeeper, Store
from telephony.transport import TwilioTransport
from telephony.twilio.rest import TwilioRest
from telephony.word_redaction import WordRedactor

log = logging.getLogger(__name__)

OFFLINE_MODEL: Final = "local"
CALL_SECONDS_LIMIT: Final = 4 * 3600  # Twilio's own


@dataclass(frozen=True, slots=True, kw_only=True)
class Office:
    """What is open. `rest` None: no credentials for Twilio's API. `tokens` None: this is the only process."""

    switchboard: Switchboard
    store: Store
    book: CallBook
    commands: CallCommands
    transfers: Transfers
    dialler: Dialler
    rest: TwilioRest | None
    tokens: SharedTokens | None
    services: Services


@asynccontextmanager
async def open_office(agent: Agent | PhoneAgent | None, settings: Settings) -> AsyncIterator[Office]:
    """`agent` None: the one that the settings name, or the demo's. Leaving waits until every call's records are written.

    Raises SettingsError for an agent that cannot be had, StoreError for a database, and MisuseError or TransportError when
    the offline model is wanted and cannot be had.
    """
    agents = load_directory(settings, agent, otherwise=front_desk)
    async with AsyncExitStack() as stack:
        store = await stack.enter_async_context(Store.open(database_url(settings), node=node_name()))
        keeper = await stack.enter_async_context(RecordKeeper.open(store, settings.data_dir / "spool"))
        rest = None
        if settings.twilio_account_sid and (settings.twilio_auth_token or settings.twilio_api_key_sid):
            rest = await stack.enter_async_context(TwilioRest(settings))
        announcer = _announcer(settings)
        if announcer is not None:
            stack.push_async_callback(announcer.close)
        openai, model = await _model(stack, settings, is_demo=agent is None and settings.agent is None)
        redactor = WordRedactor(settings.redact)
        book, transfers = CallBook(store, keeper, redactor=redactor), Transfers()
        approvals = ApprovalDesk(store, announcer=announcer)
        stack.push_async_callback(approvals.close)

        def control(transport: TwilioTransport, details: CallDetails) -> CallControl:
            how = steering_of(settings, details, agents.get(details.agent).steering)
            return CallControl(transport, details, rest=rest, settings=how, transfers=transfers)

        switchboard = Switchboard(
            agents,
            openai=openai,
            model=model,
            audio=settings.realtime_audio,
            rotate_after_s=settings.realtime_session_seconds,
            data_dir=settings.data_dir,
            disk=stack.enter_context(ThreadPoolExecutor(1, thread_name_prefix="records")),
            approvals=ApprovalSettings(timeout_s=settings.approval_seconds),
            control=control,
            past_calls=book.past_calls,
            recording=RecordingPolicy(
                record=settings.record_calls,
                notice=settings.recording_notice,
                redactor=redactor,
                key=recording_key(settings),
            ),
        )
        machine_news = MachineNews(store)
        stack.push_async_callback(machine_news.close)
        for listener in (book, approvals, machine_news, CallMeasures()):
            switchboard.live.add_listener(listener)
        if settings.tracing:
            switchboard.live.add_listener(_spans(stack))
        commands = CallCommands(store, switchboard.live)
        stack.push_async_callback(commands.close)
        dialler = Dialler(store=store, rest=rest, settings=settings, has_agent=agents.__contains__)
        stack.push_async_callback(dialler.close)
        await stack.enter_async_context(housekeeping(store, rest, switchboard.live, _keep(settings)))
        stack.push_async_callback(switchboard.close)
        approvals.start()
        commands.start()
        tokens = None
        if is_shared(settings):
            tokens = SharedTokens(
                store.stream_tokens, lambda details: switchboard.expect(details, here=False), clock=store.now
            )
        yield Office(
            switchboard=switchboard,
            store=store,
            book=book,
            commands=commands,
            transfers=transfers,
            dialler=dialler,
            rest=rest,
            tokens=tokens,
            services=Services(
                store=store,
                commands=commands,
                dialler=dialler,
                rest=rest,
                data_dir=settings.data_dir,
                keys=recording_keys(settings),
            ),
        )


def is_shared(settings: Settings) -> bool:
    """Whether other processes serve the same calls: more workers here, or servers that share a database."""
    return settings.workers > 1 or (settings.database_url or "").startswith("postgresql")


def node_name() -> str:
    """Unlike any other process's that uses the same database, now or later."""
    return f"{socket.gethostname()[:32]}-{os.getpid()}-{secrets.token_hex(3)}"


async def _model(stack: AsyncExitStack, settings: Settings, *, is_demo: bool) -> tuple[AsyncOpenAI, str]:
    if settings.openai_api_key is not None:
        openai = AsyncOpenAI(api_key=settings.openai_api_key.get_secret_value(), base_url=settings.openai_base_url)
        model = settings.realtime_model
    else:
        log.warning("OPENAI_API_KEY is not set: the offline model answers")
        url = await stack.enter_async_context(offline_model(offline_script(settings, is_demo=is_demo)))
        openai, model = AsyncOpenAI(api_key=OFFLINE_KEY, base_url=url), OFFLINE_MODEL
    stack.push_async_callback(openai.close)
    return openai, model


def offline_script(settings: Settings, *, is_demo: bool) -> Path | None:
    """What the offline model says: the demo's agents have a script to follow; for others it improvises, or a language model
    does the talking."""
    return SCRIPT if is_demo and settings.local_llm_base_url is None else None


def _spans(stack: AsyncExitStack) -> CallListener:
    """Here, since its packages are an extra. Raises MisuseError without them."""
    from telephony.tracing import tracing  # noqa: PLC0415 - as said

    tracer = stack.enter_context(tracing())
    from telephony.calls.spans import CallSpans  # noqa: PLC0415 - as said

    return CallSpans(tracer)


def _announcer(settings: Settings) -> Announcer | None:
    if settings.approval_webhook_url is None or settings.approval_webhook_secret is None:
        return None
    return Announcer(settings.approval_webhook_url, settings.approval_webhook_secret.get_secret_value())


def _keep(settings: Settings) -> Keep:
    return Keep(
        calls=settings.call_days_max,
        audit=settings.audit_days_max,
        recordings=settings.recording_days_max,
        data_dir=settings.data_dir,
    )


def steering_of(settings: Settings, details: CallDetails, given: ControlSettings | None) -> ControlSettings:
    """`given`: the agent's own. What the server allows, and what this call's placer has asked for, holds all the same."""
    own = given or ControlSettings(
        silence=SilenceSettings(after_s=settings.silence_seconds),
        recording=RecordingSettings(pause_s_max=settings.recording_pause_seconds_max),
    )
    limits = (
        details.seconds_max,
        settings.call_seconds_max,
        CALL_SECONDS_LIMIT,
        None if given is None else given.length.seconds_max,
    )
    return replace(
        own,
        public_url=settings.public_url or "",
        length=replace(own.length, seconds_max=min(limit for limit in limits if limit is not None)),
        machine=replace(own.machine, on_machine=details.on_machine, message=details.machine_message),
        transfer=replace(own.transfer, countries=settings.allowed_countries),
    )
