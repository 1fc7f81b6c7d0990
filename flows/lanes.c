// Arithmetic with several cells at a time, see lanes.py: a number of each cell in a vector.

#include <math.h>
#include <stdbool.h>
#include <stdint.h>

#if LANES == 1
typedef double lanes; // and functions are those of the library
#else
typedef double lanes __attribute__((vector_size(8 * LANES)));

#define OF_ONE(name)                                                                               \
  static inline lanes each_##name(lanes x)                                                         \
  {                                                                                                \
    for (int l = 0; l < LANES; ++l)                                                                \
      x[l] = name(x[l]);                                                                           \
    return x;                                                                                      \
  }
#define OF_TWO(name)                                                                               \
  static inline lanes each_##name(lanes x, lanes y)                                                \
  {                                                                                                \
    for (int l = 0; l < LANES; ++l)                                                                \
      x[l] = name(x[l], y[l]);                                                                     \
    return x;                                                                                      \
  }

OF_ONE(sqrt)
OF_ONE(fabs)
OF_ONE(cos)
OF_ONE(sin)
OF_ONE(tan)
OF_ONE(acos)
OF_ONE(asin)
OF_ONE(atan)
OF_ONE(cosh)
OF_ONE(sinh)
OF_ONE(tanh)
OF_ONE(exp)
OF_ONE(log)
OF_ONE(erf)
OF_TWO(pow)
OF_TWO(atan2)
OF_TWO(fmin)
OF_TWO(fmax)

#define sqrt(x) each_sqrt(zero + (x))
#define fabs(x) each_fabs(zero + (x))
#define cos(x) each_cos(zero + (x))
#define sin(x) each_sin(zero + (x))
#define tan(x) each_tan(zero + (x))
#define acos(x) each_acos(zero + (x))
#define asin(x) each_asin(zero + (x))
#define atan(x) each_atan(zero + (x))
#define cosh(x) each_cosh(zero + (x))
#define sinh(x) each_sinh(zero + (x))
#define tanh(x) each_tanh(zero + (x))
#define exp(x) each_exp(zero + (x))
#define log(x) each_log(zero + (x))
#define erf(x) each_erf(zero + (x))
#define pow(x, y) each_pow(zero + (x), zero + (y))
#define atan2(x, y) each_atan2(zero + (x), zero + (y))
#define fmin(x, y) each_fmin(zero + (x), zero + (y))
#define fmax(x, y) each_fmax(zero + (x), zero + (y))
#endif

static const lanes zero = {0};

