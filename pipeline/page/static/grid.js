// Many at once: the likeliest of one predicted class; the person marks the wrong ones.

import { $, fill, make, percent, plural, setText, show } from "./dom.js";
import { act, NO_NETWORK, page, refreshState, say, setView, who } from "./core.js";
import { drawClass, lookingBack, makeClassButton, returnToQuestion, showQuestion } from "./label.js";
import { Clock } from "./clock.js";
import { nothing } from "./look.js";
import { imageAddress, post } from "./net.js";

const SIDE = 256;
const TINY = 64;
const GLANCE = 0.5; // seconds: who confirms sooner has not looked at the images
const CHOOSE = "You see the images that the network takes for it. Press the key of a class, or click it.";

const COPIES = "They are nearly the same as the first, and may be wrong: look at each, and mark those that are not of its class " +
  "(click, or arrows and space). The key of a class, or its button, labels all the others.";

export const gridClock = new Clock();
let shown = null; // {label, items}, of near-copies {sample, items}; null while a class is chosen
let wrong = new Set();
let settled = new Set(); // samples whose image came
let focused = 0;

export function openGrid() {
  if (page.busy || !page.state || page.state.finished || page.view === "gate") return;
  if (!page.state.network) {
    say(NO_NETWORK);
    return;
  }
  nothing();
  setView("grid");
  chooseClass();
}

export function closeGrid() {
  if (page.busy) return;
  drop();
  returnToQuestion();
}

const ofCopies = () => shown !== null && shown.label === undefined;

// Near-copies of the image in question: they are labelled with it by the key of a class.
export async function openCopies() {
  if (page.view !== "label" || lookingBack() || !page.question?.copies) return;
  await act(async () => {
    const found = await post("/copies", { ...who(), sample: page.question.sample });
    drop();
    nothing();
    setView("grid");
    present(found);
  });
}

function present(items) {
  shown = items;
  focused = 0;
  settled = new Set(shown.items.filter((item) => item.image === false).map((item) => item.sample));
  drawGrid();
  gridClock.start();
  $("tiles").children[0].focus();
}

async function labelCopies(label) {
  if (!seen()) return;
  const { sample } = shown;
  const others = shown.items.map((item) => item.sample).filter((one) => one !== sample);
  const [right, left] = [others.filter((one) => !wrong.has(one)), others.filter((one) => wrong.has(one))];
  const seconds = gridClock.seconds();
  const done = await act(async () => {
    const question = await post("/copies/label", { ...who(), sample, label, right, wrong: left, seconds });
    page.said = true;
    drop();
    page.view = "label";
    showQuestion(question);
    say(`Saved: ${1 + right.length} × ${label}`, "good");
  });
  if (done) refreshState().catch(() => {});
}

function drop() {
  shown = null;
  wrong = new Set();
  settled = new Set();
  gridClock.stop();
}

function chooseClass() {
  drop();
  drawGrid();
}

export function drawGrid() {
  if (page.view !== "grid") return;
  setText($("grid-title"), ofCopies() ? "Which are no copies?" : shown ? `Which are not ${shown.label}?` : "Which class?");
  setText($("grid-hint"), ofCopies() ? COPIES : shown ? hint(shown.label) : CHOOSE);
  show($("grid-classes"), !shown || ofCopies());
  show($("confirm-grid"), Boolean(shown) && !ofCopies());
  show($("grid-size").parentElement, !ofCopies());
  fill($("grid-classes"), page.state.classes, makeChoice, drawClass);
  const items = shown?.items ?? [];
  fill($("tiles"), items, makeTile, drawTile);
  drawCount();
}

const hint = (label) => `The network takes all of them for ${label} and may be wrong: look at each, and mark those that are not ` +
  "(click, or arrows and space). The button labels all the others.";

function makeChoice() {
  const node = makeClassButton();
  node.addEventListener("click", () => load(node.label));
  return node;
}

export async function load(label) {
  if (ofCopies()) {
    await labelCopies(label);
    return;
  }
  if (page.view !== "grid" || shown) return;
  const size = Number($("grid-size").value);
  await act(async () => {
    const grid = await post("/grid", { ...who(), label, size });
    if (!grid.items.length) {
      say(`Nothing left that looks like ${label}`);
      return;
    }
    drop();
    present(grid);
  });
}

