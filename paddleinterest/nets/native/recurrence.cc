// GRU, AUGRU and AGRU over whole sequences, forward and backward; models/dien/net.py has the equations.
//
// Rows do not touch each other, so each thread takes blocks of ROWS rows through all steps: states and weights stay in
// its cache, and a step is one small product and one pass over the gates. Steps behind a row's length are skipped.
// All matrices are row-major. G gates a step in the order reset, candidate, update; AGRU has no update gate (G = 2).
#include <omp.h>

#include "vector.h"

using namespace interest;

namespace {

constexpr int64_t ROWS = 12, PENDING = 264;  // rows of a block; rows gathered before they enter the gradient of U

struct Sizes {
  int64_t rows, steps, hidden, gates, wide, all, blocks;  // wide: hidden, padded to registers; all = gates·wide
  Sizes(int64_t rows, int64_t steps, int64_t hidden, int64_t gates)
      : rows(rows), steps(steps), hidden(hidden), gates(gates), wide(padded(hidden)), all(gates * wide),
        blocks((rows + ROWS - 1) / ROWS) {}
};

// One block: rows first … first + count − 1, the longest of which has `end` steps.
struct Block {
  int64_t first, count, end, index;
  Block(const Sizes& s, const int64_t* length, int64_t index)
      : first(index * ROWS), count(std::min(ROWS, s.rows - index * ROWS)), end(0), index(index) {
    for (int64_t i = 0; i < count; ++i) end = std::max(end, std::min(length[first + i], s.steps));
  }
  // Where row i keeps r, q, ĥ', u of step t: in the order in which the block is read again.
  int64_t kept(const Sizes& s, int64_t t, int64_t i) const { return ((index * s.steps + t) * ROWS + i) * 4 * s.hidden; }
};

// U [H, G·H] → [H, G·wide], zeros behind each gate.
std::vector<float> spread_gates(const Sizes& s, const float* u) {
  std::vector<float> out(s.hidden * s.all);
  for (int64_t i = 0; i < s.hidden; ++i)
    for (int64_t g = 0; g < s.gates; ++g)
      std::memcpy(&out[i * s.all + g * s.wide], u + (i * s.gates + g) * s.hidden, s.hidden * sizeof(float));
  return out;
}

// U [H, G·H] → its transpose [G·wide, wide], zeros behind each gate.
std::vector<float> transpose_gates(const Sizes& s, const float* u) {
  std::vector<float> out(s.all * s.wide);
  for (int64_t i = 0; i < s.hidden; ++i)
    for (int64_t g = 0; g < s.gates; ++g)
      for (int64_t k = 0; k < s.hidden; ++k) out[(g * s.wide + k) * s.wide + i] = u[(i * s.gates + g) * s.hidden + k];
  return out;
}

inline void fetch(const float* from, int64_t count) {
  for (int64_t k = 0; k < count; k += 16) __builtin_prefetch(from + k);
}

// The gates of one row and step. x: p; y: h·U; state: h', replaced; kept: r, q, ĥ', u.
template <int G>
inline void gates_forward(int64_t h, int64_t wide, float a, const float* x, const float* y, const float* bias, const float* d,
                          float* __restrict state, float* __restrict kept) {
  float *__restrict r = kept, *__restrict q = r + h, *__restrict c = q + h, *__restrict v = c + h;
#pragma omp simd
  for (int64_t k = 0; k < h; ++k) {
    r[k] = sigmoid(x[k] + bias[k] + y[k]);
    q[k] = y[wide + k] + d[k];
    c[k] = tangent(x[h + k] + bias[h + k] + r[k] * q[k]);
    v[k] = G == 3 ? sigmoid(x[(G - 1) * h + k] + bias[(G - 1) * h + k] + y[(G - 1) * wide + k]) : 1.0f;
    state[k] += a * v[k] * (c[k] - state[k]);
  }
}

// From dh' in `grad` to dh there, dp in `out` and, before h·U, in `gate`. Returns da; adds to the gradient of ĥ's bias.
template <int G>
inline float gates_backward(int64_t h, int64_t wide, float a, const float* kept, const float* before, const float* more,
                            float* __restrict grad, float* __restrict out, float* __restrict gate, float* __restrict bias) {
  const float *r = kept, *q = r + h, *c = q + h, *v = c + h;
  float total = 0.0f;
  if (more) {
#pragma omp simd
    for (int64_t k = 0; k < h; ++k) grad[k] += more[k];
  }
#pragma omp simd reduction(+ : total)
  for (int64_t k = 0; k < h; ++k) {
    const float dc = a * v[k] * grad[k], dw = (c[k] - before[k]) * grad[k];
    const float dz = dc * (1.0f - c[k] * c[k]), dq = dz * r[k], dr = dq * q[k] * (1.0f - r[k]);
    total += dw * v[k];
    grad[k] -= dc;
    bias[k] += dz;
    out[k] = gate[k] = dr;
    out[h + k] = dz;
    gate[wide + k] = dq;
    if (G == 3) out[(G - 1) * h + k] = gate[(G - 1) * wide + k] = dw * a * v[k] * (1.0f - v[k]);
  }
  return total;
}

template <int G>
void forward(const Sizes& s, const float* p, const float* attention, const int64_t* length, const float* u,
             const float* bias, const float* d, float* states, float* last, float* kept) {
  const std::vector<float> weight = spread_gates(s, u);
  const int64_t h = s.hidden;
#pragma omp parallel
  {
    std::vector<float> state(ROWS * s.wide), sum(ROWS * s.all), spare(4 * h);
#pragma omp for schedule(static, 1)
    for (int64_t index = 0; index < s.blocks; ++index) {
      const Block b(s, length, index);
      std::fill(state.begin(), state.end(), 0.0f);
      for (int64_t t = 0; t < b.end; ++t) {
        std::fill(sum.begin(), sum.end(), 0.0f);
        if (t) multiply_add(b.count, s.all, h, state.data(), s.wide, 1, weight.data(), s.all, sum.data(), s.all);
        for (int64_t i = 0; i < b.count; ++i) {
          if (t >= length[b.first + i]) continue;
          const int64_t at = (b.first + i) * s.steps + t;
          fetch(p + (at + 1) * G * h, G * h);
          gates_forward<G>(h, s.wide, attention ? attention[at] : 1.0f, p + at * G * h, &sum[i * s.all], bias, d,
                           &state[i * s.wide], kept ? kept + b.kept(s, t, i) : spare.data());
          std::memcpy(states + at * h, &state[i * s.wide], h * sizeof(float));
        }
      }
      for (int64_t i = 0; i < b.count; ++i) {
        const int64_t real = std::min(length[b.first + i], s.steps), from = (b.first + i) * s.steps;
        std::memcpy(last + (b.first + i) * h, &state[i * s.wide], h * sizeof(float));
        std::fill(states + (from + real) * h, states + (from + s.steps) * h, 0.0f);
      }
    }
  }
}

template <int G>
void backward(const Sizes& s, const float* attention, const int64_t* length, const float* u, const float* states,
              const float* kept, const float* dstates, const float* dlast, float* dp, float* da, float* du, float* dbias,
              float* dd) {
  const std::vector<float> weight = transpose_gates(s, u);
  const int64_t h = s.hidden, line = h + 1;     // a line of `past`: h' and a 1, so that dU's last row is the biases' gradient
  const int64_t part = line * s.all + s.wide;   // of one thread: that, and the gradient of ĥ's bias
  std::vector<float> parts(part * omp_get_max_threads());
#pragma omp parallel
  {
    float *const own = &parts[part * omp_get_thread_num()], *const own_bias = own + line * s.all;
    std::vector<float> dh(ROWS * s.wide), zero(h), past(PENDING * line), gate(PENDING * s.all);
    int64_t waiting = 0;
#pragma omp for schedule(static, 1)
    for (int64_t index = 0; index < s.blocks; ++index) {
      const Block b(s, length, index);
      std::fill(dh.begin(), dh.end(), 0.0f);
      for (int64_t i = 0; i < b.count; ++i) {
        const int64_t real = std::min(length[b.first + i], s.steps), from = (b.first + i) * s.steps;
        if (dlast) std::memcpy(&dh[i * s.wide], dlast + (b.first + i) * h, h * sizeof(float));
        std::fill(dp + (from + real) * G * h, dp + (from + s.steps) * G * h, 0.0f);
        if (da) std::fill(da + from + real, da + from + s.steps, 0.0f);
      }
      for (int64_t t = b.end - 1; t >= 0; --t) {
        if (waiting + b.count > PENDING) {
          multiply_add(line, s.all, waiting, past.data(), 1, line, gate.data(), s.all, own, s.all);
          waiting = 0;
        }
        float* const now = &gate[waiting * s.all];
        for (int64_t i = 0; i < b.count; ++i) {
          float *g = now + i * s.all, *behind = &past[(waiting + i) * line];
          if (t >= length[b.first + i]) {
            std::fill(g, g + s.all, 0.0f);
            std::fill(behind, behind + line, 0.0f);
            continue;
          }
          const int64_t at = (b.first + i) * s.steps + t;
          const float* before = t ? states + (at - 1) * h : zero.data();
          if (t > 1) fetch(before - h, h);
          if (t && dstates) fetch(dstates + (at - 1) * h, h);
          std::memcpy(behind, before, h * sizeof(float));
          behind[h] = 1.0f;
          const float total = gates_backward<G>(h, s.wide, attention ? attention[at] : 1.0f, kept + b.kept(s, t, i), before,
                                                dstates ? dstates + at * h : nullptr, &dh[i * s.wide], dp + at * G * h, g,
                                                own_bias);
          if (da) da[at] = total;
        }
        if (t) multiply_add(b.count, s.wide, s.all, now, s.all, 1, weight.data(), s.wide, dh.data(), s.wide);
        waiting += b.count;
      }
    }
    multiply_add(line, s.all, waiting, past.data(), 1, line, gate.data(), s.all, own, s.all);
  }
  for (int64_t i = 0; i <= h; ++i)
    for (int64_t g = 0; g < G; ++g)
      for (int64_t k = 0; k < h; ++k) {
        float sum = 0.0f, candidate = 0.0f;
        for (size_t from = 0; from < parts.size(); from += part) {  // in the order of the threads: the same sum every time
          sum += parts[from + i * s.all + g * s.wide + k];
          candidate += parts[from + line * s.all + k];
        }
        if (i < h) {
          du[(i * G + g) * h + k] = sum;
        } else if (g == 1) {
          dd[k] = sum, dbias[h + k] = candidate;
        } else {
          dbias[g * h + k] = sum;
        }
      }
}

}  // namespace

