// Arithmetic of the page: counts at a threshold, ROC, intervals. A clip counts as anomalous above the threshold.

function countAbove(scores, limit) {
  let found = 0;
  for (const score of scores) if (score > limit) found += 1;
  return found;
}

// 95 % interval of a rate of k in n (Wilson 1927); null without clips.
function wilson(k, n) {
  if (!n) return null;
  const z = 1.959963984540054, p = k / n, d = 1 + z * z / n;
  const middle = (p + z * z / (2 * n)) / d, half = z / d * Math.sqrt(p * (1 - p) / n + z * z / (4 * n * n));
  return [k === 0 ? 0 : Math.max(0, middle - half), k === n ? 1 : Math.min(1, middle + half)];
}

function ratesAt(normal, anomalous, limit, clipsADay) {
  const fp = countAbove(normal, limit), tp = countAbove(anomalous, limit);
  const precision = fp + tp ? tp / (fp + tp) : null, recall = anomalous.length ? tp / anomalous.length : null;
  return {
    fp, tp, normal: normal.length, anomalous: anomalous.length, precision, recall,
    alarms: normal.length ? fp / normal.length * clipsADay : null,
    f1: anomalous.length ? 2 * tp / (tp + fp + anomalous.length) : null,
  };
}

// Points [false alarm rate, detection rate] from the highest threshold down; equal scores share one step.
function rocOf(normal, anomalous) {
  const all = [...normal.map((s) => [s, 0]), ...anomalous.map((s) => [s, 1])].sort((a, b) => b[0] - a[0]);
  const points = [[0, 0]];
  let fp = 0, tp = 0;
  all.forEach(([score, kind], i) => {
    if (kind) tp += 1; else fp += 1;
    if (i + 1 === all.length || all[i + 1][0] !== score) points.push([fp / normal.length, tp / anomalous.length]);
  });
  return points;
}

function quantile(sorted, q) {
  const at = q * (sorted.length - 1), low = Math.floor(at), high = Math.min(low + 1, sorted.length - 1);
  return sorted[low] + (at - low) * (sorted[high] - sorted[low]);
}

// About `wanted` round numbers from low to high.
function ticksOf(low, high, wanted) {
  const raw = (high - low) / wanted || 1, power = Math.pow(10, Math.floor(Math.log10(raw)));
  const step = [1, 2, 5, 10].map((m) => m * power).find((s) => s >= raw * 0.999);
  const found = [];
  for (let i = Math.ceil(low / step - 1e-9); i * step <= high + 1e-9 * step; i += 1) found.push(i * step);
  return { values: found, digits: Math.max(0, -Math.floor(Math.log10(step) + 1e-9)) };
}

// 1, 2 and 5 times powers of ten from low to high, or fewer of them.
function logTicks(low, high, wanted) {
  const found = [];
  for (let power = Math.floor(Math.log10(low)); Math.pow(10, power) <= high; power += 1) found.push(...[1, 2, 5].map((m) => [m * Math.pow(10, power), m]));
  const inside = found.filter(([v]) => v >= low && v <= high), tens = inside.filter(([, m]) => m === 1);
  return { values: (inside.length > 1.6 * wanted && tens.length > 1 ? tens : inside).map(([v]) => v) };
}

function percent(value, digits) { return (100 * value).toFixed(digits === undefined ? 2 : digits); }

function short(value) {
  if (value === 0) return "0";
  const size = Math.abs(value);
  return size >= 1e5 || size < 1e-3 ? value.toExponential(2) : value.toPrecision(4);
}

function whole(value) {
  return value >= 100 ? Math.round(value).toLocaleString("en") : value >= 10 ? value.toFixed(0) : value.toFixed(1);
}
