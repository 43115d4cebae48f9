/* What the maps of `layers.js` and `coverage.js` share: tiles read by ranges from archives, a view to move, and how
   captures and streets are drawn by the age of their newest image. All text in tiles is untrusted: it is put in as text. */
const $ = id => document.getElementById(id), canvas = document.querySelector("canvas"), pen = canvas.getContext("2d");
const AGES = [[1, "#0b6e4f", "newest image under 1 year"], [3, "#3da35d", "1 to 3 years"], [5, "#e0a100", "3 to 5 years"], [1e9, "#c2410c", "older"], [null, "#7d8790", "date unknown"]];
const YEAR_MS = 365.25 * 864e5, now = Date.now(), STREETS_FROM = 9.5;
/* what a page does: paint, passes(capture), found(capture) at each that is read, failed(error), clicked(x, y), hovered(x, y) or hovered() */
const page = { paint() {}, passes: () => true, found() {}, failed() {}, clicked() {}, hovered() {} };
const view = { x: 0.5145, y: 0.329, zoom: 7.2 };  /* the middle, on a square that is the world */

/* where things are */
const scale = () => 256 * 2 ** view.zoom;
const toMap = (lon, lat) => [(lon + 180) / 360, (1 - Math.asinh(Math.tan(lat * Math.PI / 180)) / Math.PI) / 2];
const toPlace = ([x, y]) => [x * 360 - 180, Math.atan(Math.sinh(Math.PI * (1 - 2 * y))) * 180 / Math.PI];
const toScreen = ([x, y]) => [(x - view.x) * scale() + canvas.clientWidth / 2, (y - view.y) * scale() + canvas.clientHeight / 2];
const fromScreen = (x, y) => [(x - canvas.clientWidth / 2) / scale() + view.x, (y - canvas.clientHeight / 2) / scale() + view.y];
function lookAt([west, north], [east, south], margin, closest) {
  const room = Math.min(canvas.clientWidth / Math.max(1e-6, east - west), canvas.clientHeight / Math.max(1e-6, south - north));
  Object.assign(view, { x: (west + east) / 2, y: (north + south) / 2, zoom: Math.max(4, Math.min(closest, Math.log2(room / 256) - margin)) });
  draw();
}

/* a vector tile: fields of protocol buffers, of which these layers use few */
function* fields(bytes) {
  let at = 0;
  const varint = () => { let value = 0, by = 1, byte; do { byte = bytes[at++]; value += (byte & 127) * by; by *= 128; } while (byte > 127); return value; };
  while (at < bytes.length) {
    const key = varint(), kind = key & 7;
    if (kind === 0) yield [key >> 3, varint()];
    else if (kind === 2) { const length = varint(); yield [key >> 3, bytes.subarray(at, at += length)]; }
    else { const size = kind === 1 ? 8 : 4; yield [key >> 3, bytes.subarray(at, at += size)]; }
  }
}
function numbers(bytes) {
  const found = [];
  for (let at = 0; at < bytes.length;) { let value = 0, by = 1, byte; do { byte = bytes[at++]; value += (byte & 127) * by; by *= 128; } while (byte > 127); found.push(value); }
  return found;
}
const text = new TextDecoder(), signed = n => n % 2 ? -(n + 1) / 2 : n / 2;
function scalar(bytes) {
  const [[kind, raw]] = fields(bytes), view = () => new DataView(raw.buffer, raw.byteOffset);
  return { 1: () => text.decode(raw), 2: () => view().getFloat32(0, true), 3: () => view().getFloat64(0, true), 6: () => signed(raw), 7: () => raw !== 0 }[kind]?.() ?? raw;
}
function decode(buffer) {
  const layers = {};
  for (const [, layer] of fields(new Uint8Array(buffer))) {
    let name = "";
    const keys = [], values = [], features = [];
    for (const [field, raw] of fields(layer)) {
      if (field === 1) name = text.decode(raw);
      else if (field === 2) features.push(raw);
      else if (field === 3) keys.push(text.decode(raw));
      else if (field === 4) values.push(scalar(raw));
    }
    layers[name] = features.map(raw => {
      const feature = { rings: [] };
      for (const [field, value] of fields(raw)) {
        if (field === 2) { const tags = numbers(value); for (let i = 0; i < tags.length; i += 2) feature[keys[tags[i]]] = values[tags[i + 1]]; }
        else if (field === 4) {
          const words = numbers(value);
          for (let i = 0, x = 0, y = 0; i < words.length;) {
            const word = words[i++], command = word & 7;
            if (command === 1) feature.rings.push([]);
            if (command !== 7) for (let left = word >> 3; left; left--) { x += signed(words[i++]); y += signed(words[i++]); feature.rings.at(-1).push([x / 4096, y / 4096]); }
          }
        }
      }
      return feature;
    });
  }
  return layers;
}

