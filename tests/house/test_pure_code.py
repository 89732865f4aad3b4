"""The pure core stays pure: no clock, chance, socket, disk, log or task, so that a call's inputs replay to the same call.

Looks at the calls and imports that the source spells out; what hides behind `getattr` is for the reader to find.
"""

import ast

import pytest
from support.source import Module, modules

# What the offline model's brains are made of; the brains themselves log and ask.
BRAIN_LEAVES = (
    "chat_messages", "choosing", "codes", "instructions", "moments", "parameters", "phrases", "reading", "smalltalk",
    "streamed_reply", "telling", "values", "words",
)  # fmt: skip

# What the simulated Twilio is made of; its calls and servers themselves wait and send.
SIMULATED_TWILIO = ("faults", "line", "people", "program", "records", "refusals", "sound", "twiml", "wav")

# Packages stand for all that is in them. A pure module uses only pure modules of this project.
PURE = {
    "realtime_bridge": [
        "approvals",
        "audio",
        "context",
        "copying",
        "errors",
        *(f"localmodel.brains.{name}" for name in BRAIN_LEAVES),
        "localmodel.brought",
        "localmodel.conversation",
        "localmodel.formats",
        "localmodel.input_audio",
        "localmodel.model_session",
        "localmodel.parts",
        "localmodel.refusals",
        "localmodel.replies",
        "localmodel.reply",
        "localmodel.semantic",
        "localmodel.session_config",
        "localmodel.spoken_text",
        "localmodel.turns",
        "localmodel.usage",
        "localmodel.whole",
        "localmodel.work",
        "schema",
        "session",
        "session_audio",
        "tape.format",
        "tape.keys",
        "transport.base",
        "wire",
    ],
    "telephony": [
        "agent_audio",
        "bridge",
        "bridge_commands",
        "bridge_inputs",
        "call_details",
        "caller_audio",
        "testing.wav_sound",
        "replay.differences",
        "replay.junit",
        "replay.reports",
        "steering.activity",
        "steering.control_settings",
        "steering.digits",
        "steering.ending",
        "steering.length",
        "steering.recording",
        "steering.silence",
        "steering.transfer",
        "steering.transfer_twiml",
        "steering.utterance",
        "records.phone_clock",
        "records.consent",
        "records.heard",
        "records.blanking",
        "records.record",
        "records.story",
        "records.recording",
        "records.shadow",
        "records.timeline",
        "expectations",
        "holdback",
        "latency",
        "limits",
        "numbers",
        "outbound.machine",
        "own_audio",
        "phone_audio",
        "playout",
        "redaction",
        "testing.caller_script",
        "testing.ear",
        "testing.far_end",
        "testing.hum",
        "testing.network",
        "testing.phone",
        "testing.playback",
        "testing.script",
        "testing.utterances",
        *(f"testing.twilio.{name}" for name in SIMULATED_TWILIO),
        "tones",
        "truncates",
        "twilio.media_stream",
        "twilio.messages",
        "twilio.rest_errors",
        "twilio.signature",
        "twilio.twiml",
        "twilio.voice_request",
        "word_redaction",
    ],
}

# Modules that reach out of the process or bring tasks, clocks and chance into it.
BANNED_IMPORTS = (
    "asyncio", "concurrent", "fastapi", "fcntl", "getpass", "http", "httpx", "logging", "multiprocessing", "openai",
    "os", "picows", "queue", "random", "requests", "rich", "sched", "secrets", "select", "selectors", "shutil",
    "signal", "socket", "socketserver", "ssl", "starlette", "subprocess", "tempfile", "threading", "time", "typer",
    "urllib.request", "uuid", "uvicorn", "uvloop", "websockets",
)  # fmt: skip
BANNED_NAMES = {"breakpoint", "eval", "exec", "input", "open", "print", "__import__"}
BANNED_METHODS = {"now", "utcnow", "today", "read_text", "read_bytes", "write_text", "write_bytes"}
HARMLESS = {
    "random.Random",  # a generator handed in, or made from a fixed seed, is an input like any other; `random.random` is not
    "starlette.datastructures.ImmutableMultiDict",  # a mapping
}


def is_pure(name: str) -> bool:
    package, _, inner = name.partition(".")
    return any(inner == pure or inner.startswith(pure + ".") for pure in PURE[package])


def pure_modules() -> list[Module]:
    return [module for name, module in modules().items() if is_pure(name)]


def test_every_pure_module_is_there():
    listed = {f"{package}.{pure}" for package, names in PURE.items() for pure in names}
    assert listed <= set(modules())


def impurities(module: Module) -> list[str]:
    found = [
        f"{imported.line}: imports {imported.name}"
        for imported in module.imports()
        if imported.name not in HARMLESS and any(f"{imported.name}.".startswith(f"{name}.") for name in BANNED_IMPORTS)
    ]
    for node in ast.walk(module.tree):
        match node:
            case ast.AsyncFunctionDef(body=[*_, ast.Expr(ast.Constant(value=value))]) if value is ...:
                pass  # a protocol says what others do
            case ast.AsyncFunctionDef() | ast.Await():
                found.append(f"{node.lineno}: waits")
            case ast.Call(func=ast.Name(id=name)) if name in BANNED_NAMES:
                found.append(f"{node.lineno}: calls {name}")
            case ast.Call(func=ast.Name(id="Random"), args=[]):
                found.append(f"{node.lineno}: chance without a seed")
            case ast.Call(func=ast.Attribute(attr=name)) if name in BANNED_METHODS:
                found.append(f"{node.lineno}: calls .{name}")
    return found


@pytest.mark.parametrize("package", PURE)
def test_pure_code_touches_nothing_outside(package):
    found = [f"{m.where}:{at}" for m in pure_modules() if m.name.startswith(package + ".") for at in impurities(m)]
    assert not found, "\n".join(found)


def test_pure_code_uses_only_pure_code():
    found = [
        f"{module.where}:{imported.line} uses {imported.name}"
        for module in pure_modules()
        for imported in module.own_imports()
        if not is_pure(imported.name)
    ]
    assert not found, "\n".join(found)


@pytest.mark.parametrize(
    "source",
    [
        "import time",
        "import os.path",
        "from time import monotonic",
        "from concurrent.futures import ThreadPoolExecutor",
        "import random",
        "from random import random",
        "from random import Random\nx = Random()",
        "async def f():\n    return 1",
        "print(1)",
        "from datetime import datetime\nx = datetime.now()",
        "p.write_text('x')",
        "def f():\n    import socket",
    ],
)
def test_the_check_sees(source):
    (module, *_) = modules().values()
    assert impurities(Module("example", module.path, ast.parse(source))) != []


def test_the_check_lets_inputs_pass():
    source = (
        "from random import Random\nfrom datetime import datetime\ndef f(rng: Random, at: datetime): return Random(7)"
    )
    (module, *_) = modules().values()
    assert impurities(Module("example", module.path, ast.parse(source))) == []
