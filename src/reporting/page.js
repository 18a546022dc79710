// The page's script. Charts are drawn by Vega-Lite when they come into view; the controls set their parameters.
const parts = JSON.parse(document.getElementById("data").textContent);
document.documentElement.classList.add("scripted");

const onPress = act => event => { if (event.key === "Enter" || event.key === " ") { event.preventDefault(); act(); } };
const rowsOf = table => Array.from({ length: Object.values(table)[0]?.length ?? 0 }, (_, row) =>
  Object.fromEntries(Object.entries(table).map(([key, column]) => [key, column[row]])));

// Charts: text and lines take the page's colour, so that they follow its light or dark theme.
const ink = { labelColor: "currentColor", titleColor: "currentColor", tickColor: "currentColor" };
const config = {
  background: null, font: "system-ui, sans-serif", title: { color: "currentColor" }, view: { stroke: null },
  axis: { ...ink, domainColor: "currentColor", gridColor: "currentColor", gridOpacity: 0.15, labelFontSize: 11 },
  header: ink, legend: { ...ink, labelFontSize: 12 }, text: { fill: "currentColor" },
};
const state = {}, views = {};
const tablesOf = id => {
  const { tables } = parts[id];
  if (!parts[id].rows) {
    parts[id].rows = Object.fromEntries(Object.entries(tables).map(([name, table]) => [name, rowsOf(table)]));
    const { runs, curves } = parts[id].rows;
    if (curves) parts[id].rows.curves = curves.map(row => ({ ...runs[row.run], ...row }));
  }
  return parts[id].rows;
};
// On a narrow screen panels become narrower, and stand below each other where they are independent.
function fitted(spec, width) {
  const room = Math.max(180, width - 110), narrow = width < 700;
  if (!narrow) return spec;
  if (spec.vconcat) return { ...spec, vconcat: spec.vconcat.flatMap(row => row.hconcat.map(panel => ({ ...panel, width: room }))) };
  const columns = spec.columns && { columns: 1 }, legend = { legend: { ...config.legend, orient: "bottom" } };
  if (spec.facet) return { ...spec, ...columns, spec: { ...spec.spec, width: Math.min(spec.spec.width, room) } };
  return { ...spec, config: legend, width: Math.min(spec.width, room) };
}
async function draw(element, id, spec) {
  // With `ast`, expressions are interpreted: the page's policy forbids `eval`. Vega warns of each panel in which a layer, such as diverged runs, is empty: only errors are logged.
  const inside = element.appendChild(document.createElement("div")); // vega-embed's own style would widen the page
  const { view } = await vegaEmbed(inside, { ...fitted(spec, element.clientWidth), datasets: tablesOf(id) }, { renderer: "svg", actions: false, config, logLevel: 1, ast: true });
  element.classList.add("drawn");
  (views[id] ??= []).push(view);
  set(view, state[id]);
  view.addEventListener("click", (_, item) => {
    const { cell, part = id, epoch } = item?.datum ?? {};
    if (cell && (epoch || item.mark.marktype !== "line")) showCell(part, cell); // other lines join several cells
  });
  return view;
}
const set = (view, values = {}) => {
  for (const [name, value] of Object.entries(values)) try { view.signal(name, value); } catch { /* not in this chart */ }
  view.runAsync();
};
const watcher = new IntersectionObserver(entries => {
  for (const { isIntersecting, target } of entries) if (isIntersecting) {
    watcher.unobserve(target);
    const { part, spec } = target.dataset;
    draw(target, part, parts[part].specs[spec]);
  }
}, { rootMargin: "300px" });
document.querySelectorAll(".chart").forEach(chart => watcher.observe(chart));

// Controls of a section. Averages over seeds, as by learning rate, have no choice of a seed.
for (const controls of document.querySelectorAll(".controls")) {
  const id = controls.dataset.part, section = document.getElementById(id);
  const update = () => {
    const chosen = name => [...controls.querySelectorAll(`[name="${id}-${name}"]:checked`)].map(box => box.value);
    const seed = controls.querySelector("select")?.value ?? "all";
    const [split] = chosen("split"), optimizers = chosen("optimizer"), batches = chosen("batch");
    state[id] = { split, optimizers, seed: seed === "all" ? null : Number(seed), batches: batches.map(Number) };
    for (const tile of section.querySelectorAll(".tile")) tile.hidden = tile.dataset.split !== split || ![seed, "any"].includes(tile.dataset.seed);
    for (const panel of section.querySelectorAll(".panel")) panel.hidden = !optimizers.includes(panel.dataset.optimizer);
    for (const row of section.querySelectorAll(".map tr[data-batch]")) row.hidden = !batches.includes(row.dataset.batch);
    for (const view of views[id] ?? []) set(view, state[id]);
  };
  controls.addEventListener("change", update);
  update();
}

