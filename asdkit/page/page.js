// The page: what is chosen, and the parts on the score, the machines and the threshold.

const data = JSON.parse(byId("data").textContent);
const SHOWN = 20; // rows of the table, until more are asked for
const state = { score: 0, set: null, group: null, limits: new Map(), perDay: {}, shown: SHOWN, sort: ["wrong", -1], open: null, detail: null };
const LISTED = 8; // published systems, the best first, before the others are unfolded
const SETS = { dev: "development set", eval: "evaluation set", all: "development and evaluation set" };
const KINDS = ["normal source", "normal target", "normal -", "anomaly source", "anomaly target", "anomaly -"];

const score = () => data.scores[state.score];
const clips = () => data.sets[state.set] || null;
const named = (name) => data.headings[name] || name;
const laneClass = (name) => (name.includes("source") ? "c-source" : name.includes("target") ? "c-target" : "c-partial");
const laneShape = (name) => (name.startsWith("pauc") ? "turned" : name.includes("target") ? "square" : "round");
const withSpread = (value) => (value === null ? "not defined" : percent(value.mean) + (value.std === null ? "" : ` ± ${percent(value.std)}`));

// [key, title] of each machine, and of its sections where it has several.
function groupsOf(set) {
  const test = data.sets[set], found = [];
  if (!test) return score().sets[set].machines.map((row) => [`${row.machine}\t`, row.machine]);
  for (const machine of [...new Set(test.machine)].sort()) {
    const sections = [...new Set(test.section.filter((_, i) => test.machine[i] === machine))].sort();
    found.push([`${machine}\t`, machine]);
    if (sections.length > 1) found.push(...sections.map((s) => [`${machine}\t${s}`, `${machine} section ${s}`]));
  }
  return found;
}

const titleOf = (group) => (groupsOf(state.set).find(([key]) => key === group) || ["", ""])[1];
const belongs = (test, i, group) => { const [machine, section] = group.split("\t"); return test.machine[i] === machine && (!section || test.section[i] === section); };

// Scores of a group's clips: of the kinds in KINDS, of training clips, and of all with neither label.
function scoresOf(group) {
  const test = clips(), own = score().clips[state.set] || [], found = { all: [], training: [], trained: 0 };
  if (!test || !own.length) return found;
  own.forEach((value, i) => {
    if (!belongs(test, i, group)) return;
    found.all.push(value);
    const kind = `${test.condition[i]} ${test.domain[i]}`;
    (found[kind] = found[kind] || []).push(value);
  });
  const [machine, section] = group.split("\t");
  for (const [m, s, count, values] of score().training) {
    if (m === machine && (!section || s === section)) { found.training.push(...values); found.trained += count; }
  }
  return found;
}

// Normal clips of one domain against anomalies of one domain, `any`: of all.
function ofRule(found, rule) {
  const pick = (condition, domain) => KINDS.filter((kind) => kind.startsWith(condition) && (domain === "any" || kind.endsWith(` ${domain}`))).flatMap((kind) => found[kind] || []);
  return [pick("normal", rule.normals), pick("anomaly", rule.anomalies)];
}

function stageLimit(group) {
  const [machine, section] = group.split("\t"), known = score().thresholds.filter(([m]) => m === machine);
  const found = known.find(([, s]) => s === section) || known.find(([, s]) => s === "-") || (known.length === 1 ? known[0] : null);
  return found ? found[2] : null;
}

function limitOf(group) {
  const key = `${state.score}\t${state.set}\t${group}`;
  if (!state.limits.has(key)) {
    const all = scoresOf(group).all.sort((a, b) => a - b), told = stageLimit(group);
    state.limits.set(key, told !== null ? told : all.length ? quantile(all, 0.9) : null);
  }
  return state.limits.get(key);
}

function setLimit(group, value) { state.limits.set(`${state.score}\t${state.set}\t${group}`, value); drawThreshold(true); drawTable(); }

function perDay() { return state.perDay[state.set] || (clips() ? clips().clips_a_day : 8640); }

// ---------------------------------------------------------------- score

