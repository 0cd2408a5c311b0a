// SPDX-License-Identifier: Apache-2.0
// Expression -> instructions, written while parsing; a repeat copies the instructions of what it
// repeats. Matching steps all threads of the program through the text together (Thompson's way).
#include "aws/pattern.h"
#include "aws/pattern_priv.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

enum {
    GUARDS_MAX = 4,
    GUARD_DEPTH_MAX = 4,
    RANGES_MAX = 24,
    REPEAT_MAX = 1000,
    UNBOUNDED = -1,
    CODE_POINT_MAX = 0x10ffff,
    KNOWN_BYTES_MAX = 128, // names, and most ARNs
    KNOWN_TEXTS = 16,      // of a thread
};

typedef enum StepKind {
    STEP_SET,   // one code point of a set; goes on at the next instruction
    STEP_SPLIT, // goes on at `at + x` and at `at + y`
    STEP_JUMP,  // goes on at `at + x`
    STEP_BEGIN, // only before the first code point
    STEP_END,   // only after the last
    STEP_MATCH,
} StepKind;

typedef struct Step {
    StepKind kind;
    int x, y; // relative, so that instructions can be copied; of STEP_SET: the set's place in x
} Step;

typedef struct Set {
    uint64_t ascii[2];
    struct {
        uint32_t low, high;
    } ranges[RANGES_MAX]; // beyond ASCII
    size_t range_count;
    uint32_t categories; // of Unicode, a bit each; also beyond ASCII only
    bool negated;        // of what is beyond ASCII; ascii[] is already turned
} Set;

struct pattern {
    uint64_t id; // of this pattern and, as long as the process lives, of no other
    Step *steps;
    size_t step_count;
    Set *sets;
    size_t set_count;
    struct guard {
        struct pattern *begins; // what the text must, or must not, begin with
        bool refuses;
    } guards[GUARDS_MAX];
    size_t guard_count;
};

struct parser {
    Str rest;
    struct pattern *out;
    unsigned depth;
};

static Err parse_choice(struct parser *p);
static Err open_guarded(Str expression, unsigned depth, struct pattern **ret);

// ---- Sets

static Err set_add(Set *s, uint32_t low, uint32_t high)
{
    for (uint32_t c = low; c <= high && c < 128; c++)
        s->ascii[c / 64] |= UINT64_C(1) << (c % 64);
    if (high < 128)
        return OK;
    if (s->range_count == RANGES_MAX)
        return fail(ERR_LIMIT, "a set has too many ranges");
    s->ranges[s->range_count].low = MAX(low, 128u);
    s->ranges[s->range_count++].high = high;
    return OK;
}

static void set_negate(Set *s)
{
    s->ascii[0] = ~s->ascii[0];
    s->ascii[1] = ~s->ascii[1];
    s->negated = !s->negated;
}

// The number of a code point's general category: the last run that does not begin behind it.
static unsigned category_of(uint32_t c)
{
    size_t low = 0, high = unicode_run_count;
    while (high - low > 1) {
        size_t middle = low + (high - low) / 2;
        if (unicode_runs[middle] >> UNICODE_CATEGORY_BITS <= c)
            low = middle;
        else
            high = middle;
    }
    return unicode_runs[low] & ((1u << UNICODE_CATEGORY_BITS) - 1);
}

static bool set_has(const Set *s, uint32_t c)
{
    if (c < 128)
        return (s->ascii[c / 64] >> (c % 64) & 1) != 0;
    if (s->categories != 0 && (s->categories >> category_of(c) & 1) != 0)
        return !s->negated;
    for (size_t i = 0; i < s->range_count; i++)
        if (c >= s->ranges[i].low && c <= s->ranges[i].high)
            return !s->negated;
    return s->negated;
}

// The sets of \d, \w, \s and their opposites; false: `letter` is none of them.
static bool set_of_class(Set *s, char letter)
{
    static const char *const words[] = { "09", "azAZ09__", "  \t\r" };
    static const char letters[] = "dws";
    const char *found = letter != 0 ? strchr(letters, letter | 0x20) : NULL;
    if (found == NULL)
        return false;
    Set class = { 0 };
    for (const char *w = words[found - letters]; *w != 0; w += 2)
        err_ignore(set_add(&class, (unsigned char)w[0], (unsigned char)w[1])); // ASCII always fits
    if (letter < 'a')
        set_negate(&class);
    s->ascii[0] |= class.ascii[0];
    s->ascii[1] |= class.ascii[1];
    if (class.negated) // all that is beyond ASCII
        err_ignore(set_add(s, 128, CODE_POINT_MAX));
    return true;
}

