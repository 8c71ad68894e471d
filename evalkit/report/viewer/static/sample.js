// The page of a sample: the image with what was found on it, what was said, and what it scored; of two runs beside each other.
"use strict";

const samplePage = {
  key: "",

  /** Shows a row of a run, and that of the same sample in the run beside it. */
  async show(run, at, beside, given) {
    const other = beside?.place(run.key(run.rows[at]));
    const key = JSON.stringify([run.number, run.version, at, at < run.settled, beside?.number, beside?.version, other, given.rule]);
    if (key === samplePage.key) return samplePage.title(run, at, beside, given);
    samplePage.key = key;
    const shown_ = [[run, at], ...(beside ? [[beside, other]] : [])];
    const panes = await Promise.all(shown_.map(([one, number]) => samplePage.pane(one, number, given, Boolean(beside))));
    if (key !== samplePage.key) return undefined;
    shown = panes.map((pane) => pane.stage).filter(Boolean);
    const body = el("div", { class: beside ? "panes two" : "panes" }, ...panes.map((pane) => pane.host));
    byId("page").replaceChildren(el("div", { class: "title", id: "title" }), body);
    byId("page").scrollTop = 0;
    return samplePage.title(run, at, beside, list.filters);
  },

  /** The line above: which sample, how it did, and the ways on. */
  title(run, at, beside, given) {
    const row = run.rows[at];
    const name = `${run.brief.tasks[row[FIELD.task]]}/${row[FIELD.sample]}${row[FIELD.draw] ? ` draw ${row[FIELD.draw]}` : ""}`;
    document.title = `${line(name)} · evalkit`;
    const way = (text, label, keys, to) =>
      el(
        "a",
        {
          class: "button",
          href: to === undefined ? undefined : linkTo(run, to, given),
          "aria-label": label,
          title: `${label} (${keys})`,
          "aria-disabled": to === undefined && "true",
        },
        text,
      );
    const wrong = (row_) => isWrong(run, row_, given.rule);
    byId("title")?.replaceChildren(
      el("a", { class: "button back", href: state.link({ sample: "", draw: "" }, given), "aria-label": "Back to the list" }, "‹ List"),
      el("h1", {}, sign(run.outcome(row, given.rule)), " ", el("bdi", {}, line(name))),
      el("span", { class: "grow" }),
      el(
        "nav",
        { "aria-label": "Samples" },
        way("‹", "Previous sample", "k", list.step(at, -1)),
        way("›", "Next sample", "j", list.step(at, 1)),
        way("‹ wrong", "Previous wrong one", "p", list.step(at, -1, wrong)),
        way("wrong ›", "Next wrong one", "n", list.step(at, 1, wrong)),
      ),
    );
  },

  async pane(run, at, given, named) {
    const heading =
      named &&
      el(
        "h2",
        { class: "run-name" },
        at !== undefined && [sign(run.outcome(run.rows[at], given.rule)), " "],
        el("bdi", {}, line(run.name)),
        el("span", { class: "note" }, ` ${run.brief.model}, ${run.brief.protocol}`),
      );
    if (at === undefined)
      return { host: el("section", { class: "pane" }, heading, el("p", { class: "empty" }, "This run has no such sample.")) };
    let detail;
    try {
      detail = await source.row(run.number, at, `${run.version} ${at < run.settled}`);
    } catch (error) {
      return { host: el("section", { class: "pane" }, heading, el("p", { class: "note warn" }, error.message)) };
    }
    const { row } = detail;
    if (row.reason !== undefined && row.text === undefined) {
      const gap = el("div", { class: "words" }, card("No answer came", said(row.reason)), conversation(detail, run, at));
      const look = lookOf(detail, run, at);
      const stage = look.images.length ? new Stage(look) : undefined;
      return { host: el("section", { class: "pane" }, heading, stage?.host, notes(detail), gap), stage };
    }
    const stage = new Stage(lookOf(detail, run, at));
    const words = el(
      "div",
      { class: "words" },
      facts(detail, run),
      card("Reply", row.text ? said(row.text, row.evidence) : note("empty"), finish(row)),
      boxesTable(row),
      scores(detail, given),
      operations(row),
      verdicts(row),
      conversation(detail, run, at),
      fold("Row as it is in the files", () => said(JSON.stringify({ prediction: row, records: detail.records }, null, 1))),
    );
    const host = el(
      "section",
      { class: "pane", "aria-label": run.name },
      heading,
      el("div", { class: "look" }, stage.host, notes(detail)),
      words,
    );
    link(host);
    return { host, stage };
  },
};

const linkTo = (run, at, given) => {
  const row = run.rows[at];
  return state.link(
    { sample: `${run.brief.tasks[row[FIELD.task]]}/${row[FIELD.sample]}`, draw: row[FIELD.draw] ? String(row[FIELD.draw]) : "", page: "" },
    given,
  );
};