function drawScore() {
  const own = score(), seeds = own.seeds.length;
  const parts = Object.entries(own.sets).filter(([, found]) => found.official).map(([name, found]) => {
    const mean = found.official.mean, half = found.half_width95 && found.half_width95.mean;
    const interval = half ? ` (95% interval ${percent(Math.max(0, mean - half), 1)} to ${percent(Math.min(1, mean + half), 1)})` : "";
    return `${withSpread(found.official)} on the ${SETS[name] || name}${interval}`;
  });
  const rule = `The official score is the ${data.rule.replace(/; /g, " (").replace(/$/, data.rule.includes("; ") ? ")" : "")}, in percent: 50 is chance, 100 no mistake.`;
  fill("sentence", parts.length ? `${own.score} scores ${parts.join(" and ")}. ` : "The truth of the test clips is not known (no ref.tsv): there are scores and thresholds, but no metrics. ", parts.length ? make("span", { class: "note" }, rule + (seeds > 1 ? ` Mean ± sample deviation over ${seeds} seeds.` : "")) : "");
  const warnings = [...own.warnings, ...Object.values(own.marks), ...Object.entries(own.sets).flatMap(([name, found]) => found.notes.map((note) => `${name}: ${note}`))];
  fill("warnings", warnings.length ? make("div", { class: "warn" }, "Before you trust them:", make("ul", {}, warnings.map((text) => make("li", {}, text)))) : null);
  const cards = Object.entries(own.sets).map(([name, found]) => [name, found.official, found.half_width95, `${found.clips} clips`]);
  if (own.all) cards.push(["all", own.all, null, `${data.mean} mean of the two`]);
  fill("cards", cards.filter(([, value]) => value).map(([name, value, half, told]) =>
    make("div", { class: "card" }, make("span", {}, SETS[name] && name !== "all" ? SETS[name] : name === "all" ? "both" : name), make("b", {}, percent(value.mean)),
      make("span", {}, half ? `± ${percent(half.mean)} (95% interval)` : told), half ? make("span", {}, told) : "", value.std !== null ? make("span", {}, `± ${percent(value.std)} over seeds`) : "")));
  drawPublished();
}

function drawPublished() {
  const own = score(), tables = [];
  for (const set of ["dev", "eval", "all"]) {
    const theirs = data.published.filter((s) => s.set === set && s.official !== undefined);
    const mine = set === "all" ? own.all : (own.sets[set] || {}).official;
    if (!theirs.length || !mine) continue;
    const half = set !== "all" && own.sets[set].half_width95 ? own.sets[set].half_width95.mean : null;
    const rows = [...theirs.map((s) => ({ name: s.name, source: s.source, value: s.official / 100 })), { name: `this run: ${data.tag}, ${own.score}`, value: mine.mean, half, us: true }];
    rows.sort((a, b) => b.value - a.value);
    const low = Math.min(0.5, Math.floor(20 * Math.min(...rows.map((r) => r.value - (r.half || 0)))) / 20), high = Math.min(1, Math.ceil(20 * Math.max(...rows.map((r) => r.value + (r.half || 0)))) / 20);
    const listed = (some) => make("div", { class: "ranks" },
      some.flatMap((r) => [make("div", { class: r.us ? "name us" : "name" }, r.name, r.source ? make("small", {}, r.source) : ""),
        track(low, high, [{ value: r.value, half: r.half, shape: "round", colour: r.us ? "c-source" : "c-partial", title: r.name }]), make("div", { class: r.us ? "number us" : "number" }, percent(r.value))]),
      make("div", { class: "blank" }), axis(low, high));
    const first = rows.filter((r, i) => r.us || i < LISTED), rest = rows.filter((r, i) => !r.us && i >= LISTED);
    tables.push(make("h3", {}, `This run and published systems, ${SETS[set]}`), listed(first), rest.length ? make("details", {}, make("summary", {}, `${rest.length} more published systems`), listed(rest)) : "");
  }
  if (tables.length) tables.push(make("p", { class: "note" }, "Published: figures of others as their sources print them; they were not run here. The bar is the 95% interval of this run's score."));
  fill("published", ...tables);
}

// ---------------------------------------------------------------- machines

