// The report's networks in the reader's browser: how they are loaded and run, and how pictures are
// read and made small. Plain script: it works from a file, and nothing is sent anywhere.
"use strict";
const networks = (() => {
  class Refusal extends Error {} // what a reader is told, word for word

  // An element with its properties and children.
  function make(tag, properties = {}, ...children) {
    const element = Object.assign(document.createElement(tag), properties);
    element.append(...children);
    return element;
  }

  const percent = (share, digits = 1) => `${(100 * share).toFixed(digits)}%`;
  const size = (width, height) => `${width.toLocaleString("en")} × ${height.toLocaleString("en")}`;

  // --- what is loaded: each part once, from the page itself or from a file beside it ----------

  const parts = new Map();

  // The text of a part. A file beside the page puts it into its place (see works_from_file.py).
  function part(name) {
    if (!parts.has(name)) {
      const place = document.querySelector(`script[data-once="${name}"]`);
      const text = () => {
        const content = place.textContent;
        place.textContent = "";
        return content;
      };
      parts.set(name, new Promise((done, failed) => {
        const { src } = place.dataset;
        if (!src) return done(text());
        const onerror = () => {
          parts.delete(name); // it may be there next time
          failed(new Refusal(`The file ${src.replace(/\?.*/, "")}, which belongs beside this ` +
            "page, could not be loaded."));
        };
        document.head.append(make("script", { src, onerror, onload: () => done(text()) }));
      }));
    }
    return parts.get(name);
  }

  function bytes(text) {
    const letters = atob(text);
    const values = new Uint8Array(letters.length);
    for (let i = 0; i < letters.length; i++) values[i] = letters.charCodeAt(i);
    return values;
  }

  let started;
  async function library() {
    const [core, backend, wasm] = await Promise.all(["core", "backend", "wasm"].map(part));
    for (const textContent of [core, backend]) document.head.append(make("script", { textContent }));
    // WebAssembly rather than a graphics card: 32-bit floats on every machine.
    const binary = `data:application/wasm;base64,${wasm}`;
    const names = ["", "-simd", "-threaded-simd"].map((kind) => `tfjs-backend-wasm${kind}.wasm`);
    tf.env().set("WASM_HAS_MULTITHREAD_SUPPORT", false);
    tf.wasm.setWasmPaths(Object.fromEntries(names.map((name) => [name, binary])));
    if (!await tf.setBackend("wasm")) throw new Error("no WebAssembly with SIMD");
  }

  // --- the networks: a function for each layer of their descriptions --------------------------

  const kinds = {
    convolution({ shape, activation }, weights) {
      const [filter, bias] = weights(shape);
      return (x) => tf.fused.conv2d({ x, filter, bias, activation, strides: 1, pad: "same" });
    },
    maxPooling: ({ size: side }) => (x) => tf.maxPool(x, side, side, "valid"),
    globalAverage: () => (x) => tf.mean(x, [1, 2], true),
    dense({ shape }, weights) {
      const [matrix, bias] = weights(shape);
      return (x) => tf.add(tf.matMul(tf.reshape(x, [x.shape[0], -1]), matrix), bias);
    },
  };

  // The weights are 16-bit numbers times a scale for each filter or class; before them all stand
  // the scales and biases (cifar_study/report/demo.py describes the bytes).
  async function build({ number, layers }) {
    const [{ buffer }] = await Promise.all([part(`stage-${number}`).then(bytes), started ??= library()]);
    const filters = layers.reduce((sum, { shape }) => sum + (shape?.at(-1) ?? 0), 0);
    const exact = new Float32Array(buffer, 0, 2 * filters);
    const rounded = new Int16Array(buffer, exact.byteLength);
    let [head, used] = [0, 0];
    const weights = (shape) => {
      const many = shape.at(-1);
      const [scale, bias] = [exact.subarray(head, head + many), exact.slice(head + many, head + 2 * many)];
      head += 2 * many;
      const values = new Float32Array(tf.util.sizeFromShape(shape));
      for (let i = 0; i < values.length; i++) values[i] = rounded[used++] * scale[i % many];
      return [tf.tensor(values, shape), tf.tensor(bias)];
    };
    return layers.map((layer) => ({ ...layer, run: kinds[layer.kind](layer, weights) }));
  }

  const built = new Map();

  // The layers of a stage, ready to run.
  function load(stage) {
    if (!built.has(stage.number)) {
      built.set(stage.number, build(stage));
      built.get(stage.number).catch(() => {
        built.delete(stage.number);
        started = undefined;
      });
    }
    return built.get(stage.number);
  }

  // For pictures (ImageData) of one size: their probabilities, one after the other, and `maps`,
  // what each block yields: { shape: [pictures, height, width, maps], values }.
  async function ask(stage, pictures) {
    const layers = await load(stage);
    const [{ width, height }] = pictures;
    const values = new Float32Array(pictures.length * height * width * 3);
    let to = 0;
    for (const { data } of pictures) {
      for (let from = 0; from < data.length; from += 4) {
        for (let channel = 0; channel < 3; channel++) values[to++] = data[from + channel] / 255;
      }
    }
    return tf.tidy(() => {
      let x = tf.tensor(values, [pictures.length, height, width, 3]);
      const maps = [];
      for (const { kind, run } of layers) {
        x = run(x);
        if (kind === "maxPooling" || kind === "globalAverage") maps.push(x);
      }
      return {
        shares: tf.softmax(x).dataSync(),
        maps: maps.map((map) => ({ shape: map.shape, values: map.dataSync() })),
      };
    });
  }

  // --- pictures: read, laid on white, made small as Pillow does -------------------------------

  const MOST_PIXELS = 64e6; // more takes some browsers out of memory
  const KEPT_PIXELS = 4e6; // more are halved first, which no network here can tell
  const SMALLEST = 8; // pixels of a side

  // The weights of Lanczos' filter with three lobes, wider by as much as the picture gets smaller,
  // in whole numbers of 2⁻²².
  function taps(from, to) {
    const sinc = (x) => (x === 0 ? 1 : Math.sin(Math.PI * x) / (Math.PI * x));
    const scale = from / to;
    const wide = Math.max(scale, 1);
    return Array.from({ length: to }, (_, place) => {
      const centre = (place + 0.5) * scale;
      const first = Math.max(0, Math.trunc(centre - 3 * wide + 0.5));
      const end = Math.min(from, Math.trunc(centre + 3 * wide + 0.5));
      const values = Array.from({ length: end - first }, (__, i) => {
        const x = (first + i + 0.5 - centre) / wide;
        return x >= -3 && x < 3 ? sinc(x) * sinc(x / 3) : 0;
      });
      const sum = values.reduce((one, other) => one + other);
      return { first, weights: Int32Array.from(values, (value) => Math.round(value / sum * 2 ** 22)) };
    });
  }

  // The picture with another width, rounded to whole levels, its rows as columns.
  function narrow({ data, width, height }, newWidth) {
    const out = new ImageData(height, newWidth);
    out.data.fill(255);
    const columns = taps(width, newWidth);
    for (let row = 0; row < height; row++) {
      columns.forEach(({ first, weights }, column) => {
        let red = 2 ** 21, green = red, blue = red;
        let from = 4 * (row * width + first);
        for (let i = 0; i < weights.length; i++, from += 4) {
          red += weights[i] * data[from];
          green += weights[i] * data[from + 1];
          blue += weights[i] * data[from + 2];
        }
        const to = 4 * (column * height + row);
        out.data[to] = red >> 22; // what is below 0 or above 255 becomes that
        out.data[to + 1] = green >> 22;
        out.data[to + 2] = blue >> 22;
      });
    }
    return out;
  }

  // Both directions, rows first; columns first where they lose many more pixels, as in Pillow 13.
  function resize(picture, width, height) {
    const [across, down] = [picture.width - width, picture.height - height];
    if (down <= Math.max(0, 2 * across)) return narrow(narrow(picture, width), height);
    const turned = (one) => narrow(one, one.width);
    return turned(narrow(narrow(turned(picture), height), width));
  }

  // Width and height with about as many pixels as a square of that side, proportions kept.
  function proportions({ width, height }, side) {
    const scale = side / Math.sqrt(width * height);
    return [width, height].map((length) => Math.max(1, Math.round(scale * length)));
  }

  // An image on white as ImageData.
  function pixels(image) {
    let { width, height } = image;
    for (;;) {
      const small = width * height <= KEPT_PIXELS;
      if (!small) [width, height] = [width, height].map((length) => Math.ceil(length / 2));
      const canvas = make("canvas", { width, height });
      const context = canvas.getContext("2d", { willReadFrequently: small });
      context.fillStyle = "#fff";
      context.fillRect(0, 0, width, height);
      context.drawImage(image, 0, 0, width, height);
      if (small) return context.getImageData(0, 0, width, height);
      image = canvas;
    }
  }

  // The picture at `address`, turned as its EXIF data say.
  async function read(address) {
    const image = new Image();
    let bitmap;
    try {
      await new Promise((done, failed) => {
        Object.assign(image, { onload: done, onerror: failed, src: address });
      });
      const { naturalWidth: width, naturalHeight: height } = image;
      if (width * height > MOST_PIXELS) {
        throw new Refusal(`This picture has ${size(width, height)} pixels, too many to open here. ` +
          `Up to ${MOST_PIXELS / 1e6} million in all are fine.`);
      }
      if (Math.min(width, height) < SMALLEST) {
        throw new Refusal(`This picture has ${size(width, height)} pixels, too few for the ` +
          `network: it needs at least ${size(SMALLEST, SMALLEST)}.`);
      }
      bitmap = await createImageBitmap(image); // which refuses half a picture
      return pixels(bitmap);
    } catch (error) {
      if (error instanceof Refusal) throw error;
      throw new Refusal("This file can't be read as a picture. JPEG, PNG and WebP files can.");
    } finally {
      bitmap?.close();
    }
  }

  // The picture in a file; `moves` where only its first frame is seen.
  async function readFile(file) {
    let head = "";
    try {
      head = new TextDecoder("latin1").decode(await file.slice(0, 4e6).arrayBuffer());
    } catch { /* a folder, or a file that is gone: it can't be read as a picture, either */ }
    if (/^(\uFEFF|ï»¿)?\s*<(\?xml|!--|!doctype svg|svg)/i.test(head)) {
      throw new Refusal("This is a drawing (SVG), not a photo. JPEG, PNG and WebP files can be read.");
    }
    const address = URL.createObjectURL(file);
    try {
      const picture = await read(address);
      const moves = head.startsWith("GIF8") && head.split("\x21\xF9\x04").length > 2 ||
        /^.PNG[^]{0,200}acTL/.test(head) || /^RIFF[^]{4}WEBP[^]{0,100}ANIM/.test(head);
      return Object.assign(picture, { moves });
    } catch (error) {
      if (!/^[^]{4}ftyp(hei|hev|mif1|msf1)/.test(head)) throw error;
      throw new Refusal("This browser can't open HEIC pictures. Save it as JPEG and choose that.");
    } finally {
      URL.revokeObjectURL(address);
    }
  }

  // --- what is shown ---------------------------------------------------------------------------

  // A picture (ImageData) on a canvas, a pixel a pixel; the page makes it larger.
  function draw(canvas, picture) {
    const { width, height } = picture;
    Object.assign(canvas, { width, height }).getContext("2d").putImageData(picture, 0, 0);
    canvas.style.setProperty("--wide", Math.min(1, width / height));
  }

  // A table of the classes with bars. `show` gives the classes back, the most probable first.
  function bars(classes) {
    const table = make("table", { className: "net-bars" });
    table.createCaption().textContent = "Probability of each class";
    const rows = classes.map((name) => {
      const row = table.insertRow();
      row.append(make("th", { scope: "row", textContent: name }));
      const bar = row.insertCell().appendChild(make("span"));
      return { row, bar, value: row.insertCell() };
    });
    const show = (shares, right) => {
      const order = [...classes.keys()].sort((a, b) => shares[b] - shares[a]);
      rows.forEach(({ row, bar, value }, label) => {
        row.classList.toggle("first", label === order[0]);
        row.classList.toggle("right", classes[label] === right);
        bar.style.width = percent(shares[label]);
        value.textContent = percent(shares[label]);
      });
      return order;
    };
    return { table, show };
  }

  // --- how a reader gives a picture ------------------------------------------------------------

  const intakes = [];

  // Buttons, a file, a drop and a paste inside `root`. A picture that comes gets `use`d, with its
  // button where it came from one; what goes wrong is `refuse`d in one sentence.
  function intake(root, { use, refuse, begin, first }) {
    let turn = 0; // what is chosen later wins

    async function attempt(step) {
      const mine = ++turn;
      const current = () => mine === turn;
      try {
        await step(current);
      } catch (error) {
        if (!current()) return;
        if (!(error instanceof Refusal)) console.warn(error);
        refuse(error instanceof Refusal ? error.message : "The network can't run in this browser: " +
          "it needs WebAssembly with SIMD, which browsers of the last few years have.");
      }
    }

    const take = (reading, button) => attempt(async (current) => {
      begin();
      const picture = await reading();
      if (current()) await use(picture, button, current);
    });
    const takeFile = (file) => {
      if (file) return take(() => readFile(file));
      turn += 1;
      refuse("No file came with that. Save the picture first, then drop the file.");
    };

    const buttons = [...root.querySelectorAll(".net-choices button")];
    for (const button of buttons) {
      button.addEventListener("click", () => take(() => read(button.querySelector("img").src), button));
    }
    root.querySelector("input[type=file]").addEventListener("change", ({ target }) => {
      if (target.files.length) takeFile(target.files[0]);
      target.value = ""; // the same file may be chosen again
    });
    for (const [name, over] of [["dragover", true], ["dragleave", false], ["drop", false]]) {
      root.addEventListener(name, (event) => {
        event.preventDefault();
        root.classList.toggle("net-over", over);
        if (name === "drop") takeFile(event.dataTransfer.files[0]);
      });
    }
    intakes.push({ root, takeFile });

    // One of the choices is taken when the reader comes near.
    new IntersectionObserver(([entry], observer) => {
      if (!entry.isIntersecting) return;
      observer.disconnect();
      if (turn === 0) (first ?? buttons[0]).click();
    }, { rootMargin: "300px" }).observe(root);

    return { attempt };
  }

  // A pasted picture goes where the reader is.
  document.addEventListener("paste", ({ clipboardData }) => {
    const file = [...clipboardData?.files ?? []].find(({ type }) => type.startsWith("image/"));
    const distance = ({ root }) => {
      const { top, bottom } = root.getBoundingClientRect();
      return root.contains(document.activeElement) ? -1
        : Math.max(0, top - innerHeight, -bottom);
    };
    const [nearest] = [...intakes].sort((one, other) => distance(one) - distance(other));
    if (file && nearest && distance(nearest) <= 0) nearest.takeFile(file);
  });

  return { ask, bars, draw, intake, load, make, percent, proportions, Refusal, resize, size };
})();
