// Puts the page together: reads the address, shows what it says, and keeps up with runs that are still being written.
"use strict";

const EVERY = 1500;
let runs = [];

const chosen = (given) => runs.find((run) => run.name === given.run) ?? runs[0];
const chosenBeside = (given, run) => runs.find((other) => other.name === given.beside && other !== run);

async function render() {
  const given = state.read();
  const run = chosen(given);
  if (!run) return;
  const beside = chosenBeside(given, run);
  fillRuns(run, beside);
  fillFilters(run, beside, given);
  list.update(run, beside, given);
  const at = given.sample ? numberOf(run, given) : undefined;
  document.body.classList.toggle("reading", at !== undefined || given.page === "run");
  byId("about").setAttribute("href", state.link({ page: "run", sample: "", draw: "" }, given));
  byId("page").setAttribute("aria-busy", "true");
  try {
    if (at !== undefined) {
      runPage.key = "";
      await samplePage.show(run, at, beside, given);
      if (list.filters === given) list.reveal(at);
    } else if (given.sample && run.brief.state !== "reading") {
      samplePage.key = runPage.key = "";
      byId("page").replaceChildren(el("p", { class: "empty" }, `This run has no sample ${line(given.sample)}.`));
    } else if (!given.sample) {
      await runPage.show(run, beside);
    }
  } catch (error) {
    if (list.filters !== given) return;
    samplePage.key = runPage.key = "";
    byId("page").replaceChildren(el("p", { class: "empty warn" }, error.message));
  } finally {
    byId("page").removeAttribute("aria-busy");
  }
}

function numberOf(run, given) {
  const cut = given.sample.indexOf("/");
  return run.place(`${given.sample.slice(0, cut)}\n${given.sample.slice(cut + 1)}\n${given.draw ?? 0}`);
}

function fillRuns(run, beside) {
  const options = (id, choices, value) => {
    const key = JSON.stringify(choices);
    if (byId(id).dataset.key !== key) {
      byId(id).dataset.key = key;
      byId(id).replaceChildren(...choices.map(([name, text]) => el("option", { value: name }, text)));
    }
    byId(id).value = value;
  };
  const names = runs.map((one) => [one.name, line(one.name)]);
  options("run", names, run.name);
  options("beside", [["", "no other run"], ...names.filter(([name]) => name !== run.name)], beside?.name ?? "");
  byId("beside-label").hidden = runs.length < 2;
  const { brief } = run;
  const states = {
    reading: `reading: ${number(brief.rows)} rows`,
    growing: `not ended: ${number(run.rows.length)} rows so far`,
    broken: line(brief.trouble),
    whole: "",
  };
  if (byId("status").textContent !== states[brief.state]) byId("status").textContent = states[brief.state];
  byId("status").classList.toggle("warn", brief.state === "broken");
}

/** Takes in what has changed; true where something has. */
async function refresh() {
  const briefs = await source.runs();
  let changed = runs.length !== briefs.length;
  for (const [place, brief] of briefs.entries()) {
    const before = runs[place] && [runs[place].version, runs[place].brief.state].join();
    runs[place] ??= new Held(place, brief);
    runs[place].take(brief);
    changed ||= before !== [runs[place].version, brief.state].join();
  }
  const given = state.read();
  const run = chosen(given);
  for (const one of [run, chosenBeside(given, run)]) {
    if (one && (one.rows.length !== one.brief.rows || one.settled !== one.rows.length)) changed = (await one.fetch()) || changed;
  }
  return changed;
}

let lost = false;

async function keepUp() {
  try {
    if ((await refresh()) || lost) {
      lost = false;
      await render();
    }
  } catch (error) {
    lost = true;
    byId("status").textContent = error.message;
  }
  if (STATIC) return;
  const busy = runs.some((run) => run.brief.state === "reading");
  setTimeout(keepUp, busy ? 400 : EVERY);
}

// -------------------------------------------------------------------- what the reader does

