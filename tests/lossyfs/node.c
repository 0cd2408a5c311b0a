// SPDX-License-Identifier: Apache-2.0
// The content of one file: what BACKING holds, and above it the pages that are not durable.
#include "disk.h"

#include "base/arena.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

uint64_t random_next(uint64_t *state)
{
    uint64_t x = *state += UINT64_C(0x9E3779B97F4A7C15);
    x = (x ^ (x >> 30)) * UINT64_C(0xBF58476D1CE4E5B9);
    x = (x ^ (x >> 27)) * UINT64_C(0x94D049BB133111EB);
    return x ^ (x >> 31);
}

static int write_backing(struct node *f, const unsigned char *p, size_t n, uint64_t at)
{
    for (size_t done = 0; done < n;) {
        ssize_t r = pwrite(f->fd, p + done, n - done, (off_t)(at + done));
        if (r < 0 && errno == EINTR)
            continue;
        if (r <= 0)
            return r < 0 ? errno : EIO;
        done += (size_t)r;
    }
    f->disk_bytes = MAX(f->disk_bytes, at + n);
    return 0;
}

static int size_backing(struct node *f, uint64_t bytes)
{
    if (f->disk_bytes == bytes)
        return 0;
    if (ftruncate(f->fd, (off_t)bytes) != 0)
        return errno;
    f->disk_bytes = bytes;
    return 0;
}

// What BACKING says about a range, with zeros where it says nothing.
static int read_backing(struct node *f, unsigned char *p, size_t n, uint64_t at)
{
    size_t there = at < f->kept_bytes ? (size_t)MIN((uint64_t)n, f->kept_bytes - at) : 0;
    size_t done = 0;
    while (done < there) {
        ssize_t r = pread(f->fd, p + done, there - done, (off_t)(at + done));
        if (r < 0 && errno == EINTR)
            continue;
        if (r < 0)
            return errno;
        if (r == 0)
            break;
        done += (size_t)r;
    }
    memset(p + done, 0, n - done);
    return 0;
}

static struct page *page_at(struct node *f, uint64_t index)
{
    if (index >= f->page_count) {
        uint64_t count = MAX(index + 1, f->page_count * 2);
        f->pages = xrealloc(f->pages, mul_checked(count, sizeof *f->pages));
        memset(&f->pages[f->page_count], 0, (count - f->page_count) * sizeof *f->pages);
        f->page_count = count;
    }
    return &f->pages[index];
}

static void page_drop(struct page *page)
{
    free(page->bytes);
    *page = (struct page){ 0 };
}

int node_read(struct node *f, void *p, size_t n, uint64_t at, size_t *ret_n)
{
    n = at < f->bytes ? (size_t)MIN((uint64_t)n, f->bytes - at) : 0;
    for (size_t done = 0; done < n;) {
        uint64_t index = (at + done) / PAGE_BYTES;
        size_t in_page = (size_t)((at + done) % PAGE_BYTES);
        size_t chunk = MIN(n - done, PAGE_BYTES - in_page);
        unsigned char *to = (unsigned char *)p + done;
        if (index < f->page_count && f->pages[index].bytes != NULL) {
            memcpy(to, f->pages[index].bytes + in_page, chunk);
        } else {
            int error = read_backing(f, to, chunk, at + done);
            if (error != 0)
                return error;
        }
        done += chunk;
    }
    *ret_n = n;
    return 0;
}

static void touch(struct node *f)
{
    clock_gettime(CLOCK_REALTIME, &f->changed);
}

// A page that cannot be read from BACKING is a fault of the machine under the test, not of the
// test: the process ends.
static struct page *page_load(struct node *f, uint64_t index)
{
    struct page *page = page_at(f, index);
    if (page->bytes == NULL) {
        page->bytes = xalloc(PAGE_BYTES);
        CHECK(read_backing(f, page->bytes, PAGE_BYTES, index * PAGE_BYTES) == 0);
    }
    return page;
}

void node_write(struct node *f, const void *p, size_t n, uint64_t at)
{
    if (n == 0)
        return;
    uint64_t first = at / PAGE_BYTES, end = (at + n + PAGE_BYTES - 1) / PAGE_BYTES;
    f->dirty_from = f->dirty_from == f->dirty_to ? first : MIN(f->dirty_from, first);
    f->dirty_to = MAX(f->dirty_to, end);
    for (size_t done = 0; done < n;) {
        size_t in_page = (size_t)((at + done) % PAGE_BYTES);
        size_t chunk = MIN(n - done, PAGE_BYTES - in_page);
        struct page *page = page_load(f, (at + done) / PAGE_BYTES);
        memcpy(page->bytes + in_page, (const unsigned char *)p + done, chunk);
        page->lost = false;
        done += chunk;
    }
    f->bytes = MAX(f->bytes, at + n);
    touch(f);
}

