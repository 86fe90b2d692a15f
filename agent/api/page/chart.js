// A small line of the last minutes: one number, plotted live, with words for those who cannot see it.

import { drawing, element } from "./element.js";

const WIDTH = 200;
const HEIGHT = 40;
const SPAN_S = 150;

export class Chart {
  #points = [];
  #value = element("strong", {});
  #detail = element("span", { class: "muted" });
  #line = drawing("path", { class: "line" });
  #area = drawing("path", { class: "area" });

  /** `least` is the smallest top of the scale; `format` makes text of a number. */
  constructor(name, format, least = 1) {
    this.name = name;
    this.format = format;
    this.least = least;
    this.plot = drawing("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, preserveAspectRatio: "none", role: "img" });
    this.plot.append(this.#area, this.#line);
    const head = element("div", { class: "head" }, element("span", {}, name), this.#detail);
    this.row = element("div", { class: "chart", hidden: true }, head, this.plot, this.#value);
  }

  /** Adds a number; null where the device does not report one, which hides a chart that never had any. */
  add(now_s, value, detail = "") {
    this.#points = this.#points.filter(([at]) => at > now_s - SPAN_S);
    if (value != null && Number.isFinite(value)) this.#points.push([now_s, value]);
    this.row.hidden = this.#points.length === 0;
    if (this.row.hidden) return;
    const values = this.#points.map(([, one]) => one);
    const latest = this.format(values.at(-1));
    const [number, ...unit] = latest.split(" ");
    this.#value.replaceChildren(number, element("small", {}, ` ${unit.join(" ")}`));
    this.#detail.textContent = detail;
    const [low, high] = [Math.min(...values), Math.max(...values)];
    const label = `${this.name}: ${latest}; in the last minutes from ${this.format(low)} to ${this.format(high)}`;
    if (this.plot.getAttribute("aria-label") !== label) this.plot.setAttribute("aria-label", label);
    this.#draw(now_s, Math.max(this.least, high * 1.1));
  }

  #draw(now_s, top) {
    const x = (at) => (WIDTH * (1 - (now_s - at) / SPAN_S)).toFixed(1);
    const y = (value) => (HEIGHT - 1 - (HEIGHT - 3) * (Math.max(0, value) / top)).toFixed(1);
    const path = this.#points.map(([at, value], index) => `${index ? "L" : "M"}${x(at)} ${y(value)}`).join("");
    this.#line.setAttribute("d", path);
    this.#area.setAttribute("d", `${path}L${WIDTH} ${HEIGHT}L${x(this.#points[0][0])} ${HEIGHT}Z`);
  }
}
