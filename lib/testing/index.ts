/**
 * For tests of what uses xfilter-core: a guest and a firewall in memory, and what every backend is held to.
 *
 * @packageDocumentation
 */

export { comesPast, decidingPattern, type Packet } from "../rules/packet.ts";
export { backendConformance } from "./conformance/kit.ts";
export type { BackendUnderTest, ConformanceCase } from "./conformance/subject.ts";
export { MemoryBackend } from "./memory-backend.ts";
export { type HeldPattern, MemoryFirewall } from "./memory-firewall.ts";
export { type MemoryFlow, MemoryGuest, type MemoryProcess, memoryDevice } from "./memory-guest.ts";
export { planOf } from "./plan.ts";