// ---- Characters

// One code point of UTF-8; false: malformed or at the end.
static bool take_code_point(Str *s, uint32_t *ret)
{
    if (s->n == 0)
        return false;
    unsigned char first = (unsigned char)s->p[0];
    size_t n = first < 0x80 ? 1 : first < 0xc2 ? 0 : first < 0xe0 ? 2 : first < 0xf0 ? 3 : 4;
    if (n == 0 || n > s->n)
        return false;
    uint32_t c = n == 1 ? first : first & (0x7fu >> n);
    for (size_t i = 1; i < n; i++) {
        if (((unsigned char)s->p[i] & 0xc0) != 0x80)
            return false;
        c = c << 6 | ((unsigned char)s->p[i] & 0x3f);
    }
    *s = str_skip(*s, n);
    *ret = c;
    return true;
}

static bool accept(struct parser *p, char c)
{
    if (p->rest.n == 0 || p->rest.p[0] != c)
        return false;
    p->rest = str_skip(p->rest, 1);
    return true;
}

static void set_add_categories(Set *s, uint32_t categories)
{
    s->categories |= categories;
    for (uint32_t c = 0; c < 128; c++)
        if ((categories >> category_of(c) & 1) != 0)
            s->ascii[c / 64] |= UINT64_C(1) << (c % 64);
}

// "{L}" or "{Zs}" after \p, or after \P, which is all but that.
static Err take_property(struct parser *p, bool opposite, Set *set)
{
    size_t end = str_find(p->rest, '}');
    Str name = str_head(p->rest, end);
    if (!str_starts(name, S("{")) || end == p->rest.n || name.n < 2 || name.n > 3)
        return fail(ERR_INVALID, "a property that the pattern language does not have");
    uint32_t found = 0, all = 0;
    for (unsigned i = 0; unicode_categories[2 * i] != 0; i++) {
        const char *category = &unicode_categories[2 * i];
        all |= 1u << i;
        if (category[0] == name.p[1] && (name.n == 2 || category[1] == name.p[2]))
            found |= 1u << i;
    }
    if (found == 0)
        return fail(ERR_INVALID, "a property that the pattern language does not have");
    p->rest = str_skip(p->rest, end + 1);
    set_add_categories(set, opposite ? all & ~found : found);
    return OK;
}

// After a backslash: whether it is a class (\d) or a property (\p{L}), which is added then.
static Err take_class(struct parser *p, Set *set, bool *ret_taken)
{
    *ret_taken = true;
    if (accept(p, 'p'))
        return take_property(p, false, set);
    if (accept(p, 'P'))
        return take_property(p, true, set);
    *ret_taken = p->rest.n > 0 && set_of_class(set, p->rest.p[0]);
    if (*ret_taken)
        p->rest = str_skip(p->rest, 1);
    return OK;
}

static Err take_hex(struct parser *p, size_t digits, uint32_t *ret)
{
    uint32_t c = 0;
    if (p->rest.n < digits)
        return fail(ERR_INVALID, "an escape is cut off");
    for (size_t i = 0; i < digits; i++) {
        static const char hex[] = "0123456789abcdef";
        char digit = p->rest.p[i];
        const char *found = digit != 0 ? strchr(hex, digit >= 'A' ? digit | 0x20 : digit) : NULL;
        if (found == NULL)
            return fail(ERR_INVALID, "an escape is not hexadecimal");
        c = c << 4 | (uint32_t)(found - hex);
    }
    p->rest = str_skip(p->rest, digits);
    *ret = c;
    return OK;
}

// \uHHHH, and two of them for what is beyond the first plane, as Java writes it.
static Err take_utf16(struct parser *p, uint32_t *ret)
{
    uint32_t high, low;
    TRY(take_hex(p, 4, &high));
    *ret = high;
    if (high < 0xd800 || high > 0xdbff || !str_starts(p->rest, S("\\u")))
        return OK;
    struct parser ahead = *p;
    ahead.rest = str_skip(ahead.rest, 2);
    if (take_hex(&ahead, 4, &low).kind != ERR_NONE || low < 0xdc00 || low > 0xdfff)
        return OK;
    *ret = 0x10000 + ((high - 0xd800) << 10) + (low - 0xdc00);
    p->rest = ahead.rest;
    return OK;
}

