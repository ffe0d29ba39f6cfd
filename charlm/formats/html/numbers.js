"use strict";
// Numbers: only added, subtracted, multiplied, divided and rounded, which every machine does alike to the last bit;
// Math.exp and Math.tanh may differ, and with them, in the end, the text.

// Powers of two from 2^-1074 to 2^1023, exact.
const LOWEST = -1074;
const POWERS = new Float64Array(1024 - LOWEST);
POWERS[-LOWEST] = 1;
for (let at = 1 - LOWEST; at < POWERS.length; at++) POWERS[at] = POWERS[at - 1] * 2;
for (let at = -LOWEST - 1; at >= 0; at--) POWERS[at] = POWERS[at + 1] / 2;

const power = (exponent) => POWERS[exponent - LOWEST];
const INVERSES = Float64Array.from({ length: 14 }, (_, n) => 1 / n);

/** e to the x: x = k ln 2 + r with r small, whose series is short. */
function exp(x) {
  if (!(x > -700)) return x <= -700 ? 0 : NaN;
  if (x > 700) return Infinity;
  const k = Math.floor(x * Math.LOG2E + 0.5), r = x - k * Math.LN2;
  let sum = 1;
  for (let n = 13; n > 0; n--) sum = 1 + sum * r * INVERSES[n];
  return sum * power(k);
}

/** Cosine and sine of an angle, by their series. */
function circle(angle) {
  const r = angle - 2 * Math.PI * Math.floor(angle / (2 * Math.PI) + 0.5);
  let cos = 1, sin = 1;
  for (let n = 28; n > 0; n -= 2) {
    cos = 1 - (cos * r * r) / (n * (n - 1));
    sin = 1 - (sin * r * r) / (n * (n + 1));
  }
  return [cos, sin * r];
}

/** A 16-bit float, given as its bits. */
function half(bits) {
  const exponent = (bits >> 10) & 31, fraction = bits & 1023;
  const size = exponent ? (1024 + fraction) * power(exponent - 25) : fraction * power(-24);
  return bits & 0x8000 ? -size : size;
}

/** Base64 as a view of its bytes. */
function decoded(base64) {
  const text = atob(base64), bytes = new Uint8Array(text.length);
  for (let at = 0; at < text.length; at++) bytes[at] = text.charCodeAt(at);
  return new DataView(bytes.buffer);
}
