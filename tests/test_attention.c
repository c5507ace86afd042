/* Attention against softmax(q k / sqrt d) v in double, over a list of all keys that makes no tiles and no sets; with
 * every form this CPU can run. The vector forms are for heads of a multiple of 8: of the two widths that most tests
 * take, 20 has the portable form, 64 a vector form. */
#include "nn/attention_forms.h"
#include "tests/check.h"

enum { MAX_SETS = 8 };

static const int64_t head_widths[] = {20, 64};
enum { HEAD_WIDTHS = sizeof head_widths / sizeof *head_widths };

struct problem {
    int64_t queries, heads, d;
    int64_t keys[MAX_SETS];   /* rows in memory of each set */
    int64_t listed[MAX_SETS]; /* how many of them a list names */
    bool with_list[MAX_SETS]; /* no list: all take part */
    int count;
    enum attention_span span;
    float scale; /* of q: larger scores; 0: 1 */
    bool in_place;
};

struct solution {
    struct problem p;
    float *q, *out, *k[MAX_SETS], *v[MAX_SETS];
    int32_t *rows[MAX_SETS];
    struct key_set sets[MAX_SETS];
};

/* n of `from` rows, ascending, by walking them and taking each with the probability that still fills the list. */
static int32_t *some_rows(uint32_t seed, int64_t from, int64_t n)
{
    int32_t *rows = room(n, sizeof *rows);
    struct mt19937 mt;
    mt19937_seed(&mt, seed);
    int64_t taken = 0;
    for (int64_t i = 0; i < from && taken < n; i++)
        if (mt19937_next(&mt) % (uint64_t)(from - i) < (uint64_t)(n - taken))
            rows[taken++] = (int32_t)i;
    return rows;
}

static struct solution pose(struct problem p)
{
    int64_t width = p.heads * p.d;
    struct solution s = {
        .p = p, .q = some_floats(1, p.queries * width), .out = room(p.queries * width, sizeof(float))};
    for (int64_t i = 0; i < p.queries * width && p.scale > 0; i++)
        s.q[i] *= p.scale;
    for (int i = 0; i < p.count; i++) {
        s.k[i] = some_floats(10 + (uint64_t)i, p.keys[i] * width);
        s.v[i] = some_floats(20 + (uint64_t)i, p.keys[i] * width);
        if (p.with_list[i])
            s.rows[i] = some_rows(30 + (uint32_t)i, p.keys[i], p.listed[i]);
        s.sets[i] = (struct key_set){s.k[i], s.v[i], s.rows[i], p.with_list[i] ? p.listed[i] : p.keys[i]};
    }
    return s;
}

static void dispose(struct solution *s)
{
    free(s->q);
    free(s->out);
    for (int i = 0; i < s->p.count; i++) {
        free(s->k[i]);
        free(s->v[i]);
        free(s->rows[i]);
    }
}

/* All keys of a head in one list of pointers. */
static int64_t list_keys(const struct solution *s, int64_t head, const float **k, const float **v)
{
    int64_t n = 0, width = s->p.heads * s->p.d;
    for (int i = 0; i < s->p.count; i++)
        for (int64_t j = 0; j < s->sets[i].n; j++, n++) {
            int64_t at = (s->sets[i].rows ? s->sets[i].rows[j] : j) * width + head * s->p.d;
            k[n] = s->sets[i].k + at;
            v[n] = s->sets[i].v + at;
        }
    return n;
}

static double dot(const float *a, const float *b, int64_t n)
{
    double sum = 0;
    for (int64_t i = 0; i < n; i++)
        sum += (double)a[i] * b[i];
    return sum;
}

