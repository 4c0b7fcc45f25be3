// Scalings as the page offers them: options from one factor and one trained length, each by its publication's defaults.

export const METHODS = {
  none: { name: "none", make: () => null },
  linear: { name: "linear", make: (factor) => ({ kind: "linear", factor }) },
  ntk: { name: "NTK-aware", make: (factor) => ({ kind: "ntk", factor }) },
  dynamic_ntk: { name: "dynamic NTK", make: (factor, trained_context) => ({ kind: "dynamic_ntk", factor, trained_context }) },
  yarn: { name: "YaRN", make: (factor, trained_context) => ({ kind: "yarn", factor, trained_context }) },
  llama3: { name: "Llama 3", make: (factor, trained_context) => ({ kind: "llama3", factor, trained_context }) },
  // Its divisors were searched for one checkpoint each: offered where a checkpoint brings them.
  longrope: { name: "LongRoPE", make: (factor, trained_context, spec) => (spec.scaling?.kind === "longrope" ? { ...spec.scaling, policy: "long" } : undefined) },
};

/// The encoding under another scaling; null where that has no meaning.
export function withScaling(spec, method, factor, trained) {
  if (spec.given) return null;
  const scaling = METHODS[method].make(factor, trained, spec);
  return scaling === undefined ? null : { ...spec, scaling };
}
