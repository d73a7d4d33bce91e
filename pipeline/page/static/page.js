// The page: starts, polls, and gives keys and clicks to whom they belong.

import { $, fill, make, sentence, setText, show } from "./dom.js";
import { act, gate, page, refreshState, say, setState, setView, trouble } from "./core.js";
import { back, choose, draw, forward, loadAll, lookAgain, refreshQuestion, showQuestion, skip, undo } from "./label.js";
import { choosing, closeGrid, confirmGrid, drawGrid, gridClock, leaveGrid, load, moveFocus, openCopies, openGrid } from "./grid.js";
import { clock, retryMissing } from "./look.js";
import { get, net, NO_ACCESS, post, postOnce, Refused, silent, Unreachable } from "./net.js";

const BEAT = 1000; // milliseconds; every second one asks for the state
const NO_LINK = "Open the link that the command printed, in this browser. It works once; a page that is open already gives " +
  "more of them ('link for another browser'), and a new start prints a new one.";

const WITH_NETWORK = "Nothing more is asked. A last network learns from all labels; then labels.csv, the predictions for every image " +
  "and the network itself are written into a folder.";
const WITHOUT = "Nothing more is asked. Only labels.csv is written: without labels of two classes there is no network that could predict.";

let beats = 0;
let polling = true; // until the link was redeemed

// ---- start

async function start() {
  const token = new URLSearchParams(location.hash.slice(1)).get("token");
  history.replaceState(null, "", location.pathname);
  net.trouble = trouble;
  page.redraw = () => {
    draw();
    drawGrid();
  };
  page.reload = async () => {
    leaveGrid();
    await loadAll();
  };
  listen();
  if (token !== null && !(await enter(token))) return;
  polling = false;
  await poll();
  setInterval(beat, BEAT);
}

async function enter(token) {
  for (;;) {
    try {
      await postOnce("/session", { token });
      return true;
    } catch (error) {
      if (error instanceof Refused) {
        gate("This link does not work", sentence(error.message));
        return false;
      }
      gate("One moment", `${silent()}.`);
    }
    await new Promise((done) => setTimeout(done, BEAT));
  }
}

// ---- the one timer

function beat() {
  clock.beat();
  gridClock.beat();
  beats += 1;
  if (document.hidden) return;
  if (beats % 2 === 0 || page.question?.kind === "wait") poll();
}

async function poll() {
  if (polling || page.busy) return;
  polling = true;
  try {
    if (page.question === null) await loadAll();
    else await follow();
    if (page.view === "gate") setView("label");
    if (!page.busy) trouble(null);
    retryMissing();
  } catch (error) {
    if (!page.busy) cannotPoll(error);
  } finally {
    polling = false;
  }
}

async function follow() {
  const { version } = page.state;
  await refreshState();
  const idle = !page.busy && page.view !== "grid";
  if (idle && (version !== page.state.version || page.question.kind === "wait")) await refreshQuestion();
}

function cannotPoll(error) {
  if (!(error instanceof Refused || error instanceof Unreachable)) {
    console.error(error);
    return;
  }
  const barred = error instanceof Refused && error.status === 401;
  if (page.question === null) {
    if (barred) gate("No access yet", NO_LINK);
    else gate("One moment", error instanceof Refused ? sentence(error.message) : `${silent()}.`);
  } else if (error instanceof Unreachable && page.state.finished?.products) {
    trouble("The server has ended. The files are where they were, but the links here do not work any more");
  } else trouble(barred ? NO_ACCESS : error instanceof Refused ? sentence(error.message) : silent());
}

// ---- keys

function listen() {
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.altKey || event.metaKey || event.isComposing) return;
    const field = event.target.closest?.("input, select, textarea"); // one of a closed dialog may have the focus for a moment
    if (document.querySelector("dialog[open]") || (field && !field.closest("dialog"))) return;
    if (page.question !== null && handle(event)) event.preventDefault();
  });
  document.addEventListener("visibilitychange", () => {
    clock.seen(!document.hidden);
    gridClock.seen(!document.hidden);
    if (!document.hidden) poll();
  });
  addEventListener("focus", poll);
  addEventListener("pageshow", poll);
  addEventListener("beforeunload", (event) => page.busy && !$("trouble").hidden && event.preventDefault());
  click({ back, forward, undo, skip, "over-back": back, "close-grid": closeGrid, "confirm-grid": confirmGrid });
  click({ "open-grid": toggleGrid, "open-copies": openCopies, "toggle-predictions": togglePredictions });
  click({ "open-class": askClass, "over-class": askClass, "over-finish": askFinish, "open-finish": askFinish });
  click({ "look-again": lookAgain });
  click({ "open-help": openHelp, "open-link": askLink, "copy-link": copyLink, finish });
  for (const node of document.querySelectorAll("[data-close]")) {
    node.addEventListener("click", () => node.closest("dialog").close());
  }
  $("class-form").addEventListener("submit", addClass);
  $("annotator").value = page.annotator;
  $("annotator").addEventListener("change", rename);
}