function listen() {
  const choose = (id, name, changes = {}) => byId(id).addEventListener("change", () => state.go({ [name]: byId(id).value, ...changes }));
  choose("run", "run", { rule: "", subset: "", task: "" });
  for (const id of ["beside", "task", "subset", "rule", "outcome", "flip", "sort"]) choose(id, id);
  byId("order").addEventListener("click", () => state.go({ order: state.read().order ? "" : "down" }));
  for (const [id, name] of [
    ["search", "q"],
    ["least", "least"],
    ["most", "most"],
  ]) {
    let due;
    const take = () => {
      clearTimeout(due);
      state.replace({ [name]: byId(id).value });
    };
    byId(id).addEventListener("input", () => {
      clearTimeout(due);
      due = setTimeout(take, 120);
    });
    byId(id).addEventListener("change", take); // before what is clicked next is done
  }
  byId("filters").addEventListener("submit", (event) => event.preventDefault());
  byId("clear").addEventListener("click", () => {
    byId("search").value = byId("least").value = byId("most").value = "";
    byId("rows").focus();
    state.go(Object.fromEntries([...FILTERS, "sort", "order"].map((name) => [name, ""])));
  });
  byId("rows").addEventListener("pointerdown", () => (list.pressed = true));
  for (const name of ["pointerup", "pointercancel", "blur"]) {
    window.addEventListener(name, () => {
      if (list.pressed) requestAnimationFrame(list.draw); // after the click
      list.pressed = false;
    });
  }
  byId("rows").addEventListener("scroll", () => requestAnimationFrame(list.draw), { passive: true });
  byId("help").addEventListener("click", () => byId("keys").showModal());
  byId("skip").addEventListener("click", (event) => {
    event.preventDefault();
    byId("page").focus();
  });
  window.addEventListener("hashchange", async () => {
    if (!STATIC || runs.some((run) => !run.rows.length)) await refresh().catch(() => undefined);
    await render();
  });
  window.addEventListener("resize", () => list.draw());
  document.addEventListener("keydown", pressed);
}

const ACTIONS = {
  j: () => step(1),
  k: () => step(-1),
  n: () => step(1, true),
  p: () => step(-1, true),
  g: () => toggle("gold"),
  b: () => toggle("boxes"),
  m: () => toggle("masks"),
  c: () => toggle("crops"),
  a: () => {
    const most = Math.max(0, ...shown.map((stage) => stage.look.attention.length));
    toggle("attention", layers.attention + 1 < most ? layers.attention + 1 : -1);
  },
  "+": () => shown.forEach((stage) => stage.zoomBy(1.5)),
  "=": () => shown.forEach((stage) => stage.zoomBy(1.5)),
  "-": () => shown.forEach((stage) => stage.zoomBy(1 / 1.5)),
  0: () => shown.forEach((stage) => stage.fit(true)),
  "/": () => byId("search").focus(),
  "?": () => byId("keys").showModal(),
  Escape: () => state.go({ sample: "", draw: "", page: "" }),
};

function pressed(event) {
  if (event.ctrlKey || event.metaKey || event.altKey || event.isComposing || byId("keys").open) return;
  const typing = event.target.matches?.("input, textarea, select");
  if (typing) {
    if (event.key === "Escape") event.target.blur();
    return;
  }
  const action = ACTIONS[event.key];
  if (!action) return;
  event.preventDefault();
  action();
}

/** Goes to the next or previous sample of the list, of the wrong ones alone where asked to. */
function step(by, wrong = false) {
  const given = state.read();
  const { run } = list;
  if (!run) return;
  const at = given.sample ? numberOf(run, given) : undefined;
  const to = list.step(at ?? -1, by, wrong ? (row) => isWrong(run, row, given.rule) : undefined);
  if (to !== undefined) location.hash = linkTo(run, to, given);
  else byId("status").textContent = wrong ? "No more wrong ones" : "No more samples";
}

byId("more").open = window.matchMedia("(min-width: 56rem)").matches;
listen();
keepUp();
