"use strict";
// The histories of all stages as a chart to explore. It takes the place of the printed chart on
// screens; cifar_study/report/explorer.py puts the data (axes and colours, too) and this script in
// the page. Means and bands are those of the printed charts.
(() => {
  const data = JSON.parse(document.getElementById("curves-data").textContent);
  const { epochs, ticks, measures, stages } = data;
  const splits = { train: "training", test: "test" };

  // Elements: a tag, its attributes, its children.
  const maker = (space) => (tag, attributes = {}, ...children) => {
    const element = document.createElementNS(space, tag);
    for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
    element.append(...children);
    return element;
  };
  const html = maker("http://www.w3.org/1999/xhtml");
  const svg = maker("http://www.w3.org/2000/svg");
  const input = (type, attributes = {}) => html("input", { type, ...attributes });
  const line = (split, stroke, d) =>
    svg("path", { d, class: `curves-line curves-${split}`, stroke });
  const sample = (split, colour) =>
    svg("svg", { class: "curves-sample", "aria-hidden": true }, line(split, colour, "M3 6H31"));

  // Controls. What is chosen is read from them; there is no other state.
  const measureInputs = Object.keys(measures).map((value) =>
    input("radio", { name: "curves-measure", value }));
  measureInputs.find(({ value }) => value === "accuracy").checked = true;
  const splitInputs = Object.keys(splits).map((value) => input("checkbox", { value }));
  splitInputs.find(({ value }) => value === "test").checked = true;
  const length = ({ curves }) => curves.test_loss?.mean.length ?? 0;
  const stageInputs = stages.map((stage) => {
    const box = input("checkbox", { value: stage.number });
    box.checked = length(stage) > 0;
    box.disabled = !box.checked;
    return box;
  });
  const slider = input("range", { min: 1, max: epochs, class: "curves-epoch", "aria-label": "Epoch" });
  slider.value = Math.max(1, ...stages.map(length));
  const setAll = (text, checked) => {
    const button = html("button", { type: "button", "aria-label": `${text} of the stages` }, text);
    button.addEventListener("click", () => {
      for (const box of stageInputs) box.checked = checked && !box.disabled;
      draw();
    });
    return button;
  };

  // The table is legend, choice and readout in one: a row is a stage, a column a split.
  const cells = stages.map(() => splitInputs.map(() => html("td")));
  const when = html("caption");
  const table = html("table", {}, when,
    html("thead", {}, html("tr", {},
      html("td", {}, setAll("All", true), setAll("None", false)),
      ...splitInputs.map((box) => html("th", { scope: "col" },
        html("label", {}, box, sample(box.value, "#555"), splits[box.value]))))),
    html("tbody", {}, ...stages.map(({ number, title, note, colour }, i) => html("tr", {},
      html("th", { scope: "row" },
        html("label", {}, stageInputs[i], sample("test", colour),
          html("span", {}, `${number} ${title} `, html("small", {}, note)))),
      ...cells[i]))));
  const chart = svg("svg", { role: "img" });
  const plot = html("div", { class: "curves-plot" }, chart, slider);
  const spoken = html("div", { class: "curves-spoken", "aria-live": "polite" });
  const widget = html("div", { class: "curves", role: "group", "aria-label": "Histories" },
    html("div", { class: "curves-choices", role: "radiogroup", "aria-label": "Measure" },
      ...measureInputs.map((radio) => html("label", {}, radio, measures[radio.value].title))),
    plot, table, spoken);

  let curves = []; // what is drawn: { stage, split, mean, low, high }
  let place; // from epoch and value to pixels

  const chosen = (inputs) => inputs.filter((box) => box.checked).map((box) => box.value);
  const measure = () => chosen(measureInputs)[0];

  const draw = () => {
    const { title, label, ticks: heights, unit } = measures[measure()];
    const shown = stages.filter((_, i) => stageInputs[i].checked);
    curves = shown.flatMap((stage) => chosen(splitInputs).map((split) =>
      ({ stage, split, ...stage.curves[`${split}_${measure()}`] })));

    const width = plot.clientWidth;
    if (!width) return; // on paper, where the printed chart takes its place
    const height = Math.min(430, Math.max(280, 0.56 * width));
    const [left, right, top, bottom] = [52, width - 26, 14, height - 42];
    const x = (epoch) => left + ((epoch - 1) / (epochs - 1)) * (right - left);
    const y = (value) => bottom - (value / heights.at(-1)) * (bottom - top);
    const epochAt = (pixel) => Math.round(1 + ((pixel - left) / (right - left)) * (epochs - 1));
    place = { x, y, top, bottom, epochAt };

    const middle = { "text-anchor": "middle" };
    const axes = svg("g", { class: "curves-axes" },
      ...heights.flatMap((tick) => [
        svg("path", { d: `M${left} ${y(tick)}H${right}` }),
        svg("text", { x: left - 7, y: y(tick) + 4, "text-anchor": "end" }, tick + unit)]),
      ...ticks.flatMap((tick) => [
        svg("path", { d: `M${x(tick)} ${top}V${bottom}` }),
        svg("text", { x: x(tick), y: bottom + 17, ...middle }, tick)]),
      svg("text", { x: (left + right) / 2, y: bottom + 35, ...middle }, "epoch"),
      svg("text", { transform: `translate(11 ${(top + bottom) / 2}) rotate(-90)`, ...middle }, label));
    const points = (values) => values.map((value, i) => `${x(i + 1).toFixed(1)} ${y(value).toFixed(1)}`);
    const bands = curves.map(({ stage, split, low, high }) => svg("path", {
      class: "curves-band", fill: stage.colour, "data-band": `${stage.number} ${split}`,
      d: `M${[...points(high), ...points(low).reverse()].join("L")}Z`,
    }));
    const lines = curves.map(({ stage, split, mean }) => {
      // The first point twice: a single one shows as a dot.
      const path = line(split, stage.colour, `M${points(mean)[0]}L${points(mean).join("L")}`);
      path.dataset.curve = `${stage.number} ${split}`;
      return path;
    });
    chart.replaceChildren(axes, ...bands, ...lines, ...endLabels(), svg("g", { class: "curves-mark" }));
    chart.setAttribute("viewBox", `0 0 ${width} ${height}`);
    const what = chosen(splitInputs).map((split) => splits[split]).join(" and ");
    const whose = shown.map(({ number }) => number).join(", ");
    chart.setAttribute("aria-label", curves.length
      ? `Line chart of ${what} ${title.toLowerCase()} by epoch, stages ${whose}`
      : "Empty chart: no stage, or neither training nor test, is chosen");
    // The middle of the thumb (16 pixels wide) stands below its epoch.
    slider.style.marginLeft = `${left - 8}px`;
    slider.style.width = `${right - left + 16}px`;
    point();
  };

  // Heights as near as can be to those wished for (in order from the top down), at least `step`
  // apart and inside the plot: labels that would touch are a group about the middle of their wishes.
  const spread = (wishes, step) => {
    const first = ({ sum, count }) => Math.max(place.top,
      Math.min(sum / count - (step * (count - 1)) / 2, place.bottom - step * (count - 1)));
    const groups = [];
    for (const wish of wishes) {
      let group = { sum: wish, count: 1 };
      for (let above; (above = groups.at(-1)) && first(above) + step * above.count > first(group); groups.pop()) {
        group = { sum: above.sum + group.sum, count: above.count + group.count };
      }
      groups.push(group);
    }
    return groups.flatMap((group) =>
      Array.from({ length: group.count }, (_, i) => first(group) + step * i));
  };

  // The number of each stage beside the end of its last curve.
  const endLabels = () => {
    const ends = new Map(curves.map(({ stage, mean }) =>
      [stage.number, { stage, x: place.x(mean.length), y: place.y(mean.at(-1)) }]));
    const labels = [...ends.values()].sort((a, b) => a.y - b.y);
    const columns = new Map(); // of labels whose curves end at one epoch
    for (const label of labels) columns.set(label.x, [...columns.get(label.x) ?? [], label]);
    return [...columns.values()].flatMap((column) => {
      const heights = spread(column.map(({ y }) => y), 12);
      return column.flatMap(({ stage, x, y }, i) => [
        svg("path", { d: `M${x + 2} ${y}L${x + 10} ${heights[i]}`, stroke: stage.colour }),
        svg("text", { class: "curves-end", x: x + 12, y: heights[i] + 4, fill: stage.colour }, stage.number)]);
    });
  };

  // The values drawn at the epoch chosen: dots in the chart, numbers in the table, words to hear.
  let speak;
  const point = () => {
    const epoch = Number(slider.value);
    const { unit, digits } = measures[measure()];
    when.textContent = `Epoch ${epoch}`;
    const x = place.x(epoch);
    const mark = chart.querySelector(".curves-mark");
    mark.replaceChildren(svg("path", { d: `M${x} ${place.top}V${place.bottom}` }));
    const texts = new Map();
    for (const { stage, split, mean } of curves) {
      if (!(epoch <= mean.length)) continue;
      const value = mean[epoch - 1];
      texts.set(`${stage.number} ${split}`, value.toFixed(digits) + unit);
      mark.append(svg("circle", { cx: x, cy: place.y(value), r: 4, fill: stage.colour }));
    }
    const words = [];
    stages.forEach(({ number }, i) => splitInputs.forEach(({ value: split }, j) => {
      const text = texts.get(`${number} ${split}`);
      cells[i][j].textContent = text ?? "–";
      if (text) words.push(`stage ${number} ${splits[split]} ${text}`);
    }));
    clearTimeout(speak);
    speak = setTimeout(() => {
      spoken.textContent = `${when.textContent}. ${words.join(", ") || "No values"}.`;
    }, 300);
  };

  const follow = (event) => {
    slider.value = place.epochAt(event.clientX - chart.getBoundingClientRect().left);
    point();
  };
  chart.addEventListener("pointerdown", follow);
  chart.addEventListener("pointermove", follow);
  widget.addEventListener("input", (event) => (event.target === slider ? point() : draw()));

  const caption = document.querySelector(`#${data.figure} figcaption`);
  for (const part of caption.parentElement.children) {
    if (part !== caption) part.classList.add("curves-static");
  }
  caption.before(widget);
  new ResizeObserver(draw).observe(plot);
  draw();
})();
