// The image of a sample with what was found on it, to the pixel at any zoom. Everything drawn has the size of the picture and the
// image's own pixels for coordinates, so that zooming is but one width and one height.
"use strict";

const GOLD = [0, 158, 115];
const PREDICTED = [213, 94, 0];
const GIVEN = [204, 121, 167];
const LARGEST_ZOOM = 64;
const SVG = "http://www.w3.org/2000/svg";

/** What of the layers is shown, the same for every sample until it is switched. */
const layers = { gold: true, boxes: true, masks: true, crops: true, given: true, attention: -1 };

class Stage {
  /** `look` says what lies on the image: {images, boxes, goldBoxes, crops, given, masks, goldMasks, attention, points, url}. */
  constructor(look) {
    this.look = look;
    this.place = 0;
    this.zoom = undefined;
    this.shift = [0, 0];
    this.picture = el("div", { class: "picture" });
    this.frame = el(
      "div",
      { class: "frame", tabindex: "0", role: "group", "aria-label": "Image; drag to pan, plus and minus to zoom" },
      this.picture,
    );
    this.bar = el("div", { class: "tools", role: "toolbar", "aria-label": "Layers and zoom" });
    this.strip = el("div", { class: "strip" });
    this.notes = el("div");
    this.host = el("div", { class: "stage" }, this.bar, this.frame, this.notes, this.strip);
    this.listen();
    new ResizeObserver(() => this.fit(this.fitted !== false)).observe(this.frame);
    this.show(0);
  }

  get size() {
    return this.look.images[this.place]?.size ?? [this.image?.naturalWidth || 1, this.image?.naturalHeight || 1];
  }

  show(place) {
    this.place = place;
    this.fitted = true;
    this.image = undefined;
    const known = this.look.images[place];
    if (known && !known.missing) {
      this.image = el("img", { alt: `image ${place + 1}`, draggable: "false", fetchpriority: "high", src: this.look.url(place) });
      this.image.addEventListener("load", () => this.draw());
      this.image.addEventListener("error", () => {
        known.missing = true;
        this.image = undefined;
        this.draw();
      });
    }
    this.draw();
  }

  draw() {
    const [width, height] = this.size;
    this.trouble = [];
    this.drawing = document.createElementNS(SVG, "svg");
    this.drawing.setAttribute("viewBox", `0 0 ${width} ${height}`);
    this.drawing.setAttribute("preserveAspectRatio", "none");
    this.labels = el("div", { class: "labels" });
    const { look } = this;
    const first = this.place === 0;
    const canvases = [];
    const masks = (given, name, colour) => {
      const fitting = this.fitting(given, name);
      if (fitting.length && layers[name === "gold mask" ? "gold" : name === "mask given" ? "given" : "masks"])
        canvases.push(maskCanvas(fitting, colour));
    };
    masks(look.goldMasks, "gold mask", GOLD);
    masks(look.givenMasks, "mask given", GIVEN);
    masks(look.masks, "mask", PREDICTED);
    const attention = look.attention[layers.attention];
    if (attention && first) {
      const most = Math.max(...look.attention.filter((other) => other.group === attention.group).flatMap((other) => other.grid.flat()));
      canvases.unshift(attentionCanvas(attention.grid, most));
    }
    if (first) {
      const drawn = [];
      if (layers.given) look.given.forEach((box, place) => drawn.push([box, "given", `given-${place}`, ""]));
      if (layers.gold) look.goldBoxes.forEach((box, place) => drawn.push([box, "gold", `gold-${place}`, ""]));
      if (layers.crops)
        look.crops.forEach(({ box, name }, place) => box && drawn.push([box, "crop", `crop-${place}`, `${name} ${place + 1}`]));
      if (layers.boxes)
        look.boxes.forEach(
          ({ box, label }, place) => box && drawn.push([box, "predicted", `box-${place}`, [place + 1, label].filter(Boolean).join(" ")]),
        );
      drawn.sort((one, other) => area(other[0]) - area(one[0]));
      for (const one of drawn) this.rectangle(...one);
      if (layers.gold) look.points.forEach((point) => this.point(point, "gold"));
      if (layers.given) look.givenPoints.forEach((point) => this.point(point, "given"));
    }
    const lacking = look.images.length
      ? el("p", { class: "lacking" }, `The image is not here${look.images[this.place].size ? `: ${width} × ${height} pixels` : ""}`)
      : el("p", { class: "lacking" }, "No image");
    this.picture.replaceChildren(this.image ?? lacking, ...canvases, this.drawing, this.labels);
    this.notes.replaceChildren(...this.trouble.map((text) => el("p", { class: "note warn" }, text)));
    this.tools();
    this.fit(this.fitted !== false);
  }

