// A phone bridge on OpenAI's Agents SDK for JavaScript, as its users build one: a WebSocket server, its own
// transport for Twilio, its RealtimeSession. Prints the URL that phones dial.
//
//     node agents_sdk.mjs DIRECTORY MODEL_PORT
//
// DIRECTORY holds the node_modules of `npm install --prefix DIRECTORY @openai/agents @openai/agents-extensions ws`.
import { createRequire } from "node:module";
import { resolve } from "node:path";

const [directory, modelPort] = process.argv.slice(2);
const installed = createRequire(resolve(directory, "package.json"));
const { setTracingDisabled } = installed("@openai/agents");
const { RealtimeAgent, RealtimeSession } = installed("@openai/agents/realtime");
const { TwilioRealtimeTransportLayer } = installed("@openai/agents-extensions");
const { WebSocketServer } = installed("ws");

setTracingDisabled(true);
const url = `ws://127.0.0.1:${modelPort}/v1/realtime?model=load`;
const phones = new WebSocketServer({ host: "127.0.0.1", port: 0, perMessageDeflate: false });

phones.on("connection", (twilioWebSocket) => {
  const agent = new RealtimeAgent({ name: "Front desk", instructions: "Help the caller." });
  const transport = new TwilioRealtimeTransportLayer({ twilioWebSocket });
  const format = { type: "audio/pcmu" }; // without it the session asks for PCM at 24 kHz, which the phone cannot play
  const session = new RealtimeSession(agent, { transport, config: { audio: { input: { format }, output: { format } } } });
  session.on("error", (event) => console.error(event));
  session.on("transport_event", (event) => {
    if (event.type === "twilio_message" && event.message.event === "stop") twilioWebSocket.close();
  });
  session.connect({ apiKey: "load", url }).catch((error) => {
    console.error(error);
    process.exit(1);
  });
});
phones.on("listening", () => console.log(`ws://127.0.0.1:${phones.address().port}/`));
