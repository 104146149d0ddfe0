// Small comforts: every page does without. Times say how long ago they were, and a part that has `data-fresh` is
// fetched anew as often as that says, in seconds, while the page is seen.
"use strict";

const UNITS = [["d", 86400], ["h", 3600], ["min", 60], ["s", 1]];

function ago(seconds) {
  const [unit, size] = UNITS.find(([, size]) => Math.abs(seconds) >= size) ?? ["s", 1];
  const count = Math.round(Math.abs(seconds) / size);
  return seconds < 0 ? `in ${count} ${unit}` : `${count} ${unit} ago`;
}

function tellTimes() {
  for (const time of document.querySelectorAll("time[data-ago]")) {
    time.textContent = ago((Date.now() - Date.parse(time.dateTime)) / 1000);
  }
}

async function freshen(part) {
  if (document.hidden || part.contains(document.activeElement)) return;
  try {
    const answer = await fetch(location.href, { headers: { accept: "text/html" } });
    const page = new DOMParser().parseFromString(await answer.text(), "text/html");
    const found = answer.ok && page.getElementById(part.id);
    part.classList.toggle("stale", !found);
    if (found) {
      part.replaceChildren(...found.childNodes);
      tellTimes();
    }
  } catch {
    part.classList.add("stale");  // shown as such until the ingress answers again
  }
}

for (const part of document.querySelectorAll("[data-fresh]")) {
  setInterval(freshen, 1000 * Number(part.dataset.fresh), part);
}
setInterval(tellTimes, 5000);
tellTimes();