/** What a stage draws of a row. */
function lookOf(detail, run, at) {
  const { row, given } = detail;
  const { gold = {} } = row;
  const operationsDone = (row.operations ?? []).map((one) => ({ box: one.error ? null : one.box, name: "crop" }));
  const evidence = (row.evidence ?? []).map((item) => ({ box: item.box, label: item.label }));
  return {
    images: detail.images.map((image) => ({ ...image })),
    url: (place) => source.image(run.number, at, place, detail.images[place], run.version),
    boxes: evidence,
    goldBoxes: gold.boxes ?? [],
    points: gold.points ?? [],
    goldMasks: gold.masks ?? [],
    masks: row.masks ?? [],
    crops: operationsDone,
    given: given.filter((one) => one.box).map((one) => one.box),
    givenPoints: given.filter((one) => one.point).map((one) => one.point),
    givenMasks: given.filter((one) => one.mask).map((one) => one.mask),
    attention: attentionOf(row.verdicts ?? {}),
  };
}

/** The grids in the verdicts, of the first image each, named by where they stand. */
function attentionOf(verdicts_) {
  const found = [];
  const look = (value, path) => {
    if (!value || typeof value !== "object" || Array.isArray(value)) return;
    const grid = value.grids?.[0] ?? value.grid;
    if (Array.isArray(grid?.[0]) && grid[0].length) {
      const share = grid.flat().reduce((sum, one) => sum + one, 0);
      found.push({
        grid,
        group: path[0],
        name: `${path.map((part) => part.replaceAll("_", " ")).join(": ")} (${(100 * share).toFixed(1)}%)`,
      });
    }
    for (const [name, inner] of Object.entries(value)) look(inner, [...path, name]);
  };
  look(verdicts_, []);
  return found;
}

const card = (title, ...content) => el("section", { class: "card" }, el("h3", {}, title), ...content);
/** What is made when it is opened. */
function fold(title, make) {
  const host = el("details", { class: "card fold" }, el("summary", {}, title));
  host.addEventListener("toggle", () => host.append(make()), { once: true });
  return host;
}
const notes = (detail) => detail.notes.map((text) => el("p", { class: "note warn" }, line(text)));

function facts(detail, run) {
  const { row } = detail;
  const answer =
    row.answer === ""
      ? el("span", { class: "note" }, "empty")
      : row.answer === null || row.answer === undefined
        ? el("span", { class: "note" }, `none: ${line(row.failure || "no answer was found")}`)
        : said(told(row.answer));
  return el(
    "section",
    { class: "card" },
    el("h3", {}, "Question"),
    said(told(row.question)),
    el(
      "dl",
      { class: "facts" },
      row.target === null || row.target === undefined ? null : [el("dt", {}, "Gold"), el("dd", {}, said(told(row.target)))],
      [el("dt", {}, "Answer"), el("dd", {}, answer)],
    ),
    row.tags?.length
      ? el(
          "p",
          { class: "tags" },
          row.tags.map((tag) => el("a", { class: "tag", href: state.link({ subset: tag }), title: "Only this subset" }, line(tag))),
        )
      : null,
    run.brief.blind ? el("p", { class: "note" }, "Asked without the image.") : null,
  );
}

function finish(row) {
  const said_ = { length: "Cut off at the greatest length.", refused: "Refused.", stop: "" }[row.finish] ?? row.finish;
  return row.missing
    ? el("p", { class: "note warn" }, "The replay holds no reply.")
    : said_
      ? el("p", { class: "note warn" }, said_)
      : null;
}

const cells = (box) => (box ? box.map((side) => number(Math.round(10 * side) / 10)).join(", ") : "unknown");

function boxesTable(row) {
  const evidence = row.evidence ?? [];
  if (!evidence.length) return null;
  const labels = evidence.some((item) => item.label);
  const sure = evidence.some((item) => item.score !== undefined);
  const head = ["", ...(labels ? ["Label"] : []), "Written", "Frame", "In pixels", ...(sure ? ["Score"] : [])];
  const tr = (item, place) =>
    el(
      "tr",
      { "data-link": `box-${place}`, tabindex: "0", "aria-label": `box ${place + 1}` },
      el("td", {}, `${place + 1}`),
      labels && el("td", {}, el("bdi", {}, line(item.label ?? ""))),
      el("td", { class: "number" }, (item.written ?? []).map(number).join(", ")),
      el("td", {}, item.frame ?? "not declared"),
      el("td", { class: "number" }, cells(item.box)),
      sure && el("td", { class: "number" }, item.score === undefined ? "" : number(item.score)),
    );
  return fold(`Boxes ${evidence.length}`, () => table(head, evidence.map(tr)));
}

