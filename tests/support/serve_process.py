"""`realtime-bridge serve` as a process whose agent greets and says goodbye; its model is scripted, in the test's process."""

import contextlib
from pathlib import Path

from support.scripted_model import LoudnessVad, ScriptedBrain, ScriptedRecognizer, ToneVoice
from support.server_process import serve

from realtime_bridge.localmodel.parts import Say
from realtime_bridge.localmodel.server import LocalModelServer

GREETING, GOODBYE = "Hello, how can I help?", "I have to go. Goodbye."


@contextlib.asynccontextmanager
async def serve_process(directory: Path, *arguments: str, brain=None, **settings: str):
    """Started, and listening at `url`. Its agent is `my_company:front_desk`, a module in the directory."""
    model = LocalModelServer(
        brain_factory=brain or (lambda: ScriptedBrain([Say(GREETING)], [Say(GOODBYE)])),
        recognizer=ScriptedRecognizer(),
        voice=ToneVoice(),
        vad_factory=LoudnessVad,
    )
    async with model:
        environment = {"OPENAI_API_KEY": "key", "OPENAI_BASE_URL": model.base_url, **settings}
        async with serve(directory, "--agent", "my_company:front_desk", *arguments, **environment) as server:
            server.model = model
            yield server