function drawMachines() {
  const own = score(), found = own.sets[state.set], widths = own.half_widths95[state.set] || {};
  byId("machines").hidden = !found || !found.machines.length;
  if (byId("machines").hidden) return;
  const theirs = data.published.filter((s) => s.set === state.set && s.machines), names = Object.keys(found.values);
  const values = found.machines.flatMap((row) => names.map((n) => row.values[n]).filter(Boolean).map((v) => v.mean));
  const low = Math.min(0.5, Math.floor(10 * Math.min(...values)) / 10);
  const lanes = found.machines.flatMap((row) => {
    const others = (key) => theirs.filter((s) => s.machines[row.machine] && s.machines[row.machine][key] !== undefined).map((s) => ({ value: s.machines[row.machine][key] / 100, shape: "ring", colour: "", title: `${s.name} (${s.source}): ${s.machines[row.machine][key]}` }));
    const lane = (label, value, half, colour, shape, marks, first) => [
      make("div", { class: "of" }, first ? make("button", { type: "button", onclick: () => { choose(`${row.machine}\t`); byId("machine").scrollIntoView(); } }, row.machine) : ""), make("div", { class: "what" }, label),
      track(low, 1, [...marks, { value: value && value.mean, half, colour, shape, title: `${row.machine}, ${label}: ${withSpread(value)}` }]),
      make("div", { class: "number" }, value ? percent(value.mean) : "-", half ? make("small", {}, ` ± ${percent(half, 1)}`) : "")];
    return [make("div", { class: "gap" }), ...lane("mean", row.score, null, "c-mean", "round", others(data.mean === "harmonic" ? "hmean" : "mean"), true),
      ...names.filter((n) => row.values[n]).flatMap((n) => lane(named(n), row.values[n], (widths[row.machine] || {})[n], laneClass(n), laneShape(n), others(n)))];
  });
  fill("lanes", ...lanes, make("div", { class: "blank" }), make("div", { class: "what" }, "percent"), axis(low, 1));
  const some = theirs.some((s) => found.machines.some((row) => s.machines[row.machine]));
  fill("machines-note", `The ${SETS[state.set] || state.set}. Filled: this run, the bar its 95% interval (the test clips are a sample: jackknife); mean: the ${data.mean} mean of a machine's values. ${some ? "Rings: published systems, whose names show when you point at them. " : ""}A machine's name leads to its threshold.`);
  drawTrade(found, theirs);
}

