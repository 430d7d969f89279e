"use strict";
// Draws the comparisons in #data. One colour for a contestant everywhere: its controls share it and are dashed.
(() => {
  const comparisons = JSON.parse(document.getElementById("data").textContent);
  // Okabe and Ito's palette without black and yellow, its blue lighter, then tones that differ from them in lightness: safe for colour-blind
  // readers, and readable on white and on near-black.
  const palette = ["#2E7EBF", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#8C6BB1", "#7F7F7F", "#A6761D", "#1B9EAA", "#E7298A", "#66A61E"];
  const dashes = { run: null, oracle: "8 3", control: "2 3", baseline: "1 4", "from scratch": "6 2 1 2" };
  const number = d3.format(",.4~g");
  const steps = d3.format(",.0f");

  function element(name, attributes = {}, ...children) {
    const made = document.createElement(name);
    for (const [key, value] of Object.entries(attributes)) {
      if (key in made && key !== "list") made[key] = value; else made.setAttribute(key, value);
    }
    made.append(...children);
    return made;
  }

  function stylesOf(contestants) {
    const bases = [...new Set(contestants.map((one) => one.base))];
    return new Map(contestants.map((one) => [one.label, { colour: palette[bases.indexOf(one.base) % palette.length], dash: dashes[one.kind] }]));
  }

  function stroke(style) {
    const svg = d3.create("svg").attr("width", 24).attr("height", 10).attr("aria-hidden", "true");
    svg.append("line").attr("x1", 1).attr("x2", 23).attr("y1", 5).attr("y2", 5).attr("stroke", style.colour).attr("stroke-width", 3)
      .attr("stroke-dasharray", style.dash);
    return svg.node();
  }

  function choice(label, options, chosen, changed) {
    const select = element("select", { ariaLabel: label }, ...options.map(([value, text]) => element("option", { value, textContent: text, selected: value === chosen })));
    select.addEventListener("change", () => changed(select.value));
    return element("label", {}, label, select);
  }

  // Environment steps: linear up to one episode, logarithmic beyond, so that no experience at all has a place.
  function stepScale(data, comparison) {
    const most = d3.max(data, (one) => d3.max(one.x)) || comparison.episode_steps;
    const constant = comparison.episode_steps / 2;
    const ticks = [0];
    for (let power = Math.ceil(Math.log10(constant)); 10 ** power <= most; power += 1) ticks.push(10 ** power);
    if (ticks.length < 3) ticks.push(most);
    return { type: "symlog", constant, domain: [0, most], ticks, tickFormat: d3.format("~s"), label: "environment steps spent on the task →" };
  }

  // Of a band: many bands above each other stay a veil.
  const veil = (points) => Math.min(0.14, 0.5 / new Set(points.map((d) => d.label)).size);

  function replaceChart(place, plot) { place.replaceChildren(plot); }

  function drawCurves(article, comparison, state, styles) {
    const place = article.querySelector(".curves");
    const lines = comparison.contestants.filter((one) => !state.hidden.has(one.label) && one.curves[state.charge])
      .map((one) => ({ label: one.label, ...(one.curves[state.charge][state.tasks] || one.curves[state.charge].all) }));
    const caption = article.querySelector(".caption");
    if (!lines.length) { place.replaceChildren(element("p", { className: "quiet", textContent: "No contestant that is shown has such rows." })); return; }
    const points = lines.flatMap((one) => one.x.map((x, i) => ({ label: one.label, x, y: one.y[i], low: one.low[i], high: one.high[i] })));
    const dots = lines.flatMap((one) => one.seeds.length < 2 ? [] : one.seeds.flatMap((seed) => one.x.map((x, i) => ({ label: one.label, x, y: seed[i] }))));
    const colour = (d) => styles.get(d.label).colour;
    const width = place.clientWidth || 600;
    const marks = [
      Plot.ruleY(d3.extent(points, (d) => d.y)[0] < 0 && d3.extent(points, (d) => d.y)[1] > 0 ? [0] : [], { stroke: "currentColor", strokeOpacity: 0.25 }),
      Plot.areaY(points.filter((d) => d.low !== null), { x: "x", y1: "low", y2: "high", z: "label", fill: colour, fillOpacity: veil(points), clip: true }),
      Plot.dot(dots, { x: "x", y: "y", fill: colour, r: 2.2, fillOpacity: 0.55, clip: true }),
      ...lines.map((one) => Plot.line(points.filter((d) => d.label === one.label), { x: "x", y: "y", stroke: styles.get(one.label).colour, strokeWidth: 2.2, strokeDasharray: styles.get(one.label).dash, clip: true })),
      ...lines.filter((one) => one.x.length === 1).map((one) => Plot.dot(points.filter((d) => d.label === one.label), { x: "x", y: "y", fill: styles.get(one.label).colour, r: 4 })),
      Plot.tip(points, Plot.pointer({ x: "x", y: "y", fill: "var(--raised)", stroke: "var(--line)", title: (d) => `${d.label}\n${steps(d.x)} steps: ${number(d.y)}${d.low === null ? "" : ` [${number(d.low)}, ${number(d.high)}]`}` })),
    ];
    const low = d3.min(lines, (one) => d3.min(one.y)), high = d3.max(lines, (one) => d3.max(one.y));
    const room = (high - low || 1) * 0.08;
    replaceChart(place, Plot.plot({ width, height: Math.max(280, Math.min(460, width * 0.55)), marginLeft: 56, marginBottom: 42, style: { background: "none", fontSize: "12px" },
      x: stepScale(lines, comparison), y: { label: "↑ return of an episode", domain: [low - room, high + room], grid: true }, marks }));
    const shared = state.tasks === "shared" ? `the ${comparison.shared_tasks} tasks that all played` : "all held-out tasks that each played";
    caption.textContent = `Mean over ${shared}, 95 % interval, a dot for each training seed. ` + (state.charge === "online"
      ? "Episodes whose steps are charged to the budget, with the action noise that the agent adapts by."
      : "Test episodes without action noise, which are charged nothing.");
  }

  function drawLegend(article, comparison, state, styles, redraw) {
    article.querySelector(".legend").replaceChildren(...comparison.contestants.map((one) => {
      const button = element("button", { type: "button" }, stroke(styles.get(one.label)), one.label);
      button.setAttribute("aria-pressed", String(!state.hidden.has(one.label)));
      button.addEventListener("click", () => {
        if (state.hidden.has(one.label)) state.hidden.delete(one.label); else state.hidden.add(one.label);
        button.setAttribute("aria-pressed", String(!state.hidden.has(one.label)));
        redraw();
      });
      return button;
    }));
  }

  const lastOf = (values) => values[values.length - 1];

  function taskValue(explorer, label, task, measure) {
    const curve = explorer.curves[label] && explorer.curves[label].y[task];
    if (!curve) return null;
    return measure === "gain" ? lastOf(curve) - curve[0] : measure === "first" ? curve[0] : lastOf(curve);
  }

  function drawMap(article, comparison, state, styles, redraw) {
    const place = article.querySelector(".map"), explorer = comparison.explorer;
    const rows = explorer.tasks.map((one) => ({ task: one.task, values: one.values, value: taskValue(explorer, state.who, one.task, state.measure) })).filter((one) => one.value !== null);
    if (!rows.length) { place.replaceChildren(element("p", { className: "quiet", textContent: `${state.who} played none of these tasks.` })); return; }
    const numeric = explorer.parameters.map((_, i) => rows.every((row) => typeof row.values[i] === "number"));
    const width = place.clientWidth || 400, height = Math.max(260, Math.min(380, width * 0.8));
    const measureName = { last: "last return", first: "first return", gain: "gain" }[state.measure];
    const x = Number(state.x), y = state.y === "value" ? null : Number(state.y);
    const channel = (i) => (i === null ? (d) => d.value : (d) => d.values[i]);
    const name = (i) => (i === null ? measureName : explorer.parameters[i]);
    const discrete = (i) => i !== null && !numeric[i];
    const axis = (i, arrow) => ({ label: arrow ? `↑ ${name(i)}` : `${name(i)} →`, type: discrete(i) ? "point" : "linear", grid: true, nice: true, tickFormat: discrete(i) ? (text) => String(text).slice(0, 12) : undefined });
    const common = { x: channel(x), y: channel(y) };
    const diverging = state.measure === "gain";
    const extent = d3.extent(rows, (d) => d.value), most = Math.max(Math.abs(extent[0]), Math.abs(extent[1]));
    const colour = diverging ? { type: "diverging", scheme: "PuOr", domain: [-most, most], pivot: 0 } : { type: "linear", scheme: "Viridis", domain: extent };
    const plot = Plot.plot({ width, height, marginLeft: 56, marginBottom: 42, style: { background: "none", fontSize: "12px" }, x: axis(x, false), y: axis(y, true),
      color: { ...colour, legend: false }, marks: [
        Plot.dot(rows, { ...common, fill: "value", r: 6, stroke: "currentColor", strokeWidth: (d) => (d.task === state.task ? 2.5 : 0.6), strokeOpacity: (d) => (d.task === state.task ? 1 : 0.4) }),
        Plot.tip(rows, Plot.pointer({ ...common, maxRadius: 30, fill: "var(--raised)", stroke: "var(--line)", title: (d) => `task ${d.task}\n${explorer.parameters.map((p, i) => `${p} ${typeof d.values[i] === "number" ? number(d.values[i]) : d.values[i]}`).join("\n")}\n${measureName}: ${number(d.value)}` })),
      ] });
    // Plot's pointer says which dot is under the finger or the mouse: that task is shown beside.
    plot.addEventListener("input", () => { if (plot.value && plot.value.task !== state.task) { state.task = plot.value.task; drawTask(article, comparison, state, styles); } });
    plot.addEventListener("click", () => { if (plot.value) { state.task = plot.value.task; redraw(); } });
    const legend = Plot.legend({ color: { ...colour, label: measureName }, width: Math.min(240, width), style: { background: "none" } });
    place.replaceChildren(legend, plot);
  }

  function drawTask(article, comparison, state, styles) {
    const place = article.querySelector(".task-curve"), explorer = comparison.explorer;
    const task = explorer.tasks.find((one) => one.task === state.task) || explorer.tasks[0];
    const lines = comparison.contestants.filter((one) => !state.hidden.has(one.label) && explorer.curves[one.label] && explorer.curves[one.label].y[task.task])
      .map((one) => ({ label: one.label, x: explorer.curves[one.label].x, y: explorer.curves[one.label].y[task.task] }));
    const width = place.clientWidth || 400;
    const values = explorer.parameters.map((name, i) => `${name} ${typeof task.values[i] === "number" ? number(task.values[i]) : task.values[i]}`).join(", ");
    article.querySelector(".task-name").textContent = `Task ${task.task}: ${values}. Every contestant that the legend above shows, mean over its seeds.`;
    article.querySelector(".video").replaceChildren(...(explorer.videos[task.task] || []).map((one) => element("figure", {},
      element("video", { src: one.source, controls: true, loop: true, muted: true, playsInline: true }), element("figcaption", { className: "quiet", textContent: one.name }))));
    if (!lines.length) { place.replaceChildren(); return; }
    const points = lines.flatMap((one) => one.x.map((x, i) => ({ label: one.label, x, y: one.y[i] })));
    replaceChart(place, Plot.plot({ width, height: Math.max(240, Math.min(380, width * 0.8)), marginLeft: 56, marginBottom: 42, style: { background: "none", fontSize: "12px" },
      x: stepScale(lines, comparison), y: { label: "↑ return of an episode", grid: true, nice: true }, marks: [
        ...lines.map((one) => Plot.line(points.filter((d) => d.label === one.label), { x: "x", y: "y", stroke: styles.get(one.label).colour, strokeWidth: 2, strokeDasharray: styles.get(one.label).dash })),
        ...lines.filter((one) => one.x.length === 1).map((one) => Plot.dot(points.filter((d) => d.label === one.label), { x: "x", y: "y", fill: styles.get(one.label).colour, r: 4 })),
        Plot.tip(points, Plot.pointer({ x: "x", y: "y", fill: "var(--raised)", stroke: "var(--line)", title: (d) => `${d.label}\n${steps(d.x)} steps: ${number(d.y)}` })),
      ] }));
  }

  function drawMatrix(article, comparison, styles) {
    const table = article.querySelector(".matrix");
    if (!table) return;
    const labels = comparison.contestants.map((one) => one.label).filter((label) => comparison.pairs.some((pair) => pair.one === label));
    const found = new Map(comparison.pairs.map((pair) => [`${pair.one}\n${pair.other}`, pair]));
    const swatch = (label) => element("span", { className: "swatch" }, stroke(styles.get(label)));
    const head = element("thead", {}, element("tr", {}, element("th"), ...labels.map((label) => element("th", { scope: "col" }, label))));
    const body = element("tbody", {}, ...labels.map((row) => element("tr", {}, element("th", { scope: "row" }, swatch(row), row), ...labels.map((column) => {
      const pair = found.get(`${row}\n${column}`);
      if (!pair) return element("td", { textContent: row === column ? "" : "–" });
      const { value, low, high } = pair.improvement, sure = low !== null && (low > 0.5 || high < 0.5);
      const cell = element("td", { className: sure ? "sure" : "", title: low === null ? "" : `${number(low)} to ${number(high)}; ${pair.tasks} tasks` }, d3.format(".0%")(value));
      const wins = Math.abs(value - 0.5) * 0.7;
      cell.style.background = value >= 0.5 ? `rgba(0, 114, 178, ${wins})` : `rgba(213, 94, 0, ${wins})`;
      const difference = pair.difference;
      cell.append(element("small", { textContent: `${difference.value > 0 ? "+" : ""}${number(difference.value)}` }));
      return cell;
    }))));
    table.replaceChildren(head, body);
  }

  function drawProfiles(article, comparison, state, styles) {
    const place = article.querySelector(".profiles"), profiles = comparison.profiles;
    const lines = profiles.lines.filter((one) => !state.hidden.has(one.contestant));
    if (!lines.length) { place.replaceChildren(); return; }
    const points = lines.flatMap((one) => profiles.thresholds.map((x, i) => ({ label: one.contestant, x, y: one.value[i], low: one.low[i], high: one.high[i] })));
    const width = place.clientWidth || 600;
    replaceChart(place, Plot.plot({ width, height: Math.max(220, Math.min(320, width * 0.4)), marginLeft: 56, marginBottom: 42, style: { background: "none", fontSize: "12px" },
      x: { label: "threshold of the return →" }, y: { label: "↑ share of runs above it", grid: true, domain: [0, 1], tickFormat: ".0%" }, marks: [
        Plot.areaY(points.filter((d) => d.low !== null), { x: "x", y1: "low", y2: "high", z: "label", fill: (d) => styles.get(d.label).colour, fillOpacity: veil(points) }),
        ...lines.map((one) => Plot.line(points.filter((d) => d.label === one.contestant), { x: "x", y: "y", stroke: styles.get(one.contestant).colour, strokeWidth: 2, strokeDasharray: styles.get(one.contestant).dash })),
        Plot.tip(points, Plot.pointer({ x: "x", y: "y", fill: "var(--raised)", stroke: "var(--line)", title: (d) => `${d.label}\n${d3.format(".0%")(d.y)} above ${number(d.x)}` })),
      ] }));
  }

  function makeSortable(table) {
    const heads = [...table.tHead.rows[0].cells];
    heads.forEach((head, place) => {
      head.tabIndex = 0;
      const sort = () => {
        const ascending = head.getAttribute("aria-sort") === "descending";
        heads.forEach((one) => one.removeAttribute("aria-sort"));
        head.setAttribute("aria-sort", ascending ? "ascending" : "descending");
        const value = (row) => { const cell = row.cells[place], text = cell.dataset.value ?? cell.textContent.trim(); const parsed = parseFloat(text); return Number.isNaN(parsed) ? text : parsed; };
        // Rows without a figure stay at the end, whichever way the others go.
        const empty = (row) => { const found = value(row); return found === "" || found === "–" || found === "-"; };
        const rows = [...table.tBodies[0].rows];
        rows.sort((a, b) => empty(a) - empty(b) || (ascending ? 1 : -1) * d3.ascending(value(a), value(b)));
        table.tBodies[0].append(...rows);
      };
      head.addEventListener("click", sort);
      head.addEventListener("keydown", (event) => { if (event.key === "Enter" || event.key === " ") { event.preventDefault(); sort(); } });
    });
  }

  document.querySelectorAll(".comparison").forEach((article) => {
    const comparison = comparisons[Number(article.dataset.place)], styles = stylesOf(comparison.contestants), explorer = comparison.explorer;
    const runs = comparison.contestants.filter((one) => explorer.curves[one.label]);
    const varied = explorer.parameters.map((_, i) => i).filter((i) => new Set(explorer.tasks.map((one) => one.values[i])).size > 1);
    const shownParameters = varied.length ? varied : explorer.parameters.map((_, i) => i);
    const hasShared = comparison.contestants.some((one) => Object.values(one.curves).some((curve) => curve.shared));
    // With many lines, controls wait in the legend.
    const waiting = comparison.contestants.length > 9 ? comparison.contestants.filter((one) => one.kind === "control").map((one) => one.label) : [];
    const state = { hidden: new Set(waiting), charge: "online", tasks: hasShared ? "shared" : "all", measure: "last", who: runs.length ? runs[0].label : "", task: explorer.tasks.length ? explorer.tasks[0].task : null,
      x: String(shownParameters[0] ?? 0), y: shownParameters.length > 1 ? String(shownParameters[1]) : "value" };
    article.querySelectorAll(".swatch").forEach((place) => place.replaceChildren(stroke(styles.get(place.dataset.label))));
    const upper = () => { drawCurves(article, comparison, state, styles); drawProfiles(article, comparison, state, styles); drawTask(article, comparison, state, styles); };
    const lower = () => { drawMap(article, comparison, state, styles, lower); drawTask(article, comparison, state, styles); };
    const controls = article.querySelector('.controls[data-for="curves"]');
    if (comparison.contestants.some((one) => one.curves.probe)) controls.append(choice("episodes", [["online", "charged to the budget"], ["probe", "probes without noise"]], state.charge, (value) => { state.charge = value; upper(); }));
    if (hasShared) controls.append(choice("tasks", [["shared", `the ${comparison.shared_tasks} that all played`], ["all", "all that each played"]], state.tasks, (value) => { state.tasks = value; upper(); }));
    drawLegend(article, comparison, state, styles, upper);
    const tasks = article.querySelector('.controls[data-for="tasks"]');
    tasks.append(choice("contestant", runs.map((one) => [one.label, one.label]), state.who, (value) => { state.who = value; lower(); }));
    tasks.append(choice("colour", [["last", "last return"], ["first", "first return"], ["gain", "gain of adapting"]], state.measure, (value) => { state.measure = value; lower(); }));
    if (shownParameters.length > 2) {
      const options = shownParameters.map((i) => [String(i), explorer.parameters[i]]);
      tasks.append(choice("across", options, state.x, (value) => { state.x = value; lower(); }), choice("up", [["value", "the return"], ...options], state.y, (value) => { state.y = value; lower(); }));
    }
    if (explorer.left_out) tasks.append(element("span", { className: "quiet", textContent: `the first ${explorer.tasks.length} tasks; ${explorer.left_out} more are in the table` }));
    article.querySelectorAll("table.sortable").forEach(makeSortable);
    drawMatrix(article, comparison, styles);
    upper(); lower();
    let width = article.clientWidth;
    new ResizeObserver(() => { if (article.clientWidth !== width) { width = article.clientWidth; upper(); lower(); } }).observe(article);
  });
  document.documentElement.dataset.ready = "true";
})();