function makeTile() {
  const image = make("img");
  const node = make("button", "tile", image, make("span", "reading"), make("span", "caption"), make("span", "mark"));
  node.type = "button";
  node.addEventListener("click", () => toggle(node));
  node.addEventListener("focus", () => focus(node));
  image.addEventListener("load", () => {
    image.classList.toggle("pixels", Math.max(image.naturalWidth, image.naturalHeight) <= TINY);
    settled.add(node.sample);
    node.classList.remove("absent");
  });
  image.addEventListener("error", () => { // nobody can say what it is: it stays open
    node.classList.add("absent");
    wrong.add(node.sample);
    settled.add(node.sample);
    mark(node);
    drawCount();
  });
  return node;
}

function drawTile(node, item, at) {
  const [image, reading, caption] = node.children;
  node.sample = item.sample;
  node.tabIndex = at === focused ? 0 : -1;
  node.setAttribute("aria-label", item.text ?? item.name);
  node.title = item.name;
  show(image, item.image !== false);
  show(reading, item.image === false);
  setText(reading, item.text ?? "");
  image.alt = "";
  const address = item.image === false ? null : imageAddress(item.sample, SIDE);
  if (address === null) image.removeAttribute("src");
  else if (image.getAttribute("src") !== address) image.src = address;
  else if (image.complete && image.naturalWidth) settled.add(item.sample);
  const asked = ofCopies() && item.sample === shown.sample;
  setText(caption, asked ? "asked about" : page.predictions && !ofCopies() ? percent(item.probability) : "");
  mark(node);
}

function mark(node) {
  const out = wrong.has(node.sample);
  node.setAttribute("aria-pressed", out);
  setText(node.lastElementChild, out ? (ofCopies() ? "no copy" : `not ${shown?.label ?? ""}`) : "");
}

function toggle(node) {
  if (page.busy || node.classList.contains("absent") || (ofCopies() && node.sample === shown.sample)) return;
  if (!wrong.delete(node.sample)) wrong.add(node.sample);
  mark(node);
  drawCount();
}

// What the button does now.
function drawCount() {
  if (!shown || ofCopies()) return;
  const right = shown.items.length - wrong.size;
  setText($("confirm-text"), right ? `Label ${plural(right, "image")} as ${shown.label}` : `None is ${shown.label}`);
}

function focus(node) {
  const tiles = [...$("tiles").children];
  tiles[focused]?.setAttribute("tabindex", "-1");
  focused = tiles.indexOf(node);
  node.tabIndex = 0;
}

export function moveFocus(key) {
  if (!shown) return false;
  const columns = getComputedStyle($("tiles")).gridTemplateColumns.split(" ").length;
  const step = { ArrowLeft: -1, ArrowRight: 1, ArrowUp: -columns, ArrowDown: columns }[key];
  const to = focused + step;
  $("tiles").children[to >= 0 && to < shown.items.length ? to : focused].focus();
  return true;
}

// Whether everything is there and was looked at.
function seen() {
  if (!shown || page.busy) return false;
  const ready = shown.items.every((item) => settled.has(item.sample));
  if (!ready) say("Not all images are shown yet");
  else if (gridClock.seconds() < GLANCE) say("Look at each first");
  return ready && gridClock.seconds() >= GLANCE;
}

export async function confirmGrid() {
  if (ofCopies() || !seen()) return;
  const samples = shown.items.map((item) => item.sample);
  const { label } = shown;
  const right = samples.filter((sample) => !wrong.has(sample));
  const left = samples.filter((sample) => wrong.has(sample));
  const seconds = gridClock.seconds();
  const done = await act(async () => {
    page.question = await post("/grid/confirm", { ...who(), label, right, wrong: left, seconds });
    chooseClass();
    [...$("grid-classes").children].find((node) => node.label === label)?.focus();
    say(`Saved: ${right.length} × ${label}` + (left.length ? `; ${left.length} stay open and are asked one by one` : ""), "good");
  });
  if (done) refreshState().catch(() => {});
}

// The server refused the grid: what is shown is not to be trusted.
export function leaveGrid() {
  if (page.view !== "grid") return;
  if (ofCopies()) {
    drop();
    page.view = "label";
  } else chooseClass();
}

export const choosing = () => page.view === "grid" && !shown;
