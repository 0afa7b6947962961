/** Finds and loads the addon, whose face is `Native` in lib/native.ts. Throws an Error with `code` and `advice`. */
declare function loadNative(): unknown;
export = loadNative;
