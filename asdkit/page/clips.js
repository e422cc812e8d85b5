// The table of clips, and what can be seen and heard of one.

// For each clip of the test set: how many percent of the other kind of its machine lie on its wrong side.
function wrongness() {
  const test = clips(), own = score().clips[state.set] || [], found = new Array(own.length).fill(null), groups = {};
  if (!test || !test.labelled) return found;
  own.forEach((value, i) => { const g = (groups[test.machine[i]] = groups[test.machine[i]] || { normal: [], anomaly: [] }); g[test.condition[i]].push(value); });
  own.forEach((value, i) => {
    const other = groups[test.machine[i]][test.condition[i] === "normal" ? "anomaly" : "normal"];
    if (other.length) found[i] = (test.condition[i] === "normal" ? other.filter((o) => o < value).length : countAbove(other, value)) / other.length;
  });
  return found;
}

function drawKinds() {
  const test = clips(), kinds = test && test.labelled ? [["all", "all clips"], ["missed", "missed anomalies"], ["false", "false alarms"]] : [["all", "all clips"], ["above", "clips above the threshold"]];
  if (mediaOf(state.set)) kinds.push(["media", "clips to look at and listen to"]);
  options(byId("kind"), kinds, kinds.some(([key]) => key === byId("kind").value) ? byId("kind").value : "all");
  state.sort = test && test.labelled ? ["wrong", -1] : ["score", -1];
}

const mediaOf = (set) => (data.media && data.media.sets[set] && Object.keys(data.media.sets[set]).length ? data.media.sets[set] : null);
const groupOf = (test, i) => { const own = `${test.machine[i]}\t${test.section[i]}`, keys = groupsOf(state.set).map(([key]) => key); return state.group.startsWith(`${test.machine[i]}\t`) ? state.group : keys.includes(own) ? own : `${test.machine[i]}\t`; };

function startClips() {
  byId("search").oninput = byId("kind").onchange = byId("scope").onchange = () => { state.shown = SHOWN; state.open = state.detail = null; stopSound(); drawTable(); };
  byId("more").onclick = () => { state.shown += 100; drawTable(); };
}

function drawTable() {
  const test = clips(), own = test ? score().clips[state.set] || [] : [];
  byId("clips").hidden = !own.length;
  if (!own.length) return;
  const media = state.score === (data.media ? data.media.score : -1) ? mediaOf(state.set) : null, wrong = wrongness(), limits = new Map();
  const limit = (i) => { const group = groupOf(test, i); if (!limits.has(group)) limits.set(group, limitOf(group)); return limits.get(group); };
  const text = byId("search").value.trim().toLowerCase(), kind = byId("kind").value, everywhere = byId("scope").value === "all";
  const inScope = own.map((_, i) => i).filter((i) => everywhere || belongs(test, i, state.group));
  const passes = { all: () => true, missed: (i) => test.condition[i] === "anomaly" && own[i] <= limit(i), false: (i) => test.condition[i] === "normal" && own[i] > limit(i), above: (i) => own[i] > limit(i), media: (i) => media && media[i] };
  const rows = inScope.filter((i) => passes[kind](i) && (!text || test.file[i].toLowerCase().includes(text) || test.utt[i].toLowerCase().includes(text)));
  const keys = { name: (i) => test.file[i], machine: (i) => test.machine[i] + test.section[i], domain: (i) => test.domain[i], truth: (i) => test.condition[i], score: (i) => own[i], decision: (i) => own[i] - limit(i), wrong: (i) => (wrong[i] === null ? -1 : wrong[i]) };
  const several = new Set(groupsOf(state.set).filter(([key]) => !key.endsWith("\t")).map(([key]) => key.split("\t")[0]));
  const astray = (i) => (test.condition[i] === "anomaly" ? limit(i) - own[i] : own[i] - limit(i));
  const [by, way] = state.sort, key = keys[by];
  rows.sort((a, b) => { const u = key(a), v = key(b); return way * (u < v ? -1 : u > v ? 1 : 0) || astray(b) - astray(a); });
  const columns = [["name", "recording"], ["machine", "machine"], ["domain", "domain"], ...(test.labelled ? [["truth", "truth"]] : []), ["score", "score", true], ["decision", "decision"], ...(test.labelled ? [["wrong", "wrong side", true]] : []), ["", ""]];
  byId("table").tHead.replaceChildren(make("tr", {}, columns.map(([name, title, right]) => make("th", { scope: "col", class: right ? "right" : null, "aria-sort": name && name === by ? (way < 0 ? "descending" : "ascending") : null },
    name ? make("button", { type: "button", onclick: () => { state.sort = [name, by === name ? -way : ["name", "machine", "domain"].includes(name) ? 1 : -1]; drawTable(); } }, title + (name === by ? (way < 0 ? " ↓" : " ↑") : "")) : ""))));
  byId("table").tBodies[0].replaceChildren(...rows.slice(0, state.shown).flatMap((i) => {
    const above = own[i] > limit(i), isWrong = test.labelled && above !== (test.condition[i] === "anomaly"), open = state.open === i && media && media[i];
    const button = media && media[i] ? make("button", { type: "button", "data-clip": i, "aria-expanded": String(Boolean(open)), onclick: () => { stopSound(); state.open = open ? null : i; state.detail = null; drawTable(); const again = document.querySelector(`[data-clip="${i}"]`); if (again) again.focus({ preventScroll: true }); } }, open ? "close" : "look, listen") : "";
    const row = make("tr", {}, make("td", { class: "name" }, make("a", { href: test.link[i], title: test.utt[i] }, breakable(test.file[i]))), make("td", { class: "machine" }, several.has(test.machine[i]) ? `${test.machine[i]} ${test.section[i]}` : test.machine[i]), make("td", {}, test.domain[i] === "-" ? "" : test.domain[i]),
      test.labelled ? make("td", {}, make("span", { class: `mark is-${test.condition[i]}` }, test.condition[i])) : "", make("td", { class: "right", "data-head": "score" }, short(own[i])), make("td", { class: isWrong ? "bad" : null, "data-head": "decision" }, above ? "anomaly" : "normal"),
      test.labelled ? make("td", { class: "right", "data-head": "wrong side" }, wrong[i] === null ? "" : `${percent(wrong[i], 0)} %`) : "", make("td", { class: "right" }, button));
    return open ? [row, make("tr", { class: "detail" }, make("td", { colspan: columns.length }, (state.detail = state.detail || detailOf(media[i], i))))] : [row];
  }));
  fill("found", `${rows.length} of ${inScope.length} clips${rows.length > state.shown ? `, the first ${state.shown} of them shown` : ""}.`);
  byId("more").hidden = rows.length <= state.shown;
  fill("clips-note", (test.labelled ? "Wrong side: how many of the machine's clips of the other kind it is confused with (anomalies with a lower score than a normal clip, normal clips with a higher one than an anomaly). " : "") + "Decisions follow the line above. A name opens the recording where it lies, if this page lies where it was made." + (data.media && data.media.said && !data.media.said.startsWith("No scores over time") ? ` ${data.media.said}` : ""));
}

