// This experiment beside others: scores, differences with their intervals, what differs in the configurations.

const points = (value) => `${value < 0 ? "−" : "+"}${Math.abs(100 * value).toFixed(2)}`;
const sure = (one) => one.low > 0 || one.high < 0;

function drawCompared() {
  const found = data.compared;
  byId("compare").hidden = byId("to-compare").hidden = !found;
  if (!found) return;
  const said = found.differences.map((other) => {
    const [name, one] = Object.entries(other.sets).slice(-1)[0];
    const how = one.high === one.low && one.difference === 0 ? "scores the same as" : sure(one) ? (one.low > 0 ? "scores higher than" : "scores lower than") : "cannot be told apart from";
    return [how, `${other.other} on the ${SETS[name] || name} (${points(one.difference)} points, 95% interval ${points(one.low)} to ${points(one.high)})`];
  });
  const of = found.experiments[0];
  fill("compare-lead", `${of.title} `, said.map(([how, rest], i) => [i ? (i === said.length - 1 ? ", and " : ", ") : "", make("b", {}, how), ` ${rest}`]), ".");
  fill("compare-note", found.method);
  drawComparedScores(found);
  fill("compare-lanes", found.differences.map((other) => drawDifference(of, other, found)));
  drawSettings(found);
}

function drawComparedScores(found) {
  const kinds = [...Object.keys(found.experiments[0].sets), "all"];
  const rows = kinds.flatMap((kind) => found.experiments.map((one, i) => {
    const value = kind === "all" ? one.all : one.sets[kind], half = kind === "all" ? null : one.half_widths95[kind];
    return value && { kind, one, value, half: half ? half.mean : null, us: i === 0 };
  }).filter(Boolean));
  const low = Math.min(0.5, Math.floor(10 * Math.min(...rows.map((r) => r.value.mean - (r.half || 0)))) / 10);
  const lanes = rows.flatMap((r, i) => {
    const first = i === 0 || rows[i - 1].kind !== r.kind, half = r.half ? ` ± ${percent(r.half, 1)}` : "", seeds = r.one.seeds.length > 1 ? make("small", {}, ` ${r.one.seeds.length} seeds`) : "";
    return [first ? make("div", { class: "gap" }) : "", make("div", { class: "of" }, first ? SETS[r.kind] || r.kind : ""), make("div", { class: r.us ? "what us" : "what" }, breakable(r.one.title), seeds),
      track(low, 1, [{ value: r.value.mean, half: r.half, shape: "round", colour: r.us ? "c-source" : "c-partial", title: `${r.one.title}: ${withSpread(r.value)}` }]),
      make("div", { class: r.us ? "number us" : "number" }, percent(r.value.mean), half ? make("small", {}, half) : "")];
  });
  fill("compare-scores", ...lanes, make("div", { class: "blank" }), make("div", { class: "what" }, "percent"), axis(low, 1));
}

// Differences of one other experiment: zero is a line, what leaves it out is dark.
function drawDifference(of, other, found) {
  const every = found.differences.flatMap((d) => Object.values(d.sets)).flatMap((one) => [one, ...one.machines]);
  const most = 1.03 * Math.max(0.01, ...every.flatMap((one) => [-one.low, one.high, Math.abs(one.difference)]));
  const lane = (title, what, one, strong) => [
    make("div", { class: "of" }, title), make("div", { class: "what" }, what),
    track(-most, most, [{ value: 0, shape: "zero", colour: "" }, { value: one.difference, span: [one.low, one.high], shape: strong ? "square" : "round", colour: sure(one) ? (one.low > 0 ? "c-source" : "c-worse") : "c-partial", title: `${title || what}: ${points(one.difference)}, ${points(one.low)} to ${points(one.high)}` }]),
    make("div", { class: strong ? "number us" : "number" }, points(one.difference), make("small", {}, ` ${percent(one.above, one.above > 0.999 || one.above < 0.001 ? 0 : 1)} %`))];
  const lanes = Object.entries(other.sets).flatMap(([name, one]) => [make("div", { class: "gap" }), ...lane(SETS[name] || name, "official", one, true), ...one.machines.flatMap((row) => lane("", breakable(row.machine), row, false))]);
  return [make("h3", {}, `${of.title} less ${other.other}`),
    make("p", { class: "note" }, "In points; right of the line this experiment scores higher. Blue and orange leave 0 out, grey does not. Small numbers: the share of draws above 0."),
    make("div", { class: "lanes" }, lanes, make("div", { class: "blank" }), make("div", { class: "what" }, "points"), differenceAxis(most))];
}

function differenceAxis(most) {
  const { values } = ticksOf(-most, most, 5), shown = innerWidth < 800 ? [values[0], 0, values[values.length - 1]] : values;
  const text = (v) => (Math.abs(v) < 1e-9 ? "0" : `${v < 0 ? "−" : "+"}${Number((100 * Math.abs(v)).toPrecision(3))}`);
  return make("div", { class: "axis inner", "aria-hidden": "true" }, shown.map((v) => make("span", { style: `left:${place(v, -most, most)}%` }, text(v))));
}

function drawSettings(found) {
  const told = found.unknown.length ? make("p", { class: "note" }, `No configuration is known of ${found.unknown.join(", ")}.`) : "";
  if (!found.settings.length) return fill("compare-settings", make("h3", {}, "What differs in their configurations"), make("p", {}, "Nothing."), told);
  const cell = (value, one) => make("td", { class: "setting", "data-head": one.title }, value === null ? "-" : breakable(value[0]), value && value[1] ? make("small", {}, " default") : "");
  fill("compare-settings", make("h3", {}, "What differs in their configurations"), make("div", { class: "scroll" }, make("table", { class: "settings" },
    make("thead", {}, make("tr", {}, make("th", {}, "setting"), found.experiments.map((one) => make("th", {}, breakable(one.title))))),
    make("tbody", {}, found.settings.map((row) => make("tr", {}, make("td", { class: "name" }, breakable(row.key)), row.values.map((value, i) => cell(value, found.experiments[i]))))))), told);
}
