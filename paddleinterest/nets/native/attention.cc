// DIN's interest: activation unit of two hidden layers, weights and weighted sum, forward and backward; models/din/net.py
// has the equations.
//
// Each thread takes ROWS rows at a time, packs their real positions, and takes them through all layers in its cache.
// x_j = [e_j; e_j∘v] [2D], z1 = x·W + once, z2 = f(z1)·W2 + b2, s = f(z2)·w3 + b3, f(z) = max(0, z) + slope·min(0, z).
#include <omp.h>

#include "vector.h"

using namespace interest;

namespace {

constexpr int64_t ROWS = 16;

struct Sizes {
  int64_t rows, steps, width, one, two, wide1, wide2, wide;  // wide…: padded to registers
  Sizes(int64_t rows, int64_t steps, int64_t width, int64_t one, int64_t two)
      : rows(rows), steps(steps), width(width), one(one), two(two), wide1(padded(one)), wide2(padded(two)),
        wide(padded(2 * width)) {}
};

// [m, n] → [m, wide] with zeros behind each row, or [n, wide] of the transpose.
std::vector<float> widen(const float* x, int64_t m, int64_t n, int64_t wide, bool transpose = false) {
  std::vector<float> out((transpose ? n : m) * wide);
  for (int64_t i = 0; i < m; ++i)
    for (int64_t j = 0; j < n; ++j) out[transpose ? j * wide + i : i * wide + j] = x[i * n + j];
  return out;
}

inline void activate(int64_t n, const float* z, const float* slope, float* out) {
#pragma omp simd
  for (int64_t k = 0; k < n; ++k) out[k] = z[k] > 0.0f ? z[k] : slope[k] * z[k];
}

// From df in `grad` to dz in `grad`; adds to the gradients of slope and bias.
inline void activate_back(int64_t n, const float* z, const float* slope, float* grad, float* dslope, float* dbias) {
#pragma omp simd
  for (int64_t k = 0; k < n; ++k) {
    dslope[k] += z[k] > 0.0f ? 0.0f : grad[k] * z[k];
    grad[k] = z[k] > 0.0f ? grad[k] : grad[k] * slope[k];
    dbias[k] += grad[k];
  }
}

// x of `count` positions of one row.
void inputs(const Sizes& s, const float* e, const float* v, int64_t count, float* x) {
  for (int64_t j = 0; j < count; ++j, e += s.width, x += 2 * s.width) {
    std::memcpy(x, e, s.width * sizeof(float));
#pragma omp simd
    for (int64_t k = 0; k < s.width; ++k) x[s.width + k] = e[k] * v[k];
  }
}

}  // namespace

