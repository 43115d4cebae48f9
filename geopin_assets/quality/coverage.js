/* The map of `map_html.py`: cells and gaps from the page itself and, where it is served, streets from the layers beside it. */
const data = JSON.parse($("data").textContent);
const number = n => n.toLocaleString("en");
const words = reason => reason.replaceAll("_", " ");
const ROWS_SHOWN = 100, STREETS_SHOWN_FROM = 9;
const west = column => data.grid.west + column * data.grid.lon, south = row => data.grid.south + row * data.grid.lat;
const boxOf = (row, column) => [toMap(west(column), south(row + 1)), toMap(west(column + 1), south(row))];

const cells = data.cells.map(([id, place, isLand, population, looked, found, gaps]) => ({
  id, place, isLand, population, looked, found, gaps,
  row: +id.slice(-7, -4), column: +id.slice(-3), box: boxOf(+id.slice(-7, -4), +id.slice(-3)),
  captures: found.reduce((sum, [, captures]) => sum + captures, 0),
}));
const byWant = new Map(data.wanted.map(([id], i) => [id, i + 1]));
const byId = new Map(cells.map(cell => [cell.id, cell]));
const byPosition = new Map(cells.map(cell => [cell.row * 1000 + cell.column, cell]));
const outline = data.outline.map(ring => ring.map(corner => toMap(...corner))), lakes = data.lakes.map(([row, column]) => ({ box: boxOf(row, column) }));
const names = data.places.map(([name, lon, lat]) => [name, toMap(lon, lat)]);
let chosen = null, picked = null, hovered = null, shownRows = ROWS_SHOWN, colors = {};

function element(tag, text, className) {
  const made = document.createElement(tag);
  if (text !== undefined) made.textContent = text;
  if (className) made.className = className;
  return made;
}

/* filters */
function option(select, value, text) { const made = element("option", text); made.value = value; select.append(made); }
option($("source"), "-1", "All sources");
data.sources.forEach((source, i) => option($("source"), i, source));
option($("reason"), "-1", "Any");
data.reasons.forEach((reason, i) => option($("reason"), i, words(reason)));
const sourceChosen = () => +$("source").value;
const gapsOf = cell => +$("reason").value < 0 ? cell.gaps : cell.gaps.filter(([reason]) => reason === +$("reason").value);
const looked = cell => sourceChosen() < 0 || cell.looked.includes(sourceChosen());
const isShown = cell => looked(cell) && (!$("only").checked || gapsOf(cell).length > 0);
function count(cell) {
  if (sourceChosen() < 0) return cell.captures;
  const one = cell.found.find(([source]) => source === sourceChosen());
  return one ? one[1] : 0;
}

/* where things are */
function fit() {
  const corners = (cells.length ? cells.map(cell => cell.box) : [boxOf(0, 0), boxOf(151, 131)]).flat();
  const least = axis => corners.reduce((found, at) => Math.min(found, at[axis]), 1), most = axis => corners.reduce((found, at) => Math.max(found, at[axis]), 0);
  lookAt([least(0), least(1)], [most(0), most(1)], 0.15, 14);
}
function cellAt(x, y) {
  const [lon, lat] = toPlace(fromScreen(x, y));
  const row = Math.floor((lat - data.grid.south) / data.grid.lat), column = Math.floor((lon - data.grid.west) / data.grid.lon);
  const cell = byPosition.get(row * 1000 + column);
  return cell && isShown(cell) ? cell : null;
}

