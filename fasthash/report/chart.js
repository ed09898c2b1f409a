"use strict";
// Figures: a legend that hides and shows its lines, and the values where the reader points or moves with the arrow keys.
(() => {
  const seen = (element) => !element.closest("[hidden]");

  const legend = (list) => {
    const group = list.closest("[data-chart-group]");
    for (const item of list.querySelectorAll("[data-place]")) {
      const button = document.createElement("button");
      button.type = "button";
      button.setAttribute("aria-pressed", "true");
      button.append(...item.childNodes);
      item.append(button);
      button.addEventListener("click", () => {
        const on = button.getAttribute("aria-pressed") !== "true";
        for (const other of group.querySelectorAll(`[data-legend] [data-place="${item.dataset.place}"] button`)) {
          other.setAttribute("aria-pressed", on);
        }
        for (const part of group.querySelectorAll(`svg.figure [data-series="${item.dataset.place}"]`)) {
          part.toggleAttribute("hidden", !on);
        }
      });
    }
  };

  const number = (value) => {
    if (Number.isInteger(value)) return value.toLocaleString("en");
    const size = Math.abs(value);
    return size >= 100 ? Math.round(value).toLocaleString("en") : size >= 10 ? value.toFixed(1) : value.toPrecision(3);
  };
  const share = (value) => (Math.abs(value) <= 1 ? value.toFixed(3) : number(value));

  const nearest = (values, wanted) => {
    let best = 0;
    values.forEach((value, place) => { if (Math.abs(value - wanted) < Math.abs(values[best] - wanted)) best = place; });
    return best;
  };

  const values = (svg) => {
    const panels = JSON.parse(svg.dataset.chart);
    const box = document.createElement("div"), tip = document.createElement("div");
    const guide = document.createElementNS(svg.namespaceURI, "line");
    box.className = "chart";
    tip.className = "tip";
    tip.setAttribute("role", "status");
    guide.setAttribute("class", "guide");
    svg.replaceWith(box);
    svg.append(guide);
    box.append(svg, tip);
    svg.setAttribute("tabindex", "0");
    let at = { panel: 0, place: -1 };

    const hide = () => { tip.hidden = true; guide.toggleAttribute("hidden", true); };
    const shown = (panel) => panel.series.filter(
      ({ place }) => [...svg.querySelectorAll(`g[data-series="${place}"]`)].some(seen));
    const scale = (panel, value) => (panel.log ? Math.log(value) : value);
    const stops = (panel) => panel.ticks?.map(([x]) => x)
      ?? [...new Set(shown(panel).flatMap(({ x }) => x))].sort((a, b) => a - b);

    // The height of the drawn line at x; null beyond its ends. Places with names have a point each, a little aside.
    const along = (panel, series, x, room) => {
      const xs = series.x.map((value) => scale(panel, value)), at = scale(panel, x), last = xs.length - 1;
      if (!xs.length) return null;
      const near = nearest(xs, at);
      if (panel.ticks || at <= xs[0] || at >= xs[last]) return Math.abs(xs[near] - at) <= room ? series.y[near] : null;
      const after = xs.findIndex((value) => value > at), before = after - 1;
      const part = (at - xs[before]) / (xs[after] - xs[before]);
      return series.y[before] + part * (series.y[after] - series.y[before]);
    };

    const show = (which, place) => {
      const panel = panels[which], all = stops(panel);
      if (!all.length) return hide();
      at = { panel: which, place: Math.max(0, Math.min(all.length - 1, place)) };
      const x = all[at.place], [left, top, right, bottom] = panel.frame;
      const [low, high] = panel.x.map((end) => scale(panel, end)), span = high - low;
      const across = left + ((scale(panel, x) - low) / span) * (right - left);
      const rows = shown(panel)
        .map((series) => [series.name, along(panel, series, x, span * 0.06)])
        .filter(([, y]) => y !== null);
      rows.sort((a, b) => b[1] - a[1]);
      const line = (tag, name, value) => {
        const row = document.createElement(tag), first = document.createElement("span"), last = document.createElement("span");
        first.textContent = name;
        last.textContent = value;
        row.append(first, " ", last);
        return row;
      };
      const said = panel.ticks ? panel.ticks[at.place][1] : number(x);
      tip.replaceChildren(line("b", panel.name, said), ...rows.map(([name, y]) => line("span", name, share(y))));
      for (const [key, value] of Object.entries({ x1: across, x2: across, y1: top, y2: bottom })) guide.setAttribute(key, value);
      tip.hidden = false;
      guide.toggleAttribute("hidden", false);
      // Beside the pointer, on the side with more room.
      const view = svg.viewBox.baseVal, ratio = svg.getBoundingClientRect().width / view.width;
      const place_ = svg.getBoundingClientRect().left - box.getBoundingClientRect().left + across * ratio;
      const over = across > (left + right) / 2;
      tip.style.left = over ? "" : `${place_ + 12}px`;
      tip.style.right = over ? `${box.clientWidth - place_ + 12}px` : "";
      tip.style.top = `${top * ratio}px`;
    };

    const point = (event) => {
      const here = new DOMPoint(event.clientX, event.clientY).matrixTransform(svg.getScreenCTM().inverse());
      const which = panels.findIndex(({ frame: [left, , right] }) => here.x >= left - 12 && here.x <= right + 12);
      if (which < 0) return hide();
      const panel = panels[which], [left, , right] = panel.frame;
      const [low, high] = panel.x.map((end) => scale(panel, end));
      const x = low + ((here.x - left) / (right - left)) * (high - low);
      show(which, nearest(stops(panel).map((value) => scale(panel, value)), x));
    };

    svg.addEventListener("pointermove", point);
    svg.addEventListener("pointerdown", point);
    svg.addEventListener("pointerleave", hide);
    svg.addEventListener("blur", hide);
    svg.addEventListener("keydown", (event) => {
      const count = stops(panels[at.panel]).length, step = Math.max(1, Math.round(count / 50));
      const to = { ArrowRight: at.place + step, ArrowLeft: at.place - step, Home: 0, End: count - 1 }[event.key];
      if (event.key === "Escape") hide();
      if (to === undefined) return;
      event.preventDefault();
      if (to >= count && at.panel + 1 < panels.length) show(at.panel + 1, 0);
      else if (to < 0 && at.panel > 0) show(at.panel - 1, Infinity);
      else show(at.panel, to);
    });
    hide();
  };

  document.querySelectorAll("[data-legend]").forEach(legend);
  document.querySelectorAll("svg[data-chart]").forEach(values);
  document.documentElement.dataset.charts = "yes";
})();
