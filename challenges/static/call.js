// Shows every change of a call check as it happens, and counts the seconds down. Without it the page reloads itself.
"use strict";
const live = document.querySelector("[data-events]");
const source = new EventSource(live.dataset.events);
source.addEventListener("message", (event) => {
  live.innerHTML = event.data; // a part of this very page, escaped where it was made
  live.querySelector("[autofocus]")?.focus();
});
source.addEventListener("error", () => {
  // The session is over, or too many pages are being followed: the page itself says which.
  if (source.readyState === EventSource.CLOSED) setTimeout(() => location.reload(), 5000);
});
setInterval(() => {
  for (const clock of live.querySelectorAll("[data-seconds]")) {
    clock.dataset.seconds = Math.max(0, clock.dataset.seconds - 1);
    clock.textContent = clock.dataset.seconds;
  }
}, 1000);
