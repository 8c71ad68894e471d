// The list of samples: filters, order, and as many elements as fit on the screen, however many samples there are.
"use strict";

const ROW_HEIGHT = 68;
const SPARE = 6;

const list = {
  run: undefined,
  beside: undefined,
  numbers: [],
  items: new Map(),
  filters: {},
  pressed: false,

  /** Shows the rows of a run that pass the filters of the address. */
  update(run, beside, filters, force = false) {
    const key = JSON.stringify([run.number, run.version, run.rows.length, beside?.number, beside?.rows.length, filtersOf(filters)]);
    if (key !== list.key || force) {
      const top = list.key?.startsWith(JSON.stringify([run.number]).slice(0, -1)) ? byId("rows").scrollTop : 0;
      Object.assign(list, { key, run, beside });
      list.numbers = sorted(passing(run, beside, filters), run, filters);
      byId("rows-inner").style.height = `${list.numbers.length * ROW_HEIGHT}px`;
      byId("rows").scrollTop = top;
      const all = run.rows.length;
      const here = list.numbers.length;
      byId("count").textContent = here === all ? `${number(all)} samples` : `${number(here)} of ${number(all)}`;
    }
    list.filters = filters;
    list.draw();
  },

  /** Makes the elements of the rows that can be seen, and no others; never under a pointer that is down, or its click would be lost. */
  draw() {
    if (list.pressed) return;
    const box = byId("rows");
    const first = Math.max(0, Math.floor(box.scrollTop / ROW_HEIGHT) - SPARE);
    const last = Math.min(list.numbers.length, Math.ceil((box.scrollTop + box.clientHeight) / ROW_HEIGHT) + SPARE);
    const drawn = [list.key, JSON.stringify(list.filters)].join();
    if (drawn === list.drawn && first === list.first && last === list.last) return;
    const kept = drawn === list.drawn ? list.items : new Map();
    Object.assign(list, { drawn, first, last, items: new Map() });
    for (let place = first; place < last; place += 1) list.items.set(place, kept.get(place) ?? list.item(place));
    const had = document.activeElement?.closest?.("#rows") && document.activeElement.dataset.number;
    byId("rows-inner").replaceChildren(...list.items.values());
    if (had) byId("rows-inner").querySelector(`[data-number="${had}"]`)?.focus({ preventScroll: true });
  },

  item(place) {
    const [run, filters, at] = [list.run, list.filters, list.numbers[place]];
    const row = run.rows[at];
    const task = run.brief.tasks[row[FIELD.task]];
    const sample = `${task}/${row[FIELD.sample]}`;
    const draw = row[FIELD.draw] ? String(row[FIELD.draw]) : "";
    const chosen = filters.sample === sample && (filters.draw ?? "") === draw;
    const other = list.beside && list.beside.rows[list.beside.place(run.key(row))];
    const picture = source.thumbnail(run.number, at, row, run.version);
    const facts = [
      row[FIELD.iou] === null ? "" : `IoU ${row[FIELD.iou].toFixed(2)}`,
      row[FIELD.flags] & FLAG.truncated ? "cut off" : "",
      row[FIELD.flags] & FLAG.refused ? "refused" : "",
    ];
    const thumbnail = el("span", { class: "thumbnail" }, picture && el("img", { src: picture, alt: "", loading: "lazy", onerror: gone }));
    const link = el(
      "a",
      {
        href: state.link({ sample, draw, page: "" }, filters),
        class: chosen ? "row chosen" : "row",
        "data-number": at,
        "aria-current": chosen && "true",
      },
      thumbnail,
      el(
        "span",
        { class: "row-signs" },
        sign(run.outcome(row, filters.rule), list.beside && run.name),
        other && sign(list.beside.outcome(other, filters.rule), list.beside.name),
      ),
      el(
        "span",
        { class: "row-text" },
        el("span", { class: "row-id" }, line(run.brief.tasks.length > 1 ? sample : row[FIELD.sample]) + (draw && ` draw ${draw}`)),
        el("span", { class: "row-facts" }, facts.filter(Boolean).join(" · ")),
        el("span", { class: "row-question" }, el("bdi", {}, line(row[FIELD.question]))),
      ),
    );
    const item = el("li", { "aria-setsize": list.numbers.length, "aria-posinset": place + 1 }, link);
    item.style.transform = `translateY(${place * ROW_HEIGHT}px)`;
    return item;
  },

  /** Where the row of that number is in the list; -1 where the filters leave it out. */
  find(at) {
    return list.numbers.indexOf(at);
  },

  /** The row so many steps on from that of number `at`, of those that pass a test; undefined where there is none. */
  step(at, by, passes = () => true) {
    const from = list.find(at);
    for (
      let place = from < 0 ? (by > 0 ? 0 : list.numbers.length - 1) : from + by;
      place >= 0 && place < list.numbers.length;
      place += by
    ) {
      if (passes(list.run.rows[list.numbers[place]])) return list.numbers[place];
    }
    return undefined;
  },

  /** Scrolls so far that a row can be seen. */
  reveal(at) {
    const place = list.find(at);
    const box = byId("rows");
    if (place < 0 || !box.clientHeight) return;
    const top = place * ROW_HEIGHT;
    if (top < box.scrollTop || top + ROW_HEIGHT > box.scrollTop + box.clientHeight) {
      box.scrollTop = Math.max(0, top - box.clientHeight / 2 + ROW_HEIGHT / 2);
    }
    list.draw();
  },
};