function drawTrade(found, theirs) {
  const dots = found.machines.map((row) => [row.machine, row.values.auc_source, row.values.auc_target]).filter(([, s, t]) => s && t).map(([name, s, t]) => [name, s.mean, t.mean]);
  if (!dots.length) return fill("trade");
  const mean = ["auc_source", "auc_target"].map((n) => found.values[n].mean), size = 400, pad = 44;
  const published = theirs.filter((s) => s.auc_source !== undefined && s.auc_target !== undefined).map((s) => [s.name, s.auc_source / 100, s.auc_target / 100]);
  const low = Math.min(0.5, Math.floor(10 * Math.min(...[...dots, ...published].flatMap((d) => d.slice(1)))) / 10);
  const x = (v) => pad + (v - low) / (1 - low) * (size - pad - 12), y = (v) => size - pad - (v - low) / (1 - low) * (size - pad - 12);
  const { values } = ticksOf(low, 1, 5);
  const taken = dots.map(([, s, t]) => [x(s) - 6, y(t) - 6, x(s) + 6, y(t) + 6]);
  const label = ([name, s, t], own) => {
    const width = 7.6 * name.length, spots = [[9, 4, "start"], [-9, 4, "end"], [0, -10, "middle"], [0, 19, "middle"]];
    for (const [dx, dy, anchor] of spots) {
      const left = x(s) + dx - (anchor === "end" ? width : anchor === "middle" ? width / 2 : 0), top = y(t) + dy - 11, box = [left, top, left + width, top + 14];
      if (box[0] < pad || box[2] > size - 10 || taken.some((b) => b[0] < box[2] && box[0] < b[2] && b[1] < box[3] && box[1] < b[3])) continue;
      taken.push(box);
      return textAt(x(s) + dx, y(t) + dy, name, { "text-anchor": anchor, class: own ? "strong" : null });
    }
    return null;
  };
  const plot = make("svg", { viewBox: `0 0 ${size} ${size}`, width: "100%", role: "img", "aria-label": "AUC source against AUC target of each machine" },
    values.flatMap((v) => [make("line", { class: "grid", x1: x(v), x2: x(v), y1: y(low), y2: y(1) }), make("line", { class: "grid", x1: x(low), x2: x(1), y1: y(v), y2: y(v) }),
      textAt(x(v), y(low) + 17, Math.round(100 * v), { "text-anchor": "middle" }), textAt(x(low) - 7, y(v) + 4, Math.round(100 * v), { "text-anchor": "end" })]),
    make("rect", { class: "frame", x: x(low), y: y(1), width: x(1) - x(low), height: y(low) - y(1) }),
    make("line", { class: "diagonal", x1: x(low), y1: y(low), x2: x(1), y2: y(1) }),
    textAt((x(low) + x(1)) / 2, size - 6, "AUC source, percent", { "text-anchor": "middle" }), textAt(-(y(low) + y(1)) / 2, 13, "AUC target, percent", { "text-anchor": "middle", transform: "rotate(-90)" }),
    published.map(([name, s, t]) => make("circle", { class: "frame", style: "stroke:var(--soft);stroke-width:2", cx: x(s), cy: y(t), r: 4.5 }, make("title", {}, name))),
    dots.map(([name, s, t]) => make("circle", { class: "f-normal", cx: x(s), cy: y(t), r: 5 }, make("title", {}, `${name}: ${percent(s)}, ${percent(t)}`))), dots.map((dot) => label(dot, true)));
  fill("trade", make("h3", {}, "Source against target"), make("div", { class: "side" }, make("div", {}, plot), make("div", {},
    make("p", {}, `Over the machines AUC source is ${percent(mean[0])}, AUC target ${percent(mean[1])}.`),
    make("p", { class: "note" }, "They trade off: what makes clips of the rarer domain look normal also hides faults. Below the dashed line a machine is better in the source domain, whose training clips are many; above it in the target domain, of which there are few."),
    published.length ? make("p", { class: "note" }, "Rings: means that published systems report.") : "")));
}

// ---------------------------------------------------------------- threshold

const CLASS = { training: "training", "normal source": "normal", "normal -": "normal", "normal target": "normal-target", "anomaly source": "anomaly", "anomaly -": "anomaly", "anomaly target": "anomaly-target", all: "training" };

function drawThreshold(moved) {
  const group = state.group, found = scoresOf(group), title = titleOf(group);
  byId("machine").hidden = !found.all.length;
  if (!found.all.length) return;
  const limit = limitOf(group), told = stageLimit(group);
  if (!moved) {
    fill("machine-title", `${title}: scores and threshold`);
    fill("threshold-note", (told === null ? "Stage 5 has no threshold here; the line starts where nine of ten test clips lie below. " : `The line starts at the threshold of stage 5, ${short(told)}: percentile ${score().percentile} of the training clips' own scores. `) + `Drag it, or choose it and use the arrow keys. A clip counts as anomalous above it. Seed ${score().seed}.`);
    byId("per-day").value = perDay();
  }
  byId("reset").disabled = told === null || limit === told;
  drawDistributions(found, limit);
  drawFigures(found, limit);
  drawRoc(found, limit);
}