extern "C" {

// Floats to keep between forward and backward.
int64_t recurrence_kept(int64_t rows, int64_t steps, int64_t hidden) { return (rows + ROWS - 1) / ROWS * ROWS * steps * 4 * hidden; }

// p [B, T, G·H] inputs times W; attention [B, T], or null for 1; u [H, G·H]; bias [G·H]; d [H]; length [B].
// Writes states [B, T, H] (0 behind the length), last [B, H] and, unless null, kept.
void recurrence_forward(int64_t rows, int64_t steps, int64_t hidden, int64_t gates, const float* p, const float* attention,
                        const int64_t* length, const float* u, const float* bias, const float* d, float* states,
                        float* last, float* kept) {
  const Sizes s(rows, steps, hidden, gates);
  (gates == 3 ? forward<3> : forward<2>)(s, p, attention, length, u, bias, d, states, last, kept);
}

// Gradients from those of states (or null) and of last (or null): dp [B, T, G·H], da [B, T] (unless null), du, dbias, dd.
void recurrence_backward(int64_t rows, int64_t steps, int64_t hidden, int64_t gates, const float* attention,
                         const int64_t* length, const float* u, const float* states, const float* kept,
                         const float* dstates, const float* dlast, float* dp, float* da, float* du, float* dbias, float* dd) {
  const Sizes s(rows, steps, hidden, gates);
  (gates == 3 ? backward<3> : backward<2>)(s, attention, length, u, states, kept, dstates, dlast, dp, da, du, dbias, dd);
}

}  // extern "C"
