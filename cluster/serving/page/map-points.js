// Draws the points: with WebGL, or where there is none with squares on a plain canvas. Both have the same two methods:
//   load(points, codes, colours)      colours: [[r, g, b], ...] by code
//   draw(camera, ratio, alphas)       alphas: opacity by code; ratio: device pixels per CSS pixel

const MOST_COLOURS = 16;

const VERTEX = `
attribute vec2 place;
attribute float code;
uniform vec2 centre, scale;
uniform mediump float size;
uniform vec4 colours[${MOST_COLOURS}];
varying vec4 colour;
void main() {
  vec2 p = (place - centre) * scale;
  gl_Position = vec4(p.x, -p.y, 0.0, 1.0);
  gl_PointSize = size;
  colour = colours[int(code)];
}`;
const FRAGMENT = `
precision mediump float;
varying vec4 colour;
uniform float size;
void main() {
  float d = length(gl_PointCoord - 0.5) * size;
  float inside = 1.0 - smoothstep(size * 0.5 - 1.0, size * 0.5, d);
  gl_FragColor = vec4(colour.rgb, 1.0) * colour.a * inside;
}`;

/** Diameter of a point in CSS pixels: more points are smaller, and all grow a little as one comes nearer. */
export const pointSize = (camera, count) => {
  const room = Math.sqrt((camera.width * camera.height) / Math.max(count, 1));
  return Math.min(13, Math.min(7.5, Math.max(1.7, room * 0.42)) * camera.zoom ** 0.4);
};

export function makePoints(canvas) {
  const gl = canvas.getContext("webgl", { antialias: false, powerPreference: "low-power" });
  return gl ? new GlPoints(canvas, gl) : new PlainPoints(canvas);
}

class GlPoints {
  constructor(canvas, gl) {
    Object.assign(this, { canvas, gl, kind: "webgl", count: 0 });
    canvas.addEventListener("webglcontextlost", (event) => event.preventDefault());
    canvas.addEventListener("webglcontextrestored", () => {
      this.prepare();
      if (this.loaded) this.load(...this.loaded);
    });
    this.prepare();
  }

  prepare() {
    const { gl } = this;
    const program = gl.createProgram();
    for (const [type, source] of [[gl.VERTEX_SHADER, VERTEX], [gl.FRAGMENT_SHADER, FRAGMENT]]) {
      const shader = gl.createShader(type);
      gl.shaderSource(shader, source);
      gl.compileShader(shader);
      gl.attachShader(program, shader);
    }
    gl.linkProgram(program);
    if (!gl.getProgramParameter(program, gl.LINK_STATUS) && !gl.isContextLost()) throw new Error(gl.getProgramInfoLog(program));
    gl.useProgram(program);
    gl.enable(gl.BLEND);
    gl.blendFunc(gl.ONE, gl.ONE_MINUS_SRC_ALPHA); // colours come multiplied by their opacity
    this.uniforms = Object.fromEntries(
      ["centre", "scale", "size", "colours"].map((name) => [name, gl.getUniformLocation(program, name)]));
    this.places = ["place", "code"].map((name) => gl.getAttribLocation(program, name));
  }

  load(points, codes, colours) {
    const { gl } = this;
    Object.assign(this, { loaded: [points, codes, colours], colours, count: codes.length });
    [[points, 2, gl.FLOAT], [codes, 1, gl.UNSIGNED_BYTE]].forEach(([data, width, type], i) => {
      gl.bindBuffer(gl.ARRAY_BUFFER, gl.createBuffer());
      gl.bufferData(gl.ARRAY_BUFFER, data, gl.STATIC_DRAW);
      gl.enableVertexAttribArray(this.places[i]);
      gl.vertexAttribPointer(this.places[i], width, type, false, 0, 0);
    });
  }

  draw(camera, ratio, alphas) {
    const { gl, canvas, uniforms } = this;
    gl.viewport(0, 0, canvas.width, canvas.height);
    gl.clearColor(0, 0, 0, 0);
    gl.clear(gl.COLOR_BUFFER_BIT);
    gl.uniform2f(uniforms.centre, camera.x, camera.y);
    gl.uniform2f(uniforms.scale, (2 * camera.scaleX) / camera.width, (2 * camera.scaleY) / camera.height);
    gl.uniform1f(uniforms.size, pointSize(camera, this.count) * ratio + 1);
    const table = new Float32Array(4 * MOST_COLOURS);
    this.colours.forEach((rgb, code) => table.set([...rgb, alphas[code]], 4 * code));
    gl.uniform4fv(uniforms.colours, table);
    gl.drawArrays(gl.POINTS, 0, this.count);
  }
}

class PlainPoints {
  constructor(canvas) {
    Object.assign(this, { canvas, pen: canvas.getContext("2d"), kind: "canvas", count: 0 });
  }

  load(points, codes, colours) {
    const byCode = colours.map(() => []); // one change of colour for each, not for each point
    codes.forEach((code, i) => byCode[code].push(i));
    Object.assign(this, { points, byCode, colours, count: codes.length });
  }

  draw(camera, ratio, alphas) {
    const { pen, canvas, points } = this;
    pen.setTransform(ratio, 0, 0, ratio, 0, 0);
    pen.clearRect(0, 0, canvas.width, canvas.height);
    const size = pointSize(camera, this.count);
    this.byCode.forEach((members, code) => {
      pen.fillStyle = `rgb(${this.colours[code].map((part) => Math.round(255 * part)).join(" ")} / ${alphas[code]})`;
      for (const i of members) {
        const [px, py] = camera.toScreen(points[2 * i], points[2 * i + 1]);
        if (px > -size && py > -size && px < camera.width + size && py < camera.height + size) {
          pen.fillRect(px - size / 2, py - size / 2, size, size);
        }
      }
    });
  }
}