void node_resize(struct node *f, uint64_t bytes)
{
    uint64_t first = (bytes + PAGE_BYTES - 1) / PAGE_BYTES; // the first page without any content
    if (bytes < f->bytes) {
        for (uint64_t i = first; i < f->page_count; i++)
            page_drop(&f->pages[i]);
        size_t in_page = (size_t)(bytes % PAGE_BYTES);
        if (in_page != 0 && first - 1 < f->page_count && f->pages[first - 1].bytes != NULL)
            memset(f->pages[first - 1].bytes + in_page, 0, PAGE_BYTES - in_page);
        f->dirty_to = MIN(f->dirty_to, MAX(first, f->dirty_from));
    }
    f->bytes = bytes;
    f->kept_bytes = MIN(f->kept_bytes, bytes);
    touch(f);
}

static bool is_dirty(const struct page *page)
{
    return page->bytes != NULL && !page->lost;
}

// The dirty pages of a range of pages become durable.
static int flush(struct node *f, uint64_t from, uint64_t to)
{
    int error = f->kept_bytes < f->disk_bytes ? size_backing(f, f->kept_bytes) : 0;
    from = MAX(from, f->dirty_from);
    to = MIN(to, f->dirty_to);
    for (uint64_t i = from; i < to && error == 0; i++) {
        struct page *page = &f->pages[i];
        if (!is_dirty(page))
            continue;
        uint64_t at = i * PAGE_BYTES;
        error = write_backing(f, page->bytes, (size_t)MIN(PAGE_BYTES, f->bytes - at), at);
        if (error == 0)
            page_drop(page);
    }
    f->kept_bytes = f->disk_bytes;
    return error;
}

int node_sync(struct node *f)
{
    int error = flush(f, 0, UINT64_MAX);
    if (error == 0)
        error = size_backing(f, f->bytes);
    if (error != 0)
        return error;
    f->kept_bytes = f->bytes;
    f->dirty_from = f->dirty_to = 0;
    return 0;
}

int node_sync_range(struct node *f, uint64_t at, uint64_t n)
{
    return flush(f, at / PAGE_BYTES, (at + n + PAGE_BYTES - 1) / PAGE_BYTES);
}

void node_lose(struct node *f, uint64_t at, uint64_t n)
{
    uint64_t to =
        n > UINT64_MAX - at - PAGE_BYTES ? f->dirty_to : (at + n + PAGE_BYTES - 1) / PAGE_BYTES;
    for (uint64_t i = MAX(at / PAGE_BYTES, f->dirty_from); i < MIN(to, f->dirty_to); i++)
        f->pages[i].lost = f->pages[i].bytes != NULL;
}

// Some sectors of a dirty page reach the device, the others keep what they had.
static int tear_page(struct node *f, uint64_t index, const DiskCut *cut, unsigned percent,
                     uint64_t *random)
{
    for (size_t in_page = 0; in_page < PAGE_BYTES; in_page += cut->sector_bytes) {
        uint64_t at = index * PAGE_BYTES + in_page;
        if (at >= f->bytes)
            break;
        size_t n = (size_t)MIN(cut->sector_bytes, f->bytes - at);
        bool reached = random_next(random) % 100 < percent;
        int error = reached ? write_backing(f, f->pages[index].bytes + in_page, n, at) : 0;
        if (error != 0)
            return error;
    }
    return 0;
}

int node_cut(struct node *f, const DiskCut *cut, uint64_t *random)
{
    static const unsigned percents[] = { 0, 10, 50, 90, 100 }; // the rare mixtures matter as well
    if (cut->keep == KEEP_NONE)
        return 0;
    if (cut->keep == KEEP_ALL)
        return node_sync(f);
    int error = 0;
    if (f->kept_bytes < f->disk_bytes && random_next(random) % 2 == 0)
        error = size_backing(f, f->kept_bytes);
    uint64_t before = f->disk_bytes;
    unsigned percent = percents[random_next(random) % COUNT_OF(percents)];
    for (uint64_t i = f->dirty_from; i < f->dirty_to && error == 0; i++)
        if (is_dirty(&f->pages[i]))
            error = tear_page(f, i, cut, percent, random);
    uint64_t low = MIN(before, f->bytes), high = MAX(before, f->bytes);
    uint64_t between = low + random_next(random) % (high - low + 1);
    uint64_t choice = random_next(random) % 3;
    return error != 0 ? error : size_backing(f, choice == 0 ? low : choice == 1 ? high : between);
}

static void drop_content(struct node *f)
{
    for (uint64_t i = 0; i < f->page_count; i++)
        page_drop(&f->pages[i]);
    free(f->pages);
    f->pages = NULL;
    f->page_count = f->dirty_from = f->dirty_to = 0;
    if (f->fd >= 0)
        close(f->fd);
    f->fd = -1;
}

void node_closed(struct node *f)
{
    if (!f->is_dir && f->gone && f->opens == 0 && f->waits_for == 0)
        drop_content(f);
}

void node_free(struct node *f)
{
    drop_content(f);
    free(f->name);
    free(f);
}
