// Numbers as they are shown.

const THIN = "\u202f";

/// Thousands apart.
export const grouped = (count) => String(count).replace(/\B(?=(\d{3})+$)/g, THIN);

/// Three significant digits, with an exponent where that is shorter.
export function short(value) {
  if (!Number.isFinite(value)) return String(value);
  if (value === 0) return "0";
  const size = Math.abs(value);
  if (size >= 1e5 || size < 1e-3) return value.toExponential(2).replace("e+", "e");
  return String(Number(value.toPrecision(3)));
}

/// "32k" where a whole number of 1 024s.
export function tokens(count) {
  if (count >= 1048576 && count % 1048576 === 0) return count / 1048576 + "m";
  if (count >= 1024 && count % 1024 === 0) return count / 1024 + "k";
  return grouped(Math.round(count));
}

/// Turns of 2^64 as radians in [-pi, pi).
export const radians = (turns) => Number(BigInt.asIntN(64, turns)) * (Math.PI / 2 ** 63);

const word = new Float32Array(1), bits = new Uint32Array(word.buffer);
/// The nearest bfloat16, ties to even.
export function bfloat16(value) {
  word[0] = value;
  bits[0] = (bits[0] + 0x7fff + ((bits[0] >>> 16) & 1)) & 0xffff0000;
  return word[0];
}

/// Rows of numbers as CSV.
export const csv = (head, rows) => [head, ...rows].map((row) => row.map((cell) => (/[",\n]/.test(cell) ? `"${String(cell).replace(/"/g, '""')}"` : cell)).join(",")).join("\n") + "\n";
