// GRU, AUGRU and AGRU over whole sequences, forward and backward; models/dien/net.py has the equations.
//
// Rows do not touch each other, so each thread takes blocks of ROWS rows through all steps: states and weights stay in
// its cache, and a step is one small product and one pass over the gates. Steps behind a row's length are skipped.
// All matrices are row-major. G gates a step in the order reset, candidate, update; AGRU has no update gate (G = 2).
#include <omp.h>

#include "vector.h"

using namespace interest;

namespace {

constexpr int64_t ROWS = 12, PENDING = 256;  // rows of a block; rows gathered before they enter the gradient of U

struct Sizes {
  int64_t rows, steps, hidden, gates, wide, all;  // wide: hidden, padded to registers; all = gates·wide
  Sizes(int64_t rows, int64_t steps, int64_t hidden, int64_t gates)
      : rows(rows), steps(steps), hidden(hidden), gates(gates), wide(padded(hidden)), all(gates * wide) {}
};

// U [H, G·H] → [H, G·wide], zeros behind each gate.
std::vector<float> spread_gates(const Sizes& s, const float* u) {
  std::vector<float> out(s.hidden * s.all);
  for (int64_t i = 0; i < s.hidden; ++i)
    for (int64_t g = 0; g < s.gates; ++g)
      std::memcpy(&out[i * s.all + g * s.wide], u + (i * s.gates + g) * s.hidden, s.hidden * sizeof(float));
  return out;
}

int64_t longest(const Sizes& s, const int64_t* length, int64_t first, int64_t count) {
  int64_t most = 0;
  for (int64_t i = 0; i < count; ++i) most = std::max(most, length[first + i]);
  return std::min(most, s.steps);
}

}  // namespace

