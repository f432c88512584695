// One policy on one problem: its tokens at a step, its numbers and its charts.

const WHITE_SPACE = { "\n": "⏎", "\t": "⇥", "\r": "␍" };

/** Return what to write into a cell for a token: white space alone would be invisible. */
function shownToken(text) {
  const seen = text.replace(/[\n\t\r]/g, (character) => WHITE_SPACE[character]);
  return seen.trim() || "␣";
}

/**
 * Return the positions after each step: the text, or null for a mask; the step and the hand that
 * wrote last; the step whose numbers it was committed by; and the text before the step.
 */
function replay(run) {
  let cells = run.tokens.map(() => ({ text: null, at: null, by: null, seen: null }));
  return run.steps.map((step, at) => {
    const start = cells;
    cells = [...cells];
    for (const { by, positions, tokens } of step.writes) {
      positions.forEach((position, place) => {
        const seen = by === "policy" || by === "corrector" ? at : cells[position].seen;
        cells[position] = { text: tokens[place], at, by, seen, before: start[position].text };
      });
    }
    return cells;
  });
}

/** Return forwards by kind as text. */
function byKind(forwards) {
  return Object.entries(forwards).map(([kind, count]) => `${count} ${kind}`).join(", ");
}

/** Return forwards by kind up to each step. */
function spentBy(run) {
  const spent = {};
  return run.steps.map((step) => {
    for (const [kind, count] of Object.entries(step.forwards)) spent[kind] = (spent[kind] ?? 0) + count;
    return { ...spent };
  });
}

/** Set or remove an attribute without a value. */
function flag(element, name, on) {
  element.toggleAttribute(`data-${name}`, Boolean(on));
}

class Panel {
  constructor(title, listeners) {
    this.root = document.getElementById("panel").content.firstElementChild.cloneNode(true);
    this.listeners = listeners;
    this.find = (selector) => this.root.querySelector(selector);
    this.select = this.find(".who select");
    this.find(".who .muted").textContent = title;
    this.slider = this.find(".own input");
    this.slider.setAttribute("aria-label", `step, ${title}`);
    this.select.addEventListener("change", () => listeners.choose(this.select.value));
    this.slider.addEventListener("input", () => listeners.step(Number(this.slider.value)));
    this.root.addEventListener("focusin", () => listeners.use());
    this.root.addEventListener("pointerdown", () => listeners.use());
    this.trajectory = null;
    this.cells = [];
  }

  /** Offer the labels to choose from, the given one chosen. */
  offer(labels, chosen) {
    this.select.replaceChildren(
      ...labels.map((label) => new Option(label || "(none)", label, false, label === chosen)),
    );
  }

  /** Show another trajectory, or nothing; ``scale`` has the axes that the panels share. */
  show(trajectory, scale) {
    this.trajectory = trajectory;
    for (const part of [".summary", ".state", ".spent", ".tokens", ".detail", ".charts"]) {
      this.find(part).hidden = !trajectory;
    }
    this.cells = [];
    this.find(".tokens").replaceChildren();
    if (!trajectory) return;
    this.history = replay(trajectory);
    this.spent = spentBy(trajectory);
    this.kinds = Object.keys(this.spent.at(-1) ?? {});
    this.slider.max = trajectory.steps.length;
    this.find(".tokens").setAttribute("aria-label", `tokens of ${trajectory.label}`);
    this.cells = trajectory.tokens.map((_, position) => this.makeCell(position));
    this.cells[0].tabIndex = 0;
    this.find(".tokens").replaceChildren(...this.cells);
    this.charts = new Charts(this.find(".pace"), this.find(".order"), this, scale);
    this.summarise();
  }

  makeCell(position) {
    const cell = document.createElement("div");
    const token = document.createElement("span");
    const track = document.createElement("span");
    const bar = document.createElement("span");
    cell.className = "cell";
    token.className = "token";
    track.className = "track";
    bar.className = "bar";
    cell.setAttribute("role", "option");
    cell.dataset.position = position;
    cell.tabIndex = -1;
    track.append(bar);
    cell.append(token, track);
    cell.addEventListener("pointerenter", () => this.listeners.point(position));
    cell.addEventListener("pointerdown", () => this.listeners.point(position));
    cell.addEventListener("focus", () => this.listeners.point(position));
    return cell;
  }

  summarise() {
    const run = this.trajectory;
    const verdict = document.createElement("span");
    verdict.className = "verdict";
    const grade = run.verdict >= 1 ? "right" : run.verdict > 0 ? "part" : "wrong";
    const words = { right: "✓ correct", part: `◐ ${run.verdict.toFixed(2)}`, wrong: "✗ wrong" };
    verdict.dataset.grade = grade;
    verdict.textContent = words[grade];
    const forced = run.steps.reduce((sum, step) => sum + step.forced.length, 0);
    const facts = [
      `${run.nfe} forwards`,
      `${(run.content / run.nfe).toFixed(2)} tokens a forward`,
      `blocks of ${run.block_length}`,
    ];
    if (forced) facts.push(`${forced} forced`);
    if (this.kinds.length > 1) facts.splice(1, 0, `${run.steps.length} steps`);
    this.find(".summary").replaceChildren(verdict);
    for (const fact of facts) {
      const part = document.createElement("span");
      part.textContent = `· ${fact}`;
      this.find(".summary").append(" ", part);
    }
  }