function drawDistributions(found, limit) {
  const width = Math.max(280, byId("distributions").clientWidth), left = width < 480 ? 78 : 118, right = 14, rowHeight = 50, test = clips();
  const kinds = [...(found.training.length ? ["training"] : []), ...(test.labelled ? KINDS.filter((kind) => found[kind]) : ["all"])];
  const every = [...found.all, ...found.training].sort((a, b) => a - b), log = every[0] > 0 && every[every.length - 1] > 5 * quantile(every, 0.5);
  const ahead = log ? Math.log10 : (v) => v, back = log ? (u) => Math.pow(10, u) : (u) => u;
  const least = ahead(every[0]), most = ahead(every[every.length - 1]), room = (most - least) * 0.03 || Math.abs(least) * 0.1 || 1;
  const low = least - room, high = most + room, top = 26, height = top + rowHeight * kinds.length + 40;
  const x = (v) => left + (ahead(v) - low) / (high - low) * (width - left - right), bins = Math.max(16, Math.min(48, Math.round((width - left) / 14)));
  const rows = kinds.map((kind, row) => {
    const values = found[kind], base = top + rowHeight * (row + 1) - 6, counts = new Array(bins).fill(0);
    for (const v of values) counts[Math.min(bins - 1, Math.floor((ahead(v) - low) / (high - low) * bins))] += 1;
    const peak = Math.max(...counts), edge = (i) => left + i / bins * (width - left - right), points = [[left, base]];
    counts.forEach((c, i) => points.push([edge(i), base - c / peak * (rowHeight - 14)], [edge(i + 1), base - c / peak * (rowHeight - 14)]));
    points.push([width - right, base]);
    const words = kind === "all" ? ["test clips", ""] : kind === "training" ? ["training", "normal"] : kind.replace(" -", "").split(" "), count = kind === "training" ? found.trained : values.length;
    const ticks = values.length <= 250 ? make("path", { class: `tick f-${CLASS[kind]}`, d: values.map((v) => `M${x(v).toFixed(1)} ${base + 1}v5`).join("") }) : "";
    return [make("path", { class: `area f-${CLASS[kind]}`, d: pathOf(points) }), ticks,
      textAt(0, base - 18, words[0], { class: "strong" }), textAt(0, base - 3, `${words[1] ? `${words[1]}, ` : ""}${count}`)];
  });
  const many = width < 480 ? 4 : 7, { values, digits } = log ? logTicks(back(low), back(high), many) : ticksOf(low, high, many), floor = height - 34, bound = Math.min(Math.max(limit, back(low)), back(high));
  const handle = make("g", { class: "handle", tabindex: 0, role: "slider", "aria-label": "threshold", "aria-valuemin": back(low), "aria-valuemax": back(high), "aria-valuenow": limit, "aria-valuetext": short(limit), id: "handle" },
    make("rect", { x: x(bound) - 14, y: 0, width: 28, height: floor, fill: "transparent" }), make("line", { x1: x(bound), x2: x(bound), y1: 14, y2: floor }), make("circle", { cx: x(bound), cy: 12, r: 8 }));
  const label = x(bound) > width - 110 ? [x(bound) - 14, "end"] : [x(bound) + 14, "start"];
  const plot = make("svg", { class: "plots", width, height, viewBox: `0 0 ${width} ${height}`, role: "group", "aria-label": "distributions of scores" },
    values.flatMap((v) => [make("line", { class: "grid", x1: x(v), x2: x(v), y1: top, y2: floor }), textAt(x(v), floor + 17, log ? String(Number(v.toPrecision(1))) : v.toFixed(digits), { "text-anchor": "middle" })]),
    rows, textAt(width - right, height - 2, log ? "anomaly score, logarithmic" : "anomaly score", { "text-anchor": "end" }), handle, textAt(label[0], 16, short(limit), { "text-anchor": label[1], class: "strong" }));
  const focused = document.activeElement && document.activeElement.id === "handle";
  fill("distributions", plot);
  if (focused) byId("handle").focus({ preventScroll: true });
  const to = (event) => { const box = byId("distributions").getBoundingClientRect(); return back(low + Math.min(1, Math.max(0, (event.clientX - box.left - left) / (width - left - right))) * (high - low)); };
  byId("distributions").onpointerdown = (event) => {
    if (event.button || event.clientX - byId("distributions").getBoundingClientRect().left < left) return;
    byId("distributions").setPointerCapture(event.pointerId);
    byId("distributions").onpointermove = (moving) => setLimit(state.group, to(moving));
    setLimit(state.group, to(event));
    byId("handle").focus({ preventScroll: true });
  };
  byId("distributions").onmousedown = (event) => event.preventDefault(); // the handle keeps the focus
  byId("distributions").onpointerup = byId("distributions").onpointercancel = () => { byId("distributions").onpointermove = null; };
  byId("distributions").onkeydown = (event) => {
    const step = (high - low) / 200, by = { ArrowLeft: -step, ArrowDown: -step, ArrowRight: step, ArrowUp: step, PageDown: -10 * step, PageUp: 10 * step }[event.key];
    const next = event.key === "Home" ? back(low) : event.key === "End" ? back(high) : by === undefined ? null : back(Math.min(high, Math.max(low, ahead(limitOf(state.group)) + by)));
    if (next === null) return;
    event.preventDefault();
    setLimit(state.group, next);
  };
}

