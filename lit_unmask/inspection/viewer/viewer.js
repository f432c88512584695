// What is chosen, the controls and the keyboard.

const byId = (id) => document.getElementById(id);

/** Return the problems in order, each with its trajectories by label. */
function groupProblems(trajectories) {
  const problems = new Map();
  for (const run of trajectories) {
    const key = JSON.stringify([run.dataset, run.uid]);
    if (!problems.has(key)) {
      const { dataset, question, answer } = run;
      problems.set(key, { dataset, question, answer, runs: new Map() });
    }
    problems.get(key).runs.set(run.label, run);
  }
  return [...problems.values()];
}

const trajectories = JSON.parse(byId("trajectories").textContent).trajectories;
const problems = groupProblems(trajectories);
const labels = [...new Set(trajectories.map((run) => run.label))];
const state = {
  problem: 0,
  chosen: [labels[0], labels[1] ?? ""],
  steps: [1, 1],
  together: true,
  active: 0,
  position: null,
  timer: null,
};

const panels = ["policy", "compared with"].map(
  (title, side) =>
    new Panel(title, {
      choose: (label) => {
        state.chosen[side] = label;
        showProblem();
      },
      step: (number) => go(number, side),
      use: () => (state.active = side),
      point: (position) => {
        state.position = position;
        panels.forEach((panel) => panel.point(position));
      },
    }),
);

function shownRuns() {
  const { runs } = problems[state.problem];
  return state.chosen.map((label) => runs.get(label) ?? null);
}

/** Return the last step of one side, or of both together. */
function lastStep(side) {
  const lengths = shownRuns().map((run) => run?.steps.length ?? 1);
  return state.together ? Math.max(...lengths) : lengths[side];
}

function showProblem() {
  const problem = problems[state.problem];
  const runs = shownRuns();
  const scale = {
    steps: Math.max(...runs.map((run) => run?.steps.length ?? 1)),
    forwards: Math.max(...runs.map((run) => run?.nfe ?? 1)),
    tokens: Math.max(
      ...runs.flatMap((run) => (run ? run.steps.map((step) => step.committed.length) : [1])),
    ),
  };
  byId("problem").value = state.problem;
  byId("question").textContent = problem.question;
  byId("answer").textContent = problem.answer;
  byId("reference").hidden = !problem.answer;
  byId("panels").classList.toggle("single", !runs[1]);
  panels.forEach((panel, side) => {
    panel.offer(side ? [...labels, ""] : labels, state.chosen[side]);
    panel.show(runs[side], scale);
  });
  byId("step").max = scale.steps;
  draw();
}

function draw() {
  panels.forEach((panel, side) => {
    state.steps[side] = Math.max(1, Math.min(state.steps[side], lastStep(side)));
    panel.update(state.steps[side], state.position);
    panel.find(".own").hidden = state.together || !panel.trajectory;
  });
  byId("common").hidden = !state.together;
  byId("step").value = state.steps[0];
  byId("shown").textContent = `${state.steps[0]} of ${byId("step").max}`;
  byId("play").textContent = state.timer ? "❚❚ pause" : "▶ play";
}

/** Go to a step of one side, or of both. */
function go(number, side = state.active) {
  state.steps = state.steps.map((step, each) => (state.together || each === side ? number : step));
  draw();
}

function pause() {
  clearInterval(state.timer);
  state.timer = null;
  draw();
}

function advance() {
  state.steps = state.steps.map((step) => step + 1);
  draw();
  if (state.steps.every((step, side) => step >= lastStep(side))) pause();
}

function play() {
  if (state.timer) return pause();
  if (state.steps.every((step, side) => step >= lastStep(side))) state.steps = [1, 1];
  state.timer = setInterval(advance, Number(byId("speed").value));
  draw();
}

function showOther(offset) {
  state.problem = (state.problem + offset + problems.length) % problems.length;
  state.steps = [1, 1];
  showProblem();
}

/** Return whether a key was a step: arrows, and the ends without shift. */
function stepByKey(key) {
  const side = state.active;
  const to = {
    ArrowLeft: state.steps[side] - 1,
    ArrowRight: state.steps[side] + 1,
    Home: 1,
    End: lastStep(side),
  }[key];
  if (to === undefined) return false;
  go(to);
  return true;
}

function onKey(event) {
  const { target, key } = event;
  if (event.ctrlKey || event.metaKey || event.altKey || target.closest("select")) return;
  const cell = target.closest(".tokens .cell");
  if (key === " ") {
    if (target.closest("button, [type=checkbox]")) return;
    event.preventDefault();
    return play();
  }
  let used = false;
  if (cell && !event.shiftKey) {
    used = panels[state.active].move(Number(cell.dataset.position), key);
  } else if (!target.matches("[type=range]")) {
    used = stepByKey(key);
  }
  if (used) event.preventDefault();
}

/** Return the line of a problem in the list: number, verdicts in the order of the labels, text. */
function problemLine(problem, index) {
  const marks = labels.map((label) => {
    const run = problem.runs.get(label);
    return !run ? "–" : run.verdict >= 1 ? "✓" : run.verdict > 0 ? "◐" : "✗";
  });
  const question = problem.question.replace(/\s+/g, " ").slice(0, 90);
  const name = problem.dataset ? `${problem.dataset} ` : "";
  return `${name}${index + 1}  ${marks.join("")}  ${question}`;
}

function start() {
  byId("problem").replaceChildren(
    ...problems.map((problem, index) => new Option(problemLine(problem, index), index)),
  );
  byId("problem").title = `verdicts in the order: ${labels.join(", ")}`;
  byId("panels").append(...panels.map((panel) => panel.root));
  byId("problem").addEventListener("change", (event) =>
    showOther(Number(event.target.value) - state.problem),
  );
  byId("previous").addEventListener("click", () => showOther(-1));
  byId("next").addEventListener("click", () => showOther(1));
  byId("play").addEventListener("click", play);
  byId("step").addEventListener("input", (event) => go(Number(event.target.value)));
  byId("speed").addEventListener("change", () => state.timer && (pause(), play()));
  byId("together").addEventListener("change", (event) => {
    state.together = event.target.checked;
    go(state.steps[state.active]);
  });
  darkScheme.addEventListener("change", () => {
    paintRamp(byId("ramp"));
    draw();
  });
  document.addEventListener("keydown", onKey);
  paintRamp(byId("ramp"));
  showProblem();
}

start();
