// Keyboard, choosing rows, the countdown of undo, filters that apply by themselves, and the live stream.
// Every page works without it, but for keys and the live stream.
"use strict";

const typing = (element) => element.closest("input:not([type=checkbox]), textarea, select, [contenteditable]");
const rows = () => [...document.querySelectorAll("[data-row]")];
let current = -1;

function move(step) {
  const all = rows();
  if (!all.length) return;
  all[current]?.classList.remove("current");
  current = Math.min(Math.max(current + step, 0), all.length - 1);
  all[current].classList.add("current");
  all[current].querySelector("a.open")?.focus();
  all[current].scrollIntoView({ block: "nearest" });
}

function press(key) {
  const target = [...document.querySelectorAll("[data-key]")].find(
    (element) => element.dataset.key === key && !element.hidden && element.offsetParent !== null,
  );
  target?.click();
  return Boolean(target);
}

document.addEventListener("keydown", (event) => {
  const find = document.querySelector("#q");
  if ((event.ctrlKey || event.metaKey) && event.key.toLowerCase() === "k" && find) {
    event.preventDefault();
    find.focus();
    find.select();
    return;
  }
  if (event.key === "Escape" && typing(event.target)) event.target.blur();
  if (event.ctrlKey || event.metaKey || event.altKey || typing(event.target)) return;
  if (document.querySelector("dialog[open]")) return;
  const focusable = document.querySelector(`[data-focus-key="${CSS.escape(event.key)}"]`);
  let done = true;
  if (event.key === "/" && find) find.focus();
  else if (event.key === "?") document.querySelector("#keys")?.showModal();
  else if (event.key === "j") move(1);
  else if (event.key === "k") move(-1);
  else if (event.key === "x" && rows()[current]) rows()[current].querySelector("input[name=chosen]")?.click();
  else if (focusable) focusable.focus();
  else done = event.key.length === 1 && press(event.key);
  if (done) event.preventDefault();
});

// The editor of a policy: go to a place, insert a name, and warn before typed text is lost.
const editor = document.querySelector("[data-editor]");
document.addEventListener("click", (event) => {
  const place = event.target.closest("[data-goto]");
  const name = event.target.closest("[data-insert]");
  if (place && editor) {
    const [line, column] = place.dataset.goto.split(":").map(Number);
    const lines = editor.value.split("\n");
    const at = lines.slice(0, line - 1).reduce((sum, each) => sum + each.length + 1, 0) + column - 1;
    editor.focus();
    editor.setSelectionRange(at, at);
    editor.scrollTop = (editor.scrollHeight / lines.length) * Math.max(line - 8, 0);
  }
  if (name && editor) {
    editor.focus();
    editor.setRangeText(name.dataset.insert, editor.selectionStart, editor.selectionEnd, "end");
    editor.dispatchEvent(new Event("input", { bubbles: true }));
  }
});
if (editor) {
  let changed = false;
  editor.form.addEventListener("input", () => { changed = true; });
  editor.form.addEventListener("submit", () => { changed = false; });
  window.addEventListener("beforeunload", (event) => { if (changed) event.preventDefault(); });
}

function countChosen() {
  const chosen = document.querySelectorAll("input[name=chosen]:checked").length;
  const bar = document.querySelector("[data-bulkbar]");
  if (bar) {
    bar.hidden = !chosen;
    bar.querySelector("[data-chosen]").textContent = chosen;
  }
}

document.addEventListener("change", (event) => {
  if (event.target.matches("[data-all]"))
    for (const box of document.querySelectorAll("input[name=chosen]")) box.checked = event.target.checked;
  if (event.target.matches("[data-all], input[name=chosen]")) countChosen();
  const form = event.target.closest("form[data-autosubmit]");
  if (form && event.target.matches("select, input[type=range]")) form.requestSubmit();
});

// Empty fields stay out of the address.
document.addEventListener("submit", (event) => {
  if (!event.target.matches("form[data-autosubmit]")) return;
  for (const field of event.target.elements) if (field.name && !field.value) field.disabled = true;
});

window.addEventListener("pageshow", () => {
  for (const field of document.querySelectorAll("form[data-autosubmit] :disabled")) field.disabled = false;
  countChosen();
});

function countDown() {
  for (const banner of document.querySelectorAll(".undo[data-until]")) {
    const left = Math.ceil((Number(banner.dataset.until) - Date.now()) / 1000);
    banner.querySelector("[data-left]").textContent = left > 0 && left <= 60 ? `${left} s` : "";
    banner.hidden = left <= 0;
  }
}
countDown();
setInterval(countDown, 1000);

const live = document.querySelector("[data-live]");
if (live) {
  const button = document.querySelector("[data-live-pause]");
  const state = document.querySelector("[data-live-state]");
  let source = null;
  const say = (key) => { if (state.textContent !== state.dataset[key]) state.textContent = state.dataset[key]; };
  const follow = () => {
    const address = live.dataset.live;
    source = new EventSource(`${address}${address.includes("?") ? "&" : "?"}seen=${live.dataset.seen}`);
    source.onopen = () => say("on");
    source.onmessage = (event) => { live.innerHTML = event.data; live.dataset.seen = event.lastEventId; };
    source.onerror = () => say("away");
  };
  button.hidden = false;
  button.addEventListener("click", () => {
    if (source) { source.close(); source = null; say("off"); } else follow();
    button.querySelector("span").textContent = source ? button.dataset.pause : button.dataset.resume;
    button.setAttribute("aria-pressed", String(!source));
  });
  follow();
}
