// The network of the report, run in the reader's browser on the reader's picture.
// Plain script, everything it needs in the page: it works from a file, and nothing is sent.
"use strict";
(() => {
  const root = document.getElementById("photo");
  const find = (selector) => root.querySelector(selector);
  const make = (tag, properties) => Object.assign(document.createElement(tag), properties);
  const embedded = (id) => document.getElementById(id).textContent;
  const { classes, smallest, layers } = JSON.parse(embedded("photo-network"));

  // --- the network: a function for each layer of the description ---------------------------

  const kinds = {
    convolution({ shape, activation }, weights) {
      const [filter, bias] = [weights(shape), weights(shape.slice(-1))];
      return (x) => tf.fused.conv2d({ x, filter, bias, activation, strides: 1, pad: "same" });
    },
    maxPooling: ({ size }) => (x) => tf.maxPool(x, size, size, "valid"),
    globalAverage: () => (x) => tf.mean(x, [1, 2]),
    dense({ shape }, weights) {
      const [matrix, bias] = [weights(shape), weights(shape.slice(-1))];
      return (x) => tf.add(tf.matMul(tf.reshape(x, [1, -1]), matrix), bias);
    },
  };

  async function load() {
    // WebAssembly rather than a graphics card: 32-bit floats on every machine.
    const binary = "data:application/wasm;base64," + embedded("photo-wasm");
    const names = ["", "-simd", "-threaded-simd"].map((kind) => `tfjs-backend-wasm${kind}.wasm`);
    tf.env().set("WASM_HAS_MULTITHREAD_SUPPORT", false);
    tf.wasm.setWasmPaths(Object.fromEntries(names.map((name) => [name, binary])));
    if (!await tf.setBackend("wasm")) throw new Error("no WebAssembly with SIMD");
    const bytes = Uint8Array.from(atob(embedded("photo-weights")), (c) => c.charCodeAt(0));
    const values = new Float32Array(bytes.buffer);
    let used = 0;
    const weights = (shape) => {
      const size = tf.util.sizeFromShape(shape);
      used += size;
      return tf.tensor(values.slice(used - size, used), shape);
    };
    return layers.map((layer) => kinds[layer.kind](layer, weights));
  }

  let loaded;
  // The ten probabilities for an ImageData, as a promise of a Float32Array.
  root.probabilities = async (pixels) => {
    const network = await (loaded ??= load());
    return tf.tidy(() => {
      const picture = tf.div(tf.cast(tf.browser.fromPixels(pixels, 3), "float32"), 255);
      const logits = network.reduce((x, layer) => layer(x), tf.expandDims(picture));
      return tf.softmax(logits).dataSync();
    });
  };

  // --- the picture: read, laid on white, made smaller ---------------------------------------

  const MOST_PIXELS = 64e6; // more takes some browsers out of memory
  const KEPT = 1024; // the longer side of what is kept of a picture
  class Refusal extends Error {}
  const size = (width, height) => `${width.toLocaleString("en")} × ${height.toLocaleString("en")}`;

  // A canvas of the new size. Halving step by step lets every pixel count.
  function scale(image, width, height, newWidth, newHeight) {
    for (;;) {
      width = Math.max(newWidth, Math.ceil(width / 2));
      height = Math.max(newHeight, Math.ceil(height / 2));
      const canvas = make("canvas", { width, height });
      const context = canvas.getContext("2d", { willReadFrequently: true });
      context.fillStyle = "#fff";
      context.fillRect(0, 0, width, height);
      context.drawImage(image, 0, 0, width, height);
      image = canvas;
      if (width === newWidth && height === newHeight) return canvas;
    }
  }

  // Width and height with the longer side given, proportions kept.
  function fit({ width, height }, side) {
    const ratio = side / Math.max(width, height);
    return [width, height].map((length) => Math.max(1, Math.round(length * ratio)));
  }

  // A canvas with the picture at `address`, turned as its EXIF data say.
  async function read(address) {
    const image = new Image();
    try {
      await new Promise((done, failed) => {
        Object.assign(image, { onload: done, onerror: failed, src: address });
      });
      const { naturalWidth: width, naturalHeight: height } = image;
      if (width * height > MOST_PIXELS) {
        throw new Refusal(`This picture has ${size(width, height)} pixels, too many to open here. ` +
          `Up to ${MOST_PIXELS / 1e6} million in all are fine.`);
      }
      if (Math.min(width, height) < smallest) {
        throw new Refusal(`This picture has ${size(width, height)} pixels, too few for the ` +
          `network: it needs at least ${size(smallest, smallest)}.`);
      }
      const bitmap = await createImageBitmap(image); // which refuses half a picture
      const kept = fit(bitmap, Math.min(KEPT, Math.max(width, height)));
      const canvas = scale(bitmap, width, height, ...kept);
      bitmap.close();
      return canvas;
    } catch (error) {
      if (error instanceof Refusal) throw error;
      throw new Refusal("This file can't be read as a picture. JPEG, PNG and WebP files can.");
    }
  }

  // --- the page ------------------------------------------------------------------------------

  const [side, card, seen] = ["input[type=range]", ".photo-card", "canvas"].map(find);
  const table = make("table");
  table.createCaption().textContent = "Probability of each class";
  const rows = classes.map((name) => {
    const row = table.insertRow();
    row.append(make("th", { scope: "row", textContent: name }));
    const bar = row.insertCell().appendChild(make("span"));
    return { row, bar, value: row.insertCell() };
  });
  card.append(table);

  let picture, right; // what is shown: a canvas, and its class where that is known
  const percent = (share) => `${(100 * share).toFixed(1)}%`;

  async function answer(current) {
    const [width, height] = fit(picture, side.valueAsNumber);
    if (Math.min(width, height) < smallest) {
      throw new Refusal(`At this size the picture would have ${size(width, height)} pixels, and ` +
        `the network needs ${size(smallest, smallest)}. ` +
        (Math.min(...fit(picture, Number(side.max))) < smallest
          ? "No side is long enough for so narrow a picture." : "Choose a longer side."));
    }
    const small = scale(picture, picture.width, picture.height, width, height);
    const pixels = small.getContext("2d").getImageData(0, 0, width, height);
    const shares = await root.probabilities(pixels);
    if (!current()) return;
    Object.assign(seen, { width, height }).getContext("2d").putImageData(pixels, 0, 0);
    seen.style.width = `${100 * Math.min(1, width / height)}%`;
    const caption = `The network sees ${size(width, height)} pixels`;
    find("figcaption").textContent = caption;
    seen.setAttribute("aria-label", caption);
    const order = [...shares.keys()].sort((a, b) => shares[b] - shares[a]);
    rows.forEach(({ row, bar, value }, label) => {
      row.classList.toggle("first", label === order[0]);
      row.classList.toggle("right", classes[label] === right);
      bar.style.width = percent(shares[label]);
      value.textContent = percent(shares[label]);
    });
    card.hidden = false;
    const said = order.slice(0, 2).map((label) => `${classes[label]} ${percent(shares[label])}`);
    say(`The network says ${said[0]}, then ${said[1]}.`);
  }

  function say(words) {
    find(".photo-said").textContent = words;
  }

  let turn = 0; // a picture that is chosen later wins

  // Runs one step; what goes wrong is said, and the page goes on.
  async function attempt(step) {
    const mine = turn;
    const current = () => mine === turn;
    try {
      await step(current);
    } catch (error) {
      if (!current()) return;
      card.hidden = true;
      if (!(error instanceof Refusal)) console.warn(error);
      say(error instanceof Refusal ? error.message : "The network can't run in this browser: it " +
        "needs WebAssembly with SIMD, which browsers of the last few years have.");
    }
  }

  async function take(address, itsClass) {
    turn += 1;
    picture = undefined;
    say("Reading the picture …");
    await attempt(async (current) => {
      const canvas = await read(address);
      if (!current()) return;
      [picture, right] = [canvas, itsClass];
      await answer(current);
    });
  }

  async function takeFile(file) {
    if (!file) return say("No file came with that. Save the picture first, then drop the file.");
    const address = URL.createObjectURL(file);
    await take(address);
    URL.revokeObjectURL(address);
  }

  find("input[type=file]").addEventListener("change", ({ target }) => {
    if (target.files.length) takeFile(target.files[0]);
    target.value = ""; // the same file may be chosen again
  });
  side.addEventListener("input", () => {
    const words = `${side.value} pixels`;
    find(".photo-side span").textContent = words;
    side.setAttribute("aria-valuetext", words);
    if (!picture) return;
    turn += 1; // what is still being computed is of another size
    attempt(answer);
  });
  const samples = [...root.querySelectorAll("button[data-class]")];
  samples.forEach((button) => button.addEventListener("click", () => {
    take(button.querySelector("img").src, button.dataset.class);
  }));
  for (const [name, over] of [["dragover", true], ["dragleave", false], ["drop", false]]) {
    root.addEventListener(name, (event) => {
      event.preventDefault();
      root.classList.toggle("photo-over", over);
      if (name === "drop") takeFile(event.dataTransfer.files[0]);
    });
  }

  // The first sample is shown when the reader comes near.
  root.hidden = false;
  document.getElementById("photo-without").hidden = true;
  new IntersectionObserver(([entry], observer) => {
    if (!entry.isIntersecting) return;
    observer.disconnect();
    if (turn === 0) samples[0].click();
  }, { rootMargin: "300px" }).observe(root);
})();