static double *solve_slowly(const struct solution *s)
{
    const struct problem *p = &s->p;
    int64_t width = p->heads * p->d, total = 0;
    for (int i = 0; i < p->count; i++)
        total += s->sets[i].n;
    double *out = room(p->queries * width, sizeof *out), *weight = room(total, sizeof *weight);
    const float **k = room(total, sizeof *k), **v = room(total, sizeof *v);
    for (int64_t head = 0; head < p->heads; head++) {
        list_keys(s, head, k, v);
        for (int64_t i = 0; i < p->queries; i++) {
            int64_t seen = p->span == ATTEND_PAST ? i + 1 : total;
            double largest = -INFINITY, sum = 0;
            for (int64_t j = 0; j < seen; j++) {
                weight[j] = dot(s->q + i * width + head * p->d, k[j], p->d) / sqrt((double)p->d);
                largest = weight[j] > largest ? weight[j] : largest;
            }
            for (int64_t j = 0; j < seen; j++)
                sum += weight[j] = exp(weight[j] - largest);
            for (int64_t j = 0; j < seen; j++)
                for (int64_t c = 0; c < p->d; c++)
                    out[i * width + head * p->d + c] += weight[j] / sum * v[j][c];
        }
    }
    free(weight);
    free(k);
    free(v);
    return out;
}

static struct attention question(const struct solution *s)
{
    return (struct attention){
        .out = s->out,
        .q = s->p.in_place ? s->out : s->q,
        .queries = s->p.queries,
        .heads = s->p.heads,
        .d = s->p.d,
        .sets = s->sets,
        .count = s->p.count,
        .span = s->p.span,
    };
}

static void run_attention(const struct context *ctx, void *arg)
{
    struct solution *s = arg;
    struct attention a = question(s);
    if (s->p.in_place && !arena_measuring(ctx->arena))
        memcpy(s->out, s->q, (size_t)(a.queries * a.heads * a.d) * sizeof(float));
    attention(ctx, &a);
}

static void run_tiled(const struct context *ctx, void *arg)
{
    struct attention a = question(arg);
    attention_tiled(ctx, &a, attention_kernels(cpu_family()));
}

static void run_portable(const struct context *ctx, void *arg)
{
    struct attention a = question(arg);
    attention_portable(ctx, &a);
}

static void check_solution(const char *name, struct solution *s, double tolerance)
{
    double *wanted = solve_slowly(s);
    compute(1, run_attention, s);
    check_close(name, s->out, wanted, s->p.queries * s->p.heads * s->p.d, tolerance);
    free(wanted);
}

static void check_problem(struct problem p)
{
    char name[128];
    snprintf(name, sizeof name, "%lld queries, %lld heads of %lld, %d sets", (long long)p.queries, (long long)p.heads,
             (long long)p.d, p.count);
    struct solution s = pose(p);
    check_solution(name, &s, 3e-6);
    dispose(&s);
}

static void every_width_of_a_head_is_computed(void **state)
{
    (void)state;
    static const int64_t widths[] = {1, 8, 16, 24, 32, 40, 48, 64, 80, 96, 128, 160, 512, 528};
    for (size_t i = 0; i < sizeof widths / sizeof *widths; i++)
        for (int64_t heads = 1; heads <= 8; heads += 7)
            check_problem((struct problem){33, heads, widths[i], {77}, .count = 1});
}

static void heads_that_fill_no_vector_are_computed_by_the_definition(void **state)
{
    (void)state;
    static const int64_t layers[][2] = {/* heads, d */ {1, 8},
                                        {7, 8},
                                        {2, 40},
                                        {3, 20},
                                        {8, 12},
                                        {1, 1}};
    for (size_t i = 0; i < sizeof layers / sizeof *layers; i++) {
        int64_t heads = layers[i][0], d = layers[i][1];
        bool tiled = d % ATTENTION_CHANNELS == 0 && attention_kernels(cpu_family()) != NULL;
        struct solution s = pose((struct problem){17, heads, d, {100}, .count = 1}), direct = pose(s.p);
        compute(1, run_attention, &s);
        compute(1, tiled ? run_tiled : run_portable, &direct);
        check_same("the form for this layer", s.out, direct.out, 17 * heads * d);
        dispose(&s);
        dispose(&direct);
    }
}