  /** What a position looks like after a step. */
  look(position, index) {
    const run = this.trajectory;
    const step = run.steps[index];
    const cell = this.history[index][position];
    const committed = cell.text !== null;
    const now = cell.at === index;
    const stood = (cell.before ?? null) !== null;
    const seen = committed && cell.seen !== null ? run.steps[cell.seen] : step;
    return {
      ...cell,
      committed,
      filled: committed && cell.by === "early stop",
      isNew: now && committed && cell.by === "policy",
      forced: now && committed && cell.by === "policy" && step.forced.includes(position),
      rewritten: now && committed && cell.by === "corrector",
      back: now && !committed && stood,
      resampled: now && cell.by === "resampler",
      eligible: this.eligible.has(position),
      confidence: seen.confidence[position],
      probability: seen.probability[position],
      end: committed && run.content < run.gen_length && cell.text === run.tokens[run.content],
    };
  }

  /** Say what a step did in words. */
  told(index) {
    const step = this.trajectory.steps[index];
    const forced = step.forced.length ? ` (${step.forced.length} forced)` : "";
    const parts = [`${step.committed.length} ${step.committed.length === 1 ? "token" : "tokens"} committed${forced}`];
    const counts = new Map();
    for (const { by, positions, tokens } of step.writes) {
      positions.forEach((_, place) => {
        const verb = tokens[place] === null ? "taken back" : { corrector: "rewritten", resampler: "taken over" }[by];
        if (!verb) return;
        const key = by === "resampler" ? `${verb} from another particle` : `${verb} by the ${by}`;
        counts.set(key, (counts.get(key) ?? 0) + 1);
      });
    }
    for (const [key, count] of counts) parts.push(`${count} ${key}`);
    return parts.join(", ");
  }

  /** Draw the state after a step, counted from 1. */
  update(number, position) {
    if (!this.trajectory) return;
    const run = this.trajectory;
    const last = run.steps.length;
    const index = Math.min(number, last) - 1;
    this.index = index;
    this.eligible = new Set(run.steps[index].eligible);
    this.cells.forEach((cell, place) => this.draw(cell, place));
    const left = this.history[index].filter((cell) => cell.text === null).length;
    const over = number > last ? "; finished" : "";
    this.find(".state").textContent =
      `Step ${index + 1} of ${last}${over}: ${this.told(index)}, ${left} of ${run.gen_length} masked`;
    const now = byKind(run.steps[index].forwards) || "none";
    this.find(".spent").textContent =
      this.kinds.length > 1 ? `Forwards of this step: ${now}; so far: ${byKind(this.spent[index])}` : "";
    this.slider.value = index + 1;
    this.find(".own output").textContent = `${index + 1} of ${last}`;
    this.charts.update(index, position);
    this.point(position);
  }

  draw(cell, position) {
    const look = this.look(position, this.index);
    const [token, track] = cell.children;
    const shown = look.end ? "end" : look.committed ? shownToken(look.text) : shortNumber(look.confidence);
    const colour = confidenceColour(look.confidence);
    token.textContent = shown;
    token.style.setProperty("--fill", colour.fill);
    token.style.setProperty("--text", colour.text);
    track.firstElementChild.style.width = look.eligible ? `${100 * look.probability}%` : "0";
    cell.dataset.state = look.committed ? "committed" : "masked";
    flag(cell, "new", look.isNew);
    flag(cell, "forced", look.forced);
    flag(cell, "rewritten", look.rewritten);
    flag(cell, "back", look.back);
    flag(cell, "resampled", look.resampled);
    flag(cell, "eligible", look.eligible);
    flag(cell, "outside", !look.committed && !look.eligible);
    flag(cell, "end", look.end);
    cell.setAttribute("aria-label", this.describe(position, look));
  }

  /** Say everything about a position in words. */
  describe(position, look = this.look(position, this.index)) {
    const parts = [`position ${position}`];
    parts.push(look.committed ? JSON.stringify(look.text) : "masked");
    if (look.filled) return [...parts, "filled in by the early stop, committed by nobody"].join(", ");
    const confidence = `confidence ${look.confidence.toFixed(3)}`;
    const probability = `probability ${look.probability.toFixed(3)}`;
    const was = (look.before ?? null) === null ? "" : ` (was ${JSON.stringify(look.before)})`;
    if (!look.committed) {
      if (look.at !== null) parts.push(`taken back by the ${look.by} at step ${look.at + 1}${was}`);
      parts.push(confidence, probability, look.eligible ? "eligible" : "outside the current block");
    } else if (look.by === "resampler") {
      parts.push(`taken over from another particle at step ${look.at + 1}`);
      parts.push(`committed at step ${look.seen + 1} with ${confidence}, ${probability}`);
    } else {
      const forced = this.trajectory.steps[look.at].forced.includes(position);
      const verb = look.by === "corrector" ? "rewritten by the corrector" : forced ? "forced" : "committed";
      parts.push(`${verb} at step ${look.at + 1}${was} with ${confidence}, ${probability}`);
    }
    return parts.join(", ");
  }

  /** Mark a position and write its details; null for none. */
  point(position) {
    if (!this.trajectory) return;
    const known = position !== null && position < this.cells.length;
    this.cells.forEach((cell, place) =>
      cell.setAttribute("aria-selected", String(known && place === position)),
    );
    this.find(".detail").textContent = known
      ? this.describe(position)
      : "Point at a token for its numbers.";
    this.find(".detail").classList.toggle("muted", !known);
    this.charts.point(known ? position : null);
  }

  /** Move the keyboard's focus by a key; false if the key does not move it. */
  move(from, key) {
    const columns = getComputedStyle(this.find(".tokens")).gridTemplateColumns.split(" ").length;
    const offset = { ArrowLeft: -1, ArrowRight: 1, ArrowUp: -columns, ArrowDown: columns }[key];
    const last = this.cells.length - 1;
    const to = { Home: 0, End: last }[key] ?? from + offset;
    if (!Number.isFinite(to)) return false;
    const cell = this.cells[Math.max(0, Math.min(last, to))];
    this.cells[from].tabIndex = -1;
    cell.tabIndex = 0;
    cell.focus();
    return true;
  }
}