  /** The masks of this image that are of its size; of the others it is said that they are not drawn. */
  fitting(masks, name) {
    const [width, height] = this.size;
    const mine = masks.flatMap((mask) => (Array.isArray(mask) ? [mask[this.place]] : this.place === 0 ? [mask] : [])).filter(Boolean);
    return mine.filter((mask, place) => {
      let reason = "";
      if (mask.size?.[0] !== height || mask.size?.[1] !== width) {
        reason = `is of ${mask.size?.[1]} × ${mask.size?.[0]} pixels, the image of ${width} × ${height}`;
      } else {
        try {
          maskPixels(mask);
        } catch {
          reason = "is no run-length encoding of its size";
        }
      }
      if (reason) this.trouble.push(`${name} ${place + 1} ${reason}: not drawn`);
      return !reason;
    });
  }

  rectangle([x1, y1, x2, y2], kind, link, text) {
    const [width, height] = this.size;
    const [left, top] = [Math.min(x1, x2), Math.min(y1, y2)];
    const group = document.createElementNS(SVG, "g");
    group.setAttribute("class", `region ${kind}`);
    group.dataset.link = link;
    for (const name of ["casing", "line"]) {
      const shape = document.createElementNS(SVG, "rect");
      const sides = { x: left, y: top, width: Math.abs(x2 - x1), height: Math.abs(y2 - y1), class: name };
      for (const [key, value] of Object.entries(sides)) shape.setAttribute(key, value);
      group.append(shape);
    }
    this.drawing.append(group);
    if (!text) return;
    const label = el("span", { class: `label ${kind}${top < height / 20 ? " inside" : ""}`, "data-link": link }, line(text));
    label.style.left = `${(100 * Math.max(0, left)) / width}%`;
    label.style.top = `${(100 * Math.max(0, top)) / height}%`;
    this.labels.append(label);
  }

  point([x, y], kind) {
    for (const name of ["casing", "line"]) {
      const dot = document.createElementNS(SVG, "path");
      dot.setAttribute("d", `M${x} ${y}h0`);
      dot.setAttribute("class", `dot ${kind} ${name}`);
      this.drawing.append(dot);
    }
  }

  /** The buttons for what there is to switch. */
  tools() {
    const { look } = this;
    const counts = {
      gold: look.goldBoxes.length + look.goldMasks.length + look.points.length,
      boxes: look.boxes.filter(({ box }) => box).length,
      masks: look.masks.length,
      crops: look.crops.filter(({ box }) => box).length,
      given: look.given.length + look.givenMasks.length + look.givenPoints.length,
    };
    const names = { gold: "Gold", boxes: "Boxes", masks: "Masks", crops: "Crops", given: "Given" };
    const buttons = Object.entries(names)
      .filter(([name]) => counts[name])
      .map(([name, text]) =>
        el(
          "button",
          { type: "button", class: `layer ${name}`, "aria-pressed": String(layers[name]), onclick: () => toggle(name) },
          el("span", { class: "swatch" }),
          `${text} ${counts[name]}`,
        ),
      );
    if (look.attention.length) {
      const choose = el("select", { "aria-label": "Attention map", onchange: (event) => toggle("attention", Number(event.target.value)) });
      choose.append(
        el("option", { value: "-1" }, "no attention"),
        ...look.attention.map(({ name }, place) => el("option", { value: place }, line(name))),
      );
      choose.value = String(layers.attention < look.attention.length ? layers.attention : -1);
      buttons.push(choose);
    }
    const zoom = (text, label, by) =>
      el(
        "button",
        { type: "button", class: "button", "aria-label": label, title: label, onclick: () => (by ? this.zoomBy(by) : this.fit(true)) },
        text,
      );
    this.percent = el("span", { class: "percent" });
    buttons.push(
      el("span", { class: "grow" }),
      zoom("−", "Zoom out", 1 / 1.5),
      this.percent,
      zoom("+", "Zoom in", 1.5),
      zoom("Fit", "Fit", 0),
    );
    this.bar.replaceChildren(...buttons);
    const several = look.images.length > 1;
    this.strip.hidden = !several;
    if (several && !this.strip.childElementCount) {
      this.strip.append(
        ...look.images.map((image, place) =>
          el(
            "button",
            { type: "button", class: "still", "aria-label": `image ${place + 1}`, onclick: () => this.show(place) },
            image.missing ? `${place + 1}` : el("img", { src: look.url(place), alt: "", loading: "lazy" }),
          ),
        ),
      );
    }
    [...this.strip.children].forEach((still, place) => still.setAttribute("aria-pressed", String(place === this.place)));
  }