/* Beside the tiles of the portable form (32 queries, 64 keys) and the vectors, panels and tiles of the others (8 and
 * 16, 24 and 48 queries; 8 and 96 keys). */
static void queries_and_keys_of_any_number(void **state)
{
    (void)state;
    static const int64_t queries[] = {1, 7, 8, 9, 16, 17, 24, 25, 32, 33, 47, 48, 49, 65, 97};
    static const int64_t keys[] = {1, 2, 7, 8, 9, 64, 65, 95, 96, 97, 130, 193};
    for (size_t i = 0; i < sizeof queries / sizeof *queries; i++)
        for (size_t j = 0; j < sizeof keys / sizeof *keys; j++)
            for (int d = 0; d < HEAD_WIDTHS; d++)
                check_problem((struct problem){queries[i], 2, head_widths[d], {keys[j]}, .count = 1});
}

/* Blocks are of 96, 192 or 384 queries: the fewer heads, the smaller. */
static void many_queries_are_cut_into_blocks(void **state)
{
    (void)state;
    static const int64_t queries[] = {95, 96, 97, 191, 192, 193, 383, 384, 385, 769};
    for (size_t i = 0; i < sizeof queries / sizeof *queries; i++)
        for (int64_t heads = 2; heads <= 8; heads += 6)
            check_problem((struct problem){queries[i], heads, 32, {9}, .count = 1});
}

/* Before sampling starts, the panels of a story at 768 px see each other whole. */
static void sums_over_thousands_of_keys_stay_exact(void **state)
{
    (void)state;
    check_problem((struct problem){49, 1, 64, {2304, 2304, 2304, 2304, 2304}, .count = 5});
}

static void one_key_gives_its_value_to_all(void **state)
{
    (void)state;
    for (int i = 0; i < HEAD_WIDTHS; i++) {
        int64_t width = 2 * head_widths[i];
        struct solution s = pose((struct problem){40, 2, head_widths[i], {5}, {1}, {true}, .count = 1});
        compute(1, run_attention, &s);
        for (int64_t query = 0; query < 40; query++)
            check_same("the value", s.out + query * width, s.v[0] + s.rows[0][0] * width, width);
        dispose(&s);
    }
}

static void several_sets_are_one_softmax(void **state)
{
    (void)state;
    for (int i = 0; i < HEAD_WIDTHS; i++) {
        int64_t d = head_widths[i];
        check_problem((struct problem){40, 2, d, {64, 100, 7}, .count = 3});
        check_problem((struct problem){40, 2, d, {64, 100, 7}, {30, 99, 1}, {true, true, true}, .count = 3});
        check_problem(
            (struct problem){33, 2, d, {64, 100, 7, 200}, {30, 0, 7, 129}, {true, false, true, true}, .count = 4});
        check_problem((struct problem){9, 1, d, {1, 1, 2, 1, 3, 1, 1, 1}, .count = 8});
    }
}

static void check_empty_sets(int64_t d)
{
    struct solution s = pose((struct problem){33, 2, d, {70, 20, 64}, .count = 3}), with = s;
    struct key_set empty = {NULL, NULL, NULL, 0}, empty_list = {s.k[0], s.v[0], (int32_t[]){0}, 0};
    with.out = room(33 * 2 * d, sizeof(float));
    with.p.count = 7;
    memcpy(with.sets, (struct key_set[]){empty, s.sets[0], empty_list, empty, s.sets[1], s.sets[2], empty},
           7 * sizeof *with.sets);
    compute(1, run_attention, &s);
    compute(1, run_attention, &with);
    check_same("with empty sets", with.out, s.out, 33 * 2 * d);
    free(with.out);
    dispose(&s);
}

static void empty_sets_change_nothing(void **state)
{
    (void)state;
    for (int i = 0; i < HEAD_WIDTHS; i++)
        check_empty_sets(head_widths[i]);
}

