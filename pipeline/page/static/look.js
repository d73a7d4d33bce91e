// The frame: shows one sample, knows since when the person sees it, and when keys count for it.

import { $, setText, show } from "./dom.js";
import { Clock } from "./clock.js";
import { imageAddress } from "./net.js";

const SIDES = [512, 1024, 2048];
const GLANCE = 120; // milliseconds: a key this soon after an image was meant for the one before
const TINY = 64; // pixels a side: such images are shown with their pixels
const MOST_TRIES = 30;

export const clock = new Clock();
export const look = { item: null, ready: false, broken: false };
let turn = 0;
let tries = 0;
const ahead = [new Image(), new Image(), new Image()];

// Show a sample; keys count once it has been seen for `pause` milliseconds.
export async function present(item, { counted = 0, pause = GLANCE } = {}) {
  turn += 1;
  tries = 0;
  look.item = item;
  unready();
  setText($("name"), item.name);
  setText($("reading"), item.text ?? "");
  show($("reading"), isText(item));
  show($("image"), !isText(item));
  $("image").alt = item.text ?? item.name;
  await load(turn, counted, pause);
}

export function nothing() {
  turn += 1;
  look.item = null;
  unready();
}

function unready() {
  look.ready = look.broken = false;
  delete document.body.dataset.ready;
  clock.stop();
  show($("missing"), false);
  $("image").classList.remove("seen");
}

const isText = (item) => item.image === false;

async function load(mine, counted, pause) {
  const image = $("image");
  if (!isText(look.item)) {
    image.src = imageAddress(look.item.sample, side());
    try {
      await image.decode();
    } catch {
      if (mine === turn) missing();
      return;
    }
    if (mine !== turn) return;
    image.classList.toggle("pixels", Math.max(image.naturalWidth, image.naturalHeight) <= TINY);
    show(image, true);
    image.classList.add("seen");
  }
  look.broken = false;
  show($("missing"), false);
  clock.start(counted);
  setTimeout(() => mine === turn && ready(), pause);
}

function missing() {
  look.broken = true;
  show($("image"), false);
  show($("missing"), true);
  ready();
}

function ready() {
  look.ready = true;
  document.body.dataset.ready = look.item.sample;
}

// An image that did not come is asked for again, for a while.
export function retryMissing() {
  if (!look.broken || tries >= MOST_TRIES) return;
  tries += 1;
  $("image").removeAttribute("src");
  load(turn, 0, GLANCE);
}

export function prefetch(samples) {
  ahead.forEach((image, at) => {
    const address = at < samples.length ? imageAddress(samples[at], side()) : null;
    if (address && image.getAttribute("src") !== address) image.src = address;
  });
}

function side() {
  const needed = Math.max($("frame").clientWidth, $("frame").clientHeight) * devicePixelRatio;
  return SIDES.find((size) => size >= needed) ?? SIDES.at(-1);
}
