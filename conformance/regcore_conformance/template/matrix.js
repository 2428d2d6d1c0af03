"use strict";
const data = JSON.parse(document.getElementById("data").textContent);
const $ = (id) => document.getElementById(id);
const hidden = new Set();  // backends that are filtered out
let open = null;  // the button whose details are shown

/* An element with attributes and children; texts are text, never HTML. */
function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name === "class") element.className = value;
    else if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else element.setAttribute(name, value);
  }
  element.append(...children);
  return element;
}

function cellAt(row, column) {
  const [status, ratio, item, result, detail, counts, reasons] = data.cells[data.rows[row][column]];
  if (status === undefined) return null;
  const [backend, mode, grade] = data.columns[column];
  return {
    backend, mode, grade, penalty: data.penalties[row], status: data.statuses[status], ratio, counts,
    item: item === null ? null : data.cases[item], result: data.texts[result], detail: data.texts[detail],
    reasons: reasons.map((number) => data.texts[number]),
  };
}

const wrong = (cell) => cell !== null && (cell.status === "fail" || cell.status === "error");
const shade = (ratio) => Math.min(1, ratio === null ? 0 : Number(ratio));
const place = (cell) => `${cell.penalty}, ${cell.backend} ${cell.mode} ${cell.grade}`;

function says(cell) {
  if (cell.status === "pass") return `${cell.ratio} of the bound, ${cell.item[0]}`;
  if (wrong(cell)) return `${cell.status}: ${cell.ratio ? `${cell.ratio} times the bound, ` : ""}${cell.item[0]}`;
  return `${cell.status}: ${cell.reasons.join("; ")}`;
}

/* Which rows and columns are shown: those of the chosen backends, with something wrong or run if that is asked for. */
function chosen() {
  const asked = (cell) =>
    cell !== null && (!$("failures").checked || wrong(cell)) && (!$("ran").checked || cell.item !== null);
  const columns = data.columns.map((_, column) => column).filter((column) => !hidden.has(data.columns[column][0]));
  const rows = data.penalties.map((_, row) => row);
  const has = rows.map((row) => columns.map((column) => asked(cellAt(row, column))));
  return [rows.filter((row) => has[row].some(Boolean)),
    columns.filter((_, at) => rows.some((row) => has[row][at]))];
}

/* Header cells of one level; those of neighbours with the same name are one. */
function heads(columns, level) {
  const row = make("tr");
  let before = null, last = null;
  for (const column of columns) {
    const name = data.columns[column].slice(0, level + 1).join("\n");
    if (name === before) {
      last.colSpan += 1;
    } else {
      const text = data.columns[column][level];
      last = make("th", {scope: "colgroup", class: edge(columns, column), title: text}, make("span", {}, text));
      row.append(last);
    }
    before = name;
  }
  return row;
}

/* Where a line is drawn on the left of a column: between modes, and a stronger one between backends. */
function edge(columns, column) {
  const before = data.columns[columns[columns.indexOf(column) - 1]] || [];
  const [backend, mode] = data.columns[column];
  return before[0] !== backend ? "backend" : before[1] !== mode ? "first" : "";
}

function draw() {
  const [rows, columns] = chosen();
  hide();
  const table = $("matrix");
  table.replaceChildren();
  $("nothing").hidden = columns.length > 0 && rows.length > 0;
  $("nothing").textContent = data.columns.length ? "Nothing is left by the filters." : "No cell was run.";
  if (!$("nothing").hidden) return;
  const room = ($("scroll").parentElement.clientWidth - 190) / columns.length;
  table.style.setProperty("--wide", `${Math.max(18, Math.min(34, Math.floor(room)))}px`);
  const longest = Math.max(...columns.map((column) => data.columns[column][2].length));
  table.style.setProperty("--grades", `${longest * 6.6 + 10}px`);
  const grade = (column) => make("span", {class: "upright"}, data.columns[column][2]);
  const grades = make("tr", {}, ...columns.map((column) =>
    make("th", {scope: "col", class: edge(columns, column)}, grade(column))));
  const head = make("thead", {}, heads(columns, 0), heads(columns, 1), grades);
  head.rows[0].prepend(make("th", {class: "corner", rowspan: 3}));
  table.append(head, make("tbody", {}, ...rows.map((row) => drawRow(row, columns))));
  table.style.setProperty("--names", `${head.rows[0].cells[0].offsetWidth}px`);
  const first = table.querySelector("button");
  if (first) first.tabIndex = 0;
}

function drawRow(row, columns) {
  const line = make("tr", {}, make("th", {scope: "row", title: data.penalties[row]}, data.penalties[row]));
  for (const column of columns) {
    const cell = cellAt(row, column);
    const td = make("td", {class: edge(columns, column)});
    if (cell) {
      const look = `cell ${cell.status.replace(" ", "-")}`;
      const button = make("button", {class: look, tabindex: -1, "data-row": row, "data-column": column});
      button.style.setProperty("--t", shade(cell.ratio));
      td.append(button);
    }
    line.append(td);
  }
  return line;
}

/* What a cell says is written when it is pointed at or focused: there are thousands. */
function describe(event) {
  const button = event.target.closest("button");
  if (!button || button.title) return;
  const cell = cellAt(Number(button.dataset.row), Number(button.dataset.column));
  button.title = `${place(cell)}\n${says(cell)}`;
  button.setAttribute("aria-label", button.title);
}

/* The arrow keys move the focus; there is one tab stop in the whole matrix. */
function move(event) {
  const step = {ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [-1, 0], ArrowDown: [1, 0]}[event.key];
  const td = event.target.closest("td");
  if (!step || !td) return;
  event.preventDefault();
  const rows = td.parentElement.parentElement.rows;
  let row = td.parentElement.sectionRowIndex + step[0], column = td.cellIndex + step[1];
  while (rows[row]?.cells[column] && !rows[row].cells[column].querySelector("button")) {
    row += step[0];
    column += step[1];
  }
  const next = rows[row]?.cells[column]?.querySelector("button");
  if (next) focusOn(next);
}

function focusOn(button) {
  for (const other of $("matrix").querySelectorAll("button[tabindex='0']")) other.tabIndex = -1;
  button.tabIndex = 0;
  button.focus();
}
