#include "tensor/context.h"

const char *const precision_names[] = {"float32", "int8", NULL};

size_t work_measure(const struct context *outer, struct work work)
{
    struct arena arena = arena_measure();
    struct context ctx = *outer;
    ctx.arena = &arena;
    work.run(work.self, &ctx);
    return arena.peak;
}

status work_run(const struct context *outer, struct work work, struct error *e)
{
    struct arena arena;
    struct context dry = *outer, ctx = *outer;
    dry.profile = NULL;
    TRY(arena_open(&arena, work_measure(&dry, work), work.purpose, e));
    ctx.arena = &arena;
    work.run(work.self, &ctx);
    status s = arena_check(&arena, work.purpose, e);
    arena_close(&arena);
    return s;
}
