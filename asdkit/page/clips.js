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
  byId("search").oninput = byId("kind").onchange = byId("scope").onchange = () => { state.shown = SHOWN; state.open = null; drawTable(); };
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
  const [by, way] = state.sort, key = keys[by];
  rows.sort((a, b) => { const u = key(a), v = key(b); return way * (u < v ? -1 : u > v ? 1 : 0) || own[b] - own[a]; });
  const columns = [["name", "recording"], ["machine", "machine"], ["domain", "domain"], ...(test.labelled ? [["truth", "truth"]] : []), ["score", "score", true], ["decision", "decision"], ...(test.labelled ? [["wrong", "wrong side", true]] : []), ["", ""]];
  byId("table").tHead.replaceChildren(make("tr", {}, columns.map(([name, title, right]) => make("th", { scope: "col", class: right ? "right" : null, "aria-sort": name && name === by ? (way < 0 ? "descending" : "ascending") : null },
    name ? make("button", { type: "button", onclick: () => { state.sort = [name, by === name ? -way : ["name", "machine", "domain"].includes(name) ? 1 : -1]; drawTable(); } }, title + (name === by ? (way < 0 ? " ↓" : " ↑") : "")) : ""))));
  byId("table").tBodies[0].replaceChildren(...rows.slice(0, state.shown).flatMap((i) => {
    const above = own[i] > limit(i), isWrong = test.labelled && above !== (test.condition[i] === "anomaly"), open = state.open === i && media && media[i];
    const button = media && media[i] ? make("button", { type: "button", "aria-expanded": Boolean(open), onclick: () => { stopSound(); state.open = open ? null : i; drawTable(); } }, open ? "close" : "look, listen") : "";
    const row = make("tr", {}, make("td", { class: "name" }, make("a", { href: test.link[i], title: test.utt[i] }, test.file[i])), make("td", {}, test.machine[i] + (test.section[i] === "-" ? "" : ` ${test.section[i]}`)), make("td", {}, test.domain[i] === "-" ? "" : test.domain[i]),
      test.labelled ? make("td", {}, make("span", { class: `mark is-${test.condition[i]}` }, test.condition[i])) : "", make("td", { class: "right", "data-head": "score" }, short(own[i])), make("td", { class: isWrong ? "bad" : null, "data-head": "decision" }, above ? "anomaly" : "normal"),
      test.labelled ? make("td", { class: "right", "data-head": "wrong side" }, wrong[i] === null ? "" : `${percent(wrong[i], 0)} %`) : "", make("td", { class: "right" }, button));
    return open ? [row, make("tr", { class: "detail" }, make("td", { colspan: columns.length }, detailOf(media[i], i)))] : [row];
  }));
  fill("found", `${rows.length} of ${inScope.length} clips${rows.length > state.shown ? `, the first ${state.shown} of them shown` : ""}.`);
  byId("more").hidden = rows.length <= state.shown;
  fill("clips-note", (test.labelled ? "Wrong side: how many of the machine's clips of the other kind it is confused with (anomalies with a lower score than a normal clip, normal clips with a higher one than an anomaly). " : "") + "Decisions follow the line above. A name opens the recording where it lies, if this page lies where it was made." + (data.media && data.media.said ? ` ${data.media.said}` : ""));
}

function stopSound() {}

function detailOf() { return ""; }
