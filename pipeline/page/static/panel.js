// The panel: what is known by now. Elements are made once and changed only where something changed.

import { $, fill, make, makeSvg, percent, plural, setAttributes, setText, show } from "./dom.js";

const STAGES = { start: "starting", train: "learning", migrate: "being checked", score: "ranking the images" };
const closed = new Set(); // warnings that the person has read

export function drawPanel(state) {
  drawProgress(state);
  drawCounts(state);
  drawAccuracy(state);
  drawAdvice(state);
  drawDoubts(state);
  drawNetwork(state);
  const { agreement } = state;
  setText($("agreement"), agreement ? agreementLine(agreement) : "");
  drawWarnings(state);
  drawNotes(state);
}

function drawWarnings(state) {
  const lines = state.warnings.filter((text) => !closed.has(text));
  fill($("warnings"), lines, () => makeWarning(), (node, text) => setText(node.firstElementChild, text));
  show($("warnings"), lines.length > 0);
}

function makeWarning() {
  const button = make("button", "quiet", "×");
  const node = make("li", "", make("span"), button);
  button.type = "button";
  button.setAttribute("aria-label", "Close this warning");
  button.addEventListener("click", () => {
    closed.add(node.firstElementChild.textContent);
    node.remove();
    show($("warnings"), $("warnings").children.length > 0);
  });
  return node;
}

function drawNotes({ notes }) {
  setText($("notes-title"), `${plural(notes.length, "note")} on the data`);
  fill($("notes"), notes, () => make("li"), setText);
  show($("notes-box"), notes.length > 0);
}

function drawProgress({ labelled, budget, images, run }) {
  const whole = budget ?? images;
  const share = whole ? Math.min(labelled / whole, 1) : 0;
  $("progress-fill").setAttribute("width", (100 * share).toFixed(2));
  setAttributes($("progress"), { "aria-valuemax": whole, "aria-valuenow": Math.min(labelled, whole) });
  const left = Math.max(whole - labelled, 0);
  const text = budget === null
    ? `${plural(labelled, "label")} of ${plural(images, "image")}`
    : `${plural(labelled, "label")}, ${left.toLocaleString("en")} left of ${budget.toLocaleString("en")}`;
  setText($("progress-text"), text);
  $("progress").setAttribute("aria-valuetext", text);
  const name = run.split("/").filter(Boolean).at(-1) ?? run;
  setText($("run"), name);
  $("run").title = run;
  document.title = `(${labelled}) ${name} – label`;
}

function drawCounts({ classes, check, skipped, disputed, copies }) {
  const most = Math.max(1, ...classes.map(({ count }) => count));
  fill($("counts"), classes, makeCount, (node, { name, count }) => {
    setText(node.children[0], name);
    setText(node.children[1], count.toLocaleString("en"));
    node.children[2].lastElementChild.setAttribute("width", (100 * count / most).toFixed(1));
  });
  const said = [];
  if (check?.answered) said.push(`and ${check.answered.toLocaleString("en")} of the check set`);
  if (copies) said.push(`${copies.toLocaleString("en")} as near-copies of others`);
  if (skipped) said.push(`${skipped.toLocaleString("en")} skipped`);
  if (disputed) said.push(`${disputed.toLocaleString("en")} on which annotators disagree`);
  setText($("tally"), said.join(" · "));
}

function makeCount() {
  const bar = makeSvg("svg", { class: "bar", viewBox: "0 0 100 6", preserveAspectRatio: "none", "aria-hidden": "true" });
  bar.append(makeSvg("rect", { class: "track", width: 100, height: 6 }));
  bar.append(makeSvg("rect", { class: "fill", width: 0, height: 6 }));
  return make("li", "", make("span", "name"), make("span", "number"), bar);
}

function drawAccuracy({ accuracy, check, curve, held_out: heldOut, how_to_measure: how }) {
  setText($("accuracy"), accuracy ? percent(accuracy.value) : "");
  show($("accuracy"), accuracy !== null);
  setText($("accuracy-hint"), accuracy
    ? `${percent(accuracy.low)} to ${percent(accuracy.high)}, on ${plural(accuracy.images, accuracy.of === "check" ? "check image" : "held-out image")}, ` +
      `after ${plural(accuracy.labels, "label")}`
    : check && !heldOut
      ? "Measured on the check images that have a label, once there is a network."
    : heldOut
      ? `Measured on ${plural(heldOut, "held-out image")} once there is a network.`
      : `No held-out images with labels: accuracy is not claimed. ${how ?? ""}`);
  drawCurve($("curve"), curve);
}