// After a backslash that begins no class: the character it stands for.
static Err take_escape(struct parser *p, uint32_t *ret)
{
    if (p->rest.n == 0)
        return fail(ERR_INVALID, "an escape is cut off");
    static const char letters[] = "tnrf", meanings[] = "\t\n\r\f";
    char c = p->rest.p[0];
    p->rest = str_skip(p->rest, 1);
    if (c == 'x')
        return take_hex(p, 2, ret);
    if (c == 'u')
        return take_utf16(p, ret);
    const char *found = c != 0 ? strchr(letters, c) : NULL;
    bool word = (c >= '0' && c <= '9') || ((c | 0x20) >= 'a' && (c | 0x20) <= 'z');
    if (found == NULL && (word || (unsigned char)c >= 128 || c < ' '))
        return fail(ERR_INVALID, "an escape that the pattern language does not have");
    *ret = (unsigned char)(found != NULL ? meanings[found - letters] : c);
    return OK;
}

// ---- Instructions

static Err add_step(struct parser *p, Step step)
{
    struct pattern *out = p->out;
    if (out->step_count == PATTERN_STEPS_MAX)
        return fail(ERR_LIMIT, "the pattern is too large");
    out->steps[out->step_count++] = step;
    return OK;
}

// Makes room for one instruction in front of the one at `at`. Jumps are relative and never cross
// the start of a finished part, so the others stay right.
static Err insert_step(struct parser *p, size_t at, Step step)
{
    TRY(add_step(p, step));
    Step *steps = p->out->steps;
    memmove(&steps[at + 1], &steps[at], (p->out->step_count - 1 - at) * sizeof *steps);
    steps[at] = step;
    return OK;
}

static Err add_set(struct parser *p, const Set *set)
{
    struct pattern *out = p->out;
    out->sets = xrealloc(out->sets, mul_checked(out->set_count + 1, sizeof *out->sets));
    out->sets[out->set_count++] = *set;
    return add_step(p, (Step){ .kind = STEP_SET, .x = (int)(out->set_count - 1) });
}

// ---- The grammar: choice = sequence ('|' sequence)*; sequence = (atom repeat*)*

static Err parse_set_member(struct parser *p, Set *set)
{
    uint32_t low, high;
    bool escaped = accept(p, '\\'), is_class = false;
    if (escaped)
        TRY(take_class(p, set, &is_class));
    if (is_class)
        return OK;
    if (escaped)
        TRY(take_escape(p, &low));
    else if (!take_code_point(&p->rest, &low))
        return fail(ERR_INVALID, "a set is not closed");
    high = low;
    if (p->rest.n >= 2 && p->rest.p[0] == '-' && p->rest.p[1] != ']') {
        p->rest = str_skip(p->rest, 1);
        if (accept(p, '\\'))
            TRY(take_escape(p, &high));
        else if (!take_code_point(&p->rest, &high))
            return fail(ERR_INVALID, "a set is not closed");
    }
    if (high < low)
        return fail(ERR_INVALID, "a range of a set is backwards");
    return set_add(set, low, high);
}

static Err parse_set(struct parser *p)
{
    Set set = { 0 };
    bool negated = accept(p, '^');
    do { // a set has at least one member
        TRY(parse_set_member(p, &set));
    } while (!accept(p, ']'));
    if (negated)
        set_negate(&set);
    return add_set(p, &set);
}

static Err parse_group(struct parser *p)
{
    if (accept(p, '?') && !accept(p, ':'))
        return fail(ERR_INVALID, "a group that the pattern language does not have");
    if (++p->depth > PATTERN_DEPTH_MAX)
        return fail(ERR_LIMIT, "the groups are nested too deeply");
    TRY(parse_choice(p));
    p->depth--;
    return accept(p, ')') ? OK : fail(ERR_INVALID, "a group is not closed");
}

