import { describe, expect, it } from "vitest";
import { toXFilterError, XFilterError } from "../../lib/errors.ts";

const native = (fields: object) => Object.assign(new Error("no kernel was found"), fields);

describe("an error of the addon", () => {
  it("keeps its code and says what happened and what to do", () => {
    const cause = native({ code: "KERNEL_NOT_FOUND", advice: "dump all of the guest's memory" });
    const error = toXFilterError(cause);
    expect(error).toBeInstanceOf(XFilterError);
    expect(error).toMatchObject({ name: "XFilterError", code: "KERNEL_NOT_FOUND", cause });
    expect(error.message).toBe("No kernel was found. Dump all of the guest's memory.");
    expect(error.what).toBe("No kernel was found.");
    expect(error.advice).toBe("Dump all of the guest's memory.");
  });
  it("of the other class, of ES modules and CommonJS, says its advice once, too", () => {
    const other = { ...new XFilterError("SOURCE_GONE", "the domain has ended", "Attach again") };
    expect(toXFilterError({ ...other, message: "The domain has ended. Attach again." }).message).toBe(
      "The domain has ended. Attach again.",
    );
  });
  it("without a code that we know is a fault of ours", () => {
    expect(toXFilterError(native({ code: "SURPRISE" })).code).toBe("INTERNAL");
    expect(toXFilterError("thrown text")).toMatchObject({ code: "INTERNAL", cause: "thrown text" });
  });
  it("keeps the spelling of a path in front", () => {
    expect(toXFilterError(native({ code: "SOURCE_IO", message: "/dumps/x: input/output error" })).message).toBe(
      "/dumps/x: input/output error.",
    );
  });
});
