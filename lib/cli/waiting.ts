import { subscribe, unsubscribe } from "node:diagnostics_channel";
import { escapeText } from "../escape.ts";
import { MONITOR_CHANNEL, type MonitorMessage } from "../sources/qmp.ts";

/** Who waits longer than this wonders. */
const PATIENCE_MS = 1_000;

/** Says on a terminal that a monitor does not answer; nothing elsewhere. Ends when what it returns is called. */
export function tellOfWaiting(terminal: NodeJS.WritableStream & { isTTY?: boolean }): () => void {
  if (!terminal.isTTY) return () => {};
  let timer: NodeJS.Timeout | undefined;
  const listen = (message: unknown) => {
    const { path, state } = message as MonitorMessage;
    const say = () =>
      terminal.write(`xfilter: waiting for the monitor ${escapeText(path)}: another client may hold it\n`);
    clearTimeout(timer);
    timer = state === "waiting" ? setTimeout(say, PATIENCE_MS) : undefined;
  };
  subscribe(MONITOR_CHANNEL, listen);
  return () => {
    unsubscribe(MONITOR_CHANNEL, listen);
    clearTimeout(timer);
  };
}