static Err parse_atom(struct parser *p)
{
    Set set = { 0 };
    uint32_t c;
    if (accept(p, '['))
        return parse_set(p);
    if (accept(p, '('))
        return parse_group(p);
    if (accept(p, '^'))
        return add_step(p, (Step){ .kind = STEP_BEGIN });
    if (accept(p, '$'))
        return add_step(p, (Step){ .kind = STEP_END });
    if (accept(p, '.')) {
        TRY(set_add(&set, '\n', '\n'));
        TRY(set_add(&set, '\r', '\r'));
        set_negate(&set);
        return add_set(p, &set);
    }
    if (accept(p, '\\')) {
        bool is_class = false;
        TRY(take_class(p, &set, &is_class));
        if (is_class)
            return add_set(p, &set);
        TRY(take_escape(p, &c));
    } else if (p->rest.p[0] == '*' || p->rest.p[0] == '+' || p->rest.p[0] == '?' ||
               p->rest.p[0] == '{') {
        return fail(ERR_INVALID, "a repeat of nothing");
    } else if (!take_code_point(&p->rest, &c)) {
        return fail(ERR_INVALID, "the pattern is not UTF-8");
    }
    TRY(set_add(&set, c, c));
    return add_set(p, &set);
}

static Err take_count(struct parser *p, int *ret)
{
    int n = 0;
    size_t digits = 0;
    while (p->rest.n > 0 && p->rest.p[0] >= '0' && p->rest.p[0] <= '9') {
        n = n * 10 + (p->rest.p[0] - '0');
        if (n > REPEAT_MAX)
            return fail(ERR_LIMIT, "a repeat is too large");
        p->rest = str_skip(p->rest, 1);
        digits++;
    }
    *ret = n;
    return digits > 0 ? OK : fail(ERR_INVALID, "a repeat needs a number");
}

// The part from `from` to here, again.
static Err copy_part(struct parser *p, const Step *part, size_t n)
{
    for (size_t i = 0; i < n; i++)
        TRY(add_step(p, part[i]));
    return OK;
}

// Replaces the part from `from` to the end by `min` to `max` repetitions of it.
static Err repeat_part(struct parser *p, size_t from, int min, int max)
{
    size_t n = p->out->step_count - from;
    Step *part = xalloc(mul_checked(MAX(n, 1u), sizeof *part));
    memcpy(part, &p->out->steps[from], n * sizeof *part);
    p->out->step_count = from;

    Err e = OK;
    for (int i = 0; i < min && e.kind == ERR_NONE; i++)
        e = copy_part(p, part, n);
    if (max == UNBOUNDED && e.kind == ERR_NONE) {
        e = add_step(p, (Step){ .kind = STEP_SPLIT, .x = 1, .y = (int)n + 2 });
        if (e.kind == ERR_NONE)
            e = copy_part(p, part, n);
        if (e.kind == ERR_NONE)
            e = add_step(p, (Step){ .kind = STEP_JUMP, .x = -(int)n - 1 });
    }
    for (int left = max - min; left > 0 && e.kind == ERR_NONE; left--) {
        e = add_step(p, (Step){ .kind = STEP_SPLIT, .x = 1, .y = left * ((int)n + 1) });
        if (e.kind == ERR_NONE)
            e = copy_part(p, part, n);
    }
    free(part);
    return e;
}

static Err parse_repeat(struct parser *p, size_t from)
{
    int min = 0, max = UNBOUNDED;
    if (accept(p, '+')) {
        min = 1;
    } else if (accept(p, '?')) {
        max = 1;
    } else if (accept(p, '{')) {
        TRY(take_count(p, &min));
        if (!accept(p, ','))
            max = min;
        else if (p->rest.n > 0 && p->rest.p[0] != '}')
            TRY(take_count(p, &max));
        if (!accept(p, '}') || (max != UNBOUNDED && max < min))
            return fail(ERR_INVALID, "a repeat is malformed");
    } else if (!accept(p, '*')) {
        return OK;
    }
    accept(p, '?'); // lazy: the same, where the whole text must match
    if (p->rest.n > 0 && p->rest.p[0] == '+')
        return fail(ERR_INVALID, "possessive repeats are not in the pattern language");
    return repeat_part(p, from, min, max);
}

