// A heat map as an SVG of its own: rectangles, names, and the scale of the colours.
import { heatColor } from "./colors.js";
import { paper } from "./export.js";
import { perPixel, shareOf } from "./heat_data.js";
import { tickText } from "./options.js";
import { escaped } from "./svg.js";

const [LEFT, TOP, WIDTH, ROW, COLUMNS] = [120, 44, 760, 22, 380];

/**
 * @param {{title: string, names: string[], rows: (number|null)[][], along: number[], from: number, to: number,
 *   colors: [number, number], axisText: (place: number) => string, axisLabel: string}} about @returns {string}
 */
export function heatSvg({ title, names, rows, along, from, to, colors, axisText, axisLabel }) {
  const ink = paper();
  const bottom = TOP + ROW * names.length;
  const height = bottom + 66;
  const text = (x, y, content, anchor = "start", size = 11, color = ink.ink) =>
    `<text x="${x}" y="${y}" font-size="${size}" text-anchor="${anchor}" fill="${escaped(color)}">${escaped(content)}</text>`;
  const cells = rows.flatMap((values, y) => runs(perPixel(along, values, from, to, COLUMNS)).map(({ start, end, value }) =>
    `<rect x="${LEFT + (start * WIDTH) / COLUMNS}" y="${TOP + y * ROW}" width="${((end - start) * WIDTH) / COLUMNS}" height="${ROW - 1}" fill="${heatColor(shareOf(value, colors))}"/>`));
  const bar = Array.from({ length: 40 }, (_, i) => `<rect x="${LEFT + i * 4}" y="${bottom + 38}" width="4.5" height="10" fill="${heatColor(i / 39)}"/>`);
  const parts = [
    `<rect width="${LEFT + WIDTH + 20}" height="${height}" fill="${escaped(ink.ground)}"/>`,
    text(LEFT, 26, title, "start", 15),
    ...cells,
    ...names.map((name, i) => text(LEFT - 8, TOP + i * ROW + 15, name, "end")),
    text(LEFT, bottom + 16, axisText(from), "start", 11, ink.muted),
    text(LEFT + WIDTH, bottom + 16, `${axisLabel} ${axisText(to)}`, "end", 11, ink.muted),
    ...bar,
    text(LEFT - 8, bottom + 47, tickText(colors[0]), "end", 11, ink.muted),
    text(LEFT + 168, bottom + 47, tickText(colors[1]), "start", 11, ink.muted),
  ];
  return `<svg xmlns="http://www.w3.org/2000/svg" width="${LEFT + WIDTH + 20}" height="${height}" viewBox="0 0 ${LEFT + WIDTH + 20} ${height}" font-family="system-ui, 'Noto Sans', 'Noto Sans CJK SC', sans-serif"><title>${escaped(title)}</title>${parts.join("")}</svg>\n`;
}

/** Neighbours of one value as one rectangle. */
function runs(values) {
  const out = [];
  values.forEach((value, i) => {
    if (!(value > 0)) return;
    const last = out.at(-1);
    if (last && last.end === i && last.value === value) last.end = i + 1;
    else out.push({ start: i, end: i + 1, value });
  });
  return out;
}
