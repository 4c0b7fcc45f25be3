// Scalings as the page offers them: options from one factor and one trained length, each by its publication's defaults.

export const METHODS = {
  none: { name: "none", make: () => null },
  linear: { name: "linear", make: (factor) => ({ kind: "linear", factor }) },
  ntk: { name: "NTK-aware", make: (factor) => ({ kind: "ntk", factor }) },
  dynamic_ntk: { name: "dynamic NTK", make: (factor, trained_context) => ({ kind: "dynamic_ntk", factor, trained_context }) },
  yarn: { name: "YaRN", make: (factor, trained_context) => ({ kind: "yarn", factor, trained_context }) },
  longrope: { name: "LongRoPE", make: (factor, trained_context, spec) => (spec.scaling?.kind === "longrope" ? { ...spec.scaling, policy: "long" } : undefined) },
  llama3: { name: "Llama 3", make: (factor, trained_context) => ({ kind: "llama3", factor, trained_context }) },
};

// LongRoPE's divisors are searched for, one a pair, for each checkpoint. Where a checkpoint brings none, these show of what
// kind they are: about 1 for the fast pairs, the factor for the slowest, and no formula between.
function shownDivisors(factor, trained_context, pairs) {
  const long_factor = Array.from({ length: pairs }, (_, j) => 1 + ((factor - 1) * (1 - Math.cos((Math.PI * j) / Math.max(1, pairs - 1)))) / 2);
  return { kind: "longrope", factor, trained_context, short_factor: long_factor.map(() => 1), long_factor, policy: "long" };
}

/// The encoding under another scaling; null where that has no meaning.
export function withScaling(spec, method, factor, trained) {
  if (spec.given && method !== "none") return null;
  const scaling = METHODS[method].make(factor, trained, spec);
  return scaling === undefined ? null : { ...spec, scaling };
}

/// The same for a picture of what a method does: with made-up divisors where LongRoPE has none, and null where the
/// library refuses the two together, at the factor's length too.
export function shownScaling(library, spec, method, factor, trained) {
  let scaled = withScaling(spec, method, factor, trained);
  if (!scaled && !spec.given && method === "longrope") scaled = { ...spec, scaling: shownDivisors(factor, trained, library.pairs(spec)) };
  try {
    if (scaled) library.check(scaled, Math.round(trained * factor));
    return scaled;
  } catch {
    return null;
  }
}