static void a_list_of_all_rows_is_no_list(void **state)
{
    (void)state;
    for (int i = 0; i < HEAD_WIDTHS; i++) {
        int64_t d = head_widths[i];
        struct solution s = pose((struct problem){33, 2, d, {70, 65}, .count = 2});
        struct solution listed = pose((struct problem){33, 2, d, {70, 65}, {70, 65}, {true, true}, .count = 2});
        compute(1, run_attention, &s);
        compute(1, run_attention, &listed);
        check_same("with lists", listed.out, s.out, 33 * 2 * d);
        dispose(&s);
        dispose(&listed);
    }
}

static void check_orders(int64_t d)
{
    int64_t count = 33 * 2 * d;
    struct solution s = pose((struct problem){33, 2, d, {70, 40}, {70, 40}, {true, true}, .count = 2});
    double *wanted = solve_slowly(&s);
    for (int64_t i = 0; i < 35; i++) {
        int32_t first = s.rows[0][i];
        s.rows[0][i] = s.rows[0][69 - i];
        s.rows[0][69 - i] = first;
    }
    compute(1, run_attention, &s);
    check_close("reversed within a set", s.out, wanted, count, 3e-6);

    struct key_set second = s.sets[1];
    s.sets[1] = s.sets[0];
    s.sets[0] = second;
    compute(1, run_attention, &s);
    check_close("sets exchanged", s.out, wanted, count, 3e-6);

    s.p.count = 4; /* either set in two parts */
    memcpy(s.sets,
           (struct key_set[]){{s.k[0], s.v[0], s.rows[0], 11},
                              {s.k[1], s.v[1], s.rows[1], 39},
                              {s.k[0], s.v[0], s.rows[0] + 11, 59},
                              {s.k[1], s.v[1], s.rows[1] + 39, 1}},
           4 * sizeof *s.sets);
    compute(1, run_attention, &s);
    check_close("sets in parts", s.out, wanted, count, 3e-6);
    s.p.count = 2;
    free(wanted);
    dispose(&s);
}

/* There are no positions: only rounding may know in which order keys come, and in which set. */
static void the_order_of_keys_does_not_matter(void **state)
{
    (void)state;
    for (int i = 0; i < HEAD_WIDTHS; i++)
        check_orders(head_widths[i]);
}

static void a_key_listed_twice_counts_twice(void **state)
{
    (void)state;
    struct solution s = pose((struct problem){5, 2, 64, {3}, {3}, {true}, .count = 1});
    memcpy(s.rows[0], (int32_t[]){1, 1, 2}, 3 * sizeof(int32_t));
    check_solution("a key twice", &s, 3e-6);
    dispose(&s);
}

static void past_keys_only_for_text(void **state)
{
    (void)state;
    static const int64_t lengths[] = {1, 2, 32, 33, 65, 77, 154};
    for (size_t i = 0; i < sizeof lengths / sizeof *lengths; i++)
        for (int d = 0; d < HEAD_WIDTHS; d++)
            check_problem(
                (struct problem){lengths[i], 2, head_widths[d], {lengths[i]}, .count = 1, .span = ATTEND_PAST});
}

static void what_comes_later_is_not_seen(void **state)
{
    (void)state;
    for (int i = 0; i < HEAD_WIDTHS; i++) {
        int64_t width = 2 * head_widths[i];
        struct solution s = pose((struct problem){77, 2, head_widths[i], {77}, .count = 1, .span = ATTEND_PAST});
        struct solution other = pose(s.p);
        for (int64_t j = 50 * width; j < 77 * width; j++)
            other.k[0][j] = other.v[0][j] = 1e30f;
        compute(1, run_attention, &s);
        compute(1, run_attention, &other);
        check_same("queries before the change", other.out, s.out, 50 * width);
        dispose(&s);
        dispose(&other);
    }
}

/* Whole numbers and d = 64, whose root is 8: the scores, from -1e4 to 1e4, have no rounding, so the softmax can be
 * checked where it takes one key or the other. */
