// Loops over cells with the kernels that FFCx has compiled, see assembly.py.
//
// What a kernel reads comes from where it stands: functions from their vectors, corners from the
// mesh. Tables of degrees of freedom have a row for each cell of the mesh, blocks unrolled.
//
// A kernel and its sizes may stand above, see lanes.py: it becomes a part of the loops then, and
// takes several cells at a time. Else the loops call what they are given, and take sizes as they
// come.

#include <stdint.h>
#include <string.h>

#ifndef KERNEL
typedef double lanes;
typedef void kernel_t(double *, const double *, const double *, const double *, const int *,
                      const uint8_t *, void *);
#define LANES 1
#define KERNEL ((kernel_t *)address)
#define SERVES(rank) 1
#define FUNCTIONS functions
#define WIDTHS widths
#define WIDTH width
#define CORNERS corners
#define ROWS n
#define COLUMNS m
#endif

// Number i of the cell in lane l.
#define AT(values, i, l) ((double *)(values))[(int64_t)(i)*LANES + (l)]

// Read what a kernel needs of the cells from the k-th one on.
static inline void look_up(const int32_t *cells, int32_t functions, const int64_t *values,
                           const int64_t *tables, const int32_t *widths, int32_t corners,
                           const int32_t *geometry, const double *x, lanes *w, lanes *coordinates)
{
  for (int l = 0; l < LANES; ++l)
  {
    const int64_t cell = cells[l];
    int32_t place = 0;
    for (int32_t f = 0; f < FUNCTIONS; ++f)
    {
      const double *vector = (const double *)values[f];
      const int32_t *dofs = (const int32_t *)tables[f] + cell * WIDTHS[f];
      for (int32_t i = 0; i < WIDTHS[f]; ++i)
        AT(w, place++, l) = vector[dofs[i]];
    }
    for (int32_t i = 0; i < CORNERS; ++i)
      for (int j = 0; j < 3; ++j)
        AT(coordinates, 3 * i + j, l) = x[3 * (int64_t)geometry[cell * CORNERS + i] + j];
  }
}

// The integral of a functional.
__attribute__((flatten))
double integral(int64_t address, int64_t size, const int32_t *cells, int32_t functions,
                const int64_t *values, const int64_t *tables, const int32_t *widths, int32_t width,
                int32_t corners, const int32_t *geometry, const double *x, const double *constants)
{
  if (!SERVES(0))
    return 0;
  lanes w[WIDTH + 1], coordinates[3 * CORNERS], element[1];
  double sum = 0;
  for (int64_t k = 0; k < size; k += LANES)
  {
    look_up(cells + k, functions, values, tables, widths, corners, geometry, x, w, coordinates);
    memset(element, 0, sizeof element);
    KERNEL(element, w, constants, coordinates, 0, 0, 0);
    for (int l = 0; l < LANES && k + l < size; ++l)
      sum += AT(element, 0, l);
  }
  return sum;
}

// Add a linear form to a vector.
__attribute__((flatten))
void vector(int64_t address, int64_t size, const int32_t *cells, int32_t functions,
            const int64_t *values, const int64_t *tables, const int32_t *widths, int32_t width,
            int32_t corners, const int32_t *geometry, const double *x, const double *constants,
            int32_t n, const int32_t *rows, double *b)
{
  if (!SERVES(1))
    return;
  lanes w[WIDTH + 1], coordinates[3 * CORNERS], element[ROWS];
  for (int64_t k = 0; k < size; k += LANES)
  {
    look_up(cells + k, functions, values, tables, widths, corners, geometry, x, w, coordinates);
    memset(element, 0, sizeof element);
    KERNEL(element, w, constants, coordinates, 0, 0, 0);
    for (int l = 0; l < LANES && k + l < size; ++l)
    {
      const int32_t *dofs = rows + (int64_t)ROWS * cells[k + l];
      for (int32_t i = 0; i < ROWS; ++i)
        b[dofs[i]] += AT(element, i, l);
    }
  }
}

// Add a bilinear form to compressed rows, whose columns ascend.
__attribute__((flatten))
void matrix(int64_t address, int64_t size, const int32_t *cells, int32_t functions,
            const int64_t *values, const int64_t *tables, const int32_t *widths, int32_t width,
            int32_t corners, const int32_t *geometry, const double *x, const double *constants,
            int32_t n, const int32_t *rows, int32_t m, const int32_t *columns,
            const int64_t *starts, const int32_t *indices, double *entries)
{
  if (!SERVES(2))
    return;
  lanes w[WIDTH + 1], coordinates[3 * CORNERS], element[ROWS * COLUMNS];
  for (int64_t k = 0; k < size; k += LANES)
  {
    look_up(cells + k, functions, values, tables, widths, corners, geometry, x, w, coordinates);
    memset(element, 0, sizeof element);
    KERNEL(element, w, constants, coordinates, 0, 0, 0);
    for (int l = 0; l < LANES && k + l < size; ++l)
    {
      const int32_t *down = rows + (int64_t)ROWS * cells[k + l];
      const int32_t *across = columns + (int64_t)COLUMNS * cells[k + l];
      for (int32_t i = 0; i < ROWS; ++i)
      {
        const int64_t start = starts[down[i]], length = starts[down[i] + 1] - start;
        for (int32_t j = 0; j < COLUMNS; ++j)
        {
          const int32_t *place = indices + start, wanted = across[j];
          for (int64_t left = length; left > 8; left -= left / 2)
            place += place[left / 2] <= wanted ? left / 2 : 0;
          while (*place != wanted)
            ++place;
          entries[place - indices] += AT(element, i * COLUMNS + j, l);
        }
      }
    }
  }
}
