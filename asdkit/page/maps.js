// The embeddings of a machine in two dimensions, in colours of what is known of its clips.

const TINTS = { condition: "condition", domain: "domain", attr: "attribute", section: "section", code: "quantiser code" };
const HUES = 8, TOLD_APART = 11; // colours, and values with a sign of their own; the others share one
const SIDE = 460, EDGE = 18; // of a plot
const map = { tint: "condition", lit: null, pinned: null };

// A machine's points: each with its place in the columns of the test set (null: a training clip), and what is known of it.
function pointsOf(found, test) {
  const trained = found.shown[0], names = (key, i) => found[key].names[found[key].of[i]];
  return Array.from({ length: trained + found.shown[1] }, (_, i) => {
    const at = i < trained ? null : found.test[i - trained], told = (value) => (value === "-" ? "not told" : value);
    const condition = at === null ? "training, normal" : test.condition[at] === "-" ? "test, not known" : `test, ${test.condition[at]}`;
    return { i, at, condition, domain: told(at === null ? found.domain[i] : test.domain[at]), attr: told(names("attr", i)), section: names("section", i), code: found.code ? `code ${found.code[i]}` : "not told" };
  });
}

// [value, points] of a colouring: the most frequent first, `not told` and what is left over last.
function valuesOf(points, tint) {
  const found = new Map();
  for (const point of points) found.set(point[tint], [...(found.get(point[tint]) || []), point]);
  if (tint === "condition") return [...found].sort(([a], [b]) => (a < b ? -1 : 1)).sort(([a], [b]) => a.endsWith("anomaly") - b.endsWith("anomaly")).sort(([a], [b]) => b.startsWith("training") - a.startsWith("training"));
  const named = [...found].filter(([value]) => value !== "not told").sort((a, b) => b[1].length - a[1].length || (a[0] < b[0] ? -1 : 1));
  const own = named.length > TOLD_APART + 1 ? named.slice(0, TOLD_APART) : named, rest = named.slice(own.length);
  own.sort(([a], [b]) => a.localeCompare(b, "en", { numeric: true }));
  if (rest.length) own.push([`${rest.length} others`, rest.flatMap(([, some]) => some)]);
  return found.has("not told") ? [...own, ["not told", found.get("not told")]] : own;
}

// Colour and form of the n-th value: neighbours differ in both.
function signOf(value, n, tint) {
  if (tint === "condition") return value.startsWith("training") ? ["f-training", 0] : value.endsWith("anomaly") ? ["f-anomaly", 1] : ["f-normal", 0];
  if (value === "not told" || /^\d+ others$/.test(value)) return ["f-training", 0];
  return [`h${n % HUES}`, (n + Math.floor(n / HUES)) % 4];
}

function formAt(x, y, r, form) {
  const [a, b] = [x.toFixed(1), y.toFixed(1)], s = (r * 0.88).toFixed(1);
  if (form === 1) return `M${(x - s).toFixed(1)} ${(y - s).toFixed(1)}h${2 * s}v${2 * s}h${-2 * s}z`;
  if (form === 2) return `M${a} ${(y - 1.2 * r).toFixed(1)}l${(1.1 * r).toFixed(1)} ${(2 * r).toFixed(1)}h${(-2.2 * r).toFixed(1)}z`;
  if (form === 3) return `M${a} ${(y - 1.25 * r).toFixed(1)}l${(1.25 * r).toFixed(1)} ${(1.25 * r).toFixed(1)}l${(-1.25 * r).toFixed(1)} ${(1.25 * r).toFixed(1)}l${(-1.25 * r).toFixed(1)} ${(-1.25 * r).toFixed(1)}z`;
  return `M${(x - r).toFixed(1)} ${b}a${r} ${r} 0 1 0 ${2 * r} 0a${r} ${r} 0 1 0 ${-2 * r} 0`;
}

function drawMap() {
  const maps = data.maps, [machine, section] = state.group.split("\t"), found = maps && maps.sets[state.set] && maps.sets[state.set][machine];
  byId("map").hidden = !maps;
  if (!maps) return;
  fill("map-title", `Embeddings${found ? ` of ${machine}` : ""}`);
  for (const id of ["tints", "map-key", "map-told", "planes"]) byId(id).hidden = !found;
  if (!found) return fill("map-note", maps.said || "Stage 4 embedded no clips of this machine.");
  const test = clips(), points = pointsOf(found, test), usable = Object.keys(TINTS).filter((tint) => new Set(points.map((point) => point[tint])).size > 1);
  const tint = usable.includes(map.tint) ? map.tint : usable[0] || "condition", values = valuesOf(points, tint);
  if (!values.some(([value]) => value === map.lit)) map.lit = null;
  options(byId("tint"), (usable.length ? usable : ["condition"]).map((key) => [key, TINTS[key]]), tint);
  const missing = Object.keys(TINTS).filter((key) => !usable.includes(key) && key !== tint).map((key) => (key === "code" && !found.code ? `${TINTS[key]} (${maps.why})` : `${TINTS[key]} (${points[0] && points[0][key] !== "not told" ? `one alone: ${points[0][key]}` : "not told"})`));
  const share = (shown, all, what) => (shown === all ? `${all ? "all " : ""}${all.toLocaleString("en")} ${what}` : `${shown} of ${all.toLocaleString("en")} ${what}`);
  fill("map-note", `The array ${maps.arrays.join(", ")} of stage 4, each clip at unit length, seed ${maps.seed}: ${share(found.shown[0], found.of[0], "training clips")} (small) and ${share(found.shown[1], found.of[1], "test clips")} (large)${found.of[0] + found.of[1] > maps.cap ? `, at most ${maps.cap} of a machine` : ""}. Choose a value below to see it alone, a point to see which clip it is.${missing.length ? ` No colours for: ${missing.join("; ")}.` : ""}`);
  const signs = new Map(values.flatMap(([value, own], n) => own.map((point) => [point.i, [value, ...signOf(value, n, tint)]])));
  const dim = (point) => (map.lit !== null && signs.get(point.i)[0] !== map.lit) || (section && point.section !== section);
  fill("planes", planeOf("t-SNE", found.tsne, points, signs, dim, "Neighbours stay together; distances between groups, their sizes and directions mean nothing.", found),
    planeOf("PCA", found.pca, points, signs, dim, `Across the first component, ${percent(found.shares[0], 0)} % of the variance, upward the second, ${percent(found.shares[1], 0)} %: what lies together here may lie apart in others.`, found));
  fill("map-key", values.map(([value, own], n) => { const [colour, form] = signOf(value, n, tint);
    return make("button", { type: "button", "aria-pressed": String(map.lit === value), "data-value": value, onclick: () => { map.lit = map.lit === value ? null : value; drawMap(); const again = [...document.querySelectorAll("#map-key button")].find((b) => b.dataset.value === value); if (again) again.focus({ preventScroll: true }); } },
      make("svg", { width: 14, height: 14, "aria-hidden": "true" }, make("path", { class: `point ${colour}`, d: formAt(7, 7, 5, form) })), ` ${value}`, make("small", {}, ` ${own.length}`)); }));
  tellPoint(map.pinned !== null ? points[map.pinned] : null, found);
}