/* archives, once they are open, and their tiles as they are needed */
const archives = {}, tiles = new Map();
async function openLayers(folder) {  /* returns the header of the captures; an archive says which lie beside it */
  const archive = name => new pmtiles.PMTiles(new URL(`${folder}${name}.pmtiles`, location).href);
  const captures = archive("captures"), [header, about] = [await captures.getHeader(), await captures.getMetadata()];
  for (const name of about.archives || ["captures", "cells"]) archives[name] = name === "captures" ? captures : archive(name);
  draw();
  return header;
}
function tile(archive, z, x, y) {
  const key = `${archive}/${z}/${x}/${y}`;
  if (!tiles.has(key)) {
    if (tiles.size > 400) tiles.clear();
    tiles.set(key, null);
    archives[archive].getZxy(z, x, y).then(found => {
      const layers = found ? decode(found.data) : {};
      tiles.set(key, layers);
      for (const capture of layers.captures || []) page.found(capture);
      draw();
    }).catch(error => page.failed(error));
  }
  return tiles.get(key);
}
function* shown(archive, least, most) {
  if (!archives[archive]) return;
  const z = Math.max(least, Math.min(most, Math.floor(view.zoom + 0.5))), count = 2 ** z, size = scale() / count;
  const [x0, y0] = fromScreen(0, 0);
  for (let x = Math.floor(x0 * count); x <= (x0 + canvas.clientWidth / scale()) * count; x++)
    for (let y = Math.floor(y0 * count); y <= (y0 + canvas.clientHeight / scale()) * count; y++)
      if (x >= 0 && y >= 0 && x < count && y < count)
        yield [tile(archive, z, x, y), ([a, b]) => [(x / count - x0) * scale() + a * size, (y / count - y0) * scale() + b * size]];
}

/* drawing */
let isDrawing = false;
function draw() { if (!isDrawing) { isDrawing = true; requestAnimationFrame(() => { isDrawing = false; blank(); page.paint(); }); } }
function blank() {
  const ratio = devicePixelRatio || 1;
  canvas.width = canvas.clientWidth * ratio; canvas.height = canvas.clientHeight * ratio;
  pen.setTransform(ratio, 0, 0, ratio, 0, 0);
}
const named = name => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
const years = capture => capture.date ? (now - Date.parse(capture.date)) / YEAR_MS : null;
const color = age => age === null ? AGES[4][1] : AGES.find(([most]) => age < most)[1];
function trace(rings, place) { for (const ring of rings) ring.forEach((corner, i) => i ? pen.lineTo(...place(corner)) : pen.moveTo(...place(corner))); }
function paintStreets(withoutImage) {
  if (view.zoom > STREETS_FROM) for (const [layers, place] of shown("streets", 10, 14)) for (const street of layers?.streets || []) {
    pen.strokeStyle = street.is_shown ? color(years(street)) : withoutImage; pen.lineWidth = Math.max(1, view.zoom - 11);
    pen.globalAlpha = 0.45; pen.beginPath(); trace(street.rings, place); pen.stroke(); pen.globalAlpha = 1;
  }
}
function paintCaptures() {
  for (const age of [...AGES].reverse())  /* the newest on top */
    for (const [layers, place] of shown("captures", 0, 14)) for (const capture of layers?.captures || [])
      if (color(years(capture)) === age[1] && page.passes(capture)) dot(capture, place(capture.rings[0][0]), age[1]);
}
function dot(capture, [x, y], fill) {
  const size = view.zoom < 11 ? 1.2 : view.zoom < 14 ? 2 : Math.min(6, 2 + (view.zoom - 14) * 1.3);
  pen.fillStyle = fill; pen.beginPath(); pen.arc(x, y, size, 0, 7); pen.fill();
  if (view.zoom < 15.5 || capture.heading_deg === undefined) return;
  const turned = (capture.heading_deg - 90) * Math.PI / 180;
  pen.strokeStyle = fill; pen.lineWidth = 2; pen.beginPath(); pen.moveTo(x, y);
  pen.lineTo(x + Math.cos(turned) * size * 2.6, y + Math.sin(turned) * size * 2.6); pen.stroke();
}
function ring(at, stroke) { pen.strokeStyle = stroke; pen.lineWidth = 2; pen.beginPath(); pen.arc(...toScreen(at), 9, 0, 7); pen.stroke(); }
function legendOfAges() {
  return AGES.map(([, fill, said]) => { const row = document.createElement("div"), mark = document.createElement("i"); mark.style.background = fill; row.append(mark, said); return row; });
}

