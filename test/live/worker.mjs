import { parentPort, workerData } from "node:worker_threads";

// Attaches, takes a snapshot, and more for a message: until one fails, if it says so. Says how each went.
const { introspect } = await import(workerData.library);
const guest = await introspect(workerData.target);
const walk = () =>
  guest.snapshot().then(
    ({ processes }) => (processes.length > 0 ? "read" : "empty"),
    ({ code }) => code,
  );
parentPort.on("message", async (message) => {
  let went = await walk();
  while (message === "until it fails" && went === "read") went = await walk();
  parentPort.postMessage(went);
});
parentPort.postMessage(await walk());
