// Colours of confidence, and the two small charts of a panel.

// Sequential and safe for colour-blind readers: pale to dark on a light page (after ColorBrewer's
// YlGnBu), dark to bright on a dark one (after viridis).
const RAMPS = {
  light: ["#ffffd9", "#edf8b1", "#c7e9b4", "#7fcdbb", "#41b6c4", "#1d91c0", "#225ea8"],
  dark: ["#440154", "#443983", "#31688e", "#21918c", "#35b779", "#90d743", "#fde725"],
};
const darkScheme = window.matchMedia("(prefers-color-scheme: dark)");

function channels(colour) {
  return [1, 3, 5].map((start) => parseInt(colour.slice(start, start + 2), 16));
}

/** Return the background of a confidence in [0, 1], and the black or white that reads best on it. */
function confidenceColour(confidence) {
  const ramp = RAMPS[darkScheme.matches ? "dark" : "light"].map(channels);
  const place = Math.max(0, Math.min(1, confidence)) * (ramp.length - 1);
  const low = Math.min(Math.floor(place), ramp.length - 2);
  const mixed = ramp[low].map((value, i) => value + (place - low) * (ramp[low + 1][i] - value));
  const linear = mixed.map((value) => (value / 255) ** 2.2);
  const luminance = 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2];
  // Contrast (L + 0.05) / (D + 0.05) with white and with black are equal at 0.179.
  return {
    fill: `rgb(${mixed.map(Math.round).join(" ")})`,
    text: luminance > 0.179 ? "#000000" : "#ffffff",
  };
}

/** Return a number in [0, 1] as it is written into a masked cell. */
function shortNumber(value) {
  return value >= 0.995 ? "1.0" : value.toFixed(2).slice(1);
}

function paintRamp(canvas) {
  const context = canvas.getContext("2d");
  for (let x = 0; x < canvas.width; x += 1) {
    context.fillStyle = confidenceColour(x / (canvas.width - 1)).fill;
    context.fillRect(x, 0, 1, canvas.height);
  }
}

function shape(name, attributes, text) {
  const element = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  if (text !== undefined) element.textContent = text;
  return element;
}

const WIDTH = 290;
const HEIGHT = 104;
const LEFT = 26;
const BOTTOM = 88;
const TOP = 6;

class Charts {
  constructor(pace, order, panel, scale) {
    this.run = panel.trajectory;
    this.scale = scale;
    this.pace = this.frame(pace, [1, scale.steps], [0, scale.tokens]);
    this.order = this.frame(order, [0, this.run.gen_length - 1], [1, scale.steps]);
    this.drawPace(pace, panel.listeners.step);
    this.drawOrder(order);
    this.drawSpent(panel);
  }

  /** Draw axes with their ends; the scales of the data are methods of the result. */
  frame(svg, [first, last], [least, most]) {
    const span = Math.max(last - first, 1);
    const x = (value) => LEFT + 6 + ((value - first) / span) * (WIDTH - LEFT - 12);
    const y = (value) => BOTTOM - (value / most) * (BOTTOM - TOP);
    svg.setAttribute("viewBox", `0 0 ${WIDTH} ${HEIGHT}`);
    svg.replaceChildren(
      shape("line", { class: "axis", x1: LEFT, x2: WIDTH, y1: BOTTOM, y2: BOTTOM }),
      shape("line", { class: "axis", x1: LEFT, x2: LEFT, y1: TOP, y2: BOTTOM }),
      shape("text", { x: LEFT - 4, y: y(most) + 4, "text-anchor": "end" }, most),
      shape("text", { x: LEFT - 4, y: y(least) + (least ? 4 : 0), "text-anchor": "end" }, least),
      shape("text", { x: x(first), y: BOTTOM + 13, "text-anchor": "middle" }, first),
      shape("text", { x: x(last), y: BOTTOM + 13, "text-anchor": "end" }, last),
    );
    return { x, y, step: (WIDTH - LEFT - 12) / span };
  }