// ---------------------------------------------------------------- one clip

const player = { clip: null, near: null, which: "clip", timer: null };

function fileOf(name) {
  const held = document.querySelector(`script[data-file="${name}"]`);
  return held ? held.textContent : name;
}

function stopSound() {
  for (const one of [player.clip, player.near]) if (one) one.pause();
  clearInterval(player.timer);
  Object.assign(player, { clip: null, near: null, which: "clip" });
}

function detailOf(entry, i) {
  const test = clips(), near = entry.near, scale = data.media.machines[`${state.set}\t${test.machine[i]}`];
  const found = make("div", {}, playerOf(entry), make("div", { class: "pictures" },
    figureOf(["This clip ", make("small", {}, breakable(test.file[i]))], entry, "clip", [`${scale.low} dB`, `${scale.high} dB`], data.media.ramp),
    near ? figureOf(["Nearest training clip ", make("small", {}, make("a", { href: near.link, title: near.utt }, breakable(near.file)), `${near.domain === "-" ? "" : `, ${near.domain}`}, distance ${short(near.distance)}`)], near, "near", [`${scale.low} dB`, `${scale.high} dB`], data.media.ramp) : make("p", { class: "note" }, "No nearest training clip is known."),
    entry.difference ? figureOf(["Their difference, ", make("small", {}, "dB: this clip less the other, moment by moment as both are recorded")], { ...entry, picture: entry.difference }, "", [`-${data.media.difference} dB`, `+${data.media.difference} dB`], data.media.signed) : "",
    entry.bands ? byBand(entry.bands) : ""));
  return found;
}

