import { describe, expect, it } from "vitest";
import { runJob } from "../../lib/job.ts";
import type { NativeJob } from "../../lib/native.ts";

/** A job that ends when it is told to, and as the addon's ends when it is cancelled. */
function job(): NativeJob<string> & { resolve(value: string): void; cancelled: number } {
  const { promise, resolve, reject } = withResolvers<string>();
  return {
    promise,
    resolve,
    cancelled: 0,
    cancel() {
      this.cancelled++;
      reject(Object.assign(new Error("cancelled"), { code: "ABORTED", advice: "" }));
    },
  };
}

function withResolvers<T>() {
  let resolve: (value: T) => void = () => {};
  let reject: (reason: unknown) => void = () => {};
  const promise = new Promise<T>((...both) => {
    [resolve, reject] = both;
  });
  return { promise, resolve, reject };
}

describe("a job of the addon", () => {
  it("gives its result", async () => {
    const running = job();
    const result = runJob(() => running, undefined);
    running.resolve("done");
    await expect(result).resolves.toBe("done");
  });
  it("is not started when the signal is aborted already", async () => {
    const reason = new Error("too late");
    const start = () => expect.unreachable();
    await expect(runJob(start, AbortSignal.abort(reason))).rejects.toBe(reason);
  });
  it("is cancelled by the signal and rejects with its reason", async () => {
    const running = job();
    const abort = new AbortController();
    const result = runJob(() => running, abort.signal);
    const reason = new Error("enough");
    abort.abort(reason);
    await expect(result).rejects.toBe(reason);
    expect(running.cancelled).toBe(1);
  });
  it("that goes on in spite of an abort keeps nobody waiting, and its late result is discarded", async () => {
    const running = { ...job(), cancel() {} };
    const abort = new AbortController();
    const discarded: string[] = [];
    const result = runJob(
      () => running,
      abort.signal,
      (value) => discarded.push(value),
    );
    const reason = new Error("enough");
    abort.abort(reason);
    await expect(result).rejects.toBe(reason);
    expect(discarded).toEqual([]);
    running.resolve("done");
    await running.promise;
    expect(discarded).toEqual(["done"]);
  });
  it("is left alone by a signal that comes after its end", async () => {
    const running = job();
    const abort = new AbortController();
    const result = runJob(() => running, abort.signal);
    running.resolve("done");
    await result;
    abort.abort();
    expect(running.cancelled).toBe(0);
  });
  it("rejects with ABORTED when something else cancelled it", async () => {
    const running = job();
    const result = runJob(() => running, new AbortController().signal);
    running.cancel();
    await expect(result).rejects.toMatchObject({ code: "ABORTED" });
  });
  it("that does not even start is an error as any other", async () => {
    const start = () => {
      throw Object.assign(new Error("closed"), { code: "CLOSED", advice: "" });
    };
    await expect(runJob(start, undefined)).rejects.toMatchObject({ name: "XFilterError", code: "CLOSED" });
  });
});