static Err parse_sequence(struct parser *p)
{
    while (p->rest.n > 0 && p->rest.p[0] != '|' && p->rest.p[0] != ')') {
        size_t from = p->out->step_count;
        TRY(parse_atom(p));
        TRY(parse_repeat(p, from));
    }
    return OK;
}

static Err parse_choice(struct parser *p)
{
    size_t from = p->out->step_count;
    TRY(parse_sequence(p));
    if (!accept(p, '|'))
        return OK;
    // split to both; the first jumps over the rest when it is done
    TRY(insert_step(p, from, (Step){ .kind = STEP_SPLIT, .x = 1 }));
    size_t jump = p->out->step_count;
    TRY(add_step(p, (Step){ .kind = STEP_JUMP }));
    p->out->steps[from].y = (int)(p->out->step_count - from);
    TRY(parse_choice(p));
    p->out->steps[jump].x = (int)(p->out->step_count - jump);
    return OK;
}

// The place of `wanted` outside of all groups and sets, or s.n. A ')' that closes what was opened
// before `s` ends the search unless it is what is wanted.
static size_t find_outside(Str s, char wanted)
{
    size_t depth = 0;
    bool in_set = false;
    for (size_t i = 0; i < s.n; i++) {
        char c = s.p[i];
        if (c == '\\')
            i++;
        else if (in_set || c == '[')
            in_set = c != ']';
        else if (depth == 0 && c == wanted)
            return i;
        else if (c == '(')
            depth++;
        else if (c == ')' && depth-- == 0)
            return s.n;
    }
    return s.n;
}

// (?!...) and (?=...) at the start: patterns of their own, tried on the same text.
static Err take_guards(struct parser *p, unsigned depth)
{
    struct pattern *out = p->out;
    Str rest = str_starts(p->rest, S("^(?")) ? str_skip(p->rest, 1) : p->rest;
    while (str_starts(rest, S("(?!")) || str_starts(rest, S("(?="))) {
        Str inside = str_skip(rest, sizeof "(?!" - 1);
        size_t end = find_outside(inside, ')');
        if (end == inside.n)
            return fail(ERR_INVALID, "a group is not closed");
        if (out->guard_count == GUARDS_MAX || depth == GUARD_DEPTH_MAX)
            return fail(ERR_LIMIT, "too many groups that look ahead");
        struct guard *g = &out->guards[out->guard_count];
        TRY(open_guarded(str_head(inside, end), depth + 1, &g->begins));
        g->refuses = rest.p[2] == '!';
        out->guard_count++;
        rest = str_skip(inside, end + 1);
        p->rest = rest;
    }
    if (out->guard_count > 0 && find_outside(p->rest, '|') < p->rest.n)
        return fail(ERR_INVALID, "a look ahead of one choice only");
    return OK;
}

static Err open_guarded(Str expression, unsigned depth, struct pattern **ret)
{
    static _Atomic uint64_t ids;
    AUTO(pattern) out = xalloc(sizeof *out);
    struct parser p = { .rest = expression, .out = out };
    out->id = atomic_fetch_add(&ids, 1) + 1;
    out->steps = xalloc(PATTERN_STEPS_MAX * sizeof *out->steps);
    TRY(take_guards(&p, depth));
    TRY(parse_choice(&p));
    if (p.rest.n > 0)
        return fail(ERR_INVALID, "a group is closed that was not opened");
    TRY(add_step(&p, (Step){ .kind = STEP_MATCH }));
    out->steps = xrealloc(out->steps, out->step_count * sizeof *out->steps);
    *ret = out;
    out = NULL; // the caller's now
    return OK;
}

Err pattern_open(Str expression, struct pattern **ret)
{
    return open_guarded(expression, 0, ret);
}

void pattern_close(struct pattern *p)
{
    if (p == NULL)
        return;
    for (size_t i = 0; i < p->guard_count; i++)
        pattern_close(p->guards[i].begins);
    free(p->steps);
    free(p->sets);
    free(p);
}

// ---- Matching

struct threads {
    uint16_t at[PATTERN_STEPS_MAX]; // instructions that wait for a code point, or match
    size_t n;
};

// Scratch of one thread: large, and wanted once per text, so it is neither on the stack nor cleared
// each time.
struct matcher {
    const struct pattern *p;
    uint32_t seen[PATTERN_STEPS_MAX]; // the turn in which an instruction was last reached
    uint32_t turn;
    uint16_t pending[PATTERN_STEPS_MAX + 1];
    bool at_begin, at_end;
    struct threads lists[2];
};
static _Thread_local struct matcher scratch;

