// What training did: its curves, the score over steps, weights of the group adapters, codes in use.

const inside = { layer: null };
const SHADES = 12; // of a table of weights
const RATES = { lr: "learning rate", aam: "AAM-softmax", dlcl: "DLCL", loss: "loss", pseudo_auc: "Pseudo AUC, held out", pseudo_bound: "bound of the Pseudo AUC" };

function drawInside() {
  const { curves, steps, groups, codes } = data;
  fill("curves", make("h3", {}, "Training curves"), curvesOf(curves));
  fill("steps", make("h3", {}, "Score over steps"), stepsOf(steps));
  fill("groups", make("h3", {}, "Group adapter: weights by machine and layer"), groupsOfLayers(groups));
  fill("codes", make("h3", {}, "Quantiser: codes in use"), codesOf(codes));
}

const said = (text) => make("p", { class: "note" }, text);

// A small plot of lines [[x, y], ...] over steps; null in place of y breaks a line.
function linesOf(title, lines, width, points, asPercent) {
  const height = 170, left = 52, right = 14, top = 10, bottom = 26, every = lines.flatMap((line) => line.points).filter(([, y]) => y !== null);
  if (!every.length) return said(`${title}: no finite value.`);
  const xs = every.map(([x]) => x), ys = every.map(([, y]) => y), most = Math.max(...ys), least = Math.min(...ys), log = !asPercent && least > 0 && most > 20 * least;
  const ahead = log ? Math.log10 : (v) => v, pad = (ahead(most) - ahead(least)) * 0.06 || Math.abs(ahead(most)) * 0.1 || 1;
  const [low, high] = [ahead(least) - pad, ahead(most) + pad], first = Math.min(0, ...xs), last = Math.max(...xs, 1);
  const x = (v) => left + (v - first) / (last - first) * (width - left - right), y = (v) => height - bottom - (ahead(v) - low) / (high - low) * (height - top - bottom);
  const across = ticksOf(first, last, width < 400 ? 3 : 5).values, { values, digits } = most === least ? { values: [most], digits: 4 } : log ? logTicks(10 ** low, 10 ** high, 4) : ticksOf(low, high, 4);
  const text = (v) => (asPercent ? percent(v, Math.max(0, digits - 2)) : v === 0 ? "0" : Math.abs(v) < 1e-2 || Math.abs(v) >= 1e5 ? Number(v.toPrecision(3)).toExponential() : log || digits > 3 ? String(Number(v.toPrecision(3))) : v.toFixed(digits));
  const broken = (line) => line.points.map(([u, v], i) => (v === null ? "" : `${i && line.points[i - 1][1] !== null ? "L" : "M"}${x(u).toFixed(1)} ${y(v).toFixed(1)}`)).join("");
  const dots = (line) => (line.dots !== false && points || line.points.length === 1 ? line.points.filter(([, v]) => v !== null).map(([u, v]) => make("path", { class: line.colour, d: formAt(x(u), y(v), 4, line.form || 0) })) : "");
  return make("div", {}, make("p", { class: "plot-title" }, title), make("svg", { viewBox: `0 0 ${width} ${height}`, width: "100%", role: "img", "aria-label": `${title} over steps` },
    values.flatMap((v) => [make("line", { class: "grid", x1: left, x2: width - right, y1: y(v), y2: y(v) }), textAt(left - 6, y(v) + 4, text(v), { "text-anchor": "end" })]),
    across.map((v) => textAt(x(v), height - 8, v >= 1e4 ? `${v / 1e3}k` : String(v), { "text-anchor": "middle" })), make("line", { class: "frame", x1: left, x2: width - right, y1: height - bottom, y2: height - bottom }),
    lines.map((line) => [make("path", { class: `curve ${line.colour}${line.faint ? " lighter" : ""}`, style: "fill:none", "stroke-dasharray": line.dash, d: broken(line) }), dots(line)])));
}

const plotWidth = (count) => (innerWidth < 800 ? Math.max(280, Math.min(innerWidth, 560) - 56) : count === 4 ? 250 : 340); // four in one row

function curvesOf(curves) {
  const seeds = Object.keys(curves.seeds);
  if (!seeds.length) return said(curves.said ? `None: ${curves.said}` : "None: nothing was trained here (train.steps 0), or no train.tsv is left.");
  const columns = Object.keys(curves.seeds[seeds[0]]).filter((key) => key !== "step");
  columns.sort((a, b) => (a === "lr") - (b === "lr"));
  const plots = columns.map((key) => linesOf(RATES[key] || key, seeds.filter((seed) => curves.seeds[seed][key]).map((seed, i) => ({ colour: "h0", faint: i > 0, points: curves.seeds[seed].step.map((step, n) => [step, curves.seeds[seed][key][n]]).filter(([, y]) => y !== null) })), plotWidth(columns.length)));
  return [make("div", { class: columns.length === 4 ? "plots-grid four" : "plots-grid" }, plots), said(`train.tsv over steps${curves.rows > 1 ? `, the mean of ${curves.rows} rows a point` : ""}${seeds.length > 1 ? `; seeds ${seeds.join(", ")}, the others fainter` : `; seed ${seeds[0]}`}. Losses of training clips say nothing of anomalies. ${curves.said}`)];
}

