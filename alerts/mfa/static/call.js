// Shows every change of a call check as it happens, and counts the seconds down. Without it the page reloads itself.
"use strict";
const live = document.querySelector("[data-events]");
new EventSource(live.dataset.events).addEventListener("message", (event) => {
  live.innerHTML = event.data; // a part of this very page, escaped where it was made
  live.querySelector("[autofocus]")?.focus();
});
setInterval(() => {
  for (const clock of live.querySelectorAll("[data-seconds]")) {
    clock.dataset.seconds = Math.max(0, clock.dataset.seconds - 1);
    clock.textContent = clock.dataset.seconds;
  }
}, 1000);