  drawPace(svg, go) {
    const { x, y, step } = this.pace;
    const width = Math.max(1, Math.min(12, step * 0.8));
    const counts = this.run.steps.map((each) => each.committed.length);
    svg.setAttribute("aria-label", `tokens committed at each step: ${counts.join(", ")}`);
    this.bars = counts.map((count, index) =>
      shape("rect", { x: x(index + 1) - width / 2, y: y(count), width, height: BOTTOM - y(count) }),
    );
    const targets = counts.map((_, index) => {
      const box = { x: x(index + 1) - step / 2, y: TOP, width: step, height: BOTTOM - TOP };
      const target = shape("rect", { class: "hit", ...box });
      target.addEventListener("click", () => go(index + 1));
      return target;
    });
    svg.append(...this.bars, ...targets);
  }

  drawOrder(svg) {
    const { x, y } = this.order;
    for (let start = this.run.block_length; start < this.run.gen_length; start += this.run.block_length) {
      const place = x(start - 0.5);
      svg.append(shape("line", { class: "block", x1: place, x2: place, y1: TOP, y2: BOTTOM }));
    }
    this.cursor = shape("line", { class: "cursor", x1: LEFT, x2: WIDTH });
    this.chosen = shape("line", { class: "chosen", y1: TOP, y2: BOTTOM, visibility: "hidden" });
    this.dots = this.run.steps.map((step, index) => {
      const forced = new Set(step.forced);
      return step.committed.map((position) => {
        const [cx, cy] = [x(position), y(index + 1)];
        if (!forced.has(position)) return shape("circle", { cx, cy, r: 2.1 });
        return shape("path", { d: `M${cx - 3} ${cy - 3}l6 6m0-6l-6 6` });
      });
    });
    this.run.steps.forEach((step, index) => {
      for (const { by, positions, tokens } of step.writes) {
        positions.forEach((position, place) => {
          if (by !== "corrector" && tokens[place] !== null) return;
          const [cx, cy] = [x(position), y(index + 1)];
          const d = tokens[place] === null ? `M${cx - 3} ${cy}h6` : `M${cx - 2.5} ${cy - 2.5}h5v5h-5z`;
          this.dots[index].push(shape("path", { d, "data-change": "" }));
        });
      }
    });
    svg.append(this.chosen, this.cursor, ...this.dots.flat());
    svg.setAttribute(
      "aria-label",
      `step at which each position was committed; the positions of each step: ${this.run.steps
        .map((step, index) => `${index + 1}: ${step.committed.join(" ") || "none"}`)
        .join("; ")}`,
    );
  }

  /** Draw the forwards so far, one line a kind, if there is more than one. */
  drawSpent({ spent, kinds, find }) {
    const svg = find(".spending");
    svg.closest("figure").hidden = kinds.length < 2;
    if (kinds.length < 2) return;
    const { x, y } = this.frame(svg, [1, this.scale.steps], [0, this.scale.forwards]);
    kinds.forEach((kind, place) => {
      const points = spent.map((each, index) => `${x(index + 1)},${y(each[kind] ?? 0)}`);
      const dashes = place ? `${8 / place} ${2 + place}` : "none";
      const end = y(spent.at(-1)[kind]);
      svg.append(
        shape("polyline", { points: points.join(" "), "stroke-dasharray": dashes }),
        shape("text", { x: x(spent.length) - 3, y: end - 3, "text-anchor": "end" }, kind),
      );
    });
    const last = kinds.map((kind) => `${spent.at(-1)[kind]} ${kind}`);
    svg.setAttribute("aria-label", `forwards after the last step: ${last.join(", ")}`);
  }

  /** Mark a step, counted from 0. */
  update(index) {
    const kind = (place) => (place > index ? "later" : place === index ? "now" : "");
    this.bars.forEach((bar, place) => bar.setAttribute("class", kind(place)));
    this.dots.forEach((dots, place) => dots.forEach((dot) => dot.setAttribute("class", kind(place))));
    this.cursor.setAttribute("y1", this.order.y(index + 1));
    this.cursor.setAttribute("y2", this.order.y(index + 1));
  }

  /** Mark a position; null for none. */
  point(position) {
    this.chosen.setAttribute("visibility", position === null ? "hidden" : "visible");
    if (position === null) return;
    this.chosen.setAttribute("x1", this.order.x(position));
    this.chosen.setAttribute("x2", this.order.x(position));
  }
}
