// What the whole page shares: the state, one action at a time, one line of status.

import { $, sentence, setText, show } from "./dom.js";
import { get, net, NO_ACCESS, Refused, SILENT } from "./net.js";
import { drawPanel } from "./panel.js";

export const NO_NETWORK = "There is no network yet: label one by one first";
const VIEWS = ["gate", "label", "grid", "over"];

export const page = {
  view: "gate",
  state: null,
  question: null,
  annotator: sessionStorage.getItem("annotator") ?? "",
  predictions: false,
  said: false, // whether this annotator said anything since the state came
  busy: false, // exactly one action at a time
  epoch: 0, // grows with every action: what was asked for before one is not believed after it
  redraw: () => {}, // the view, after the state changed
  reload: async () => {}, // the question, after the server refused something
};

export function setView(view) {
  page.view = view;
  document.body.dataset.view = view;
  for (const name of VIEWS) show($(name), name === view);
  const open = view !== "gate";
  for (const id of ["panel", "actions", "progress"]) show($(id), open);
  $("open-grid").setAttribute("aria-pressed", view === "grid");
}

export function gate(title, text) {
  setView("gate");
  setText($("gate-title"), title);
  setText($("gate-text"), text);
}

let fading = null;

export function say(text, kind = "") {
  clearTimeout(fading);
  $("status").className = `status ${kind}`;
  setText($("status"), text);
  fading = setTimeout(() => setText($("status"), ""), kind === "error" ? 12000 : 4000);
}

export function trouble(line) {
  setText($("trouble"), line ?? "");
  show($("trouble"), Boolean(line));
}

export function setState(state) {
  page.state = state;
  page.said = false;
  net.command = `pipeline label ${/^[\w./-]+$/.test(state.run) ? state.run : `'${state.run}'`}`;
  drawPanel(state);
  for (const id of ["open-grid", "open-finish"]) show($(id), !state.finished);
  $("open-grid").disabled = !state.network;
  $("open-grid").title = state.network ? "" : NO_NETWORK;
  $("annotator").placeholder = page.annotator ? "" : state.annotator;
  page.redraw();
}

// Runs one thing that the person asked for, unless another is under way; true if it was done.
export async function act(work) {
  if (page.busy) return false;
  page.busy = true;
  page.epoch += 1;
  document.body.dataset.busy = "";
  try {
    await work();
    return true;
  } catch (error) {
    await failed(error);
    return false;
  } finally {
    page.busy = false;
    delete document.body.dataset.busy;
  }
}

async function failed(error) {
  if (!(error instanceof Refused)) {
    say(`${SILENT}: try again`, "error");
    if (error.name !== "Error") console.error(error);
    return;
  }
  const line = error.status === 401 ? NO_ACCESS : sentence(error.message);
  say(line, "error");
  try {
    await page.reload();
  } catch {
    say(line, "error"); // the next poll tries again
  }
}

export const who = () => ({ annotator: page.annotator });

export async function refreshState() {
  const { epoch } = page;
  const state = await get("/state", who());
  if (epoch === page.epoch || page.state === null) setState(state);
}
