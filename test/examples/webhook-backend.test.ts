import { afterAll, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { type WebhookOptions, webhook } from "../../examples/webhook-backend.ts";
import { backendConformance, comesPast, decidingPattern, planOf } from "../../lib/testing/index.ts";
import { pattern } from "../backends/plan.ts";
import { SECRET, WebhookService } from "./webhook-service.ts";

const { signal } = new AbortController();
let service: WebhookService;

beforeAll(async () => {
  service = await WebhookService.start();
});

afterAll(() => service.close());

beforeEach(() => {
  service.faults.length = 0;
  service.log.length = 0;
});

const make = (options: Partial<WebhookOptions> = {}) =>
  webhook({ url: service.url, secret: SECRET, backoffMs: 1, ...options });

describe("the webhook backend", () => {
  const cases = backendConformance({
    create: () => make(),
    passes: (packet, guest) => comesPast(decidingPattern(service.guests.get(guest) ?? [], packet)?.action),
    breakNextChange: () => void service.faults.push(null, 400),
    disturbances: { "the service forgets everything": (guest) => void service.guests.delete(guest) },
  });
  for (const { name, skip, run } of cases) it.skipIf(skip !== null)(name, run);
});

describe("a request", () => {
  const plan = planOf([pattern()]);
  const scope = { id: "vm1", bootId: "1", interfaces: [] };

  async function opened(options: Partial<WebhookOptions> = {}) {
    const backend = make(options);
    await backend.open(scope, { signal, leaseMs: null });
    service.log.length = 0;
    return backend;
  }

  it("is sent again when the service is busy, or when the answer was lost although the work was done", async () => {
    const backend = await opened();
    service.faults.push(null, 503, "lost");
    await backend.reconcile(plan, { signal });
    expect(service.log).toEqual(["GET 404", "PATCH 503", "PATCH lost", "PATCH 200"]);
    expect(service.guests.get("vm1")).toHaveLength(1);
    await backend.close({ keep: false });
  });

  it("is given up after some attempts, with a code that a filter knows", async () => {
    const backend = await opened({ attempts: 2 });
    service.faults.push(500, 500);
    await expect(backend.inspect({ signal })).rejects.toMatchObject({ code: "BACKEND_FAILED" });
    expect(service.log).toEqual(["GET 500", "GET 500"]);
  });

  it("that is not signed with the secret is refused, and not tried again", async () => {
    const refused = opened({ secret: "another" });
    await expect(refused).rejects.toMatchObject({ code: "BACKEND_FAILED" });
    expect(service.log).toEqual(["GET 401"]);
  });
});
