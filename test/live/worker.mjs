import { parentPort, workerData } from "node:worker_threads";

// Attaches, takes a snapshot, and one more for each message; says how each went.
const { introspect } = await import(workerData.library);
const guest = await introspect(workerData.target);
const tell = () =>
  guest.snapshot().then(
    ({ processes }) => parentPort.postMessage(processes.length > 0 ? "read" : "empty"),
    ({ code }) => parentPort.postMessage(code),
  );
parentPort.on("message", tell);
await tell();