function planeOf(title, places, points, signs, dim, told, found) {
  const at = (i) => [EDGE + places[2 * i] / 999 * (SIDE - 2 * EDGE), SIDE - EDGE - places[2 * i + 1] / 999 * (SIDE - 2 * EDGE)];
  const caption = [make("h3", {}, title), make("p", { class: "note" }, places ? told : points.length < 5 ? `Not made of ${points.length} clips.` : "Not made: all embeddings are the same.")];
  if (!places) return make("div", {}, caption);
  const layers = new Map();
  for (const point of points) { // below lie training clips, those of which nothing is told, those that are dimmed
    const [value, colour, form] = signs.get(point.i), faint = dim(point), quiet = value === "not told", large = point.at !== null, key = `${faint ? 0 : quiet ? 1 : 2}${large ? 1 : 0}${colour}${form}`;
    if (!layers.has(key)) layers.set(key, { style: faint ? " faint" : quiet ? " quiet" : "", large, colour, parts: [] });
    layers.get(key).parts.push(formAt(...at(point.i), large ? 4.6 : 3, form));
  }
  const nearest = (event) => {
    const box = event.currentTarget.getBoundingClientRect(), x = (event.clientX - box.left) / box.width * SIDE, y = (event.clientY - box.top) / box.height * SIDE;
    let best = null, least = 15 ** 2;
    for (const point of points) { const [u, v] = at(point.i), d = (u - x) ** 2 + (v - y) ** 2; if (d < least && !dim(point)) [best, least] = [point, d]; }
    return best;
  };
  const plot = make("svg", { class: "plane", viewBox: `0 0 ${SIDE} ${SIDE}`, width: "100%", role: "img", "aria-label": `${title} of ${points.length} clips`,
    onpointermove: (event) => { if (map.pinned === null) tellPoint(nearest(event), found); }, onpointerleave: () => { if (map.pinned === null) tellPoint(null, found); },
    onclick: (event) => { const point = nearest(event); map.pinned = point ? point.i : null; tellPoint(point, found); } },
    make("rect", { class: "frame", x: 0.5, y: 0.5, width: SIDE - 1, height: SIDE - 1, rx: 6 }),
    [...layers].sort(([a], [b]) => (a.slice(0, 2) < b.slice(0, 2) ? -1 : 1)).flatMap(([, one]) => one.parts.map((d) => make("path", { class: `point ${one.colour}${one.style}`, d }))), // one by one: each covers what is below it
    make("circle", { class: "ring", r: 9, visibility: "hidden" }));
  plot.placeOf = at;
  return make("div", {}, caption, plot);
}

// Says which clip a point is, and rings it in both planes.
function tellPoint(point, found) {
  for (const plot of document.querySelectorAll("#planes .plane")) {
    const [x, y] = point ? plot.placeOf(point.i) : [0, 0], ring = plot.querySelector(".ring");
    ring.setAttribute("visibility", point ? "visible" : "hidden");
    ring.setAttribute("cx", x);
    ring.setAttribute("cy", y);
  }
  if (!point) return fill("map-told", "\u00a0");
  const test = clips(), known = [point.at === null ? "" : point.condition.replace("test, ", ""), point.domain === "not told" ? "" : point.domain, point.attr === "not told" ? "" : point.attr, found.section.names.length > 1 ? `section ${point.section}` : "", found.code ? point.code : ""].filter(Boolean).join(", ");
  const own = score().clips[state.set], value = point.at !== null && own ? `, score ${short(own[point.at])}` : "";
  fill("map-told", point.at === null ? `A training clip: ${known}.` : [breakable(test.file[point.at]), `: ${known}${value}. `,
    map.pinned === point.i ? make("button", { type: "button", onclick: () => inTable(test.file[point.at]) }, "Find it in the table") : ""]);
}

function inTable(file) {
  byId("search").value = file;
  byId("kind").value = "all";
  byId("search").oninput();
  byId("clips").scrollIntoView();
}

function startMap() { byId("tint").onchange = (event) => { map.tint = event.target.value; map.lit = null; drawMap(); }; }