static void large_scores_stay_finite_and_right(void **state)
{
    (void)state;
    struct solution s = pose((struct problem){64, 2, 64, {200, 30}, .count = 2});
    for (int64_t i = 0; i < 64 * 128; i++)
        s.q[i] = roundf(s.q[i] * 30);
    for (int set = 0; set < 2; set++)
        for (int64_t i = 0; i < s.p.keys[set] * 128; i++)
            s.k[set][i] = roundf(s.k[set][i] * 30);
    double largest = 0;
    for (int64_t i = 0; i < 64; i++)
        for (int64_t j = 0; j < 200; j++)
            largest = fmax(largest, fabs(dot(s.q + i * 128, s.k[0] + j * 128, 64)) / 8);
    assert_true(largest > 3e3);
    check_solution("large scores", &s, 3e-6);

    for (int64_t i = 0; i < 64 * 128; i++)
        s.q[i] *= 4;
    check_solution("scores beyond 1e4", &s, 3e-6);
    dispose(&s);
}

static void scores_of_minus_ten_thousand_alone_stay_finite(void **state)
{
    (void)state;
    struct solution s = pose((struct problem){33, 1, 64, {70}, .count = 1});
    for (int64_t i = 0; i < 33 * 64; i++)
        s.q[i] = -50;
    for (int64_t i = 0; i < 70 * 64; i++)
        s.k[0][i] = 25; /* every score is -50 * 25 * 64 / 8 = -1e4 */
    check_solution("all keys alike", &s, 3e-6);
    dispose(&s);
}

static void the_output_may_be_the_queries(void **state)
{
    (void)state;
    for (int i = 0; i < HEAD_WIDTHS; i++) {
        int64_t d = head_widths[i];
        check_problem((struct problem){70, 3, d, {77, 65}, .count = 2, .in_place = true});
        check_problem((struct problem){77, 3, d, {77}, .count = 1, .span = ATTEND_PAST, .in_place = true});
    }
}

static void check_threads(struct problem p)
{
    struct solution one = pose(p), more = pose(p);
    compute(1, run_attention, &one);
    for (int threads = 2; threads <= 7; threads += 5) {
        compute(threads, run_attention, &more);
        check_same("threads", more.out, one.out, p.queries * p.heads * p.d);
    }
    dispose(&one);
    dispose(&more);
}

/* Nor can it be seen how queries are cut into blocks, which does depend on the threads: 500 are cut in 3 or 6. */
static void any_number_of_threads_gives_the_same_bytes(void **state)
{
    (void)state;
    for (int i = 0; i < HEAD_WIDTHS; i++) {
        check_threads((struct problem){70, 3, head_widths[i], {90, 60}, {0, 40}, {false, true}, .count = 2});
        check_threads((struct problem){500, 3, head_widths[i], {90, 60}, {0, 40}, {false, true}, .count = 2});
        check_threads((struct problem){200, 1, head_widths[i], {200}, .count = 1, .span = ATTEND_PAST});
    }
}

/* Folds s, none above 0, into a softmax that has seen 0: s becomes e^(scale s). */
static void fold(const struct attention_kernels *kernels, float *s, double scale)
{
    enum { MOST_LANES = 48 };
    float max[MOST_LANES] = {0}, sum[MOST_LANES] = {0}, rescale[MOST_LANES];
    assert_true(kernels->lanes <= MOST_LANES);
    kernels->fold(s, &(struct attention_softmax){max, sum, rescale}, ATTENTION_KEYS, scale, kernels->lanes);
    for (int64_t i = 0; i < kernels->lanes; i++) {
        double wanted = 0;
        for (int64_t j = 0; j < ATTENTION_KEYS; j++)
            wanted += s[j * kernels->lanes + i];
        assert_true(max[i] == 0 && rescale[i] == 1);
        assert_true(fabs(sum[i] - wanted) <= ATTENTION_KEYS * 0x1p-24 * wanted);
    }
}

