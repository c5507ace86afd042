/* Attention against softmax(q k / sqrt d) v in double, over a list of all keys that makes no tiles and no sets; with
 * every form this CPU can run. Heads of a multiple of 16 have forms of their own, others the portable one: tests take
 * both. */
#include "nn/attention.h"
#include "tests/check.h"

enum { MAX_SETS = 8 };

static const int64_t head_widths[] = {8, 64};
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

static void run_attention(const struct context *ctx, void *arg)
{
    struct solution *s = arg;
    const struct problem *p = &s->p;
    if (p->in_place && !arena_measuring(ctx->arena))
        memcpy(s->out, s->q, (size_t)(p->queries * p->heads * p->d) * sizeof(float));
    attention(ctx, &(struct attention){
                       .out = s->out,
                       .q = p->in_place ? s->out : s->q,
                       .queries = p->queries,
                       .heads = p->heads,
                       .d = p->d,
                       .sets = s->sets,
                       .count = p->count,
                       .span = p->span,
                   });
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
    static const int64_t widths[] = {1, 8, 16, 40, 48, 64, 80, 96, 128, 160, 512, 528};
    for (size_t i = 0; i < sizeof widths / sizeof *widths; i++)
        check_problem((struct problem){33, 1, widths[i], {77}, .count = 1});
}

/* Beside the tiles of attention.c: 32 queries, 64 keys. */
static void queries_and_keys_of_any_number(void **state)
{
    (void)state;
    static const int64_t queries[] = {1, 15, 32, 33, 65}, keys[] = {1, 2, 15, 64, 65, 130};
    for (size_t i = 0; i < sizeof queries / sizeof *queries; i++)
        for (size_t j = 0; j < sizeof keys / sizeof *keys; j++)
            for (int d = 0; d < HEAD_WIDTHS; d++)
                check_problem((struct problem){queries[i], 2, head_widths[d], {keys[j]}, .count = 1});
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
    struct solution s = pose((struct problem){5, 1, 8, {3}, {3}, {true}, .count = 1});
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

static void any_number_of_threads_gives_the_same_bytes(void **state)
{
    (void)state;
    for (int i = 0; i < HEAD_WIDTHS; i++) {
        struct problem p = {70, 3, head_widths[i], {90, 60}, {0, 40}, {false, true}, .count = 2};
        struct solution one = pose(p), more = pose(p);
        compute(1, run_attention, &one);
        for (int threads = 2; threads <= 7; threads += 5) {
            compute(threads, run_attention, &more);
            check_same("threads", more.out, one.out, 70 * 3 * p.d);
        }
        dispose(&one);
        dispose(&more);
    }
}

static int all_tests(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_width_of_a_head_is_computed),
        cmocka_unit_test(queries_and_keys_of_any_number),
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
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

int main(void)
{
    return on_every_cpu_family(all_tests);
}
