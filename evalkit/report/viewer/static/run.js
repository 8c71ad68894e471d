// The page of a run: its numbers, beside those of another run where there is one, its plots and its manifest.
"use strict";

const FEW = 60;
const COUNTS = ["unparsed", "truncated", "refused", "missing", "gaps"];

const runPage = {
  key: "",

  async show(run, beside) {
    const key = JSON.stringify([run.number, run.version, beside?.number, beside?.version]);
    document.title = `${line(run.name)} · evalkit`;
    if (key === runPage.key && byId("page").querySelector(".about")) return;
    runPage.key = key;
    samplePage.key = "";
    shown = [];
    const [about, other] = await Promise.all([source.about(run.number), beside && source.about(beside.number)]);
    if (key !== runPage.key || samplePage.key) return;
    byId("page").replaceChildren(
      el(
        "div",
        { class: "title", id: "title" },
        el("a", { class: "button back", href: state.link({ page: "", sample: "" }) }, "‹ List"),
        el("h1", {}, el("bdi", {}, line(run.name))),
      ),
      el(
        "div",
        { class: "about" },
        overview(run, about),
        numbers(run, about, beside, other),
        plots(run, about),
        fold("Manifest", () => said(JSON.stringify(about.manifest, null, 1))),
      ),
    );
    byId("page").scrollTop = 0;
  },
};

function overview(run, about) {
  const { brief } = run;
  const { manifest } = about;
  const facts_ = [
    ["Model", brief.model],
    ["Protocol", brief.protocol],
    [
      "Tasks",
      (about.tasks.length
        ? about.tasks.map((task) => `${task.task} (${number(task.samples)} samples${task.limit === null ? "" : ", a part"})`)
        : brief.tasks
      ).join(", "),
    ],
    ["Started", manifest.started ?? ""],
    ["Command", (manifest.command ?? []).length ? `evalkit ${manifest.command.join(" ")}` : ""],
    ["Folder", about.folder],
  ].filter(([, value]) => value);
  const notes_ = about.tasks.flatMap((task) => [
    ...(task.notes ?? []),
    ...(task.gaps?.length
      ? [`${task.task}: ${number(task.gaps.length)} answers did not come; the same evalkit run asks just these again`]
      : []),
  ]);
  return el(
    "section",
    { class: "card" },
    el(
      "dl",
      { class: "facts" },
      facts_.flatMap(([name, value]) => [el("dt", {}, name), el("dd", {}, said(value))]),
    ),
    notes_.map((text) => el("p", { class: "note warn" }, line(text))),
  );
}

const keyOf = (row) => [row.task, row.metric, row.rule, row.subset].join("\n");
const shareOf = (row) => (row?.value === null || row?.value === undefined ? "–" : row.value.toFixed(4));
const interval = (row) => (row?.low === null || row?.low === undefined ? "" : `${row.low.toFixed(4)} to ${row.high.toFixed(4)}`);

function numbers(run, about, beside, other) {
  if (!about.numbers.length) return card("Numbers", el("p", { class: "note" }, "The run has not ended: numbers come with its end."));
  const theirs = new Map((other?.numbers ?? []).map((row) => [keyOf(row), row]));
  const counts = COUNTS.filter((name) => about.numbers.some((row) => row[name]));
  const head = [
    "Task",
    "Subset",
    "Metric",
    "Rule",
    "Value",
    "95% interval",
    ...(other ? [`Beside: ${line(beside.name)}`, "95% interval"] : []),
    "n",
    ...counts,
  ];
  const body = about.numbers.map((row) => {
    const their = theirs.get(keyOf(row));
    return el(
      "tr",
      {},
      ...[row.task, row.subset, row.metric, row.rule].map((text) => el("td", {}, el("bdi", {}, line(String(text))))),
      ...[
        shareOf(row),
        interval(row),
        ...(other ? [shareOf(their), interval(their)] : []),
        number(row.n),
        ...counts.map((name) => row[name] || ""),
      ].map((text) => el("td", { class: "number" }, String(text))),
    );
  });
  const shown_ = table(head, body.slice(0, FEW));
  const more =
    body.length > FEW &&
    el(
      "button",
      {
        class: "button",
        type: "button",
        onclick: (event) => (shown_.querySelector("tbody").append(...body.slice(FEW)), event.target.remove()),
      },
      `All ${number(body.length)} numbers`,
    );
  return card("Numbers", shown_, more);
}

function plots(run, about) {
  if (!about.plots.length) return null;
  const figures = about.plots.map((plot, place) => {
    const figure = el("figure", { class: "plot" });
    const caption = `${plot.task}: ${plot.told}`;
    figure.append(
      el("img", { src: source.plot(run.number, place, plot, run.version), alt: caption, loading: "lazy", onerror: () => figure.remove() }),
      el("figcaption", {}, line(caption)),
    );
    return figure;
  });
  return card("Plots", el("div", { class: "plots" }, figures));
}
