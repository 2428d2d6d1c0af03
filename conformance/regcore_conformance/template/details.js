/* The panel of a cell: its worst case, and the command that runs it again. */
function show(button) {
  const cell = cellAt(Number(button.dataset.row), Number(button.dataset.column));
  if (open) open.removeAttribute("aria-expanded");
  open = button;
  focusOn(button);
  button.setAttribute("aria-expanded", "true");
  const close = make("button", {class: "close", "aria-label": "Close", onclick: hide}, "×");
  const where = make("p", {class: "quiet"}, `${cell.backend} · ${cell.mode} · ${cell.grade}`);
  $("panel").replaceChildren(close, make("h3", {}, cell.penalty), where, ...facts(cell));
  $("panel").hidden = false;
}

function hide() {
  $("panel").hidden = true;
  if (!open) return;
  open.removeAttribute("aria-expanded");
  open.focus();
  open = null;
}

function facts(cell) {
  const counts = cell.counts.map((count, number) => (count ? `${count} ${data.statuses[number]}` : ""));
  const cells = ["Cells", counts.filter(Boolean).reverse().join(", ")];
  const reasons = cell.reasons.map((reason) => [cell.item ? "Why not all" : "Why", reason]);
  const badge = make("span", {class: `badge ${cell.status.replace(" ", "-")}`}, cell.status);
  if (!cell.item) return [make("p", {}, badge), pairs([cells, ...reasons])];
  const [id, key, pattern, quoted] = cell.item;
  const unit = make("p", {class: "quiet"}, "worst error, in units of the bound: at most 1 passes");
  const number = cell.ratio === null ? [] : [make("p", {class: "number"}, cell.ratio), unit];
  const command = data.again.replace("BACKEND", () => cell.backend).replace("CASE/", () => quoted);
  return [
    ...number, make("p", {}, badge),
    ...(cell.detail ? [make("pre", {}, cell.detail)] : []),
    pairs([
      [wrong(cell) ? "Case" : "Worst case", id], ["Its data", pattern || "see its name"],
      ["Result", cell.result || "none"], ["Philox key", key], ["Seed", String(data.seed)], cells, ...reasons,
    ]),
    make("p", {class: "quiet"}, "Run just this case again:"), make("pre", {}, ...words(command)), copier(command),
  ];
}

function pairs(entries) {
  return make("dl", {}, ...entries.flatMap(([name, text]) => [make("dt", {}, name), make("dd", {}, text)]));
}

/* A command that is wrapped between its words only. */
function words(command) {
  return command.split(" ").flatMap((word, at) => [at ? " " : "", make("span", {}, word)]);
}

function copier(command) {
  const button = make("button", {class: "copy", "aria-live": "polite"}, "Copy");
  button.addEventListener("click", async () => {
    try {
      await navigator.clipboard.writeText(command);
      button.textContent = "Copied";
    } catch {  // without the permission: selected, so that the keyboard copies it
      getSelection().selectAllChildren(button.previousElementSibling);
      button.textContent = "Selected: press Ctrl+C";
    }
  });
  return button;
}

function plain(head, rows) {
  const line = (cells, tag) => make("tr", {}, ...cells.map((cell) => make(tag, {}, cell)));
  return make("table", {class: "plain"}, ...(head.length ? [make("thead", {}, line(head, "th"))] : []),
    make("tbody", {}, ...rows.map((row) => line(row, "td"))));
}

function drawAbsent() {
  const absent = data.backends.filter(([, , reason]) => reason);
  if (!absent.length) return;
  const reasons = [...new Set(absent.map(([, , reason]) => reason))];
  const names = (reason) => absent.filter((backend) => backend[2] === reason).map(([name]) => name).join(", ");
  $("absent").hidden = false;
  const title = make("h2", {}, `Not run at all: ${absent.length} of ${data.backends.length}`);
  $("absent").append(title, pairs(reasons.map((reason) => [reason, names(reason)])));
}

function drawEnvironment() {
  const facts = Object.entries(data.environment).map(([name, text]) => [name, text || "none found"]);
  const backends = data.backends.filter(([, description]) => description);
  const time = (name) => (name in data.seconds ? `${data.seconds[name]} s` : "");
  const rows = backends.map(([name, description]) => [name, description, time(name)]);
  document.querySelector("#environment .tables").append(
    plain([], facts), plain(["backend", "version and precision policy", "time"], rows),
    make("p", {class: "quiet"}, data.references));
}

function drawBits() {
  const {cases, ways, several} = data.bits, entries = Object.entries(several);
  const same = `${cases - entries.length} of ${cases} cases came out as one and the same bits`;
  const text = cases ? `${same} in all of up to ${ways} ways; ${entries.length} did not.` : "No such case was run.";
  $("bits").append(make("p", {}, text));
  const line = ([hash, where]) => make("div", {}, make("code", {}, hash), ` ${where.join(", ")}`);
  const row = ([name, bits]) => make("tr", {}, make("td", {}, name), make("td", {}, String(Object.keys(bits).length)),
    make("td", {}, ...Object.entries(bits).map(line)));
  if (entries.length) {
    const table = plain(["case", "results", "hash of the bits, and where"], []);
    table.tBodies[0].append(...entries.map(row));
    $("bits").append(table);
  }
}

function drawSteps() {
  $("steps").hidden = data.steps.length === 0;
  const table = plain(["", "status", "error / bound", "", "again"], data.steps);
  document.querySelector("#steps .tables").append(table);
}

function drawFilters() {
  for (const name of new Set(data.columns.map(([backend]) => backend))) {
    const chip = make("button", {class: "chip", "aria-pressed": "true"}, name);
    chip.addEventListener("click", () => {
      hidden.has(name) ? hidden.delete(name) : hidden.add(name);
      chip.setAttribute("aria-pressed", String(!hidden.has(name)));
      draw();
    });
    $("backends").append(chip);
  }
  for (const id of ["failures", "ran"]) $(id).addEventListener("change", draw);
}

$("matrix").addEventListener("click", (event) => {
  const button = event.target.closest("button");
  if (button) show(button);
});
$("matrix").addEventListener("keydown", move);
for (const kind of ["mouseover", "focusin"]) $("matrix").addEventListener(kind, describe);
document.addEventListener("keydown", (event) => event.key === "Escape" && hide());
drawAbsent();
drawEnvironment();
drawFilters();
draw();
drawBits();
drawSteps();
