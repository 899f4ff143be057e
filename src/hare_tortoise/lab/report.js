"use strict";
(async () => {
  // plotly.js lies in the page compressed, which makes this less than half as large
  if (!("DecompressionStream" in window)) {
    for (const element of document.querySelectorAll(".chart")) {
      element.textContent = "This browser is too old to draw the figure: open the report in a newer one.";
    }
    return;
  }
  const packed = Uint8Array.from(atob(document.getElementById("plotly").textContent), (byte) => byte.charCodeAt(0));
  const unpacked = new Blob([packed]).stream().pipeThrough(new DecompressionStream("gzip"));
  const plotly = document.createElement("script");
  plotly.textContent = await new Response(unpacked).text();
  document.head.append(plotly);

  const charts = JSON.parse(document.getElementById("charts").textContent);
  const ink = "#1f2430", soft = "#5b6270", rule = "#e6e8ed";
  const font = { family: getComputedStyle(document.body).fontFamily, size: 13, color: ink };
  const axis = {
    gridcolor: rule, zeroline: false, showline: false, ticks: "", automargin: true, fixedrange: true,
    tickfont: { color: soft }, title: { font: { size: 13, color: soft }, standoff: 10 },
  };
  const config = { responsive: true, displaylogo: false, displayModeBar: false };

  function layoutOf(chart) {
    const given = chart.layout;
    const join = (name) => {
      const own = given[name] || {};
      return { ...axis, ...own, title: { ...axis.title, ...(own.title || {}) } };
    };
    return {
      ...given, font, height: chart.height, showlegend: false, hovermode: "closest", dragmode: false,
      margin: { l: 12, r: 12, t: 14, b: 40, pad: 4 }, paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)",
      hoverlabel: { bgcolor: "#fff", bordercolor: "#9aa1ad", font: { ...font, size: 13 }, align: "left" },
      xaxis: join("xaxis"), yaxis: join("yaxis"),
    };
  }

  for (const section of document.querySelectorAll("section[data-comparison]")) {
    const elements = [...section.querySelectorAll(".chart")];
    const hidden = new Set();
    const buttons = [...section.querySelectorAll(".budgets button")];
    let budget = buttons.length ? buttons.find((b) => b.getAttribute("aria-pressed") === "true").dataset.budget : null;
    const keys = [...section.querySelectorAll(".keys button")];
    const names = keys.map((key) => key.dataset.method);
    const pale = new Set(names.filter((_, i) => keys[i].getAttribute("aria-pressed") === "mixed"));
    const chosen = (element) => element.closest("figure").querySelector("select")?.value;
    const visible = (element) => ({ meta }) => {
      if (meta.choice !== undefined) return meta.choice === chosen(element);
      if (hidden.has(meta.method) || (charts[element.id].crowded && pale.has(meta.method))) return false;
      return meta.budget === null || budget === null || meta.budget === Number(budget);
    };

    const toggle = (name) => pale.delete(name) || hidden.delete(name) || hidden.add(name);
    const pressed = (name) => (pale.has(name) && !hidden.has(name) ? "mixed" : String(!hidden.has(name)));
    const update = () => {
      for (const element of elements) {
        Plotly.restyle(element, { visible: element.data.map(visible(element)) });
      }
      for (const key of keys) key.setAttribute("aria-pressed", pressed(key.dataset.method));
      for (const button of buttons) button.setAttribute("aria-pressed", String(button.dataset.budget === budget));
    };
    for (const key of keys) {
      const name = key.dataset.method;
      key.addEventListener("click", (event) => {
        if (event.detail > 1) return;
        toggle(name);
        update();
      });
      key.addEventListener("dblclick", () => {
        // whatever the first of the two clicks did to it: alone it is if all others are hidden
        const others = names.filter((other) => other !== name);
        const alone = others.every((other) => hidden.has(other));
        hidden.clear();
        if (!alone) others.forEach((other) => hidden.add(other));
        update();
      });
    }
    for (const button of buttons) {
      button.addEventListener("click", () => { budget = button.dataset.budget; update(); });
    }
    for (const element of elements) {
      const chart = charts[element.id];
      const traces = chart.traces.map((trace) => ({ ...trace, visible: visible(element)(trace) }));
      Plotly.newPlot(element, traces, layoutOf(chart), config);
      element.closest("figure").querySelector("select")?.addEventListener("change", update);
    }
  }

  const all = () => [...document.querySelectorAll(".chart")];
  window.addEventListener("beforeprint", () => {
    for (const details of document.querySelectorAll("details")) details.open = true;
    for (const element of all()) {
      const wide = element.closest("figure").classList.contains("wide");
      Plotly.relayout(element, { width: wide ? 660 : 320, autosize: false });
    }
  });
  window.addEventListener("afterprint", () => {
    for (const element of all()) Plotly.relayout(element, { width: null, autosize: true });
  });
})();
