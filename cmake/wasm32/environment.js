// Programs under node see its environment, and read their module as a file: emscripten 3.1.6 takes a fetch, which node has
// had since 18, for a browser's.
Module["preRun"] = () => Object.assign(ENV, process.env);
globalThis.fetch = undefined;