  // ---------------------------------------------------------------- zoom and pan

  /** Sets the frame's height by the image's shape, and with `whole` the zoom at which all of it is seen. */
  fit(whole) {
    const [width, height] = this.size;
    const room = this.frame.clientWidth;
    if (!room) return;
    const most = Math.max(240, Math.min(window.innerHeight * 0.62, 900));
    this.frame.style.height = `${Math.round(Math.min(most, Math.max(120, (room * height) / width)))}px`;
    if (whole) {
      this.fitted = true;
      this.zoom = Math.min(room / width, this.frame.clientHeight / height);
      this.shift = [(room - width * this.zoom) / 2, (this.frame.clientHeight - height * this.zoom) / 2];
    }
    this.apply();
  }

  /** Zooms by a factor, so that what lies at (x, y) of the frame stays there; its middle where that is not given. */
  zoomBy(factor, x = this.frame.clientWidth / 2, y = this.frame.clientHeight / 2) {
    const zoom = Math.min(LARGEST_ZOOM, Math.max(0.02, this.zoom * factor));
    this.shift = [x - ((x - this.shift[0]) * zoom) / this.zoom, y - ((y - this.shift[1]) * zoom) / this.zoom];
    this.zoom = zoom;
    this.fitted = false;
    this.apply();
  }

  panBy(x, y) {
    this.shift = [this.shift[0] + x, this.shift[1] + y];
    this.fitted = false;
    this.apply();
  }

  apply() {
    const [width, height] = this.size;
    const keep = 40; // so many pixels of the picture always stay in sight
    this.shift[0] = Math.round(Math.min(this.frame.clientWidth - keep, Math.max(keep - width * this.zoom, this.shift[0])));
    this.shift[1] = Math.round(Math.min(this.frame.clientHeight - keep, Math.max(keep - height * this.zoom, this.shift[1])));
    const { style } = this.picture;
    style.width = `${Math.round(width * this.zoom)}px`; // whole pixels: browsers round the sides of an image, and boxes must go along
    style.height = `${Math.round(height * this.zoom)}px`;
    style.left = `${this.shift[0]}px`;
    style.top = `${this.shift[1]}px`;
    this.picture.classList.toggle("close", this.zoom >= 3);
    this.frame.classList.toggle("loose", !this.fitted);
    this.percent.textContent = `${Math.round(100 * this.zoom)}%`;
  }

  listen() {
    const pointers = new Map();
    const spread = () => {
      const [one, other] = [...pointers.values()];
      return Math.hypot(one.x - other.x, one.y - other.y);
    };
    const { frame } = this;
    frame.addEventListener(
      "wheel",
      (event) => {
        if (!event.ctrlKey && !event.metaKey) return;
        event.preventDefault();
        const box = frame.getBoundingClientRect();
        this.zoomBy(Math.exp(-event.deltaY / 200), event.clientX - box.left, event.clientY - box.top);
      },
      { passive: false },
    );
    frame.addEventListener("dblclick", (event) => {
      const box = frame.getBoundingClientRect();
      this.zoomBy(2, event.clientX - box.left, event.clientY - box.top);
    });
    frame.addEventListener("pointerdown", (event) => {
      pointers.set(event.pointerId, { x: event.clientX, y: event.clientY });
      if (event.pointerType === "mouse" || !this.fitted || pointers.size > 1) frame.setPointerCapture(event.pointerId);
    });
    frame.addEventListener("pointermove", (event) => {
      const before = pointers.get(event.pointerId);
      if (!before) return;
      const apart = pointers.size === 2 && spread();
      pointers.set(event.pointerId, { x: event.clientX, y: event.clientY });
      const box = frame.getBoundingClientRect();
      if (apart) this.zoomBy(spread() / apart, event.clientX - box.left, event.clientY - box.top);
      else if (event.pointerType === "mouse" || !this.fitted) this.panBy(event.clientX - before.x, event.clientY - before.y);
    });
    for (const name of ["pointerup", "pointercancel"]) frame.addEventListener(name, (event) => pointers.delete(event.pointerId));
    frame.addEventListener("keydown", (event) => {
      const step = { ArrowLeft: [40, 0], ArrowRight: [-40, 0], ArrowUp: [0, 40], ArrowDown: [0, -40] }[event.key];
      if (!step) return;
      event.preventDefault();
      this.panBy(...step);
    });
  }
}

const area = ([x1, y1, x2, y2]) => Math.abs((x2 - x1) * (y2 - y1));

/** Switches a layer on every image that is shown. */
function toggle(name, value = !layers[name]) {
  layers[name] = value;
  for (const stage of shown) stage.draw();
}

/** The stages on the page. */
let shown = [];
