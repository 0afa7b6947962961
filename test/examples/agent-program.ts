import { runAgent } from "../../examples/agent.ts";
import { MemoryBackend } from "../../lib/testing/index.ts";
import { MemoryHost } from "./memory-host.ts";

// The agent as a program, of a host in memory.
const [directory, port] = process.argv.slice(2);
const { attach } = new MemoryHost("vm1");
const backends = { memory: () => new MemoryBackend() };
process.exitCode = (await runAgent({ directory: directory!, attach, backends }, Number(port))) ? 0 : 1;