static void push(struct matcher *m, size_t *n, size_t at)
{
    if (m->seen[at] == m->turn)
        return;
    m->seen[at] = m->turn;
    m->pending[(*n)++] = (uint16_t)at;
}

// Adds `at`, and whatever can be reached from it without reading.
static void reach(struct matcher *m, struct threads *into, size_t at)
{
    size_t n = 0;
    push(m, &n, at);
    while (n > 0) {
        at = m->pending[--n];
        const Step *step = &m->p->steps[at];
        switch (step->kind) {
        case STEP_SPLIT:
            push(m, &n, at + (size_t)step->y);
            push(m, &n, at + (size_t)step->x);
            break;
        case STEP_JUMP:
            push(m, &n, (size_t)((ptrdiff_t)at + step->x));
            break;
        case STEP_BEGIN:
            if (m->at_begin)
                push(m, &n, at + 1);
            break;
        case STEP_END:
            if (m->at_end)
                push(m, &n, at + 1);
            break;
        default:
            into->at[into->n++] = (uint16_t)at;
            break;
        }
    }
}

static bool has_match(const struct pattern *p, const struct threads *list)
{
    for (size_t i = 0; i < list->n; i++)
        if (p->steps[list->at[i]].kind == STEP_MATCH)
            return true;
    return false;
}

// `whole`: the match must end where the text does; otherwise it may end anywhere.
static bool run(const struct pattern *p, Str text, bool whole)
{
    struct matcher *m = &scratch;
    struct threads *now = &m->lists[0], *next = &m->lists[1];
    m->p = p;
    m->turn = 1;
    m->at_begin = true;
    m->at_end = text.n == 0;
    memset(m->seen, 0, p->step_count * sizeof *m->seen);
    now->n = 0;
    reach(m, now, 0);
    while (text.n > 0 && now->n > 0) {
        uint32_t c;
        if (!whole && has_match(p, now))
            return true;
        if (!take_code_point(&text, &c))
            return false;
        m->turn++;
        m->at_begin = false;
        m->at_end = text.n == 0;
        next->n = 0;
        for (size_t i = 0; i < now->n; i++) {
            const Step *step = &p->steps[now->at[i]];
            if (step->kind == STEP_SET && set_has(&p->sets[step->x], c))
                reach(m, next, now->at[i] + 1u);
        }
        struct threads *swapped = now;
        now = next;
        next = swapped;
    }
    return text.n == 0 && has_match(p, now);
}

static bool guarded_run(const struct pattern *p, Str text, bool whole)
{
    for (size_t i = 0; i < p->guard_count; i++)
        if (guarded_run(p->guards[i].begins, text, false) == p->guards[i].refuses)
            return false;
    return run(p, text, whole);
}

// ---- What has matched before: requests name the same few streams and shards over and over, and a
// step of the program for each letter of an ARN costs more than the rest of its check.

struct known {
    uint64_t id; // of the pattern; 0: nothing is known
    size_t n;
    char text[KNOWN_BYTES_MAX];
};
static _Thread_local struct known known_texts[KNOWN_TEXTS];

// Where it would be: by the pattern, the length and the last bytes, in which names differ.
static struct known *known_place(const struct pattern *p, Str text)
{
    uint64_t tail = 0;
    size_t n = MIN(text.n, sizeof tail);
    if (n > 0)
        memcpy(&tail, text.p + text.n - n, n);
    uint64_t mixed = (tail ^ p->id ^ (uint64_t)text.n << 32) * UINT64_C(0x9e3779b97f4a7c15);
    return &known_texts[(mixed >> 32) % KNOWN_TEXTS];
}

bool pattern_matches(const struct pattern *p, Str text)
{
    if (text.n > KNOWN_BYTES_MAX)
        return guarded_run(p, text, true);
    struct known *k = known_place(p, text);
    if (k->id == p->id && str_eq(str_from(k->text, k->n), text))
        return true;
    if (!guarded_run(p, text, true))
        return false;
    k->id = p->id;
    k->n = text.n;
    if (text.n > 0)
        memcpy(k->text, text.p, text.n);
    return true;
}
