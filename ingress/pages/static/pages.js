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

// Nothing is put in the place of what somebody is in the middle of using.
function inUse(part) {
  const selection = getSelection();
  const selected = !selection.isCollapsed && (part.contains(selection.anchorNode) || part.contains(selection.focusNode));
  const scrolled = [...part.querySelectorAll(".scroll")].some((each) => each.scrollLeft > 0);
  const pointed = part.querySelector("a:hover, [title]:hover, svg g:hover");
  return selected || scrolled || pointed || part.contains(document.activeElement);
}

// What takes the whole width when it is opened may come to stand elsewhere: it stays in sight.
for (const part of document.querySelectorAll("details.why")) {
  part.addEventListener("toggle", () => part.open && part.scrollIntoView({ block: "nearest" }));
}

// Parts that are due together come with one page.
async function freshen(parts) {
  const wanted = parts.filter((part) => !inUse(part));
  if (document.hidden || !wanted.length) return;
  try {
    const answer = await fetch(location.href, { headers: { accept: "text/html" } });
    const page = new DOMParser().parseFromString(await answer.text(), "text/html");
    for (const part of wanted) {
      const found = answer.ok && page.getElementById(part.id);
      part.classList.toggle("stale", !found);
      if (!found || inUse(part)) continue;
      part.replaceChildren(...found.childNodes);
      part.dataset.fresh = found.dataset.fresh ?? "never";
    }
    if (answer.ok) document.title = page.title;
    tellTimes();
  } catch {
    wanted.forEach((part) => part.classList.add("stale"));  // shown as such until the ingress answers again
  }
}

// How often is what the part says of itself now: it may change as what it tells goes on. "never" is no number.
let seconds = 0;
setInterval(() => {
  seconds += 1;
  freshen([...document.querySelectorAll("[data-fresh]")].filter((part) => seconds % Number(part.dataset.fresh) === 0));
}, 1000);
setInterval(tellTimes, 5000);
tellTimes();

// A part that has `data-load` is made while the page is seen already: what has its id at that address takes its place.
async function load(part) {
  const state = part.querySelector(".state");
  const told = state.cloneNode(true);
  const say = (text) => state.replaceChildren(text, " ", told.querySelector("a").cloneNode(true));
  part.setAttribute("aria-busy", "true");
  say("Being made: a day of rounds is read for it, which takes some seconds the first time.");
  try {
    const answer = await fetch(part.dataset.load, { headers: { accept: "text/html" } });
    const page = new DOMParser().parseFromString(await answer.text(), "text/html");
    const found = answer.ok && page.getElementById(part.id);
    if (found) {
      for (const link of found.querySelectorAll("a[href]")) link.href = new URL(link.getAttribute("href"), answer.url);
      part.replaceChildren(...found.childNodes);
      tellTimes();
    } else {
      say(`It could not be made: ${page.querySelector("main p")?.textContent ?? answer.statusText}`);
    }
  } catch (error) {
    say(`It could not be fetched: ${error.message}`);
  }
  part.removeAttribute("aria-busy");
}

document.querySelectorAll("[data-load]").forEach(load);
