// Requests. What changes something is sent until the server has taken or refused it: the same twice changes nothing.

import { sleep } from "./dom.js";

const PATIENCE = 60000; // milliseconds for one answer
const SLOW = 5000; // milliseconds after which it is said that an answer is awaited
const FIRST_WAIT = 400;
const LONGEST_WAIT = 2000;
const GIVEN_UP = 10000; // milliseconds without an answer, after which it is said how to start again
export const SILENT = "The server does not answer";
export const NO_ACCESS = "The server was started again: open the link that it printed, in this browser";

// The server took the request and said no.
export class Refused extends Error {
  constructor(status, line) {
    super(line);
    this.status = status;
  }
}

// Nobody took the request.
export class Unreachable extends Error {}

export const net = {
  run: null, // which run this page labels
  command: "pipeline label", // that starts its server
  since: null, // when the server was first silent; null: it answers
  trouble: () => {}, // gets a line while something cannot be saved, then null
};

// What to say while the server is silent: a page cannot know whether the server is busy or ended.
export function silent() {
  if (performance.now() - (net.since ?? performance.now()) < GIVEN_UP) return `${SILENT}; trying again`;
  return `${SILENT}. If it was stopped, start it again in the terminal (${net.command}) and open the new link: it goes on where it was`;
}

async function once(path, options) {
  let response, sent;
  try {
    response = await fetch(path, { ...options, credentials: "same-origin", signal: AbortSignal.timeout(PATIENCE) });
    sent = await response.json();
  } catch {
    net.since ??= performance.now();
    throw new Unreachable(SILENT);
  }
  net.since = null;
  const run = response.headers.get("x-run");
  if (run !== null) {
    if (net.run !== null && net.run !== run) {
      location.reload(); // another run is served here now: what this page knows is of no use
      await new Promise(() => {});
    }
    net.run = run;
  }
  if (!response.ok) throw new Refused(response.status, sent.error ?? `status ${response.status}`);
  return sent;
}

export function get(path, parameters = {}) {
  const query = new URLSearchParams(parameters).toString();
  return once(query ? `${path}?${query}` : path, {});
}

export function postOnce(path, body) {
  const headers = { "content-type": "application/json" };
  if (net.run !== null) headers["x-run"] = net.run;
  return once(path, { method: "POST", headers, body: JSON.stringify(body) });
}

export async function post(path, body) {
  const slow = setTimeout(() => net.trouble(`Perhaps not saved. ${SILENT} yet; waiting`), SLOW);
  try {
    return await untilTaken(path, body);
  } finally {
    clearTimeout(slow);
  }
}

async function untilTaken(path, body) {
  for (let wait = FIRST_WAIT; ; wait = Math.min(1.5 * wait, LONGEST_WAIT)) {
    try {
      const answer = await postOnce(path, body);
      net.trouble(null);
      return answer;
    } catch (error) {
      if (error instanceof Refused && error.status !== 401) {
        net.trouble(null);
        throw error;
      }
      net.trouble(`Perhaps not saved. ${error instanceof Refused ? NO_ACCESS : silent()}`); // it may have been, unheard
    }
    await sleep(wait);
  }
}

export const imageAddress = (sample, side) => `/image/${sample}?side=${side}&run=${net.run}`;
