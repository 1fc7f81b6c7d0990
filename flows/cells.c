// Loops over cells with the kernels that FFCx has compiled, see assembly.py.
//
// What a kernel reads comes from where it stands: functions from their vectors, corners from the
// mesh. Tables of degrees of freedom have a row for each cell of the mesh, blocks unrolled.

#include <stdint.h>
#include <string.h>

typedef void kernel_t(double *, const double *, const double *, const double *, const int *,
                      const uint8_t *, void *);

static void look_up(int64_t cell, int32_t functions, const int64_t *values, const int64_t *tables,
                 const int32_t *widths, int32_t corners, const int32_t *geometry, const double *x,
                 double *w, double *coordinates)
{
  for (int32_t f = 0; f < functions; ++f)
  {
    const double *vector = (const double *)values[f];
    const int32_t *dofs = (const int32_t *)tables[f] + cell * widths[f];
    for (int32_t i = 0; i < widths[f]; ++i)
      *w++ = vector[dofs[i]];
  }
  for (int32_t i = 0; i < corners; ++i)
    memcpy(coordinates + 3 * i, x + 3 * (int64_t)geometry[cell * corners + i], 3 * sizeof(double));
}

// The integral of a functional.
double integral(int64_t kernel, int64_t size, const int32_t *cells, int32_t functions,
                const int64_t *values, const int64_t *tables, const int32_t *widths, int32_t width,
                int32_t corners, const int32_t *geometry, const double *x, const double *constants)
{
  kernel_t *add = (kernel_t *)kernel;
  double w[width + 1], coordinates[3 * corners], sum = 0;
  for (int64_t k = 0; k < size; ++k)
  {
    look_up(cells[k], functions, values, tables, widths, corners, geometry, x, w, coordinates);
    add(&sum, w, constants, coordinates, 0, 0, 0);
  }
  return sum;
}

// Add a linear form to a vector.
void vector(int64_t kernel, int64_t size, const int32_t *cells, int32_t functions,
            const int64_t *values, const int64_t *tables, const int32_t *widths, int32_t width,
            int32_t corners, const int32_t *geometry, const double *x, const double *constants,
            int32_t n, const int32_t *rows, double *b)
{
  kernel_t *add = (kernel_t *)kernel;
  double w[width + 1], coordinates[3 * corners], element[n];
  for (int64_t k = 0; k < size; ++k)
  {
    const int32_t *dofs = rows + (int64_t)n * cells[k];
    look_up(cells[k], functions, values, tables, widths, corners, geometry, x, w, coordinates);
    memset(element, 0, sizeof element);
    add(element, w, constants, coordinates, 0, 0, 0);
    for (int32_t i = 0; i < n; ++i)
      b[dofs[i]] += element[i];
  }
}

// Add a bilinear form to compressed rows, whose columns ascend.
void matrix(int64_t kernel, int64_t size, const int32_t *cells, int32_t functions,
            const int64_t *values, const int64_t *tables, const int32_t *widths, int32_t width,
            int32_t corners, const int32_t *geometry, const double *x, const double *constants,
            int32_t n, const int32_t *rows, int32_t m, const int32_t *columns,
            const int64_t *starts, const int32_t *indices, double *entries)
{
  kernel_t *add = (kernel_t *)kernel;
  double w[width + 1], coordinates[3 * corners], element[n * m];
  for (int64_t k = 0; k < size; ++k)
  {
    const int32_t *across = columns + (int64_t)m * cells[k], *down = rows + (int64_t)n * cells[k];
    look_up(cells[k], functions, values, tables, widths, corners, geometry, x, w, coordinates);
    memset(element, 0, sizeof element);
    add(element, w, constants, coordinates, 0, 0, 0);
    for (int32_t i = 0; i < n; ++i)
    {
      const int64_t start = starts[down[i]], length = starts[down[i] + 1] - start;
      for (int32_t j = 0; j < m; ++j)
      {
        const int32_t *place = indices + start, wanted = across[j];
        for (int64_t left = length; left > 8; left -= left / 2)
          place += place[left / 2] <= wanted ? left / 2 : 0;
        while (*place != wanted)
          ++place;
        entries[place - indices] += element[i * m + j];
      }
    }
  }
}