// A cell's details: a copy of its entry in the list, with its curves.
const dialog = document.querySelector("dialog"), content = dialog.querySelector("div");
const entries = Object.fromEntries([...document.querySelectorAll("details[data-cell]")].map(each => [each.dataset.part + each.dataset.cell, each]));
function showCell(id, cell) {
  const entry = entries[id + cell], { facet, spec, transform, ...rest } = parts[id].specs.curves;
  if (!entry) return;
  const title = document.createElement("h3"), chart = document.createElement("div");
  title.textContent = cell; chart.className = "chart";
  content.replaceChildren(title, chart, ...[...entry.cloneNode(true).children].slice(1));
  content.querySelectorAll(".filter").forEach(filter => filter.remove()); // the copy of one does nothing
  content.querySelectorAll("table.sort").forEach(sortable);
  const own = [{ filter: { field: "cell", equal: cell } }, ...transform.slice(1)]; // without the choice of optimizers
  if (!dialog.open) dialog.showModal();
  const chosen = { ...rest, ...spec, width: Math.min(560, content.clientWidth - 120), height: 240, transform: own };
  draw(chart, id, chosen).then(view => dialog.addEventListener("close", () => {
    views[id] = views[id].filter(other => other !== view);
    view.finalize();
  }, { once: true }));
}
dialog.onclick = event => { if (event.target === dialog) dialog.close(); };
dialog.querySelector("button").onclick = () => dialog.close();

// Tooltips of the heat map, for the mouse and the keyboard.
const tip = document.getElementById("tip");
for (const cell of document.querySelectorAll(".map a")) {
  const show = () => {
    tip.textContent = cell.dataset.tip; tip.hidden = false;
    const box = cell.getBoundingClientRect(), below = box.bottom + tip.offsetHeight + 8 < innerHeight;
    tip.style.left = `${Math.max(4, Math.min(box.left, innerWidth - tip.offsetWidth - 4))}px`;
    tip.style.top = `${below ? box.bottom + 6 : box.top - tip.offsetHeight - 6}px`;
  };
  cell.onmouseenter = cell.onfocus = show;
  cell.onmouseleave = cell.onblur = () => { tip.hidden = true; };
  cell.onclick = event => { event.preventDefault(); tip.hidden = true; showCell(cell.dataset.part, cell.dataset.cell); };
}

// Tables: sorted by a click on a head, filtered by a text.
function sortable(table) {
  const heads = [...table.querySelectorAll("thead th")], body = table.tBodies[0];
  const value = (row, column) => { const text = row.cells[column].textContent, number = parseFloat(text); return isNaN(number) ? text : number; };
  const compare = (a, b) => typeof a === typeof b ? (a > b) - (a < b) : typeof a === "number" ? -1 : 1;
  heads.forEach((head, column) => {
    head.tabIndex = 0; head.title = "sort";
    const sort = () => {
      const up = head.getAttribute("aria-sort") !== "ascending";
      [...body.rows].sort((a, b) => (up ? 1 : -1) * compare(value(a, column), value(b, column))).forEach(row => body.append(row));
      heads.forEach(other => other.removeAttribute("aria-sort"));
      head.setAttribute("aria-sort", up ? "ascending" : "descending");
    };
    head.onclick = sort; head.onkeydown = onPress(sort);
  });
  if (body.rows.length > 5) {
    const filter = Object.assign(document.createElement("input"), { type: "search", placeholder: "filter rows", className: "filter" });
    filter.setAttribute("aria-label", "filter rows");
    filter.oninput = () => { for (const row of body.rows) row.hidden = !row.textContent.toLowerCase().includes(filter.value.toLowerCase()); };
    table.parentElement.before(filter);
  }
}
document.querySelectorAll("table.sort").forEach(sortable);
const open = () => { const target = location.hash && document.getElementById(decodeURIComponent(location.hash.slice(1))); for (let each = target; each; each = each.parentElement) if (each.tagName === "DETAILS") each.open = true; target?.scrollIntoView?.(); };
addEventListener("hashchange", open);
open();
