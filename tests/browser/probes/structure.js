// What is wrong with the structure and the width of a page.
() => {
  const shown = (one) => one.checkVisibility({ visibilityProperty: true });
  const what = (one) => {
    const said = (one.textContent || one.name || one.ariaLabel || "").trim().slice(0, 60);
    return `<${one.tagName.toLowerCase()} class="${one.getAttribute("class") ?? ""}"> ${said}`;
  };
  const markup = (one) => one.outerHTML.slice(0, 120);
  const all = (selector) => [...document.querySelectorAll(selector)].filter(shown);
  const texts = (ids) => (ids ?? "").split(" ").map((id) => document.getElementById(id)?.textContent);
  const said = (names) => names.some((name) => (name || "").trim());
  const named = (one) =>
    said([
      ...[one.ariaLabel, one.textContent, one.title, one.value],
      ...texts(one.getAttribute("aria-labelledby")),
      ...[...one.querySelectorAll("img")].map((image) => image.alt),
    ]);
  const labelled = (one) =>
    said([
      one.ariaLabel,
      ...texts(one.getAttribute("aria-labelledby")),
      ...[...(one.labels ?? [])].map((label) => label.textContent),
    ]);
  const screen = document.documentElement.clientWidth;
  const wide = document.documentElement.scrollWidth - screen;
  const beyond = (one) => one.getBoundingClientRect().right > screen + 1 && !one.closest(".scroll, .vega");
  const ids = [...document.querySelectorAll("[id]")].filter((one) => !one.closest("svg")).map((one) => one.id);
  const wrong = (problem, ones) => ones.map((one) => `${problem}: ${markup(one)}`);
  return [
    ...(document.title.trim() ? [] : ["has no title"]),
    ...(document.documentElement.lang ? [] : ["says no language"]),
    ...["h1", "main"].filter((tag) => all(tag).length !== 1).map((tag) => `has ${all(tag).length} ${tag}`),
    ...wrong("image without alt", all("img:not([alt])")),
    ...wrong("control without a label", all("input:not([type=hidden]), select, textarea").filter((one) => !labelled(one))),
    ...wrong("without a name", all("a[href], button, summary").filter((one) => !named(one))),
    ...wrong("table without headings", all("table").filter((one) => !one.querySelector("th"))),
    ...ids.filter((id, place) => ids.indexOf(id) !== place).map((id) => `id twice: ${id}`),
    ...(wide > 1 ? [`is ${wide} px too wide: ${all("body *").filter(beyond).slice(-3).map(what).join(" | ")}`] : []),
    ...(window.pwned === undefined ? [] : ["ran what a stranger wrote"]),
  ];
};