function drawFigures(found, limit) {
  const [normal, anomalous] = ofRule(found, { normals: "any", anomalies: "any" }), day = perDay(), test = clips();
  const figure = (title, value, ...told) => make("div", {}, make("span", {}, title), make("b", {}, value), told.filter(Boolean).map((text) => make("span", {}, text)));
  if (!test.labelled) {
    const k = countAbove(found.all, limit), own = countAbove(found.training, limit);
    return fill("figures", figure("Test clips above", `${k} of ${found.all.length}`), found.training.length ? figure("Training clips above", `${percent(own / found.training.length, 1)} %`, `${whole(own / found.training.length * day)} false alarms a day, if training clips are like what comes`) : null,
      make("p", { class: "note" }, "Rates need the truth of the test clips, which is not known here."));
  }
  const at = ratesAt(normal, anomalous, limit, day), far = wilson(at.fp, at.normal), hit = wilson(at.tp, at.anomalous);
  const byDomain = (condition) => ["source", "target"].map((d) => found[`${condition} ${d}`] && `${d} ${countAbove(found[`${condition} ${d}`], limit)} of ${found[`${condition} ${d}`].length}`).filter(Boolean).join(", ");
  fill("figures",
    figure("False alarms a day", at.alarms === null ? "-" : whole(at.alarms), far && `95%: ${whole(far[0] * day)} to ${whole(far[1] * day)}`, `${at.fp} of ${at.normal} normal clips above`, byDomain("normal")),
    figure("Detection rate", at.recall === null ? "-" : `${percent(at.recall, 1)} %`, hit && `95%: ${percent(hit[0], 1)} to ${percent(hit[1], 1)} %`, `${at.tp} of ${at.anomalous} anomalies above`, byDomain("anomaly")),
    figure("Precision", at.precision === null ? "-" : `${percent(at.precision, 1)} %`, at.normal + at.anomalous ? `where ${percent(at.anomalous / (at.normal + at.anomalous), 0)} % are anomalies, as here` : ""),
    figure("F1", at.f1 === null ? "-" : percent(at.f1, 1), "choose by alarms a day, not by F1"));
}

