// One at a time: answer, skip, undo, look back and correct.

import { $, fill, make, percent, plural, setAttributes, setText, show } from "./dom.js";
import { act, page, refreshState, say, setState, setView, who } from "./core.js";
import { clock, look, nothing, prefetch, present } from "./look.js";
import { get, post } from "./net.js";

const BACK = 100; // so far a person can look back
const SHORT = 3; // letters of names of which five stand in a row on a phone
const SURPRISE = 600; // milliseconds before keys count for a question that came by itself

let trail = []; // what this annotator said, latest first
let at = -1; // where in it the person looks; -1: at the question
let waited = 0; // milliseconds that the question was looked at before the person looked back

export const lookingBack = () => at >= 0;

// ---- what is shown

export function showQuestion(question, pause) {
  page.question = question;
  at = -1;
  waited = 0;
  view(pause);
}

function view(pause) {
  const { question } = page;
  if (page.view === "grid" && at < 0) return;
  if (at >= 0) {
    setView("label");
    present(trail[at]);
  } else if (question.kind === "question") {
    setView("label");
    present(question, { counted: waited, pause });
    prefetch(question.next);
  } else {
    nothing();
    setView("over");
  }
  draw();
}

export function returnToQuestion() {
  page.view = "label";
  at = -1;
  view();
}

export function draw() {
  if (page.state === null || page.question === null) return;
  if (page.view === "over") drawOver();
  if (page.view !== "label") return;
  const back = at >= 0;
  setText($("why"), back ? backLine() : whyLine(page.question));
  $("forward").disabled = !back;
  $("back").disabled = $("undo").disabled = !saidAnything();
  drawClasses(back ? trail[at].said : null);
  drawGuess(back ? null : page.question.prediction);
  drawCopies(back ? 0 : page.question.copies ?? 0);
}

function drawCopies(copies) {
  show($("copies-line"), copies > 0);
  setText($("copies-text"), `Show ${plural(copies, "near-copy", "near-copies")} of it, to label all at once`);
}

// The state is a moment late: what was said a moment ago counts.
const saidAnything = () => page.said || page.state.said;

function drawClasses(said) {
  const longest = Math.max(...page.state.classes.map(({ name }) => name.length), 0);
  $("classes").classList.toggle("short", longest <= SHORT);
  fill($("classes"), page.state.classes, makeClass, (node, item) => {
    drawClass(node, item);
    node.classList.toggle("said", said === item.name);
  });
}

function makeClass() {
  const node = makeClassButton();
  node.addEventListener("click", () => choose(node.label));
  return node;
}

export function makeClassButton() {
  const node = make("button", "class", make("kbd"), make("span", "name"));
  node.type = "button";
  return node;
}

export function drawClass(node, { name, key }) {
  node.label = name;
  setText(node.children[0], key ?? "");
  show(node.children[0], Boolean(key));
  setText(node.children[1], name);
  node.title = name;
  if (key) node.setAttribute("aria-keyshortcuts", key);
  else node.removeAttribute("aria-keyshortcuts");
}

function drawGuess(prediction) {
  const visible = page.predictions && at < 0;
  show($("guess"), visible);
  if (!visible) return;
  setText($("guess"), prediction
    ? `The network predicts ${prediction.label}, ${percent(prediction.probability)}`
    : "No network predicts anything yet");
}

function backLine() {
  const { said, suggested, annotator, mine } = trail[at];
  if (suggested) {
    const who = mine ? "you" : annotator;
    return `Look again, ${plural(at + 1, "image")} to go: ${who} said ${said}, all the other labels together say ${suggested}. ` +
      "Press the key of what it is; that of the same class keeps it.";
  }
  const what = said === null ? "you skipped it" : `you said ${said}`;
  return `${at + 1} back: ${what}. Press the key of a class to correct it.`;
}

function whyLine(question) {
  const said = question.said.map(({ annotator, label }) => `${annotator} said ${label ?? "nothing"}`).join(", ");
  if (!page.state.classes.length) return "There is no class yet: press n to add the first";
  if (question.why === "check") return "Drawn at random to measure accuracy: no network learns from it";
  if (question.why === "undo") return said ? `Taken back: ${said}` : "Taken back: what is it?";
  if (question.why === "disputed") return `Annotators disagree: ${said}`;
  if (question.why === "typical") return "Typical of many others, chosen before there is a network";
  if (question.asked_by === null) {
    return page.state.network ? "Drawn at random, not by the network" : "Drawn at random until there is a network";
  }
  const { network } = page.state;
  const which = network && network.cycle === question.asked_by
    ? `the network that learned from ${plural(network.labels, "label")}`
    : "an earlier network";
  const ranked = question.milliseconds === null
    ? `Asked by ${which}`
    : `Re-ranked in ${Math.max(1, Math.round(question.milliseconds)).toLocaleString("en")} ms by ${which}`;
  if (question.why === "left") return `Left open before · ${ranked}`;
  return question.why === "overlap" ? `Asked of several annotators · ${ranked}` : ranked;
}

const OVER = { budget: "The budget is used up", pool: "Every image is labelled", finished: "Finished", yours: "All yours are labelled" };

function drawOver() {
  const { question, state: { finished } } = page;
  const waiting = question.kind === "wait";
  const going = Boolean(finished?.going_on);
  setText($("over-title"), finished ? (going ? "Finishing" : "Finished") : waiting ? "One moment" : OVER[question.reason] ?? "Nothing left");
  setText($("over-text"), going ? "What you take away is being made. You may close the page." : question.text);
  setText($("over-stage"), going && finished.stage ? `Now: ${finished.stage}` : "");
  show($("over-stage"), going);
  drawProducts(finished);
  $("over-back").disabled = !saidAnything();
  show($("over-finish"), !finished && !waiting);
  show($("over-class"), !finished);
}

