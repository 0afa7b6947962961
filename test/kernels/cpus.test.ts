import { describe, expect, it } from "vitest";
import { introspect } from "../../lib/index.ts";
import { presentFixtures } from "../../vmcore-fixtures/cache.ts";

// Of every image that is there: kernels.test.ts has built the base ones.
describe.each(presentFixtures().filter(({ elf }) => elf !== null))("$name", ({ elf, truth }) => {
  it("tells what each CPU ran, and that its list is init_task's", async () => {
    const guest = await introspect({ vmcore: elf! });
    try {
      const [cpus, snapshot] = await Promise.all([guest.cpus(), guest.snapshot()]);
      expect(cpus.length).toBeGreaterThan(0);
      for (const { task } of cpus) {
        expect(task).toMatchObject({ listed: true, processes: snapshot.processes.length });
        // Idle, or a process of the guest's own word.
        if (task!.pid !== 0) expect(truth().processes.map(({ pid }) => pid)).toContain(task!.pid);
        else expect(task!.comm).toBe(`swapper/${task!.cpu}`);
        const process = snapshot.process(task!.pid);
        if (task!.tid === task!.pid && process)
          expect(process).toMatchObject({ task: task!.address, comm: task!.comm });
      }
      const numbers = cpus.map(({ task }) => task!.cpu);
      expect(new Set(numbers).size).toBe(numbers.length);
    } finally {
      await guest.close();
    }
  });
});