function stepsOf(steps) {
  const rows = steps.rows.filter((row) => row[2] === score().score), sets = [...new Set(rows.map((row) => row[3]))];
  if (!rows.length) return said(steps.said || (steps.rows.length ? `None of ${score().score}; exp/${data.tag}/steps.json tells of ${[...new Set(steps.rows.map((row) => row[2]))].join(", ")}.` : [`None: there is no exp/${data.tag}/steps.json. Where train.save_steps keeps weights, `, make("code", {}, `../../utils/steps.sh --tag ${data.tag}`), " scores them."]));
  const seeds = [...new Set(rows.map((row) => row[1]))].sort((a, b) => a - b);
  const lines = sets.flatMap((set, n) => {
    const own = rows.filter((row) => row[3] === set), at = [...new Set(own.map((row) => row[0]))].sort((a, b) => a - b);
    const single = seeds.length > 1 ? seeds.map((seed) => ({ colour: `h${n}`, faint: true, dots: false, points: own.filter((row) => row[1] === seed).sort((a, b) => a[0] - b[0]).map((row) => [row[0], row[4]]) })) : [];
    return [...single, { set, colour: `h${n}`, form: n, points: at.map((step) => { const some = own.filter((row) => row[0] === step); return [step, some.reduce((sum, row) => sum + row[4], 0) / some.length]; }) }];
  });
  return make("div", { class: "side" }, make("div", {}, linesOf("official score, percent", lines, 400, true, true)), make("div", {},
    make("ul", { class: "key" }, lines.filter((line) => line.set).map((line) => make("li", {}, make("svg", { width: 24, height: 12 }, make("path", { class: line.colour, d: formAt(12, 6, 5, line.form) })), SETS[line.set] || line.set))),
    said(`${score().score}, ${seeds.length > 1 ? `mean over the seeds ${seeds.join(", ")}, which are drawn fainter` : `seed ${seeds[0]}`}. Choosing a step by these is choosing by test clips. ${chosenOf(rows, sets, steps.chosen || {})}`)));
}

// The step chosen without labels, beside the last and the best by labels, of each seed.
function chosenOf(rows, sets, chosen) {
  const set = sets[sets.length - 1], seeds = Object.keys(chosen);
  const each = seeds.map((seed) => {
    const own = rows.filter((row) => String(row[1]) === seed && row[3] === set), there = own.find((row) => row[0] === chosen[seed]);
    if (!there) return "";
    const last = own.reduce((a, b) => (b[0] > a[0] ? b : a)), best = own.reduce((a, b) => (b[4] > a[4] ? b : a));
    return ` Seed ${seed}: step ${there[0]}, ${percent(there[4], 2)} %; the last one, ${last[0]}, has ${percent(last[4], 2)} %, the best by labels, ${best[0]}, ${percent(best[4], 2)} %: a regret of ${percent(best[4] - there[4], 2)}.`;
  });
  return seeds.length ? `Chosen without labels, by Pseudo AUC (${SETS[set] || set}):${each.join("")}` : "";
}

// Rows {name, values} of shares as a table of squares, the stronger the colour the larger; a row without values is a heading.
function heatOf(rows, most, width, names, tell) {
  const left = names ? Math.min(0.4 * width, 12 + 7.4 * Math.max(...rows.filter((row) => row.values).map((row) => row.name.length))) : 0, right = rows.some((row) => row.note) ? 66 : 0, step = names ? 20 : 5, columns = rows.find((row) => row.values).values.length, cell = (width - left - right) / columns, room = cell > 6 ? 1 : 0;
  const height = rows.length * step + (names ? 18 : 0), shades = Array.from({ length: SHADES + 1 }, () => []);
  rows.forEach((row, r) => (row.values || []).forEach((value, c) => shades[Math.max(0, Math.min(SHADES, Math.round(SHADES * value / most)))].push(`M${(left + c * cell).toFixed(2)} ${r * step}h${(cell - room).toFixed(2)}v${step - (names ? 2 : 0.5)}h${(room - cell).toFixed(2)}z`)));
  const every = Math.ceil(26 / cell), cut = (name) => (name.length * 7.4 > left ? `${name.slice(0, Math.floor(left / 7.4) - 1)}…` : name), onmove = tell && ((event) => {
    const box = event.currentTarget.getBoundingClientRect(), scale = width / box.width, c = Math.floor((scale * (event.clientX - box.left) - left) / cell), r = Math.floor(scale * (event.clientY - box.top) / step);
    if (rows[r] && rows[r].values && rows[r].values[c] !== undefined) tell(rows[r], c);
  });
  return make("svg", { class: "heat", width: names ? width : "100%", height: names ? height : null, viewBox: `0 0 ${width} ${height}`, preserveAspectRatio: names ? null : "none", role: "img", "aria-label": names ? "shares, the stronger the colour the larger" : null, "aria-hidden": names ? null : "true", onpointermove: onmove, onpointerdown: onmove },
    shades.map((parts, i) => (parts.length ? make("path", { class: i ? "shade" : "shade none", style: i ? `fill-opacity:${(i / SHADES).toFixed(3)}` : null, d: parts.join("") }) : "")),
    names ? rows.map((row, r) => (row.values ? textAt(0, r * step + 14, cut(row.name), {}) : textAt(0, r * step + 14, row.name, { class: "strong" }))) : "",
    rows.map((row, r) => (row.note ? textAt(width, r * step + 14, row.note, { "text-anchor": "end" }) : "")),
    names ? Array.from({ length: columns }, (_, c) => (c % every ? "" : textAt(left + (c + 0.5) * cell, height - 3, c, { "text-anchor": "middle" }))) : "");
}

