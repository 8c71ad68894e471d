// The conversation of a sample, turn by turn, with the images where they were shown.
"use strict";

function conversation(detail, run, at) {
  if (!detail.threads.length) {
    return detail.row.text === undefined
      ? null
      : card("Conversation", el("p", { class: "note" }, "No request is stored: a replay holds replies only."));
  }
  return card("Conversation", ...detail.threads.map((thread) => oneThread(thread, detail, run, at)));
}

const KINDS = { generate: "", likelihood: ": how likely is", segment: ": masks of", attend: ": attention of" };

function oneThread(thread, detail, run, at) {
  const attempt = thread.draw % 1000;
  const parts = [];
  const evidence = thread.to === "model" ? detail.row.evidence : [];
  const picture = (part) => shownImage(part, detail, run, at);
  if (thread.image) parts.push(turn("user", [picture(thread.image), said(JSON.stringify(thread.prompts))]));
  (thread.messages ?? []).forEach((message, place) => {
    const content = message.content.map((part) =>
      typeof part === "string" ? said(part, message.role === "assistant" ? evidence : []) : picture(part),
    );
    parts.push(turn(message.role, content, thread.replies[place]));
  });
  if (thread.prefill) parts.push(turn("prefill", [said(thread.prefill)]));
  for (const [place, text] of (thread.continuations ?? []).entries())
    parts.push(turn("continuation", [said(text), note(`log-probability a token: ${thread.response.likelihoods?.[place]?.toFixed(4)}`)]));
  if (thread.continuation) parts.push(turn("continuation", [said(thread.continuation)]));
  const { response } = thread;
  if (response.reasoning) parts.push(turn("reasoning", [said(response.reasoning, evidence)]));
  if (response.text || thread.kind === "generate") parts.push(turn("reply", [said(response.text ?? "", evidence)], response));
  const title = `${thread.to}${KINDS[thread.kind] ?? ""}${attempt ? `, attempt ${attempt + 1}` : ""}`;
  return el("details", { class: "thread", open: thread.kind === "generate" && !attempt }, el("summary", {}, title), ...parts);
}

const note = (text) => el("p", { class: "note" }, text);

function turn(role, content, response) {
  const facts_ = response
    ? [
        response.tokens_in ? `${number(response.tokens_in)} tokens in` : "",
        response.tokens_out ? `${number(response.tokens_out)} out` : "",
        response.seconds ? `${response.seconds.toFixed(2)} s` : "",
        response.finish && response.finish !== "stop" ? { length: "cut off", refused: "refused" }[response.finish] : "",
      ].filter(Boolean)
    : [];
  return el(
    "div",
    { class: `turn ${role}` },
    el("div", { class: "role" }, role, facts_.length ? el("span", { class: "note" }, ` ${facts_.join(" · ")}`) : null),
    ...content,
  );
}

/** An image of a request: one of the sample's, or the crop that a tool made of it. */
function shownImage(part, detail, run, at) {
  const url = (place) => source.image(run.number, at, place, detail.images[place], run.version);
  const operation = detail.row.operations?.[part.operation];
  if (operation?.box && detail.images[0] && !detail.images[0].missing) {
    const host = el(
      "figure",
      { class: "shown", "data-link": `crop-${part.operation}`, tabindex: "0" },
      el("figcaption", {}, `crop ${part.operation + 1}`),
    );
    const image = new Image();
    image.addEventListener("load", () => host.prepend(cropped(image, operation.box, detail.images[0].size)));
    image.src = url(0);
    return host;
  }
  if (part.place !== undefined && detail.images[part.place]) {
    const known = detail.images[part.place];
    return el(
      "figure",
      { class: "shown" },
      known.missing ? null : el("img", { src: url(part.place), alt: "", loading: "lazy", onerror: gone }),
      el("figcaption", {}, `image ${part.place + 1}`),
    );
  }
  return el("figure", { class: "shown" }, el("figcaption", {}, "an image made for this request, not kept"));
}

function cropped(image, [x1, y1, x2, y2], size) {
  const ratio = size ? image.naturalWidth / size[0] : 1;
  const [width, height] = [Math.max(1, (x2 - x1) * ratio), Math.max(1, (y2 - y1) * ratio)];
  const smaller = Math.min(1, 480 / Math.max(width, height));
  const canvas = el("canvas", {
    width: Math.max(1, Math.round(width * smaller)),
    height: Math.max(1, Math.round(height * smaller)),
    role: "img",
    "aria-label": "crop",
  });
  canvas.getContext("2d").drawImage(image, x1 * ratio, y1 * ratio, width, height, 0, 0, canvas.width, canvas.height);
  return canvas;
}
