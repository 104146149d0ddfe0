// Everything that the keyboard has to reach, in order; each is given its number.
() => {
  const what = (one) => {
    const said = (one.textContent || one.name || one.ariaLabel || "").trim().slice(0, 60);
    return `<${one.tagName.toLowerCase()} class="${one.getAttribute("class") ?? ""}"> ${said}`;
  };
  const shown = (one) => one.checkVisibility({ visibilityProperty: true }) && !one.disabled && one.tabIndex >= 0;
  const all = document.querySelectorAll("a[href], button, input:not([type=hidden]), select, textarea, summary");
  return [...all].filter(shown).map((one, place) => {
    one.stop = place;
    return what(one);
  });
};
