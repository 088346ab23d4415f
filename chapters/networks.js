// The report's networks in the reader's browser: how they are loaded and run.
// Plain script: it works from a file, and nothing is sent anywhere.
"use strict";
const networks = (() => {
  class Refusal extends Error {} // what a reader is told, word for word

  // An element with its properties and children.
  function make(tag, properties = {}, ...children) {
    const element = Object.assign(document.createElement(tag), properties);
    element.append(...children);
    return element;
  }

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
    if (!await tf.setBackend("wasm")) {
      throw new Refusal("The networks can't run in this browser: they need WebAssembly with SIMD, " +
        "which browsers of the last few years have.");
    }
  }

  // --- the networks: a function for each layer of their descriptions --------------------------

  const kinds = {
    convolution({ shape, activation }, weights) {
      const [filter, bias] = weights(shape);
      return (x) => tf.fused.conv2d({ x, filter, bias, activation, strides: 1, pad: "same" });
    },
    pooling: ({ size: side }) => (x) => tf.maxPool(x, side, side, "valid"),
    average: () => (x) => tf.mean(x, [1, 2], true),
    dense({ shape }, weights) {
      const [matrix, bias] = weights(shape);
      return (x) => tf.add(tf.matMul(tf.reshape(x, [x.shape[0], -1]), matrix), bias);
    },
  };

  // The weights are 16-bit numbers times a scale for each filter or class; before them all stand
  // the scales and biases (cifar_study/report/networks.py describes the bytes).
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
      built.get(stage.number).catch(() => { // it may do next time
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
        if (kind === "pooling" || kind === "average") maps.push(x);
      }
      return {
        shares: tf.softmax(x).dataSync(),
        maps: maps.map((map) => ({ shape: map.shape, values: map.dataSync() })),
      };
    });
  }

  return { ask, make, Refusal };
})();
