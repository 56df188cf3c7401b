/* SPDX-License-Identifier: MIT
 *
 * Cuts a matrix product into tiles and shares them among the threads. The grid depends on the shape only: few
 * tiles, so that one thread is not slowed by packing the operands again and again, but enough for many cores.
 */
#include "kernels/cpu/cpu_gemm.h"

struct cpu_grid {
    int64_t tile_rows, tile_columns; /* the last tile of a row or column may be smaller */
    int64_t row_tiles, column_tiles;
};

/* The tile edge that cuts `length` into equal pieces of about `target`, a multiple of 16; an even number of
 * pieces where there are several, because most machines have an even number of cores. */
static int64_t cpu_grid_edge(int64_t length, int64_t target)
{
    int64_t pieces = cpu_divide_up(length, target);
    if (pieces > 1)
        pieces += pieces % 2;
    return cpu_divide_up(cpu_divide_up(length, pieces), 16) * 16;
}

/* Eight tiles, but no smaller than 256 x 384 and no larger than 512 x 768: below, packing costs too much of
 * the time, above it gains nothing. */
static struct cpu_grid cpu_grid_make(int64_t m, int64_t n)
{
    const int64_t least = 256 * 384, most = 512 * 768;
    int64_t area = m * n / 8;
    area = area < least ? least : cpu_least(area, most);
    int64_t rows = area >= 2 * least ? 512 : 256;
    rows = cpu_least(rows, m);
    int64_t columns = cpu_least(cpu_least(area / rows, n), CPU_TILE_EDGE_MAX);
    rows = cpu_least(area / columns, CPU_TILE_EDGE_MAX);
    struct cpu_grid grid;
    grid.tile_rows = cpu_grid_edge(m, rows);
    grid.tile_columns = cpu_grid_edge(n, columns);
    grid.row_tiles = cpu_divide_up(m, grid.tile_rows);
    grid.column_tiles = cpu_divide_up(n, grid.tile_columns);
    return grid;
}

static struct cpu_tile cpu_grid_tile(const struct cpu_grid *grid, const struct cpu_product *p, int64_t index)
{
    struct cpu_tile tile;
    tile.row = index % grid->row_tiles * grid->tile_rows;
    tile.column = index / grid->row_tiles * grid->tile_columns;
    tile.row_end = cpu_least(tile.row + grid->tile_rows, p->m);
    tile.column_end = cpu_least(tile.column + grid->tile_columns, p->n);
    return tile;
}

static const void *cpu_product_at(const void *base, enum dtype dtype, int64_t element)
{
    return (const char *)base + element * (dtype == DTYPE_F32 ? 4 : 2);
}

/* The part of a product that fills one tile of c. */
static struct cpu_product cpu_product_part(const struct cpu_product *p, const struct cpu_tile *tile)
{
    struct cpu_product part = *p;
    part.m = tile->row_end - tile->row;
    part.n = tile->column_end - tile->column;
    part.a = cpu_product_at(p->a, p->in, p->transpose_a ? tile->row : tile->row * p->a_stride);
    part.b = cpu_product_at(p->b, p->in, p->transpose_b ? tile->column * p->b_stride : tile->column);
    int64_t at = tile->row * p->c_stride + tile->column;
    part.c = (char *)p->c + at * (p->out == DTYPE_F32 ? 4 : 2);
    if (p->bias != NULL)
        part.bias = p->bias + tile->column;
    return part;
}

enum muster_status cpu_product_run(struct kernels *k, const struct cpu_product *product,
                                   cpu_tile_function finish, void *context, struct muster_error *err)
{
    struct cpu_gemm *gemm = cpu_kernels_from(k)->gemm;
    const struct cpu_grid grid = cpu_grid_make(product->m, product->n);
    const int64_t tiles = grid.row_tiles * grid.column_tiles;
    int failure = MUSTER_OK;
#pragma omp parallel num_threads(k->threads)
    {
        omp_set_num_threads(1); /* the library asks this thread how many it may use */
#pragma omp for schedule(static)
        for (int64_t i = 0; i < tiles; i++) {
            struct cpu_tile tile = cpu_grid_tile(&grid, product, i);
            struct cpu_product part = cpu_product_part(product, &tile);
            enum muster_status status = cpu_gemm_run(gemm, omp_get_thread_num(), &part);
            if (status != MUSTER_OK) {
#pragma omp atomic write
                failure = (int)status;
            } else if (finish != NULL) {
                finish(context, &tile);
            }
        }
    }
    if (failure != MUSTER_OK)
        return muster_error_set(err, (enum muster_status)failure,
                                "cpu: the matrix product %lld x %lld x %lld failed (%s)",
                                (long long)product->m, (long long)product->n, (long long)product->k,
                                muster_status_name((enum muster_status)failure));
    return MUSTER_OK;
}
