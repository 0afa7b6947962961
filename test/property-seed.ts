import fc from "fast-check";

// In CI properties are tried with the same values each time: it judges a change, and a counterexample that has been there all
// along is found where somebody is looking, by a run outside of it.
if (process.env.CI) fc.configureGlobal({ seed: 2007 });