// Whether to go on, with what it rests on.
function drawAdvice({ advice, check }) {
  show($("check-set"), Boolean(check));
  if (check) setText($("check-set"), `Check set: ${check.told}.`);
  show($("advice"), Boolean(advice));
  if (!advice) return;
  setText($("verdict"), `${advice.verdict[0].toUpperCase()}${advice.verdict.slice(1)}`);
  setText($("advice-reason"), `${advice.reason}.`);
  fill($("advice-lines"), advice.lines, () => make("li"), setText);
  setText($("advice-basis"), `Rests on ${advice.rests_on}.`);
}

function drawDoubts({ doubts, finished }) {
  show($("doubts"), Boolean(doubts) && !finished);
  setText($("look-again"), doubts === 1 ? "Look again at this one" : `Look again at these ${doubts}`);
}

// Labels to the right, accuracy upwards.
function drawCurve(svg, curve) {
  show(svg, curve.length > 1);
  if (curve.length < 2) return;
  if (!svg.children.length) {
    svg.append(makeSvg("path", { class: "axes" }), makeSvg("path", { class: "line" }), makeSvg("g", { class: "dots" }));
    for (let at = 0; at < 4; at += 1) svg.append(makeSvg("text"));
  }
  const [left, right, top, bottom] = [40, 252, 8, 92];
  const values = curve.map(([, value]) => value);
  const low = Math.max(0, Math.floor(10 * Math.min(...values) - 1e-9) / 10);
  const high = Math.min(1, Math.max(low + 0.1, Math.ceil(10 * Math.max(...values) - 1e-9) / 10));
  const first = curve[0][0], last = curve.at(-1)[0];
  const x = (labels) => (left + ((right - left) * (labels - first)) / Math.max(last - first, 1)).toFixed(1);
  const y = (value) => (bottom - ((bottom - top) * (value - low)) / (high - low)).toFixed(1);
  const [axes, line, dots, ...texts] = svg.children;
  axes.setAttribute("d", `M${left} ${top}H${right}M${left} ${bottom}H${right}M${left} ${(top + bottom) / 2}H${right}`);
  line.setAttribute("d", curve.map(([labels, value], at) => `${at ? "L" : "M"}${x(labels)} ${y(value)}`).join(""));
  fill(dots, curve, () => makeSvg("circle", { r: 2.5 }), (node, [labels, value]) => {
    setAttributes(node, { cx: x(labels), cy: y(value) });
  });
  const places = [
    [percent(high), left - 6, top + 4, "end"],
    [percent(low), left - 6, bottom + 4, "end"],
    [String(first), left, 108, "start"],
    [plural(last, "label"), right, 108, "end"],
  ];
  texts.forEach((node, at) => {
    const [text, tx, ty, anchor] = places[at];
    setText(node, text);
    setAttributes(node, { x: tx, y: ty, "text-anchor": anchor });
  });
  const said = curve.map(([labels, value]) => `${labels}: ${percent(value)}`).join(", ");
  svg.setAttribute("aria-label", `Learning curve, accuracy by labels: ${said}`);
}

function noNetwork({ opening, first, finished, training }) {
  if (finished) return "There is none.";
  if (opening) return "It is opened again, which takes a moment.";
  const random = "Until it asks, images are chosen without it.";
  if (training) return `The first one is being made. ${random}`;
  return `There is none yet. The first one learns from ${first} labels, and asks some seconds to minutes later. ${random}`;
}

function drawNetwork(state) {
  const { network, training, finished } = state;
  setText($("network"), network
    ? `${finished ? (finished.going_on ? "The one that asked" : "The last one") : "The one that asks"} ` +
      `learned from ${plural(network.labels, "label")}` +
      (network.asked ? ` and asked ${plural(network.asked, "question")}${finished ? "" : " so far"}.` : ".")
    : noNetwork(state));
  const known = training !== null && training.done !== null;
  setText($("training"), training
    ? `${finished ? "The last one" : network ? "The next one" : "It"}, from ${plural(training.labels, "label")}: ${STAGES[training.stage] ?? training.stage}` +
      (known ? `, ${percent(training.done)}` : "")
    : "");
  show($("training-bar"), known);
  if (known) $("training-fill").setAttribute("width", (100 * training.done).toFixed(1));
}

function agreementLine({ kappa, samples, annotators }) {
  const value = kappa === null ? "is not known" : `is ${kappa.toFixed(2)}`;
  return `Agreement of ${annotators.join(" and ")} (Cohen's κ) ${value}, on ${plural(samples, "image")}.`;
}