const table = (head, rows) =>
  el(
    "div",
    { class: "scroll", tabindex: "0", role: "region", "aria-label": "Table" },
    el(
      "table",
      {},
      el(
        "thead",
        {},
        el(
          "tr",
          {},
          head.map((name) => el("th", { scope: "col" }, name)),
        ),
      ),
      el("tbody", {}, rows),
    ),
  );

const ABOUT_A_RECORD = new Set(["task", "sample", "draw", "rule", "metric", "value", "failure"]);

/** Every rule with what it read and what that scored. */
function scores(detail, given) {
  if (!detail.records.length) return card("Scores", el("p", { class: "note" }, "No rule counts this sample."));
  const rows = detail.records.map((record) => {
    const key = `${record.rule}\n${record.metric}`;
    const numbers = Object.entries(record).filter(([name]) => !ABOUT_A_RECORD.has(name));
    if (!numbers.length) numbers.push(["value", record.value]);
    const read = record.failure
      ? el("span", { class: "warn" }, line(`unparsed: ${record.failure}`))
      : el("bdi", {}, line(briefly(record.value), 60));
    return el(
      "tr",
      { class: key === given.rule ? "chosen" : "" },
      el("td", {}, record.metric),
      el("td", {}, record.rule),
      el("td", { class: "read", title: line(told(record.value), 1000) }, read),
      el(
        "td",
        {},
        numbers.map(([name, value]) => `${name} ${typeof value === "number" ? number(value) : short(told(value), 40)}`).join(", "),
      ),
    );
  });
  return card("Scores", table(["Metric", "Rule", "Read", "Scored"], rows));
}

const isBox = (value) => Array.isArray(value) && value.length === 4 && value.every(Number.isFinite);
const briefly = (value) =>
  Array.isArray(value) && value.length && value.every(isBox)
    ? `${number(value.length)} ${value.length === 1 ? "box" : "boxes"}`
    : told(rounded(value));
const rounded = (value) => (typeof value === "number" ? Math.round(100 * value) / 100 : Array.isArray(value) ? value.map(rounded) : value);

function operations(row) {
  if (!row.operations?.length) return null;
  const rows = row.operations.map((one, place) =>
    el(
      "tr",
      { "data-link": `crop-${place}`, tabindex: "0" },
      el("td", {}, `${place + 1}`),
      el("td", {}, line(one.name || "unreadable call")),
      el("td", { class: "read" }, el("bdi", {}, line(one.arguments ?? "", 200))),
      el("td", { class: one.error ? "warn" : "" }, one.error ? line(`failed: ${one.error}`) : "done"),
      el("td", { class: "number" }, one.box ? cells(one.box) : ""),
    ),
  );
  return card("Tools", table(["", "Tool", "Arguments", "Outcome", "Pixels looked at"], rows));
}

/** What graders said: a judge's replies as they are, of a probe what it found, without the grids that lie on the image. */
function verdicts(row) {
  const found = Object.entries(row.verdicts ?? {}).filter(([, value]) => value !== null);
  return found.map(([name, value]) => {
    const facts_ = flat(value, []);
    const body = facts_.flatMap(([path, inner]) => [
      path.length ? el("dt", {}, line(path.join(" ").replaceAll("_", " "))) : el("dt", {}, "said"),
      el("dd", {}, said(told(inner))),
    ]);
    return card(
      `Verdict: ${line(name.replaceAll("_", " "))}`,
      body.length ? el("dl", { class: "facts" }, body) : el("p", { class: "note" }, "Nothing to judge."),
    );
  });
}

/** A verdict as [path, value], lists of texts one by one. */
function flat(value, path) {
  if (path.at(-1) === "grids" || path.at(-1) === "grid") return [];
  if (Array.isArray(value) && value.some((one) => typeof one === "string"))
    return value.map((one, place) => [value.length > 1 ? [...path, place + 1] : path, one]);
  if (!value || typeof value !== "object" || Array.isArray(value)) return [[path, value]];
  return Object.entries(value).flatMap(([name, inner]) => flat(inner, [...path, name]));
}

// -------------------------------------------------------------------- what belongs together lights up together

function link(host) {
  const light = (event, on) => {
    const name = event.target.closest?.("[data-link]")?.dataset.link;
    if (!name) return;
    for (const one of host.querySelectorAll(`[data-link="${CSS.escape(name)}"]`)) one.classList.toggle("hot", on);
    host.classList.toggle("pointing", on);
  };
  for (const [name, on] of [
    ["pointerover", true],
    ["pointerout", false],
    ["focusin", true],
    ["focusout", false],
  ])
    host.addEventListener(name, (event) => light(event, on));
}