/* drawing */
let most = 10;
const hasStreets = () => $("with-streets").checked && view.zoom >= STREETS_SHOWN_FROM;
function readColors() {
  for (const name of ["water", "land", "shore", "nothing", "gap", "ink", "halo", "page", "accent", "c0", "c1", "c2", "c3", "c4"])
    colors[name] = named("--" + name);
  const stops = ["c0", "c1", "c2", "c3", "c4"].map(name => colors[name].match(/\w\w/g).map(hex => parseInt(hex, 16)));
  colors.ramp = Array.from({ length: 65 }, (_, i) => {
    const at = i / 64 * 4, low = Math.min(3, Math.floor(at));
    return `rgb(${stops[low].map((from, k) => Math.round(from + (stops[low + 1][k] - from) * (at - low)))})`;
  });
}
page.paint = () => {
  readColors();
  const width = canvas.clientWidth, height = canvas.clientHeight;
  pen.fillStyle = colors.water; pen.fillRect(0, 0, width, height);
  pen.beginPath();
  for (const ring of outline) { trace([ring], toScreen); pen.closePath(); }
  pen.fillStyle = colors.land; pen.fill("evenodd");
  pen.fillStyle = colors.water;
  for (const lake of lakes) square(lake, -0.5);
  for (const cell of cells) if (isShown(cell)) paintCell(cell);
  pen.strokeStyle = colors.shore; pen.lineWidth = 1; pen.lineJoin = "round";
  pen.beginPath(); trace(outline, toScreen); pen.stroke();
  if (hasStreets()) { paintStreets(colors.nothing); paintCaptures(); }
  if (hovered) rim(hovered, colors.ink, 1.5, 0);
  if (chosen) { rim(chosen, colors.halo, 7, 0); rim(chosen, colors.ink, 3, 0); }
  if (picked && hasStreets()) ring(picked.at, colors.ink);
  paintNames(width, height);
  $("ages").hidden = !hasStreets(); $("counts").hidden = hasStreets(); $("closer").hidden = !$("with-streets").checked || hasStreets();
};
function edges(cell) {
  const [[x, y], [right, bottom]] = cell.box.map(toScreen);
  return [x, y, right - x, bottom - y];
}
function square(cell, inset) {
  const [x, y, width, height] = edges(cell);
  pen.fillRect(x + inset, y + inset, width - 2 * inset, height - 2 * inset);
}
function rim(cell, color, thickness, inset) {
  const [x, y, width, height] = edges(cell);
  pen.strokeStyle = color; pen.lineWidth = thickness;
  pen.strokeRect(x + inset, y + inset, width - 2 * inset, height - 2 * inset);
}
function paintCell(cell) {
  const [, , , size] = edges(cell), space = size > 7 ? 0.5 : -0.25, captures = count(cell), gaps = gapsOf(cell);
  const isEmpty = gaps.some(([reason]) => data.reasons[reason] === "no_capture");
  if (isEmpty) {
    pen.fillStyle = size > 9 ? colors.page : colors.gap; square(cell, space);
    if (size > 9) { hatch(cell, size); rim(cell, colors.gap, 1, 0.5); }
    return;
  }
  pen.globalAlpha = hasStreets() ? 0.35 : 1;  /* what streets are seen on */
  pen.fillStyle = captures ? colors.ramp[Math.round(64 * Math.min(1, Math.log(captures) / Math.log(most)))] : colors.nothing;
  square(cell, space);
  pen.globalAlpha = 1;
  if (gaps.length && size > 6) rim(cell, colors.gap, Math.min(2.5, size / 11), hasStreets() ? 1 : size * 0.13);
}
function hatch(cell, size) {
  const [x, y, width, height] = edges(cell);
  pen.save(); pen.beginPath(); pen.rect(x, y, width, height); pen.clip();
  pen.strokeStyle = colors.gap; pen.lineWidth = 1.2; pen.beginPath();
  for (let at = 0; at < width + height; at += Math.max(5, size / 6)) { pen.moveTo(x + at, y); pen.lineTo(x + at - height, y + height); }
  pen.stroke(); pen.restore();
}
function paintNames(width, height) {
  pen.font = "600 12px system-ui, sans-serif"; pen.textAlign = "center"; pen.textBaseline = "middle"; pen.lineWidth = 3.5; pen.lineJoin = "round";
  const written = [];
  for (const [name, at] of names) {
    const [x, y] = toScreen(at);
    if (x < 30 || x > width - 30 || y < 12 || y > height - 12) continue;
    if (written.some(([nx, ny]) => Math.abs(nx - x) < 120 && Math.abs(ny - y) < 48)) continue;
    written.push([x, y]);
    pen.strokeStyle = colors.halo; pen.strokeText(name, x, y);
    pen.fillStyle = colors.ink; pen.fillText(name, x, y);
    if (written.length === 30) return;
  }
}

