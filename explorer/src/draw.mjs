// Colours and canvases.

export const css = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

const rgb = (hex) => [1, 3, 5].map((at) => parseInt(hex.slice(at, at + 2), 16));

/// A colour for a value in [-1, 1]: cold below, warm above, the page's own at 0. Returns [r, g, b].
export function diverging() {
  const [cold, zero, warm] = ["--cold", "--zero", "--warm"].map((name) => rgb(css(name)));
  return (value) => {
    const end = value < 0 ? cold : warm, share = Math.min(1, Math.abs(value));
    return zero.map((from, i) => Math.round(from + (end[i] - from) * share));
  };
}

/// Black or white, whichever reads better on a colour.
export const inkOn = ([r, g, b]) => (0.299 * r + 0.587 * g + 0.114 * b > 140 ? "#111418" : "#ffffff");

// Okabe and Ito's palette, told apart by colour-blind readers; dashes repeat the distinction.
const LIGHT = ["#0072b2", "#d55e00", "#00805c", "#b0528c", "#8a6500", "#3a8fc0", "#555555", "#7b5cc4"];
const DARK = ["#4db3ec", "#ff8a3d", "#2fd3a4", "#e69ac6", "#e8c547", "#9ad8ff", "#c4c4c4", "#b79cf0"];
export const DASHES = [[], [8, 4], [2, 3], [10, 3, 2, 3], [5, 5], [14, 4], [2, 6], [6, 2, 2, 2, 2, 2]];
export const dark = () => getComputedStyle(document.documentElement).colorScheme.includes("dark");
export const colour = (i) => (dark() ? DARK : LIGHT)[i % LIGHT.length];

/// A canvas as wide as its place and `height` CSS pixels high, in device pixels. Returns its context in CSS pixels.
export function surface(canvas, height) {
  const width = Math.max(1, Math.round(canvas.parentElement.clientWidth || canvas.clientWidth)), ratio = window.devicePixelRatio || 1;
  if (canvas.width !== Math.round(width * ratio) || canvas.height !== Math.round(height * ratio)) {
    canvas.width = Math.round(width * ratio);
    canvas.height = Math.round(height * ratio);
    canvas.style.height = height + "px";
  }
  const context = canvas.getContext("2d");
  context.setTransform(ratio, 0, 0, ratio, 0, 0);
  return { context, width, height };
}

/// A heat map of rows x columns, one cell a value in [-1, 1].
export function heatMap(canvas, rows, columns, value) {
  canvas.width = columns;
  canvas.height = rows;
  const context = canvas.getContext("2d"), image = context.createImageData(columns, rows), of = diverging();
  for (let r = 0, at = 0; r < rows; r++)
    for (let c = 0; c < columns; c++, at += 4) {
      const [red, green, blue] = of(value(r, c));
      image.data[at] = red;
      image.data[at + 1] = green;
      image.data[at + 2] = blue;
      image.data[at + 3] = 255;
    }
  context.putImageData(image, 0, 0);
}
