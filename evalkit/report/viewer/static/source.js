// Where the page's data comes from: the server, or the files of a static folder, which are scripts since a page that is opened from
// disk may not fetch. Both give the same values under the same names.
"use strict";

const STATIC = document.documentElement.dataset.source === "static";
const ROWS_IN_CHUNK = 25;
const KEPT_ROWS = 64;

const chunks = window.trustedTypes
  ? trustedTypes.createPolicy("chunks", {
      createScriptURL(url) {
        if (!/^data\/(runs|\d+\/[a-z]+(-\d+)?)\.js$/.test(url)) throw new TypeError(`no chunk of a run: ${url}`);
        return url;
      },
    })
  : { createScriptURL: (url) => url };

const waiting = new Map();

/** Called by the scripts of a static folder. */
function deliver(name, value) {
  waiting.get(name)?.resolve(value);
  waiting.delete(name);
}

function chunk(name) {
  return new Promise((resolve, reject) => {
    waiting.set(name, { resolve });
    const script = document.createElement("script");
    script.src = chunks.createScriptURL(`data/${name}.js`);
    script.onload = () => script.remove();
    script.onerror = () => {
      waiting.delete(name);
      reject(new Error(`data/${name}.js is not there: write the folder anew with evalkit view RUN --out`));
    };
    document.head.append(script);
  });
}

async function ask(path) {
  let answer;
  try {
    answer = await fetch(path, { cache: "no-store" });
  } catch {
    throw new Error("evalkit view does not answer: start it again");
  }
  if (!answer.ok) throw new Error(await answer.text());
  return answer.json();
}

const kept = new Map();

/** The value that `make` promises, made once for as long as it is among the last ones asked for. */
function once(name, make) {
  const found = kept.get(name) ?? make();
  kept.delete(name);
  kept.set(name, found);
  found.catch(() => kept.delete(name));
  if (kept.size > KEPT_ROWS) kept.delete(kept.keys().next().value);
  return found;
}

const source = {
  runs: () => (STATIC ? chunk("runs") : ask("runs")),
  segment: (run, first) => (STATIC ? chunk(`${run}/index-${first}`) : ask(`index/${run}/${first}`)),
  about: (run) => (STATIC ? once(`about ${run}`, () => chunk(`${run}/about`)) : ask(`about/${run}`)),
  async row(run, number, version) {
    if (!STATIC) return once(`${run} ${number} ${version}`, () => ask(`row/${run}/${number}`));
    const place = Math.floor(number / ROWS_IN_CHUNK);
    return (await once(`${run} ${place}`, () => chunk(`${run}/rows-${place}`)))[number % ROWS_IN_CHUNK];
  },
  image: (run, number, place, image, version) => (STATIC ? image.file : `image/${run}/${number}/${place}?${version}`),
  thumbnail: (run, number, row, version) => (STATIC ? row[FIELD.thumbnail] : `thumb/${run}/${number}?${version}`),
  plot: (run, number, plot, version) => (STATIC ? plot.file : `plot/${run}/${number}?${version}`),
};