/* text */
function summarize() {
  const withCaptures = cells.filter(cell => cell.captures).length, short = cells.filter(cell => cell.gaps.length);
  const people = short.reduce((sum, cell) => sum + cell.population, 0);
  $("summary").textContent = `${data.date}   ·   ${number(cells.length)} cells crawled by ${data.sources.length} source(s)   ·   `
    + `${number(withCaptures)} with captures   ·   ${number(short.length)} fall short (${number(people)} inhabitants)   ·   `
    + `${number(data.notCrawled)} land cells not crawled yet`;
  $("trend").textContent = data.trend;
  $("credit").textContent = data.attribution.join("   ·   ");
}
function listProvinces() {
  $("provinces").replaceChildren(...data.provinces.map(([name, land, crawled, covered, captures, newest, gaps, people]) => {
    const row = element("tr");
    const twoLines = (text, below, className) => {
      const made = element("td", text, className);
      made.append(element("div", below, "soft"));
      row.append(made);
    };
    twoLines(name, `${number(land)} land cells`);
    twoLines(number(covered), `of ${number(crawled)}`, "num");
    twoLines(number(captures), newest || "–", "num");
    twoLines(number(gaps), `${number(people)} people`, "num");
    return row;
  }));
}
function describe() {
  const box = $("details");
  box.replaceChildren();
  if (picked) { const one = element("p"); one.append(...told(picked.capture)); box.append(one); }
  if (!chosen) { box.append(element("div", picked ? "" : "Click a cell, or a row of the table, to see its captures.", "soft")); return; }
  box.append(element("h2", chosen.place), element("div", `${chosen.id}   ·   ${number(chosen.population)} inhabitants`, "soft"));
  const table = element("table"), head = element("tr");
  ["Source", "Captures", "360°", "Sectors", "Newest"].forEach((name, i) => head.append(element("th", name, i ? "num" : "")));
  table.append(head);
  for (const source of chosen.looked) {
    const [, captures, panos, date, sectors] = chosen.found.find(([by]) => by === source) || [source, 0, 0, null, 0], row = element("tr");
    row.append(element("td", data.sources[source]));
    for (const text of [number(captures), number(panos), captures ? `${sectors} of 8` : "–", date || "–"]) row.append(element("td", text, "num"));
    table.append(row);
  }
  box.append(table);
  if (byWant.has(chosen.id)) {
    const help = element("div", `No. ${byWant.get(chosen.id)} of where imagery would help most. Contribute here: `);
    help.append(...contributeLinks());
    box.append(help);
  }
  if (!chosen.gaps.length) return;
  const list = element("ul");
  for (const [reason, detail] of chosen.gaps) {
    const item = element("li");
    item.append(element("span", words(data.reasons[reason]), "reason"), `: ${detail}`);
    list.append(item);
  }
  box.append(list);
}
const WANTED_ROWS = 12;
function contributeLinks() {
  const made = data.contribute.filter(([, address]) => /^https:\/\//.test(address)).map(([source, address]) => {
    const link = element("a", source.replaceAll("_", " "));
    link.href = address; link.target = "_blank"; link.rel = "noopener noreferrer";
    return link;
  });
  return made.flatMap((link, i) => i ? [" · ", link] : [link]);
}
function listWanted() {
  const shown = data.wanted.map(([id, lack, failed]) => [byId.get(id), lack, failed]).filter(([cell]) => cell && isShown(cell));
  $("help").hidden = !shown.length;
  $("wanted").replaceChildren(...shown.slice(0, WANTED_ROWS).map(([cell, lack, failed]) => {
    const row = element("tr", undefined, cell === chosen ? "chosen" : ""), name = element("td"), button = element("button", cell.place);
    button.onclick = () => { choose(cell); goTo(cell); };
    name.append(button, element("div", cell.id, "soft"));
    row.append(name, ...[`${Math.round(100 * lack)} %`, `${Math.round(100 * failed)} %`, number(cell.population)].map(text => element("td", text, "num")));
    return row;
  }));
  $("contribute").replaceChildren("Add imagery at ", ...contributeLinks());
}
function listGaps() {
  const short = cells.filter(cell => looked(cell) && gapsOf(cell).length).sort((a, b) => b.population - a.population || (a.id < b.id ? -1 : 1));
  $("count").textContent = `${number(short.length)} ${short.length === 1 ? "cell falls" : "cells fall"} short`;
  $("gaps").replaceChildren(...short.slice(0, shownRows).map(cell => {
    const row = element("tr", undefined, cell === chosen ? "chosen" : ""), name = element("td"), button = element("button", cell.place);
    button.onclick = () => { choose(cell); goTo(cell); };
    name.append(button, element("div", cell.id, "soft"));
    row.append(name, element("td", gapsOf(cell).map(([reason]) => words(data.reasons[reason])).join(", ")), element("td", number(cell.population), "num"));
    return row;
  }));
  $("more").hidden = short.length <= shownRows;
  $("more").textContent = `Show all ${number(short.length)}`;
}
function refresh() {
  most = cells.reduce((highest, cell) => Math.max(highest, count(cell)), 10);
  const middle = Math.round(Math.sqrt(most));
  $("ticks").replaceChildren(element("span", "1"), element("span", number(middle)), element("span", number(most)));
  listWanted(); listGaps(); describe(); draw();
}
function choose(cell, capture = null) { chosen = cell; picked = capture; refresh(); }
function goTo(cell) {
  const [[left, top], [right, bottom]] = cell.box;
  Object.assign(view, { x: (left + right) / 2, y: (top + bottom) / 2, zoom: Math.max(view.zoom, 11.5) });
  draw();
}
function tip(x, y) {
  $("tip").hidden = !hovered;
  if (!hovered) return;
  const gaps = gapsOf(hovered).map(([reason]) => words(data.reasons[reason])).join(", ");
  $("tip").replaceChildren(element("b", hovered.place), element("div", hovered.id, "soft"), element("div", `${number(count(hovered))} captures`));
  if (gaps) $("tip").append(element("div", gaps, "reason"));
  $("tip").style.left = Math.min(x + 14, canvas.clientWidth - 210) + "px";
  $("tip").style.top = Math.min(y + 14, canvas.clientHeight - 90) + "px";
}

