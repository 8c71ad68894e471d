// What is shown is in the address, behind the #: a link to it is a link to just this sample under just these filters.
"use strict";

/** The fields of a row of the index, by name; rows.py writes them. */
const FIELD = Object.fromEntries(
  ["task", "sample", "draw", "question", "target", "answer", "tags", "flags", "boxes", "length", "iou", "marks", "unread", "thumbnail"].map(
    (name, place) => [name, place],
  ),
);
const FLAG = { truncated: 2, refused: 4, missing: 8, gap: 16 };
const FILTERS = ["q", "task", "subset", "rule", "outcome", "flip", "least", "most"];

/** An element with properties and children; texts become text nodes, whatever they hold. */
function el(tag, given = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(given)) {
    if (value === undefined || value === null || value === false) continue;
    if (name.startsWith("on")) made.addEventListener(name.slice(2), value);
    else if (name === "class") made.className = value;
    else made.setAttribute(name, value === true ? "" : value);
  }
  made.append(...children.flat().filter((child) => child !== null && child !== undefined && child !== false));
  return made;
}

const byId = (name) => document.getElementById(name);

const state = {
  read() {
    return Object.fromEntries(new URLSearchParams(location.hash.slice(1)));
  },
  /** The address of what is shown now, with some of it changed; empty values are left out. */
  link(changes, base = state.read()) {
    const params = new URLSearchParams();
    for (const [name, value] of Object.entries({ ...base, ...changes })) if (value) params.set(name, value);
    return `#${params}`;
  },
  go(changes) {
    const link = state.link(changes);
    if (link !== location.hash) location.hash = link;
  },
  /** Changes the address without a step of its own in the history. */
  replace(changes) {
    history.replaceState(null, "", state.link(changes));
    window.dispatchEvent(new Event("hashchange"));
  },
};

/** One run as the browser holds it: what the server told of it, and its rows. */
class Held {
  constructor(number, brief) {
    this.number = number;
    this.rows = [];
    this.settled = 0;
    this.take(brief);
  }

  take(brief) {
    this.brief = brief;
    this.name = brief.name;
    if (this.version !== brief.version) {
      this.version = brief.version;
      this.rows = [];
      this.settled = 0;
    }
  }

  /** Fetches the rows that are new; true where there were some. */
  async fetch() {
    let changed = false;
    for (;;) {
      const told = await source.segment(this.number, this.settled);
      if (told.version !== this.version) return changed;
      const before = this.rows.length;
      this.rows.length = this.settled;
      for (const row of told.rows) this.rows.push(row);
      changed ||= this.rows.length !== before || told.settled !== this.settled;
      const moved = Math.min(told.settled, this.rows.length) > this.settled;
      this.settled = Math.min(told.settled, this.rows.length);
      this.places = this.texts = undefined;
      if (!moved || this.settled >= told.settled) return changed;
    }
  }

  key(row) {
    return `${this.brief.tasks[row[FIELD.task]]}\n${row[FIELD.sample]}\n${row[FIELD.draw]}`;
  }

  /** The number of the row of this task, sample and draw; undefined where there is none. */
  place(key) {
    this.places ??= new Map(this.rows.map((row, number) => [this.key(row), number]));
    return this.places.get(key);
  }

  text(number) {
    this.texts ??= [];
    const row = this.rows[number];
    return (this.texts[number] ??= [row[FIELD.sample], row[FIELD.question], row[FIELD.target], row[FIELD.answer] ?? ""]
      .join("\n")
      .toLowerCase());
  }

  /** How right a row is under a rule, in [0, 1], or null; without a rule under the first that counts. */
  mark(row, rule) {
    const marks = row[FIELD.marks];
    const place = rule ? this.brief.keys.indexOf(rule) : this.first(row);
    return place < 0 ? null : (marks[place] ?? null);
  }

  /** The number of the first rule of its task that counts a row; -1 where none does. */
  first(row) {
    const marks = row[FIELD.marks];
    const known = this.brief.orders[row[FIELD.task]].find((place) => (marks[place] ?? null) !== null);
    return known ?? marks.findIndex((value) => value !== null);
  }

  outcome(row, rule) {
    if (row[FIELD.flags] & FLAG.gap) return "gap";
    if (row[FIELD.flags] & FLAG.missing) return "missing";
    const place = rule ? this.brief.keys.indexOf(rule) : this.first(row);
    if (place >= 0 && row[FIELD.unread].includes(place)) return "unparsed";
    const value = this.mark(row, rule);
    return value === null ? "uncounted" : value >= 0.5 ? "right" : "wrong";
  }
}

/** What an outcome is called and its sign, which tells it apart without its colour. */
const OUTCOMES = {
  right: ["right", "✓"],
  wrong: ["wrong", "✗"],
  unparsed: ["unparsed", "?"],
  missing: ["no reply", "∅"],
  gap: ["no answer came", "∅"],
  uncounted: ["not counted", "–"],
};

/** The sign of an outcome, named, where there are two runs by whose it is. */
function sign(outcome, run) {
  const [name, mark] = OUTCOMES[outcome];
  const title = run ? `${line(run)}: ${name}` : name;
  return el("span", { class: `sign ${outcome}`, title, role: "img", "aria-label": title }, mark);
}

/** A rule's key as people read it. */
const ruled = (key) => key.split("\n").reverse().join(", ");

const number = (value) => (Number.isInteger(value) ? value.toLocaleString("en") : value.toLocaleString("en", { maximumFractionDigits: 3 }));
