// What models wrote, as text: nothing of it becomes markup, marks that change how text runs are shown as what they are, and the boxes
// written in it are linked with the boxes on the image.
"use strict";

const SHOWN_AT_FIRST = 20000;
const LINES_AT_FIRST = 400;
const SHOWN_MORE = 100000;
// eslint-disable-next-line no-control-regex
const HIDDEN = /[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u00ad\u061c\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff]|\p{Cs}/gu;
const NUMBER = /[-+−]?(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][-+]?\d+)?/g;
const BETWEEN = /^[\s,;()[\]<>a-z_"':/]{1,16}$/i;

/** The text as nodes, each mark that is not seen or turns the direction replaced by its name. */
function plain(text) {
  const nodes = [];
  let at = 0;
  for (const found of text.matchAll(HIDDEN)) {
    if (found.index > at) nodes.push(text.slice(at, found.index));
    const name = `U+${found[0].codePointAt(0).toString(16).toUpperCase().padStart(4, "0")}`;
    nodes.push(el("span", { class: "control", title: "a mark that is not shown as it is" }, name));
    at = found.index + found[0].length;
  }
  if (at < text.length) nodes.push(text.slice(at));
  return nodes;
}

const short = (text, most) => (text.length > most ? `${text.slice(0, most - 1)}…` : text);

/** One line without such marks, and no longer than that: for lists, tables and names. */
const line = (text, most = 400) => short(text, most).replace(HIDDEN, "\u00b7");

/**
 * Where boxes stand in a text: [{start, end, boxes}], in order. A box is four numbers in a row that are those written in an item
 * of the evidence; brackets around them belong to it. Each place is linked with one item, the next with the same numbers with the next.
 */
function boxesIn(text, evidence) {
  const wanted = new Map();
  evidence.forEach((item, place) => {
    const key = (item.written ?? []).map(Number).join(" ");
    wanted.set(key, [...(wanted.get(key) ?? []), place]);
  });
  if (!wanted.size) return [];
  const numbers = [...text.matchAll(NUMBER)].map((found) => ({
    value: Number(found[0].replace("−", "-")),
    start: found.index,
    end: found.index + found[0].length,
  }));
  const found = [];
  const seen = new Map();
  for (let at = 0; at + 3 < numbers.length; at += 1) {
    const four = numbers.slice(at, at + 4);
    const key = four.map((one) => one.value).join(" ");
    const places = wanted.get(key);
    if (!places || !four.slice(1).every((one, place) => BETWEEN.test(text.slice(four[place].end, one.start)))) continue;
    let [start, end] = [four[0].start, four[3].end];
    const opening = /[[(]\s*$/.exec(text.slice(Math.max(0, start - 4), start));
    const closing = /^\s*[\])]/.exec(text.slice(end, end + 4));
    if (opening && closing) [start, end] = [start - opening[0].length, end + closing[0].length];
    const turn = seen.get(key) ?? 0;
    seen.set(key, turn + 1);
    found.push({ start, end, box: places[turn % places.length] });
    at += 3;
  }
  return found;
}

/** A text in full, with a link at each box; long ones in parts, the next when it is asked for. */
function said(text, evidence = []) {
  const host = el("div", { class: "said", dir: "auto" });
  const first = text.slice(0, SHOWN_AT_FIRST).split("\n", LINES_AT_FIRST).join("\n");
  const spans = boxesIn(first, evidence);
  let at = 0;
  for (const { start, end, box } of spans) {
    host.append(...plain(text.slice(at, start)));
    const link = { class: "box-link", tabindex: "0", "data-link": `box-${box}`, "aria-label": `box ${box + 1}: ${text.slice(start, end)}` };
    host.append(el("mark", link, ...plain(text.slice(start, end)), el("sup", { "aria-hidden": "true" }, `${box + 1}`)));
    at = end;
  }
  const show = (end) => {
    host.append(...plain(text.slice(at, end)));
    at = Math.min(end, text.length);
    if (at >= text.length) return;
    const more = el("button", { class: "button more", type: "button" }, `${number(text.length - at)} characters more`);
    more.addEventListener("click", () => {
      more.remove();
      show(at + SHOWN_MORE);
    });
    host.append(more);
  };
  show(first.length);
  return host;
}

/** A value of any kind as text. */
const told = (value) =>
  typeof value === "string" ? value : value === undefined ? "" : JSON.stringify(value).replaceAll(/,(?=[\d[-])/g, ", ");
