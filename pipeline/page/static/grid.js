// Many at once: the likeliest of one predicted class; the person marks the wrong ones.

import { $, fill, make, percent, plural, setText, show } from "./dom.js";
import { act, NO_NETWORK, page, refreshState, say, setView, who } from "./core.js";
import { drawClass, makeClassButton, returnToQuestion } from "./label.js";
import { Clock } from "./clock.js";
import { nothing } from "./look.js";
import { imageAddress, post } from "./net.js";

const SIDE = 256;
const TINY = 64;
const GLANCE = 0.5; // seconds: who confirms sooner has not looked at the images
const CHOOSE = "You see the images that the network takes for it. Press the key of a class, or click it.";

export const gridClock = new Clock();
let shown = null; // {label, items}, or null while a class is chosen
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
  setText($("grid-title"), shown ? `Which are not ${shown.label}?` : "Which class?");
  setText($("grid-hint"), shown ? hint(shown.label) : CHOOSE);
  show($("grid-classes"), !shown);
  show($("confirm-grid"), Boolean(shown));
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
  if (page.view !== "grid" || shown) return;
  const size = Number($("grid-size").value);
  await act(async () => {
    const grid = await post("/grid", { ...who(), label, size });
    if (!grid.items.length) {
      say(`Nothing left that looks like ${label}`);
      return;
    }
    drop();
    shown = grid;
    focused = 0;
    settled = new Set(grid.items.filter((item) => item.image === false).map((item) => item.sample));
    drawGrid();
    gridClock.start();
    $("tiles").children[0].focus();
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
  setText(caption, page.predictions ? percent(item.probability) : "");
  mark(node);
}

function mark(node) {
  const out = wrong.has(node.sample);
  node.setAttribute("aria-pressed", out);
  setText(node.lastElementChild, out ? `not ${shown?.label ?? ""}` : "");
}

function toggle(node) {
  if (page.busy || node.classList.contains("absent")) return;
  if (!wrong.delete(node.sample)) wrong.add(node.sample);
  mark(node);
  drawCount();
}

// What the button does now.
function drawCount() {
  if (!shown) return;
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

export async function confirmGrid() {
  if (!shown || page.busy) return;
  const samples = shown.items.map((item) => item.sample);
  if (!samples.every((sample) => settled.has(sample))) {
    say("Not all images are shown yet");
    return;
  }
  if (gridClock.seconds() < GLANCE) {
    say("Look at each first");
    return;
  }
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
  chooseClass();
}

export const choosing = () => page.view === "grid" && !shown;
