// How long a person looked: neither a hidden tab nor a closed laptop counts.

const LONGEST_STEP = 3000; // milliseconds between two beats; what is longer was no looking

export class Clock {
  constructor(now = () => performance.now()) {
    this.now = now;
    this.counted = 0;
    this.last = null; // null: it stands
    this.started = false;
  }

  // From here on, or on from what was counted before.
  start(counted = 0) {
    this.counted = counted;
    this.started = true;
    this.last = document.hidden ? null : this.now();
  }

  beat() {
    if (this.last === null) return;
    const now = this.now();
    this.counted += Math.min(Math.max(now - this.last, 0), LONGEST_STEP);
    this.last = now;
  }

  // The tab is seen or not.
  seen(visible) {
    this.beat();
    this.last = visible && this.started ? this.now() : null;
  }

  stop() {
    this.beat();
    this.last = null;
    this.started = false;
    return this.counted;
  }

  seconds() {
    this.beat();
    return this.started ? Math.min(Math.round(this.counted) / 1000, 1e6) : null;
  }
}