function figureOf(caption, entry, which, ends, ramp) {
  if (!entry.picture) return make("figure", {}, make("figcaption", {}, caption), make("p", { class: "warn" }, `Cannot be shown or played: ${entry.fault}`));
  const [low, high] = data.media.hertz.map((f) => Math.log1p(f / 700)), ticks = hertzTicks(low, high);
  const hertz = ticks.map((f) => make("span", { class: "hz", style: `bottom:${100 * (Math.log1p(f / 700) - low) / (high - low)}%` }, f < 1000 ? `${f} Hz` : `${f / 1000} kHz`));
  const seconds = entry.seconds, times = ticksOf(0, seconds, 4).values;
  const picture = make("div", { class: "picture", "data-which": which, onclick: (event) => { const box = event.currentTarget.getBoundingClientRect(); seek((event.clientX - box.left) / box.width * seconds); } },
    make("img", { src: fileOf(entry.picture), alt: "spectrogram" }), hertz, make("span", { class: "head", "data-seconds": seconds, style: "left:0%" }));
  return make("figure", {}, make("figcaption", {}, caption), picture,
    make("div", { class: "axis seconds" }, times.map((t) => make("span", { style: `left:${100 * t / seconds}%` }, `${t === 0 ? "0 s" : Number(t.toFixed(2))}`))),
    make("div", { class: "ramp", style: `background:linear-gradient(to right, ${ramp.join(",")})` }), make("div", { class: "ramp-ends" }, make("span", {}, ends[0]), make("span", {}, ends[1])),
    which !== "clip" ? "" : entry.over ? overTime(entry) : make("p", { class: "note seconds" }, data.media.said || "No score over time is known of this clip."));
}

// Round frequencies that lie apart, between two places on the mel scale.
function hertzTicks(low, high) {
  const kept = [], at = (f) => (Math.log1p(f / 700) - low) / (high - low);
  for (const f of [1, 10, 30, 100, 300, 1000, 2000, 4000, 8000, 16000, 32000, 64000, 128000]) {
    if (at(f) >= 0 && at(f) <= 1.001 && (!kept.length || at(f) - at(kept[kept.length - 1]) > 0.075)) kept.push(f);
  }
  return kept;
}

function overTime(entry) {
  const { times, distances, usual } = entry.over, most = 1.1 * Math.max(usual, ...distances), top = distances.indexOf(Math.max(...distances));
  const x = (t) => 100 * t / entry.seconds, y = (v) => 40 - 40 * v / most;
  const inside = times.map((t, i) => [t, distances[i]]).filter(([t]) => t <= entry.seconds);
  return [make("svg", { class: "over", viewBox: "0 0 100 40", preserveAspectRatio: "none", role: "img", "aria-label": "score over time" },
    make("line", { class: "diagonal", x1: 0, x2: 100, y1: y(usual), y2: y(usual), "vector-effect": "non-scaling-stroke" }),
    make("path", { class: "curve f-anomaly", style: "fill:none", "vector-effect": "non-scaling-stroke", d: pathOf(inside.map(([t, v]) => [x(t), y(v)])) }),
    inside.map(([t, v]) => make("path", { class: "f-anomaly", style: "stroke-width:6;stroke-linecap:round", "vector-effect": "non-scaling-stroke", d: `M${x(t)} ${y(v)}h0.01` }))),
    make("p", { class: "note seconds" }, `Over time: distance of each chunk to the nearest chunk of a training clip, the largest ${short(distances[top])} around ${Number(times[top].toFixed(2))} s. Dashed: ${short(usual)}, below which nine of ten training chunks lie.`)];
}

// The score of each band's memory as a bar, the highest band above as in the spectrogram, and a line at what is usual.
function byBand(bands) {
  const { scores, usual, arrays, join } = bands, every = [0, ...scores, ...usual.filter((v) => v !== null)], low = Math.min(...every), high = Math.max(...every);
  const most = scores.indexOf(Math.max(...scores)), last = scores.length - 1, digits = Math.min(12, Math.max(0, 3 - Math.floor(Math.log10(Math.max(high, -low) || 1)))), named = (i) => arrays[i] || `band ${i + 1}${i === 0 ? ", lowest" : i === last ? ", highest" : ""}`;
  const line = (i) => [make("div", { class: i === most ? "of" : "what" }, named(i)), make("div", { class: "track", "aria-hidden": "true" },
    make("b", { class: "filled", style: `left:${place(Math.min(0, scores[i]), low, high)}%;width:${100 * Math.abs(scores[i]) / (high - low || 1)}%` }), usual[i] === null ? "" : make("b", { class: "usual", style: `left:${place(usual[i], low, high)}%` })),
    make("div", { class: "number" }, scores[i].toFixed(digits))];
  const order = scores.map((_, i) => i);
  return make("div", { class: "by-band" }, make("h4", {}, arrays.length ? "Array by array" : "Band by band"), make("div", { class: "bands" }, (arrays.length ? order : order.reverse()).map(line)),
    make("p", { class: "note" }, `${join === "max" ? "The largest of them is" : "Their mean is"} the score${arrays.length ? "" : "; the highest band is above, as in the spectrogram"}. ${usual.some((v) => v !== null) ? "Line: nine of ten training clips lie below." : ""}`));
}