function click(handlers) {
  for (const [id, handler] of Object.entries(handlers)) $(id).addEventListener("click", () => handler());
}

const COMMANDS = { s: skip, u: undo, n: askClass, "+": askClass, p: togglePredictions, g: toggleGrid, "=": openCopies, "?": openHelp };

// True if the key meant something.
function handle(event) {
  const key = pressed(event);
  if (key.startsWith("Arrow")) return arrow(key);
  if (event.repeat) return true; // a key that is held down answers once
  if (page.view === "grid" && key === "Enter" && !choosing() && !event.target.closest?.(".grid-tools, .actions, #panel")) {
    confirmGrid();
    return true;
  }
  if (page.view === "grid" && key === "Escape") {
    closeGrid();
    return true;
  }
  if (COMMANDS[key]) {
    COMMANDS[key]();
    return true;
  }
  const chosen = page.state.classes.find((one) => one.key === key);
  if (!chosen) return false;
  if (page.view === "grid") load(chosen.name);
  else choose(chosen.name);
  return true;
}

// What the key says; where the layout has no Latin letters, or digits with shift alone: what is printed on it elsewhere.
function pressed({ key, code }) {
  if (key.length > 1) return key;
  const known = (one) => COMMANDS[one] || page.state.classes.some((item) => item.key === one);
  if (known(key)) return key;
  if (known(key.toLowerCase())) return key.toLowerCase();
  const printed = key > "\x7f" ? /^(?:Key|Digit)(.)$/ : /^Digit(.)$/;
  return (printed.exec(code)?.[1] ?? key).toLowerCase();
}

function arrow(key) {
  if (page.view === "grid") return moveFocus(key);
  if (key === "ArrowLeft") back();
  else if (key === "ArrowRight") forward();
  else return false;
  return true;
}

// ---- commands

function toggleGrid() {
  if (page.view === "grid") closeGrid();
  else openGrid();
}

function openHelp() {
  const keys = page.state.classes.map(({ key }) => key).filter(Boolean);
  const shown = keys.length > 3 ? [keys[0], "…", keys.at(-1)] : keys;
  fill($("class-keys"), shown, () => make("span"), (node, key) => node.replaceChildren(key === "…" ? key : make("kbd", "", key)));
  $("help-dialog").showModal();
}

function togglePredictions() {
  page.predictions = !page.predictions;
  $("toggle-predictions").setAttribute("aria-pressed", page.predictions);
  page.redraw();
}

function askClass() {
  if (page.state.finished) return;
  $("class-name").value = "";
  setText($("class-error"), "");
  $("class-dialog").showModal();
}

async function addClass(event) {
  event.preventDefault();
  const name = $("class-name").value.trim();
  if (!name) return;
  let problem = null;
  const done = await act(async () => {
    try {
      setState(await post("/class", { name }));
    } catch (error) {
      if (!(error instanceof Refused)) throw error;
      problem = sentence(error.message);
    }
  });
  setText($("class-error"), problem ?? "");
  if (!done || problem) return;
  $("class-dialog").close();
  say(`New class: ${name}`, "good");
}

function askFinish() {
  if (page.state.finished) return;
  const { classes } = page.state;
  const learns = page.state.network !== null || classes.filter(({ count }) => count > 0).length > 1;
  setText($("finish-text"), learns ? WITH_NETWORK : WITHOUT);
  $("finish-dialog").showModal();
}

async function finish() {
  $("finish-dialog").close();
  await act(async () => {
    setState(await post("/finish", {}));
    leaveGrid();
    setView("label");
    showQuestion(await get("/question", { annotator: page.annotator }));
  });
}

async function askLink() {
  await act(async () => {
    $("link").value = (await post("/link", {})).url;
    $("link-dialog").showModal();
    $("link").select();
  });
}

async function copyLink() {
  $("link").select();
  try {
    await navigator.clipboard.writeText($("link").value);
    setText($("copy-link"), "Copied");
    setTimeout(() => setText($("copy-link"), "Copy"), 2000);
  } catch {
    setText($("copy-link"), "Press Ctrl-C");
  }
}

async function rename() {
  const field = $("annotator");
  const name = field.value.trim();
  const before = page.annotator;
  page.annotator = field.value = name;
  const done = await act(loadAll);
  if (!done) page.annotator = field.value = before;
  sessionStorage.setItem("annotator", page.annotator);
  if (done) say(name ? `You are ${name}` : `You are ${page.state.annotator}`);
}

show($("trouble"), false);
start();
