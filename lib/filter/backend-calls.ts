import type {
  BackendCapabilities,
  GuestScope,
  Installed,
  OpenOptions,
  Reconciled,
  RuleBackend,
} from "../backends/backend.ts";
import { isXFilterErrorCode, toXFilterError, XFilterError } from "../errors.ts";
import type { ProgramAbortSignal } from "../options.ts";
import type { Plan } from "../rules/pattern.ts";
import { BACKEND_CALLS, type BackendCallMessage } from "./channels.ts";

type Abortable = { readonly signal: ProgramAbortSignal };

/**
 * @internal A filter's calls of its backend, which anybody may have written: whatever goes wrong in there is an `XFilterError` that
 * names the backend, or the abort.
 */
export class BackendCalls implements RuleBackend {
  readonly #backend: RuleBackend;
  readonly #id: string;

  constructor(backend: RuleBackend, id: string) {
    this.#backend = backend;
    this.#id = id;
  }

  get name(): string {
    return String(this.#backend.name);
  }

  get capabilities(): BackendCapabilities {
    return this.#backend.capabilities;
  }

  open(scope: GuestScope, options: OpenOptions): Promise<void> {
    return this.#call("open", () => this.#backend.open(scope, options), options.signal);
  }

  inspect(options: Abortable): Promise<Installed> {
    return this.#call(
      "inspect",
      () => this.#backend.inspect(options),
      options.signal,
      (installed) =>
        Array.isArray(installed?.patterns) && Array.isArray(installed.problems) && typeof installed.bites === "boolean",
    );
  }

  reconcile(plan: Plan, options: Abortable): Promise<Reconciled> {
    return this.#call(
      "reconcile",
      () => this.#backend.reconcile(plan, options),
      options.signal,
      (reconciled) => typeof reconciled?.repaired === "boolean",
    );
  }

  close(options: { readonly keep: boolean }): Promise<void> {
    return this.#call("close", () => this.#backend.close(options));
  }

  async #call<T>(
    method: BackendCallMessage["method"],
    work: () => Promise<T>,
    signal?: ProgramAbortSignal,
    isAnswer: (answer: T) => boolean = () => true,
  ): Promise<T> {
    let answer: T;
    try {
      answer = await BACKEND_CALLS.run({ id: this.#id, backend: this.name, method }, async () => work());
    } catch (cause) {
      if (signal?.aborted) throw signal.reason;
      throw this.#toError(method, cause);
    }
    if (isAnswer(answer)) return answer;
    const what = `the backend ${this.name} answered ${method}() with something else than RuleBackend promises`;
    throw new XFilterError("BACKEND_FAILED", what, "Hold the backend to backendConformance() of xfilter-core/testing");
  }

  #toError(method: string, cause: unknown): XFilterError {
    const { code, message } = (cause ?? {}) as { code?: unknown; message?: unknown };
    if (isXFilterErrorCode(code)) return toXFilterError(cause);
    const why = typeof message === "string" && message !== "" ? message : String(cause);
    const what = `the backend ${this.name} failed in ${method}(): ${why}`;
    const advice = "The cause says where: whoever wrote the backend, or runs what it talks to, knows what it means";
    return new XFilterError("BACKEND_FAILED", what, advice, { cause });
  }
}
