// A WebSocket client that does what it is told: one JSON object per line in, one per line out.
//
//   node client.mjs ws://127.0.0.1:7777/echo
//   {"do": "send", "text": "hello"}         →  {"event": "text", "text": "hello"}
//
// tests/flow/test_node_client.py is at the other end.

import { createInterface } from "node:readline";
import WebSocket from "ws";

const tell = (event, more) => console.log(JSON.stringify({ event, ...more }));

const socket = new WebSocket(process.argv[2]);

socket.on("open", () => tell("open"));
socket.on("message", (data, isBinary) => {
  if (isBinary) tell("binary", { base64: data.toString("base64") });
  else tell("text", { text: data.toString() });
});
socket.on("ping", (data) => tell("ping", { text: data.toString() }));
socket.on("pong", (data) => tell("pong", { text: data.toString() }));
socket.on("close", (code, reason) => tell("close", { code, reason: reason.toString() }));
socket.on("error", (error) => tell("error", { text: error.message }));

const commands = {
  // Text unless `binary`; bytes that are sent as text may be a part of a character.
  send({ text, base64, binary = false, fin = true }) {
    socket.send(text ?? Buffer.from(base64, "base64"), { binary, fin });
  },
  // The numbers from `first` up to, and without, `end`; each a message, none waiting for an answer.
  count({ first, end }) {
    for (let number = first; number < end; number++) socket.send(String(number));
  },
  ping({ text }) {
    socket.ping(text);
  },
  close({ code, reason }) {
    socket.close(code, reason);
  },
};

for await (const line of createInterface({ input: process.stdin })) {
  const { do: name, ...parameters } = JSON.parse(line);
  commands[name](parameters);
}
socket.terminate();
