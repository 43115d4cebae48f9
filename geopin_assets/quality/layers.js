/* The map of `layers.py`: the archives beside it, filtered by source, kind and age. */
const CELLS_BELOW = 11, sources = new Set();
let chosen = null;

page.passes = capture => (!$("source").value || capture.source === $("source").value) && (!$("kind").value || capture.kind === $("kind").value)
  && (!$("age").value || (years(capture) ?? 1e9) < +$("age").value);
page.found = capture => {
  if (!capture.source || sources.has(capture.source)) return;
  sources.add(capture.source);
  $("source").append(new Option(capture.source, capture.source));
};
page.failed = error => { $("credit").textContent = `the layers cannot be read: ${error.message}`; };
page.clicked = (x, y) => {
  chosen = x === undefined ? null : nearest(x, y);
  $("found").hidden = !chosen;
  $("found").replaceChildren(...chosen ? told(chosen.capture) : []);
  draw();
};
page.paint = () => {
  for (const [layers, place] of shown("cells", 4, 10)) {
    outline(layers?.cells, place, named("--cell"), 0.6);
    outline(layers?.gaps, place, named("--gap"), view.zoom < CELLS_BELOW ? 1.4 : 0.7);
  }
  paintStreets(named("--cell"));
  paintCaptures();
  if (chosen) ring(chosen.at, named("--ink"));
  const [lon, lat] = toPlace([view.x, view.y]);
  history.replaceState(null, "", `#${view.zoom.toFixed(2)}/${lat.toFixed(5)}/${lon.toFixed(5)}`);
};
function outline(features, place, stroke, width) {
  const [left, top] = place([0, 0]), [right, bottom] = place([1, 1]);  /* areas were cut beyond the tile: those lines are no borders */
  pen.save(); pen.beginPath(); pen.rect(left, top, right - left, bottom - top); pen.clip();
  pen.strokeStyle = stroke; pen.lineWidth = width; pen.beginPath();
  for (const feature of features || []) for (const ring of feature.rings) { trace([ring], place); pen.closePath(); }
  pen.stroke(); pen.restore();
}

for (const id of ["source", "kind", "age"]) $(id).onchange = draw;
$("legend").replaceChildren(...legendOfAges());
const [, asked, north, east] = location.hash.match(/^#([\d.]+)\/(-?[\d.]+)\/(-?[\d.]+)$/) || [];
if (asked) { [view.x, view.y] = toMap(+east, +north); view.zoom = +asked; }
openLayers("").then(header => { if (!asked) lookAt(toMap(header.minLon, header.maxLat), toMap(header.maxLon, header.minLat), 0.1, 16); }).catch(page.failed);