extern "C" {

// p [B, T, G·H] inputs times W; attention [B, T], or null for 1; u [H, G·H]; bias [G·H]; d [H]; length [B].
// Writes states [B, T, H] (0 behind the length), last [B, H] and, unless null, kept [B, T, 4, H]: r, q, ĥ', u.
void recurrence_forward(int64_t rows, int64_t steps, int64_t hidden, int64_t gates, const float* p, const float* attention,
                        const int64_t* length, const float* u, const float* bias, const float* d, float* states,
                        float* last, float* kept) {
  const Sizes s(rows, steps, hidden, gates);
  const std::vector<float> weight = spread_gates(s, u);
  const int64_t blocks = (rows + ROWS - 1) / ROWS, h = hidden;
#pragma omp parallel
  {
    std::vector<float> state(ROWS * s.wide), sum(ROWS * s.all), spare(4 * h);
#pragma omp for schedule(static, 1)
    for (int64_t block = 0; block < blocks; ++block) {
      const int64_t first = block * ROWS, count = std::min(ROWS, rows - first), end = longest(s, length, first, count);
      std::fill(state.begin(), state.end(), 0.0f);
      for (int64_t t = 0; t < end; ++t) {
        std::fill(sum.begin(), sum.end(), 0.0f);
        multiply_add(count, s.all, h, state.data(), s.wide, 1, weight.data(), s.all, sum.data(), s.all);
        for (int64_t i = 0; i < count; ++i) {
          if (t >= length[first + i]) continue;
          const int64_t at = (first + i) * steps + t;
          const float *x = p + at * gates * h, *y = &sum[i * s.all], a = attention ? attention[at] : 1.0f;
          float *now = &state[i * s.wide], *out = states + at * h, *r = kept ? kept + at * 4 * h : spare.data();
          float *q = r + h, *c = q + h, *v = c + h;
          if (gates == 3) {
#pragma omp simd
            for (int64_t k = 0; k < h; ++k) v[k] = sigmoid(x[2 * h + k] + bias[2 * h + k] + y[2 * s.wide + k]);
          } else {
            std::fill(v, v + h, 1.0f);
          }
#pragma omp simd
          for (int64_t k = 0; k < h; ++k) {
            r[k] = sigmoid(x[k] + bias[k] + y[k]);
            q[k] = y[s.wide + k] + d[k];
            c[k] = tangent(x[h + k] + bias[h + k] + r[k] * q[k]);
            out[k] = now[k] = now[k] + a * v[k] * (c[k] - now[k]);
          }
        }
      }
      for (int64_t i = 0; i < count; ++i) {
        const int64_t real = std::min(length[first + i], steps);
        std::memcpy(last + (first + i) * h, &state[i * s.wide], h * sizeof(float));
        std::fill(states + ((first + i) * steps + real) * h, states + (first + i + 1) * steps * h, 0.0f);
      }
    }
  }
}

// Gradients from those of states (or null) and of last (or null): dp [B, T, G·H], da [B, T] (unless null), du, dbias, dd.
void recurrence_backward(int64_t rows, int64_t steps, int64_t hidden, int64_t gates, const float* attention,
                         const int64_t* length, const float* u, const float* states, const float* kept,
                         const float* dstates, const float* dlast, float* dp, float* da, float* du, float* dbias, float* dd) {
  const Sizes s(rows, steps, hidden, gates);
  const int64_t blocks = (rows + ROWS - 1) / ROWS, h = hidden;
  const int64_t part = h * s.all + s.all + s.wide;  // of one thread: dU, dbias, dd
  std::vector<float> back(s.all * s.wide), parts(part * omp_get_max_threads());
  for (int64_t i = 0; i < h; ++i)
    for (int64_t g = 0; g < gates; ++g)
      for (int64_t k = 0; k < h; ++k) back[(g * s.wide + k) * s.wide + i] = u[(i * gates + g) * h + k];
#pragma omp parallel
  {
    float *const own = &parts[part * omp_get_thread_num()], *const own_bias = own + h * s.all, *const own_d = own_bias + s.all;
    std::vector<float> dh(ROWS * s.wide), gate(ROWS * s.all), zero(h), past(PENDING * h), pending(PENDING * s.all);
    int64_t waiting = 0;
#pragma omp for schedule(static, 1)
    for (int64_t block = 0; block < blocks; ++block) {
      const int64_t first = block * ROWS, count = std::min(ROWS, rows - first), end = longest(s, length, first, count);
      std::fill(dh.begin(), dh.end(), 0.0f);
      for (int64_t i = 0; i < count; ++i) {
        const int64_t real = std::min(length[first + i], steps), from = (first + i) * steps;
        if (dlast) std::memcpy(&dh[i * s.wide], dlast + (first + i) * h, h * sizeof(float));
        std::fill(dp + (from + real) * gates * h, dp + (from + steps) * gates * h, 0.0f);
        if (da) std::fill(da + from + real, da + from + steps, 0.0f);
      }
      for (int64_t t = end - 1; t >= 0; --t) {
        for (int64_t i = 0; i < count; ++i) {
          float *g = &gate[i * s.all], *grad = &dh[i * s.wide];
          if (t >= length[first + i]) {
            std::fill(g, g + s.all, 0.0f);
            continue;
          }
          const int64_t at = (first + i) * steps + t;
          const float *r = kept + at * 4 * h, *q = r + h, *c = q + h, *v = c + h, a = attention ? attention[at] : 1.0f;
          const float* before = t ? states + (at - 1) * h : zero.data();
          float* out = dp + at * gates * h;
          float total = 0.0f;
          if (dstates) {
            const float* more = dstates + at * h;
#pragma omp simd
            for (int64_t k = 0; k < h; ++k) grad[k] += more[k];
          }
#pragma omp simd reduction(+ : total)
          for (int64_t k = 0; k < h; ++k) {
            const float dc = a * v[k] * grad[k], dw = (c[k] - before[k]) * grad[k];
            const float dz = dc * (1.0f - c[k] * c[k]), dq = dz * r[k], dr = dq * q[k] * (1.0f - r[k]);
            total += dw * v[k];
            grad[k] -= dc;
            out[k] = g[k] = dr;
            out[h + k] = dz;
            g[s.wide + k] = dq;
            own_bias[k] += dr;
            own_bias[s.wide + k] += dz;
            own_d[k] += dq;
            if (gates == 3) {
              const float dv = dw * a * v[k] * (1.0f - v[k]);
              out[2 * h + k] = g[2 * s.wide + k] = dv;
              own_bias[2 * s.wide + k] += dv;
            }
          }
          if (da) da[at] = total;
          if (t) {
            std::memcpy(&past[waiting * h], before, h * sizeof(float));
            std::memcpy(&pending[waiting * s.all], g, s.all * sizeof(float));
            if (++waiting == PENDING) {
              multiply_add(h, s.all, waiting, past.data(), 1, h, pending.data(), s.all, own, s.all);
              waiting = 0;
            }
          }
        }
        multiply_add(count, s.wide, s.all, gate.data(), s.all, 1, back.data(), s.wide, dh.data(), s.wide);
      }
    }
    multiply_add(h, s.all, waiting, past.data(), 1, h, pending.data(), s.all, own, s.all);
  }
  for (int64_t g = 0; g < gates; ++g)
    for (int64_t k = 0; k < h; ++k) {
      float b = 0.0f, e = 0.0f;
      for (size_t from = 0; from < parts.size(); from += part) {  // in the order of the threads: the same sum every time
        b += parts[from + h * s.all + g * s.wide + k];
        if (g == 0) e += parts[from + h * s.all + s.all + k];
      }
      dbias[g * h + k] = b;
      if (g == 0) dd[k] = e;
    }
  for (int64_t i = 0; i < h; ++i)
    for (int64_t g = 0; g < gates; ++g)
      for (int64_t k = 0; k < h; ++k) {
        float w = 0.0f;
        for (size_t from = 0; from < parts.size(); from += part) w += parts[from + i * s.all + g * s.wide + k];
        du[(i * gates + g) * h + k] = w;
      }
}

}  // extern "C"