function gone(event) {
  event.target.remove();
}

const filtersOf = (given) => [...FILTERS, "sort", "order"].map((name) => given[name] ?? "");

/** Whether a rule scored a row wrong, be it for want of a reply; what does not count is not wrong. */
function isWrong(run, row, rule) {
  const value = run.mark(row, rule);
  return value !== null && value < 0.5;
}

/** The numbers of the rows that pass the filters. */
function passing(run, beside, given) {
  const { brief } = run;
  const tests = [];
  if (given.task) {
    const task = brief.tasks.indexOf(given.task);
    tests.push((row) => row[FIELD.task] === task);
  }
  if (given.subset) {
    const tag = brief.tags.indexOf(given.subset);
    tests.push((row) => row[FIELD.tags].includes(tag));
  }
  const outcomes = {
    right: (row) => run.mark(row, given.rule) >= 0.5 && run.mark(row, given.rule) !== null,
    wrong: (row) => isWrong(run, row, given.rule),
    none: (row) => Boolean(row[FIELD.flags] & (FLAG.gap | FLAG.missing)),
    length: (row) => Boolean(row[FIELD.flags] & FLAG.truncated),
    noboxes: (row) => row[FIELD.boxes] === 0,
  };
  if (given.outcome) tests.push(outcomes[given.outcome] ?? ((row) => run.outcome(row, given.rule) === given.outcome));
  if (given.flip && beside) tests.push((row) => flipped(run, beside, row, given));
  const [least, most] = [given.least ? Number(given.least) : -Infinity, given.most ? Number(given.most) : Infinity];
  if (given.least || given.most) tests.push((row) => row[FIELD.iou] !== null && row[FIELD.iou] >= least && row[FIELD.iou] <= most);
  const words = (given.q ?? "").toLowerCase().split(/\s+/).filter(Boolean);
  const found = [];
  run.rows.forEach((row, at) => {
    if (tests.every((test) => test(row)) && (!words.length || words.every((word) => run.text(at).includes(word)))) found.push(at);
  });
  return found;
}

function flipped(run, beside, row, { rule, flip }) {
  const other = beside.rows[beside.place(run.key(row))];
  const [mine, theirs] = [run.mark(row, rule), other ? beside.mark(other, rule || run.brief.keys[run.first(row)]) : null];
  if (mine === null || theirs === null || mine >= 0.5 === theirs >= 0.5) return false;
  return flip === "any" || (flip === "here") === mine >= 0.5;
}

/** The same numbers in the order asked for; rows without a value come last. */
function sorted(numbers, run, given) {
  const value = {
    id: (row) => row[FIELD.sample],
    iou: (row) => row[FIELD.iou],
    score: (row) => run.mark(row, given.rule),
    boxes: (row) => row[FIELD.boxes],
    length: (row) => row[FIELD.length],
  }[given.sort];
  const turn = given.order === "down" ? -1 : 1;
  if (!value) return turn < 0 ? numbers.reverse() : numbers;
  const compare = given.sort === "id" ? new Intl.Collator("en", { numeric: true }).compare : (one, other) => one - other;
  const valued = numbers.map((at) => [at, value(run.rows[at])]);
  return [
    ...valued.filter(([, key]) => key !== null).sort((one, other) => turn * compare(one[1], other[1]) || one[0] - other[0]),
    ...valued.filter(([, key]) => key === null),
  ].map(([at]) => at);
}

/** Fills the fields of the filters with what the run has, and shows what the address says of them. */
function fillFilters(run, beside, given) {
  const options = (id, choices) => {
    const key = JSON.stringify(choices);
    const select = byId(id);
    if (select.dataset.key !== key) {
      select.dataset.key = key;
      select.replaceChildren(...choices.map(([value, text]) => el("option", { value }, text)));
    }
    select.value = given[id] ?? "";
    if (select.selectedIndex < 0) select.selectedIndex = 0;
  };
  const same = (text) => [text, line(text)];
  const { tasks, tags, keys } = run.brief;
  options("task", [["", "all"], ...tasks.map(same)]);
  byId("task-label").hidden = tasks.length < 2;
  options("subset", [["", "all"], ...[...tags].sort().map(same)]);
  options("rule", [["", "the first that counts"], ...keys.map((key) => [key, ruled(key)])]);
  options("outcome", [
    ["", "all"],
    ["right", "right"],
    ["wrong", "wrong"],
    ["unparsed", "unparsed"],
    ["none", "no answer"],
    ["length", "cut off"],
    ["noboxes", "no boxes"],
  ]);
  options("flip", [
    ["", "all"],
    ["any", "flipped"],
    ["here", "right only here"],
    ["there", "right only there"],
  ]);
  byId("flip-label").hidden = !beside;
  options("sort", [
    ["", "as they came"],
    ["id", "by id"],
    ["iou", "by IoU"],
    ["score", "by score"],
    ["boxes", "by boxes"],
    ["length", "by length"],
  ]);
  byId("order").setAttribute("aria-pressed", String(given.order === "down"));
  for (const [id, name] of [
    ["search", "q"],
    ["least", "least"],
    ["most", "most"],
  ]) {
    if (document.activeElement !== byId(id)) byId(id).value = given[name] ?? "";
  }
  const active = FILTERS.slice(1).filter((name) => given[name]).length;
  byId("active").textContent = active ? String(active) : "";
  byId("clear").hidden = !filtersOf(given).some(Boolean);
}
