/**
 * Reads a Linux guest's memory from outside and lists its processes and their sockets.
 *
 * @packageDocumentation
 */

export type { Cpu, CpuJson, CpuTask } from "./cpu.ts";
export type { Discrepancy, DiscrepancyKind } from "./discrepancy.ts";
export { type ArgumentErrorCode, XFilterError, type XFilterErrorCode } from "./errors.ts";
export type { ClosesItself, CpusOptions, Guest, InterfacesOptions, SnapshotMessage, SnapshotOptions } from "./guest.ts";
export type { GuestInterface } from "./guest-interface.ts";
export { type IntrospectOptions, introspect } from "./introspect.ts";
export type { AttachStep, Kernel, KernelJson, MissingMember } from "./kernel.ts";
export type { KernelFiles } from "./kernel-files.ts";
export type { MemoryMapEntry } from "./memory-map.ts";
export type { NetworkDevice, NetworkNamespace } from "./network-namespace.ts";
export type { AbortSignalLike } from "./options.ts";
export type { OtherKind, OtherSocket, OtherSocketJson } from "./other-socket.ts";
export type { Process, ProcessJson } from "./process.ts";
export { createProfile, type ProfileOptions } from "./profile.ts";
export type { Quality } from "./quality.ts";
export type { Rows } from "./rows.ts";
export type { Snapshot, SnapshotJson } from "./snapshot.ts";
export type { Endpoint, Owner, Protocol, Socket, SocketJson, SocketState, UnownedReason } from "./socket.ts";
export type { HostInterface } from "./sources/interfaces.ts";
export type { Target, VmcoreTarget } from "./sources/target.ts";
export type { Changes, Difference, WatchOptions } from "./watch.ts";