/* input */
page.passes = capture => sourceChosen() < 0 || capture.source === data.sources[sourceChosen()];
page.hovered = (x, y) => { hovered = x === undefined ? null : cellAt(x, y); tip(x, y); draw(); };
page.clicked = (x, y) => x === undefined ? choose(null) : choose(cellAt(x, y), hasStreets() ? nearest(x, y) : null);
page.failed = error => {
  $("with-streets").checked = false; $("with-streets").disabled = true;
  $("without").textContent = location.protocol === "file:" ? "Streets are read from the layers beside this page, which a browser does over a server only: geopin ui, or any other that answers ranges."
    : error.message.includes("404") ? "There are no layers: quality/layers draws them with the next report." : `The layers cannot be read: ${error.message}`;
  $("without").hidden = false;
  draw();
};
$("in").onclick = () => zoom(0.7); $("out").onclick = () => zoom(-0.7); $("fit").onclick = fit;
$("more").onclick = () => { shownRows = Infinity; listGaps(); };
for (const id of ["source", "reason", "only"]) $(id).onchange = () => { shownRows = ROWS_SHOWN; refresh(); };
$("with-streets").onchange = () => { picked = null; describe(); draw(); };

$("ages").replaceChildren(...legendOfAges());
if (location.protocol === "file:") page.failed(new Error());
else openLayers("layers/").then(() => { $("layers").href = "layers/index.html"; $("layers").hidden = false; }).catch(page.failed);
summarize(); listProvinces(); refresh(); fit();
const [, row, column] = location.hash.match(/r(\d{3})c(\d{3})$/) || [];
const asked = row && byPosition.get(+row * 1000 + +column);
if (asked) { choose(asked); goTo(asked); }
