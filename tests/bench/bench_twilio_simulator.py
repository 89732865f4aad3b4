"""What the simulated Twilio costs, and how late its frames are, with many calls at once in a process of its own.

    python tests/bench/bench_twilio_simulator.py [--calls 100] [--seconds 10]

Each caller talks half of the time; the other end, in another process, plays back what it hears and asks for a mark every
fifth of a second. Printed: cores used, frames a second and call (50 is real time), how late the latest frame was at any of
ten looks a second, and memory.
"""

import argparse
import asyncio
import json
import multiprocessing
import resource
import sys
import time

import uvloop
from aiohttp import web
from picows import WSListener, WSMsgType, ws_create_server

from telephony.testing.twilio import STAY, Pause, TwilioSimulator, murmur
from telephony.testing.twilio.sound import tone

OURS = "+15550199"
MARK_EVERY = 10  # frames


class Echo(WSListener):
    def on_ws_frame(self, transport, frame):
        if frame.msg_type is not WSMsgType.TEXT:
            transport.disconnect()
            return
        message = frame.get_payload_as_bytes()
        if message.startswith(b'{"event":"start"'):
            self.sid, self.frames = json.loads(message)["streamSid"].encode(), 0
        elif message.startswith(b'{"event":"media"'):
            start = message.index(b'"payload":"') + 11
            payload = message[start : message.index(b'"', start)]
            self.frames += 1
            play = b'{"event":"media","streamSid":"%b","media":{"payload":"%b"}}' % (self.sid, payload)
            transport.send(WSMsgType.TEXT, play)
            if self.frames % MARK_EVERY == 0:
                mark = b'{"event":"mark","streamSid":"%b","mark":{"name":"m%d"}}' % (self.sid, self.frames)
                transport.send(WSMsgType.TEXT, mark)


def echo(port) -> None:
    async def serve():
        server = await ws_create_server(lambda _: Echo(), "127.0.0.1", 0)
        port.put(server.sockets[0].getsockname()[1])
        await server.serve_forever()

    uvloop.run(serve())


async def measure(calls: int, seconds: float, media_port: int) -> None:
    async def voice(_):
        twiml = f'<Response><Connect><Stream url="ws://127.0.0.1:{media_port}/media"/></Connect></Response>'
        return web.Response(text=twiml, content_type="text/xml")

    app = web.Application()
    app.router.add_post("/voice", voice)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    async with TwilioSimulator(auth_token="bench", speech=murmur) as twilio:
        twilio.number(OURS, voice_url=f"http://127.0.0.1:{runner.addresses[0][1]}/voice")
        talk = [step for _ in range(int(seconds)) for step in (tone(440, ms=1000), Pause(1000))]
        up = [await twilio.ring(f"+1555{n:07d}", OURS, steps=[*talk, STAY]) for n in range(calls)]
        for call in up:
            await call.until_stream()
        frames = sum(len(call.line.spoken) for call in up) / 160
        began, cpu, late_s = time.monotonic(), time.process_time(), 0.0
        while time.monotonic() - began < seconds:
            await asyncio.sleep(0.1)
            late_s = max(late_s, time.monotonic() - min(call.line.next_frame_at for call in up))
        took_s, cpu = time.monotonic() - began, time.process_time() - cpu
        per_call = (sum(len(call.line.spoken) for call in up) / 160 - frames) / calls / took_s
        marks = sum(len(call.stream.echoes) for call in up)
        problems = sum(len(call.stream.problems) for call in up)
        memory_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
        sys.stdout.write(
            f"{calls} calls: {cpu / took_s:.2f} cores, {per_call:.2f} frames/s a call, latest frame {late_s * 1000:.0f} ms, "
            f"{marks} marks, {problems} problems, {memory_mb} MB\n"
        )
    await runner.cleanup()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--calls", type=int, default=100)
    parser.add_argument("--seconds", type=float, default=10.0)
    arguments = parser.parse_args()
    port = multiprocessing.Queue()
    other = multiprocessing.Process(target=echo, args=(port,), daemon=True)
    other.start()
    uvloop.run(measure(arguments.calls, arguments.seconds, port.get()))
    other.terminate()


if __name__ == "__main__":
    main()