function drawRoc(found, limit) {
  const rules = Object.entries(data.official).filter(([name, rule]) => rule.metric === "auc" || name === "pauc").map(([name, rule]) => [name, ...ofRule(found, rule)]).filter(([name, n, a]) => n.length && a.length && (name !== "auc_all" || !found["normal source"]));
  if (!rules.length) return fill("roc", clips().labelled ? make("p", { class: "note" }, "No ROC: it takes normal clips and anomalies.") : null);
  const size = 400, pad = 44, x = (v) => pad + v * (size - pad - 12), y = (v) => size - pad - v * (size - pad - 12), colour = (name) => (name.includes("source") ? "normal" : name.includes("target") ? "anomaly-target" : "training");
  const dash = (name) => (name.includes("target") ? "7 4" : name === "pauc" ? "2 3" : null), ticks = [0, 0.2, 0.4, 0.6, 0.8, 1];
  const plot = make("svg", { viewBox: `0 0 ${size} ${size}`, width: "100%", role: "img", "aria-label": "receiver operating characteristic" },
    make("rect", { class: "band", x: x(0), y: y(1), width: x(data.max_fpr) - x(0), height: y(0) - y(1) }),
    ticks.flatMap((v) => [make("line", { class: "grid", x1: x(v), x2: x(v), y1: y(0), y2: y(1) }), make("line", { class: "grid", x1: x(0), x2: x(1), y1: y(v), y2: y(v) }), textAt(x(v), y(0) + 17, Math.round(100 * v), { "text-anchor": "middle" }), textAt(x(0) - 7, y(v) + 4, Math.round(100 * v), { "text-anchor": "end" })]),
    make("rect", { class: "frame", x: x(0), y: y(1), width: x(1) - x(0), height: y(0) - y(1) }), make("line", { class: "diagonal", x1: x(0), y1: y(0), x2: x(1), y2: y(1) }),
    rules.map(([name, n, a]) => make("path", { class: `curve f-${colour(name)}`, style: "fill:none", "stroke-dasharray": dash(name), d: pathOf(rocOf(n, a).map(([f, t]) => [x(f), y(t)])) })),
    rules.map(([name, n, a]) => make("circle", { class: `f-${colour(name)}`, style: "stroke:var(--panel);stroke-width:2", cx: x(countAbove(n, limit) / n.length), cy: y(countAbove(a, limit) / a.length), r: 6 })),
    textAt((x(0) + x(1)) / 2, size - 6, "false alarms, percent of normal clips", { "text-anchor": "middle" }), textAt(-(y(0) + y(1)) / 2, 13, "detected, percent of anomalies", { "text-anchor": "middle", transform: "rotate(-90)" }));
  const [machine, section] = state.group.split("\t"), set = score().sets[state.set], row = (section ? set.sections : set.machines).find((r) => r.machine === machine && (!section || r.section === section));
  const swatch = (name) => make("svg", { width: 24, height: 12 }, make("line", { class: `curve f-${colour(name)}`, x1: 0, x2: 24, y1: 6, y2: 6, "stroke-dasharray": dash(name) }));
  const value = (name) => (row && row.values[name] ? `: ${withSpread(row.values[name])}` : "");
  fill("roc", make("h3", {}, "ROC"), make("div", { class: "side" }, make("div", {}, plot), make("div", {},
    make("ul", { class: "key" }, rules.map(([name]) => make("li", {}, swatch(name), name === "pauc" ? `all clips, pAUC${value("pauc")}` : `${named(name)}${value(name)}`))),
    make("p", { class: "note" }, `Shaded: up to ${percent(data.max_fpr, 0)} % of normal clips above, the part that pAUC looks at. Dots: the threshold as it stands above. Curves are of seed ${score().seed}${score().seeds.length > 1 ? ", values the mean over seeds" : ""}.`))));
}

// ---------------------------------------------------------------- choosing

function choose(group) { state.group = group; byId("pick-group").value = group; state.shown = SHOWN; state.open = state.detail = null; stopSound(); drawThreshold(); drawTable(); map.pinned = null; drawMap(); }

function chooseSet(set) {
  state.set = set;
  const groups = groupsOf(set), same = groups.find(([key]) => key === state.group) || groups[0];
  options(byId("pick-group"), groups, same ? same[0] : "");
  drawMachines();
  drawKinds();
  if (same) choose(same[0]);
}

function start() {
  document.title = `${data.tag}: report`;
  fill("tag", data.tag);
  byId("which-score").hidden = data.scores.length < 2;
  options(byId("pick-score"), data.scores.map((one, i) => [String(i), one.score]), "0");
  byId("pick-score").onchange = (event) => { state.score = Number(event.target.value); drawAll(); };
  const sets = Object.keys(score().sets);
  options(byId("pick-set"), sets.map((set) => [set, SETS[set] ? SETS[set].replace(" set", "") : set]), sets[0]);
  byId("pick-set").onchange = (event) => chooseSet(event.target.value);
  byId("pick-group").onchange = (event) => choose(event.target.value);
  byId("per-day").oninput = (event) => { if (Number(event.target.value) > 0) { state.perDay[state.set] = Number(event.target.value); drawThreshold(true); } };
  byId("reset").onclick = () => setLimit(state.group, stageLimit(state.group));
  state.set = sets[0];
  startClips();
  startMap();
  drawAll();
  let width = innerWidth;
  addEventListener("resize", () => { if (innerWidth !== width) { width = innerWidth; drawThreshold(true); drawInside(); } });
}

function drawAll() {
  drawScore();
  fill("made", score().origin.flatMap(([what, value]) => [make("dt", {}, what), make("dd", {}, value)]));
  drawCompared();
  chooseSet(state.set);
  drawInside();
}

start();