/* In units of the last of a float's 24 bits. */
static double ulps(double found, double wanted)
{
    return fabs(found - wanted) / ldexp(1, ilogb(wanted) - 23);
}

/* From -0 to where it ends, in even steps and, for what lies close to 0, in octaves. */
static void the_exponential_is_within_1_1_ulp(void **state)
{
    (void)state;
    const struct attention_kernels *kernels = attention_kernels(cpu_family());
    if (kernels == NULL)
        skip(); /* it is the C library's */
    const double scales[] = {1, 1 / sqrt(40), 1 / sqrt(64), 1 / sqrt(512)}, last = 126 * log(2);
    int64_t n = ATTENTION_KEYS * kernels->lanes, calls = 200;
    float *x = room(n, sizeof *x), *found = room(n, sizeof *found);
    for (int64_t i = 0; i < 4 * 2 * calls; i++) {
        double scale = scales[i % 4];
        for (int64_t j = 0; j < n; j++) {
            double part = (double)(i / 8 * n + j) / (double)(calls * n);
            x[j] = found[j] = (float)(-last / scale * (i / 4 % 2 == 0 ? part : exp2(-60 * part)));
        }
        fold(kernels, found, scale);
        for (int64_t j = 0; j < n; j++) {
            double wanted = exp(scale * x[j]);
            bool at_the_end = wanted < 0x1.0001p-126 && found[j] == 0;
            if (!(ulps(found[j], wanted) <= 1.1 || at_the_end))
                fail_msg("e^(%.9g * %.9g) is %.9g, wanted %.9g", scale, x[j], found[j], wanted);
        }
    }
    free(x);
    free(found);
}

static void the_exponential_begins_at_one_and_ends_in_zero(void **state)
{
    (void)state;
    const struct attention_kernels *kernels = attention_kernels(cpu_family());
    if (kernels == NULL)
        skip();
    static const float ends[] = {0, -0.0f, -88, -104, -150, -1e4f, -1e9f, -3e38f, -INFINITY};
    int64_t n = ATTENTION_KEYS * kernels->lanes, count = sizeof ends / sizeof *ends;
    float *s = room(n, sizeof *s);
    for (int64_t j = 0; j < n; j++)
        s[j] = ends[(j + j / kernels->lanes) % count];
    fold(kernels, s, 1);
    for (int64_t j = 0; j < n; j++)
        assert_true(s[j] == (ends[(j + j / kernels->lanes) % count] == 0 ? 1 : 0));
    free(s);
}

static int all_tests(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_width_of_a_head_is_computed),
        cmocka_unit_test(heads_that_fill_no_vector_are_computed_by_the_definition),
        cmocka_unit_test(queries_and_keys_of_any_number),
        cmocka_unit_test(many_queries_are_cut_into_blocks),
        cmocka_unit_test(sums_over_thousands_of_keys_stay_exact),
        cmocka_unit_test(one_key_gives_its_value_to_all),
        cmocka_unit_test(several_sets_are_one_softmax),
        cmocka_unit_test(empty_sets_change_nothing),
        cmocka_unit_test(a_list_of_all_rows_is_no_list),
        cmocka_unit_test(the_order_of_keys_does_not_matter),
        cmocka_unit_test(a_key_listed_twice_counts_twice),
        cmocka_unit_test(past_keys_only_for_text),
        cmocka_unit_test(what_comes_later_is_not_seen),
        cmocka_unit_test(large_scores_stay_finite_and_right),
        cmocka_unit_test(scores_of_minus_ten_thousand_alone_stay_finite),
        cmocka_unit_test(the_output_may_be_the_queries),
        cmocka_unit_test(any_number_of_threads_gives_the_same_bytes),
        cmocka_unit_test(the_exponential_is_within_1_1_ulp),
        cmocka_unit_test(the_exponential_begins_at_one_and_ends_in_zero),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

int main(void)
{
    return on_every_cpu_family(all_tests);
}
