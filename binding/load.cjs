"use strict";
// Finds and loads the addon: a build of this checkout (build/Release), else the prebuilt one of the npm package.
// Importing this file loads nothing, so that `import "xfilter-core"` works (and says why) where the addon cannot.
const { join } = require("node:path");
const findBuild = require("node-gyp-build");

const root = join(__dirname, "..");

/** @returns the addon. Throws an Error with `code`, `message` and `advice` when it cannot be found or loaded. */
module.exports = function loadNative() {
  let path;
  try {
    path = findBuild.resolve(root);
  } catch (cause) {
    throw notLoaded(`there is no addon for ${describePlatform()} in ${tried().join(" or ")}`, advise(), cause);
  }
  try {
    return require(path);
  } catch (cause) {
    throw notLoaded(`the addon ${path} did not load on ${describePlatform()}: ${cause.message}`, advise(), cause);
  }
};

function notLoaded(message, advice, cause) {
  return Object.assign(new Error(message, { cause }), { code: "ADDON_NOT_LOADED", advice });
}

function tried() {
  const chosen = process.env.XFILTER_CORE_PREBUILD;
  const base = chosen ?? root;
  const builds = process.env.PREBUILDS_ONLY ? [] : [join(base, "build", "Release")];
  return [...builds, join(base, "prebuilds", `${process.platform}-${process.arch}`)];
}

function describePlatform() {
  return `${process.platform}-${process.arch} (${describeLibc()}, Node ${process.versions.node})`;
}

function describeLibc() {
  if (process.platform !== "linux") return "no Linux libc";
  const glibc = process.report?.getReport().header.glibcVersionRuntime;
  return glibc ? `glibc ${glibc}` : "no glibc: musl?";
}

function advise() {
  if (process.platform !== "linux" || process.arch !== "x64" || describeLibc().startsWith("no ")) {
    return "xfilter-core runs on x86_64 Linux with glibc: run it on such a host.";
  }
  if (process.env.XFILTER_CORE_PREBUILD) return "Correct or unset XFILTER_CORE_PREBUILD.";
  return "In a checkout, run `npm run build:native` (it needs cmake and g++). In an installation, reinstall xfilter-core; keep its prebuilds/ directory when you bundle or copy it.";
}