function playerOf(entry) {
  const near = entry.near;
  if (!entry.sound) return make("p", { class: "warn" }, `The recording cannot be read: ${entry.fault}`);
  Object.assign(player, { clip: new Audio(fileOf(entry.sound)), near: near && near.sound ? new Audio(fileOf(near.sound)) : null, which: "clip", chain: false });
  const lasts = (one) => one.whole || one.seconds, longest = Math.max(lasts(entry), player.near ? lasts(near) : 0), { gain_db: gain, originals } = data.media.machines[`${state.set}\t${clips().machine[Number(state.open)]}`];
  const play = make("button", { type: "button", id: "play", onclick: () => (playing() ? pause() : begin()) }, "Play");
  const chain = make("button", { type: "button", id: "chain", onclick: () => { pause(); setTime(0); select("clip"); player.chain = true; begin(); } }, "One after the other");
  const one = (which, title) => make("button", { type: "button", "data-play": which, "aria-pressed": String(which === "clip"), onclick: () => { player.chain = false; select(which); } }, title);
  for (const audio of [player.clip, player.near]) if (audio) audio.onended = () => ended(audio);
  return make("div", {}, make("div", { class: "player" }, play, player.near ? [make("span", { class: "both", role: "group", "aria-label": "which one is heard" }, one("clip", "this clip"), one("near", "training clip")), chain] : "",
    make("input", { type: "range", id: "seek", min: 0, max: longest, step: 0.01, value: 0, "aria-label": "position, seconds", oninput: (event) => seek(Number(event.target.value)) }), make("span", { id: "clock", class: "note" }, `0.0 of ${longest.toFixed(1)} s`)),
    make("p", { class: "note" }, `${player.near ? "Switching keeps the position. " : ""}${originals ? `The recordings themselves, as they lie beside this page${longest > data.media.cut ? `; pictures show the first ${data.media.cut} s` : ""}.` : `All clips of this machine are played ${gain < 0 ? `${-gain} dB quieter` : `${gain} dB louder`} than recorded; compressed${longest >= data.media.cut ? `, the first ${data.media.cut} s` : ""}.`}`));
}

const heard = () => player[player.which];
const playing = () => Boolean(heard() && !heard().paused && !heard().ended);

function setTime(seconds) {
  for (const one of [player.clip, player.near]) if (one) one.currentTime = Math.min(seconds, one.duration || seconds);
  show();
}

function seek(seconds) { if (player.clip) setTime(Math.max(0, seconds)); }

// Both run, one of them silent: to switch is to say which.
function select(which) {
  if (!player[which]) return;
  const at = heard().currentTime, runs = playing();
  player.which = which;
  if (Math.abs(heard().currentTime - at) > 0.02) heard().currentTime = Math.min(at, heard().duration || at);
  for (const name of ["clip", "near"]) if (player[name]) player[name].muted = name !== which;
  if (runs && heard().paused) run(heard());
  show();
}

// A pause that comes before the sound has begun is no fault.
function run(audio) {
  audio.play().catch((error) => { if (error.name !== "AbortError" && byId("clock")) byId("clock").textContent = `cannot be played here: ${error.message}`; });
}

function begin() {
  if (heard().ended) setTime(0);
  for (const name of ["clip", "near"]) if (player[name]) { player[name].muted = name !== player.which; run(player[name]); }
  clearInterval(player.timer);
  player.timer = setInterval(show, matchMedia("(prefers-reduced-motion: reduce)").matches ? 500 : 40);
  show();
}

function pause() {
  player.chain = false;
  for (const one of [player.clip, player.near]) if (one) one.pause();
  show();
}

function ended(audio) {
  if (audio !== heard()) return;
  if (player.chain && player.which === "clip" && player.near) {
    player.chain = false;
    player.which = "near";
    setTime(0);
    begin();
  } else pause();
}

function show() {
  const now = heard() ? heard().currentTime : 0;
  if (!byId("seek")) return;
  byId("seek").value = now;
  byId("clock").textContent = `${now.toFixed(1)} of ${Number(byId("seek").max).toFixed(1)} s`;
  byId("play").textContent = playing() ? "Pause" : "Play";
  for (const head of document.querySelectorAll(".head")) head.style.left = `${Math.min(100, 100 * now / Number(head.dataset.seconds))}%`;
  for (const button of document.querySelectorAll("[data-play]")) button.setAttribute("aria-pressed", String(button.dataset.play === player.which));
  for (const picture of document.querySelectorAll(".picture")) picture.classList.toggle("on", playing() && picture.dataset.which === player.which);
  if (!playing()) clearInterval(player.timer);
}