// Rows of machines under the names of their sets, where there are several.
function bySet(machines, valuesOf) {
  const sets = [...new Set(machines.map((one) => one.set))];
  return sets.flatMap((set) => [...(sets.length > 1 ? [{ name: SETS[set] || set }] : []), ...machines.filter((one) => one.set === set).map((one) => ({ name: one.machine, values: valuesOf(one), one }))]);
}

const heatWidth = (id, columns) => Math.max(260, Math.min(byId(id).clientWidth, 180 + 60 * columns)); // a few columns are not drawn out to bars
const two = (value) => value.toFixed(2);

function groupsOfLayers(groups) {
  if (typeof groups === "string") return said(groups);
  const own = groups.machines, layers = own[0].weights.length, most = Math.max(...own.flatMap((one) => one.weights.flat()));
  if (inside.layer === null) inside.layer = groups.between ? groups.between.indexOf(Math.max(...groups.between)) : layers - 1;
  const at = inside.layer, again = (layer) => { inside.layer = layer; drawInside(); document.querySelector(`[data-layer="${layer}"]`).focus({ preventScroll: true }); };
  const differ = groups.between ? `Layer ${at + 1}: between two machines the weights differ by ${two(groups.between[at])} on average (half the sum of differences: 0 is alike, 1 no group shared)${groups.within ? `, between two clips of one machine by ${two(groups.within[at])}` : ""}.` : `Layer ${at + 1}.`;
  return [said(`The share of each group in what the adapter adds to the tokens (softmax), mean over ${Math.max(...own.map((one) => one.clips))} test clips of a machine, seed ${data.maps.seed}; the stronger the colour the larger, up to ${two(most)}. ${groups.between ? "Beside a layer: how far its machines differ. " : ""}${groups.said}`),
    make("div", { class: "layers", role: "group", "aria-label": "layer" }, Array.from({ length: layers }, (_, layer) => make("button", { type: "button", "data-layer": layer, "aria-pressed": String(layer === at), onclick: () => again(layer) },
      make("span", {}, `layer ${layer + 1}`, groups.between ? make("small", {}, ` ${two(groups.between[layer])}`) : ""), heatOf(own.map((one) => ({ name: "", values: one.weights[layer] })), most, 120, false)))),
    make("p", { class: "plot-title" }, `Layer ${at + 1}: machines by groups`), heatOf(bySet(own, (one) => one.weights[at]), most, heatWidth("groups", own[0].weights[at].length), true, (row, c) => fill("group-told", `${differ} Under the pointer: ${row.name}, group ${c}, ${row.values[c].toFixed(3)}.`)),
    make("p", { class: "note", id: "group-told" }, differ)];
}

function codesOf(codes) {
  if (!codes) return said(data.maps ? (data.maps.why ? `None: ${data.maps.why}.` : data.maps.said) : "None: without --data nothing is told of clips.");
  if (!codes.machines.length) return said(`The quantiser has ${codes.codes} codes, but every training clip has an attribute: DLCL had nothing to pull to them.`);
  const count = (one) => one.counts.reduce((sum, n) => sum + n, 0), even = (one) => `${one.used} (${one.even.toFixed(1)})`;
  const rows = bySet(codes.machines, (one) => one.counts.map((n) => n / count(one))).map((row) => (row.one ? { ...row, note: even(row.one) } : row)), most = Math.max(...rows.flatMap((row) => row.values || []));
  const told = `Over all machines ${codes.all.used} of ${codes.codes} codes are in use, as evenly as ${codes.all.even.toFixed(1)} used alike: those have the same entropy.`;
  return [said(`The code nearest to each training clip without attribute; those are the clips that DLCL pulls to its codes. Shares by machine, the stronger the colour the larger, up to ${percent(most, 0)} %; right: codes in use, and as how many used alike.`),
    heatOf(rows, most, heatWidth("codes", codes.codes), true, (row, c) => fill("code-told", `${told} Under the pointer: ${row.name}, code ${c}, ${row.one.counts[c]} of ${count(row.one)} clips.`)),
    make("p", { class: "note", id: "code-told" }, told)];
}
