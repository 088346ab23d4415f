"use strict";
// The histories of all stages as a chart to explore. It takes the place of the static chart on
// screens; cifar_study/report/explorer.py puts the data (colours and axes, too) and this script in the page.
(() => {
  const data = JSON.parse(document.getElementById("curves-data").textContent);
  const { ticks, measures, splits, stages } = data;
  const epochs = ticks.at(-1);
  const format = {
    accuracy: (value) => `${(100 * value).toFixed(2)}%`,
    loss: (value) => value.toFixed(3),
  };

  // Arithmetic: the mean over a stage's runs, as far as all have come, then over the last epochs.
  const mean = (values) => values.reduce((sum, value) => sum + value, 0) / values.length;
  const meanOfRuns = (lists) => {
    const length = lists.length && Math.min(...lists.map((list) => list.length));
    return Array.from({ length }, (_, i) => mean(lists.map((list) => list[i])));
  };
  // Not a number before the window is full; fewer than three windows stay as they are.
  const runningMean = (values, window) => values.length < 3 * window ? values :
    values.map((_, i) => i + 1 < window ? NaN : mean(values.slice(i + 1 - window, i + 1)));

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
  // A stage's colour in either theme; where light-dark() is unknown, that of the light one.
  const inBoth = (what, light, dark) => ({ [what]: light, style: `${what}: light-dark(${light}, ${dark})` });
  const line = (split, stroke, d, dark = stroke) => {
    const dashes = splits[split].dashes.map((length) => 2 * length); // a line is two pixels wide
    return svg("path", { d, class: "curves-line", "stroke-dasharray": dashes, ...inBoth("stroke", stroke, dark) });
  };
  const sample = (split, colour, dark) =>
    svg("svg", { class: "curves-sample", "aria-hidden": true }, line(split, colour, "M3 6H31", dark));

  // Controls. What is chosen is read from them; there is no other state.
  const measureInputs = Object.keys(measures).map((value) =>
    input("radio", { name: "curves-measure", value }));
  measureInputs[0].checked = true;
  const smoothing = input("range", { min: 1, max: 50, value: data.smoothing });
  const smoothingText = html("span");
  const splitInputs = Object.keys(splits).map((value) => input("checkbox", { value }));
  splitInputs.find(({ value }) => value === "test").checked = true;
  const stageInputs = stages.map(({ number, runs }) => {
    const box = input("checkbox", { value: number });
    box.checked = runs.length > 0;
    box.disabled = runs.length === 0;
    return box;
  });
  const slider = input("range", { min: 1, max: epochs, class: "curves-epoch", "aria-label": "Epoch" });
  slider.value = Math.max(1, ...stages.map(({ runs }) =>
    meanOfRuns(runs.map((run) => run.history.test_loss)).length));
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
        html("label", {}, box, sample(box.value, "#555", "#a9b2bb"), splits[box.value].title))))),
    html("tbody", {}, ...stages.map(({ number, title, note, colour, dark }, i) => html("tr", {},
      html("th", { scope: "row" },
        html("label", {}, stageInputs[i], sample("test", colour, dark),
          html("span", {}, `${number} ${title} `, html("small", {}, note)))),
      ...cells[i]))));
  const chart = svg("svg", { role: "img" });
  const plot = html("div", { class: "curves-plot" }, chart, slider);
  const spoken = html("div", { class: "curves-spoken", "aria-live": "polite" });
  const widget = html("div", { class: "curves", role: "group", "aria-label": "Histories" },
    html("div", { class: "curves-choices" },
      html("div", { role: "radiogroup", "aria-label": "Measure" },
        ...measureInputs.map((radio) => html("label", {}, radio, measures[radio.value].title))),
      html("label", {}, smoothing, smoothingText)),
    plot, table, spoken);

  let curves = []; // what is drawn: { stage, split, values }
  let place; // from epoch and value to pixels

  const chosen = (inputs) => inputs.filter((box) => box.checked).map((box) => box.value);
  const measure = () => chosen(measureInputs)[0];

  const draw = () => {
    const { title, label, ticks: heights, labels } = measures[measure()];
    const window = Number(smoothing.value);
    smoothingText.textContent = window > 1 ? `running mean of ${window} epochs` : "no smoothing";
    const shownStages = stages.filter((_, i) => stageInputs[i].checked);
    curves = shownStages.flatMap((stage) => chosen(splitInputs).map((split) => {
      const lists = stage.runs.map((run) => run.history[`${split}_${measure()}`]);
      return { stage, split, values: runningMean(meanOfRuns(lists), window) };
    }));

    const width = plot.clientWidth;
    if (!width) return; // on paper, where the static chart takes its place
    const height = Math.min(430, Math.max(280, 0.56 * width));
    const [left, right, top, bottom] = [52, width - 26, 14, height - 42];
    const x = (epoch) => left + (epoch / epochs) * (right - left);
    const y = (value) => bottom - (value / heights.at(-1)) * (bottom - top);
    const epochAt = (pixel) => Math.round(((pixel - left) / (right - left)) * epochs);
    place = { x, y, top, bottom, epochAt };

    const middle = { "text-anchor": "middle" };
    const axes = svg("g", { class: "curves-axes" },
      ...heights.flatMap((tick, i) => [
        svg("path", { d: `M${left} ${y(tick)}H${right}` }),
        svg("text", { x: left - 7, y: y(tick) + 4, "text-anchor": "end" }, labels[i])]),
      ...ticks.flatMap((tick) => [
        svg("path", { d: `M${x(tick)} ${top}V${bottom}` }),
        svg("text", { x: x(tick), y: bottom + 17, ...middle }, tick)]),
      svg("text", { x: (left + right) / 2, y: bottom + 35, ...middle }, "epoch"),
      svg("text", { transform: `translate(11 ${(top + bottom) / 2}) rotate(-90)`, ...middle }, label));
    const lines = curves.map(({ stage, split, values }) => {
      const points = values.flatMap((value, i) =>
        Number.isNaN(value) ? [] : [`${x(i + 1).toFixed(1)} ${y(value).toFixed(1)}`]);
      // The first point twice: a single one shows as a dot.
      const path = line(split, stage.colour, `M${points[0]}L${points.join("L")}`, stage.dark);
      path.dataset.curve = `${stage.number} ${split}`;
      return path;
    });
    chart.replaceChildren(axes, ...lines, ...endLabels(), svg("g", { class: "curves-mark" }));
    chart.setAttribute("viewBox", `0 0 ${width} ${height}`);
    const what = chosen(splitInputs).map((split) => splits[split].title).join(" and ");
    const whose = shownStages.map(({ number }) => number).join(", ");
    chart.setAttribute("aria-label", curves.length
      ? `Line chart of ${what} ${title.toLowerCase()} by epoch, stages ${whose}`
      : "Empty chart: no stage, or neither training nor test, is chosen");
    // The middle of the thumb (16 pixels wide) stands below its epoch.
    slider.style.marginLeft = `${x(1) - 8}px`;
    slider.style.width = `${x(epochs) - x(1) + 16}px`;
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
    const ends = new Map(curves.filter(({ values }) => values.length).map(({ stage, values }) =>
      [stage.number, { stage, x: place.x(values.length), y: place.y(values.at(-1)) }]));
    const labels = [...ends.values()].sort((a, b) => a.y - b.y);
    const columns = new Map(); // of labels whose curves end at about the same epoch
    for (const label of labels) {
      const near = [...columns.keys()].find((x) => Math.abs(x - label.x) < 24) ?? label.x;
      columns.set(near, [...columns.get(near) ?? [], label]);
    }
    return [...columns.values()].flatMap((column) => {
      const heights = spread(column.map(({ y }) => y), 12);
      return column.flatMap(({ stage, x, y }, i) => [
        svg("path", { class: "curves-leader", d: `M${x + 2} ${y}L${x + 10} ${heights[i]}`,
          ...inBoth("stroke", stage.colour, stage.dark) }),
        svg("text", { class: "curves-end", x: x + 12, y: heights[i] + 4 }, stage.number)]);
    });
  };

  // The values drawn at the epoch chosen: dots in the chart, numbers in the table, words to hear.
  let speak;
  const point = () => {
    const epoch = Number(slider.value);
    const first = epoch + 1 - smoothing.value;
    const range = first < 1 ? `: too early for a mean of ${smoothing.value} epochs`
      : first < epoch ? `: mean of epochs ${first} to ${epoch}` : "";
    const few = 3 * smoothing.value;
    const short = smoothing.value > 1 && curves.some(({ values }) => values.length < few);
    const but = short ? ` (stages of fewer than ${few} epochs as they are)` : "";
    when.textContent = `Epoch ${epoch}${range}${but}`;
    const x = place.x(epoch);
    const mark = chart.querySelector(".curves-mark");
    mark.replaceChildren(svg("path", { d: `M${x} ${place.top}V${place.bottom}` }));
    const texts = new Map();
    for (const { stage, split, values } of curves) {
      const value = values[epoch - 1];
      if (!Number.isFinite(value)) continue;
      texts.set(`${stage.number} ${split}`, format[measure()](value));
      const colour = inBoth("fill", stage.colour, stage.dark);
      mark.append(svg("circle", { cx: x, cy: place.y(value), r: 4, ...colour }));
    }
    const words = [];
    stages.forEach((stage, i) => splitInputs.forEach(({ value: split }, j) => {
      const text = texts.get(`${stage.number} ${split}`);
      cells[i][j].textContent = text ?? "–";
      if (text) words.push(`stage ${stage.number} ${splits[split].title} ${text}`);
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