const WHAT = {
  "README.md": "what each file is, and how to use it",
  "labels.csv": "every label, and who gave it",
  "review.csv": "labels that look wrong to all the others, the most doubtful first",
  "predictions.csv": "what the network takes every image for, the least sure first",
  "model/": "the network",
  "products.json": "the files' checksums",
};

function drawProducts(finished) {
  const made = Boolean(finished?.products);
  for (const id of ["products", "folder-line", "next"]) show($(id), made);
  if (!made) return;
  const names = new Set(finished.products.map((name) => name.replace(/\/.*/s, "/"))); // a folder is one line
  fill($("products"), [...names], makeProduct, drawProduct);
  setText($("folder"), finished.folder);
  fill($("next-list"), finished.next ?? [], () => make("li", "", make("span"), make("code")), (node, { what, command }) => {
    setText(node.children[0], `${what[0].toUpperCase()}${what.slice(1)}:`);
    setText(node.children[1], command);
  });
}

function makeProduct() {
  return make("li", "", make("a"), make("span", "hint"));
}

function drawProduct(node, name) {
  const [link, hint] = node.children;
  setText(link, name);
  if (name.endsWith("/")) link.removeAttribute("href");
  else setAttributes(link, { href: `/product/${encodeURIComponent(name)}`, download: name });
  setText(hint, WHAT[name] ?? "");
}

// ---- what is done

// Only what was seen can be judged, and only one thing at a time.
const free = () => page.view === "label" && look.ready && !page.busy;

export function choose(label) {
  if (!free()) return;
  if (look.broken) say("This image cannot be shown: skip it, or wait until it comes", "error");
  else if (at >= 0) correct(label);
  else tell("/answer", { label }, label);
}

export function skip() {
  if (!free()) return;
  if (at >= 0) correct(null);
  else tell("/skip", { reason: "" }, "skipped");
}

async function tell(path, what, line) {
  const { sample } = look.item;
  const seconds = clock.seconds();
  const done = await act(async () => {
    const question = await post(path, { ...who(), sample, ...what, seconds });
    page.said = true;
    showQuestion(question);
    say(`Saved: ${line}`, "good");
  });
  if (done) refreshState().catch(() => {}); // the poll will
}

async function correct(label) {
  const item = trail[at];
  if (item.said === label) {
    if (item.suggested) keep(item);
    else say(`Unchanged: ${label ?? "skipped"}`);
    return;
  }
  const seconds = clock.seconds();
  const done = await act(async () => {
    if (item.mine ?? true) await post("/undo", { ...who(), sample: item.sample });
    const path = label === null ? "/skip" : "/answer";
    const what = label === null ? { reason: "" } : { label };
    page.question = await post(path, { ...who(), sample: item.sample, ...what, seconds });
    say(`Corrected: ${item.said ?? "skipped"} → ${label ?? "skipped"}`, "good");
    item.said = label;
    at -= 1;
    view();
  });
  if (done) refreshState().catch(() => {});
}

// A label that looks wrong and is right: nobody is shown it again.
async function keep(item) {
  const done = await act(async () => {
    setState(await post("/keep", { ...who(), sample: item.sample }));
    say(`Kept: ${item.said}`, "good");
    at -= 1;
    view();
  });
  if (done) refreshState().catch(() => {});
}

// The labels that look wrong, one by one; the most doubtful first, which is the last of the trail.
export async function lookAgain() {
  if (page.busy || !["label", "over"].includes(page.view)) return;
  await act(async () => {
    const items = (await get("/doubts", who())).items.reverse();
    if (!items.length) {
      say("No label looks wrong now");
      return;
    }
    trail = items;
    move(items.length - 1);
  });
}

// Names the sample, so that to send it twice takes nothing else back.
export async function undo() {
  if (page.busy || !["label", "over"].includes(page.view)) return;
  let latest = null;
  const done = await act(async () => {
    latest = at >= 0 ? trail[at] : (await get("/history", { ...who(), limit: 1 })).items[0];
    if (latest) showQuestion(await post(latest.copies ? "/copies/undo" : "/undo", { ...who(), sample: latest.sample }));
  });
  if (!done) return;
  const all = latest?.copies ? `, of ${1 + latest.copies} images` : "";
  say(latest ? `Taken back: ${latest.said ?? "skipped"}${all}` : "There is nothing to take back");
  refreshState().catch(() => {});
}

export async function back() {
  if (page.busy || !["label", "over"].includes(page.view)) return;
  if (at >= 0) {
    if (at + 1 < trail.length) move(at + 1);
    else say("This is the first");
    return;
  }
  const looked = look.ready && !look.broken ? 1000 * clock.seconds() : waited;
  await act(async () => {
    trail = (await get("/history", { ...who(), limit: BACK })).items;
    if (!trail.length) say("You said nothing yet");
    else {
      waited = looked;
      move(0);
    }
  });
}

export function forward() {
  if (!page.busy && at >= 0) move(at - 1);
}

function move(to) {
  at = to;
  view();
}

// ---- what others did

// The question may have been answered in another tab: move on, but not under the person's finger.
export async function refreshQuestion() {
  const { epoch } = page;
  const question = await get("/question", who());
  if (epoch !== page.epoch) return;
  const before = page.question;
  const same = before && before.kind === question.kind && before.sample === question.sample;
  if (same || at >= 0) {
    page.question = question;
    draw();
    return;
  }
  showQuestion(question, before?.kind === "question" ? SURPRISE : undefined);
  if (before?.kind === "question" && page.view === "label") say("That one was answered elsewhere: here is the next");
}

export async function loadAll() {
  setState(await get("/state", who()));
  showQuestion(await get("/question", who()));
}
