// What tests/test_web_browser.py asks of a page: one object of functions, each gives a list of what is wrong.
({
  // Text that is too faint for WCAG 2.2, 1.4.3: 4.5 to 1, large or bold text 3 to 1.
  faint() {
    const parse = (text) => {
      const numbers = text.match(/[\d.]+/g).map(Number);
      return numbers.length < 4 ? [...numbers, 1] : numbers;
    };
    const linear = (v) => (v / 255 <= 0.04045 ? v / 255 / 12.92 : ((v / 255 + 0.055) / 1.055) ** 2.4);
    const light = (color) => {
      const [r, g, b] = color.map(linear);
      return 0.2126 * r + 0.7152 * g + 0.0722 * b;
    };
    const ground = (element) => {
      for (let one = element; one; one = one.parentElement) {
        const color = parse(getComputedStyle(one).backgroundColor);
        if (color[3] === 1) return color.slice(0, 3);
      }
      return [255, 255, 255];
    };
    const found = [];
    for (const one of document.querySelectorAll("body *")) {
      const hasText = [...one.childNodes].some((node) => node.nodeType === 3 && node.textContent.trim());
      if (!hasText || !one.checkVisibility() || one.closest(".unseen, svg title")) continue;
      const style = getComputedStyle(one);
      const ink = parse(one instanceof SVGElement ? style.fill : style.color).slice(0, 3);
      const [most, least] = [light(ink), light(ground(one))].sort((a, b) => b - a);
      const size = parseFloat(style.fontSize);
      const isLarge = size >= 24 || (size >= 18.66 && Number(style.fontWeight) >= 700);
      if ((most + 0.05) / (least + 0.05) < (isLarge ? 3 : 4.5)) {
        found.push(`${one.tagName} ${one.textContent.trim().slice(0, 40)}`);
      }
    }
    return found;
  },
  // What a screen reader couldn't tell the name of.
  nameless() {
    const wanted = "input:not([type=hidden]), textarea, button, nav, [role=img], [tabindex='0']";
    return [...document.querySelectorAll(wanted)]
      .filter((one) => one.checkVisibility())
      .filter((one) => !(one.labels && one.labels.length) && !one.getAttribute("aria-label"))
      .filter((one) => !one.getAttribute("aria-labelledby") && !(one.tagName === "BUTTON" && one.textContent.trim()))
      .map((one) => one.outerHTML.slice(0, 80));
  },
  // What a finger doesn't hit (WCAG 2.2, 2.5.8: 24 pixels); links within text may be smaller.
  small() {
    const wanted = "button, input:not([type=hidden]), textarea, summary, .tabs a, .kinds a, .brand, .sites a";
    return [...document.querySelectorAll(wanted)]
      .filter((one) => one.checkVisibility())
      .filter((one) => Math.min(one.getBoundingClientRect().height, one.getBoundingClientRect().width) < 24)
      .map((one) => one.outerHTML.slice(0, 80));
  },
  // Headings that are more than one level below the one before them, and first ones but one.
  headings() {
    const levels = [...document.querySelectorAll("h1, h2, h3, h4")].map((one) => Number(one.tagName[1]));
    const wrong = levels.filter((level, place) => place > 0 && level - levels[place - 1] > 1);
    return levels.filter((level) => level === 1).length === 1 ? wrong : levels;
  },
  // Ids that are there twice, and references to ones that aren't there.
  ids() {
    const all = [...document.querySelectorAll("[id]")].map((one) => one.id);
    const named = [...document.querySelectorAll("[aria-labelledby], [aria-describedby], label[for]")].flatMap((one) =>
      (one.getAttribute("aria-labelledby") || one.getAttribute("aria-describedby") || one.htmlFor).split(" "));
    return [...all.filter((id, place) => all.indexOf(id) !== place), ...named.filter((id) => !all.includes(id))];
  },
})
