// Elements. Text goes in as text nodes alone, so that a name is never read as markup.

function make(name, attributes, ...children) {
  const svg = ["svg", "g", "line", "path", "rect", "circle", "text", "title"].includes(name);
  const element = svg ? document.createElementNS("http://www.w3.org/2000/svg", name) : document.createElement(name);
  for (const [key, value] of Object.entries(attributes || {})) {
    if (value === null || value === undefined || value === false) continue;
    if (key === "style") element.style.cssText = value; // as script, so that no policy on inline styles stands in the way
    else if (key.startsWith("on")) element.addEventListener(key.slice(2), value);
    else element.setAttribute(key, value === true ? "" : value);
  }
  element.append(...children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== ""));
  return element;
}

// A name that may be broken after each underscore and dash.
function breakable(name) { return name.split(/(?<=[_-])/).flatMap((part, i) => (i ? [make("wbr"), part] : [part])); }

function byId(id) { return document.getElementById(id); }

function fill(id, ...children) { byId(id).replaceChildren(...children.flat(Infinity).filter(Boolean)); }

function options(select, pairs, chosen) {
  select.replaceChildren(...pairs.map(([value, text]) => make("option", { value, selected: value === chosen }, text)));
  select.value = chosen;
}

function place(value, low, high) { return (100 * Math.min(1, Math.max(0, (value - low) / (high - low)))).toFixed(3); }

// A line from low to high, in percent of its width: rules at the round numbers, then what is put on it.
function track(low, high, marks) {
  const rules = ticksOf(low, high, 5).values.map((v) => make("i", { style: `left:${place(v, low, high)}%` }));
  const found = marks.filter((mark) => mark.value !== null && mark.value !== undefined).flatMap((mark) => {
    const at = place(mark.value, low, high), parts = [];
    const span = mark.span || (mark.half ? [mark.value - mark.half, mark.value + mark.half] : null);
    if (span) {
      const [from, to] = span.map((end) => place(end, low, high));
      parts.push(make("b", { class: `span ${mark.colour}`, style: `left:${from}%;width:${to - from}%` }));
    }
    parts.push(make("b", { class: `dot ${mark.shape} ${mark.colour}`, style: `left:${at}%`, title: mark.title }));
    return parts;
  });
  return make("div", { class: "track", "aria-hidden": "true" }, rules, found);
}

function axis(low, high) {
  const { values } = ticksOf(low, high, 5);
  const room = (innerWidth < 800 ? 0.25 : 0.08) * (high - low); // on a phone the ends leave less of it
  const ends = [low, ...values.filter((v) => v > low && v < high), high];
  const apart = ends.filter((v, i) => i === 0 || i === ends.length - 1 || (v - low > room && high - v > room));
  return make("div", { class: "axis", "aria-hidden": "true" },
    apart.map((v) => make("span", { style: `left:${place(v, low, high)}%` }, `${Math.round(100 * v)}`)));
}

function textAt(x, y, text, attributes) { return make("text", { x, y, ...(attributes || {}) }, text); }

function pathOf(points) { return points.map(([x, y], i) => `${i ? "L" : "M"}${x.toFixed(2)} ${y.toFixed(2)}`).join(""); }