/* one capture */
function nearest(x, y) {  /* and where it is */
  let found = null, least = 12;
  for (const [layers, place] of shown("captures", 0, 14)) for (const capture of layers?.captures || []) {
    const at = place(capture.rings[0][0]), apart = Math.hypot(at[0] - x, at[1] - y);
    if (apart < least && page.passes(capture)) { least = apart; found = { capture, at: fromScreen(...at) }; }
  }
  return found;
}
function told(capture) {
  const made = (tag, said) => Object.assign(document.createElement(tag), { textContent: said }), turned = capture.heading_deg;
  const lines = [`${capture.kind === "pano" ? "360°" : "flat"}${turned === undefined ? "" : `, looks at ${turned}°`}`];
  if (capture.n > 1) lines.push(`the newest of ${capture.n} here`);
  if (capture.attribution) lines.push(capture.attribution);
  if (capture.not_indexed_because) lines.push(`not in the index: ${capture.not_indexed_because}`);
  const found = [made("b", `${capture.source}, ${capture.date || "date unknown"}`), ...lines.map(line => made("div", line))];
  if (/^https?:\/\//.test(capture.page_url || "")) found.push(Object.assign(made("a", "its page"), { href: capture.page_url, target: "_blank", rel: "noopener noreferrer" }));
  return found;
}

/* input */
function zoom(by, x = canvas.clientWidth / 2, y = canvas.clientHeight / 2) {
  const [beforeX, beforeY] = fromScreen(x, y);
  view.zoom = Math.max(4, Math.min(20, view.zoom + by));
  const [afterX, afterY] = fromScreen(x, y);
  view.x += beforeX - afterX; view.y += beforeY - afterY;
  draw();
}
const fingers = new Map();
let hasMoved = false;
canvas.onpointerdown = event => { canvas.setPointerCapture(event.pointerId); fingers.set(event.pointerId, [event.offsetX, event.offsetY]); hasMoved = fingers.size > 1; };
canvas.onpointermove = event => {
  const before = fingers.get(event.pointerId), after = [event.offsetX, event.offsetY];
  if (!before) { page.hovered(...after); return; }
  if (fingers.size === 2) {
    const other = [...fingers].find(([id]) => id !== event.pointerId)[1], apart = point => Math.max(1, Math.hypot(point[0] - other[0], point[1] - other[1]));
    zoom(Math.log2(apart(after) / apart(before)), (after[0] + other[0]) / 2, (after[1] + other[1]) / 2);
  } else { view.x -= (after[0] - before[0]) / scale(); view.y -= (after[1] - before[1]) / scale(); }
  hasMoved ||= Math.hypot(after[0] - before[0], after[1] - before[1]) > 2;
  fingers.set(event.pointerId, after);
  page.hovered();
  draw();
};
canvas.onpointerup = event => { fingers.delete(event.pointerId); if (!hasMoved) page.clicked(event.offsetX, event.offsetY); };
canvas.onpointercancel = event => fingers.delete(event.pointerId);
canvas.onpointerleave = () => page.hovered();
canvas.addEventListener("wheel", event => { event.preventDefault(); zoom(-event.deltaY * 0.002, event.offsetX, event.offsetY); }, { passive: false });
canvas.onkeydown = event => {
  const step = 60 / scale(), act = { ArrowLeft: () => view.x -= step, ArrowRight: () => view.x += step, ArrowUp: () => view.y -= step, ArrowDown: () => view.y += step,
    "+": () => zoom(0.5), "=": () => zoom(0.5), "-": () => zoom(-0.5), Escape: () => page.clicked() }[event.key];
  if (act) { event.preventDefault(); act(); draw(); }
};
new ResizeObserver(draw).observe(canvas);
matchMedia("(prefers-color-scheme: dark)").onchange = draw;