extern "C" {

// e [B, T, D], v [B, D], once [B, H1], length [B], w [2D, H1], slope1 [H1], w2 [H1, H2], b2 and slope2 [H2], w3 [H2], b3 [1].
// scale > 0: weights are softmax(scale·s); 0: they are s. Writes interest [B, D], weight [B, T] (0 behind the length) and,
// unless null, kept [B, T, H1 + H2]: z1, z2.
void attention_forward(int64_t rows, int64_t steps, int64_t width, int64_t one, int64_t two, const float* e, const float* v,
                       const float* once, const int64_t* length, const float* w, const float* slope1, const float* w2,
                       const float* b2, const float* slope2, const float* w3, const float* b3, float scale, float* interest,
                       float* weight, float* kept) {
  const Sizes s(rows, steps, width, one, two);
  const std::vector<float> first = widen(w, 2 * width, one, s.wide1), second = widen(w2, one, two, s.wide2);
  const int64_t blocks = (rows + ROWS - 1) / ROWS;
#pragma omp parallel
  {
    std::vector<float> x, z1, z2, f2(two);
#pragma omp for schedule(static, 1)
    for (int64_t block = 0; block < blocks; ++block) {
      const int64_t begin = block * ROWS, end = std::min(rows, begin + ROWS);
      int64_t count = 0;
      for (int64_t i = begin; i < end; ++i) count += std::min(length[i], steps);
      x.resize(count * 2 * width), z1.assign(count * s.wide1, 0.0f), z2.assign(count * s.wide2, 0.0f);
      for (int64_t i = begin, at = 0; i < end; at += std::min(length[i], steps), ++i) {
        const int64_t real = std::min(length[i], steps);
        inputs(s, e + i * steps * width, v + i * width, real, x.data() + at * 2 * width);
        for (int64_t j = at; j < at + real; ++j) std::memcpy(&z1[j * s.wide1], once + i * one, one * sizeof(float));
      }
      multiply_add(count, s.wide1, 2 * width, x.data(), 2 * width, 1, first.data(), s.wide1, z1.data(), s.wide1);
      if (kept) {
        for (int64_t i = begin, at = 0; i < end; ++i)
          for (int64_t j = 0; j < std::min(length[i], steps); ++j, ++at)
            std::memcpy(kept + (i * steps + j) * (one + two), &z1[at * s.wide1], one * sizeof(float));
      }
      for (int64_t j = 0; j < count; ++j) {
        activate(one, &z1[j * s.wide1], slope1, &z1[j * s.wide1]);
        std::memcpy(&z2[j * s.wide2], b2, two * sizeof(float));
      }
      multiply_add(count, s.wide2, one, z1.data(), s.wide1, 1, second.data(), s.wide2, z2.data(), s.wide2);
      for (int64_t i = begin, at = 0; i < end; ++i) {
        const int64_t real = std::min(length[i], steps);
        float *out = interest + i * width, *a = weight + i * steps, top = -INFINITY, sum = 0.0f;
        for (int64_t j = 0; j < real; ++j, ++at) {
          if (kept) std::memcpy(kept + (i * steps + j) * (one + two) + one, &z2[at * s.wide2], two * sizeof(float));
          activate(two, &z2[at * s.wide2], slope2, f2.data());
          a[j] = dot(two, f2.data(), w3) + *b3;
          top = std::max(top, a[j]);
        }
        if (scale > 0.0f) {
          for (int64_t j = 0; j < real; ++j) sum += a[j] = exponential(scale * (a[j] - top));
          for (int64_t j = 0; j < real; ++j) a[j] /= sum;
        }
        std::fill(a + real, a + steps, 0.0f);
        std::fill(out, out + width, 0.0f);
        for (int64_t j = 0; j < real; ++j) add(width, a[j], e + (i * steps + j) * width, out);
      }
    }
  }
}

// Gradients from those of interest and weight (either null): de, dv, donce, and those of the seven parameters, one after
// the other in `parameters`: w, slope1, w2, b2, slope2, w3, b3.
void attention_backward(int64_t rows, int64_t steps, int64_t width, int64_t one, int64_t two, const float* e, const float* v,
                        const int64_t* length, const float* w, const float* slope1, const float* w2, const float* slope2,
                        const float* w3, float scale, const float* weight, const float* kept, const float* dinterest,
                        const float* dweight, float* de, float* dv, float* donce, float* parameters) {
  const Sizes s(rows, steps, width, one, two);
  const std::vector<float> first = widen(w, 2 * width, one, s.wide, true), second = widen(w2, one, two, s.wide1, true);
  const int64_t blocks = (rows + ROWS - 1) / ROWS, threads = omp_get_max_threads();
  const int64_t sizes[] = {2 * width * s.wide1, one, one * s.wide2, two, two, two, 1};
  int64_t part = 0;
  for (int64_t n : sizes) part += n;
  std::vector<float> parts(part * threads);
#pragma omp parallel
  {
    float* own[7] = {&parts[part * omp_get_thread_num()]};
    for (int k = 0; k < 6; ++k) own[k + 1] = own[k] + sizes[k];
    std::vector<float> x, f1, d1, d2, dx, ds, f2(two);
#pragma omp for schedule(static, 1)
    for (int64_t block = 0; block < blocks; ++block) {
      const int64_t begin = block * ROWS, end = std::min(rows, begin + ROWS);
      int64_t count = 0;
      for (int64_t i = begin; i < end; ++i) count += std::min(length[i], steps);
      x.resize(count * 2 * width), f1.resize(count * one), ds.resize(count);
      d1.assign(count * s.wide1, 0.0f), d2.assign(count * s.wide2, 0.0f), dx.assign(count * s.wide, 0.0f);
      for (int64_t i = begin, at = 0; i < end; ++i) {  // from the interest to s, and the part of de that skips the scores
        const int64_t real = std::min(length[i], steps);
        const float *a = weight + i * steps, *up = dinterest + i * width;
        float mean = 0.0f;
        inputs(s, e + i * steps * width, v + i * width, real, x.data() + at * 2 * width);
        for (int64_t j = 0; j < real; ++j) {
          const int64_t p = i * steps + j;
          ds[at + j] = (dinterest ? dot(width, up, e + p * width) : 0.0f) + (dweight ? dweight[p] : 0.0f);
          mean += a[j] * ds[at + j];
          std::fill(de + p * width, de + (p + 1) * width, 0.0f);
          if (dinterest) add(width, a[j], up, de + p * width);
        }
        if (scale > 0.0f)
          for (int64_t j = 0; j < real; ++j) ds[at + j] = scale * a[j] * (ds[at + j] - mean);
        std::fill(de + (i * steps + real) * width, de + (i + 1) * steps * width, 0.0f);
        at += real;
      }
      for (int64_t i = begin, at = 0; i < end; ++i)  // from s to z2
        for (int64_t j = 0; j < std::min(length[i], steps); ++j, ++at) {
          const float *z1 = kept + (i * steps + j) * (one + two), *z2 = z1 + one;
          float* grad = &d2[at * s.wide2];
          activate(two, z2, slope2, f2.data());
          activate(one, z1, slope1, &f1[at * one]);
          add(two, ds[at], f2.data(), own[5]);
          *own[6] += ds[at];
          for (int64_t k = 0; k < two; ++k) grad[k] = ds[at] * w3[k];
          activate_back(two, z2, slope2, grad, own[4], own[3]);
        }
      multiply_add(one, s.wide2, count, f1.data(), 1, one, d2.data(), s.wide2, own[2], s.wide2);
      multiply_add(count, s.wide1, two, d2.data(), s.wide2, 1, second.data(), s.wide1, d1.data(), s.wide1);
      for (int64_t i = begin, at = 0; i < end; ++i) {  // from f(z1) to z1
        std::fill(donce + i * one, donce + (i + 1) * one, 0.0f);
        for (int64_t j = 0; j < std::min(length[i], steps); ++j, ++at)
          activate_back(one, kept + (i * steps + j) * (one + two), slope1, &d1[at * s.wide1], own[1], donce + i * one);
      }
      multiply_add(2 * width, s.wide1, count, x.data(), 1, 2 * width, d1.data(), s.wide1, own[0], s.wide1);
      multiply_add(count, s.wide, one, d1.data(), s.wide1, 1, first.data(), s.wide, dx.data(), s.wide);
      for (int64_t i = begin, at = 0; i < end; ++i) {  // from x to e and v
        float* dtarget = dv + i * width;
        const float* target = v + i * width;
        std::fill(dtarget, dtarget + width, 0.0f);
        for (int64_t j = 0; j < std::min(length[i], steps); ++j, ++at) {
          const float *plain = &dx[at * s.wide], *product = plain + width, *event = e + (i * steps + j) * width;
          float* out = de + (i * steps + j) * width;
#pragma omp simd
          for (int64_t k = 0; k < width; ++k) {
            out[k] += plain[k] + product[k] * target[k];
            dtarget[k] += product[k] * event[k];
          }
        }
      }
    }
  }
  int64_t from = 0;
  const int64_t lines[] = {2 * width, 1, one, 1, 1, 1, 1}, columns[] = {one, one, two, two, two, two, 1};
  for (int k = 0; k < 7; from += sizes[k], ++k)
    for (int64_t i = 0; i < lines[k]; ++i)
      for (int64_t j = 0; j < columns[k]; ++j) {
        float sum = 0.0f;
        for (int64_t t = 0; t < threads; ++t) sum += parts[t * part + from + i * (sizes[k] / lines[k]) + j];
        *parameters++ = sum;  // in the order of the threads: the same sum every time
      }
}

}  // extern "C"
