/*
 * status_impl.h: what the files of `status` share: status_read.c reads databases, status.c sums up what
 * they say.
 */
#ifndef STATUS_IMPL_H
#define STATUS_IMPL_H

#include "cmd/status.h"

/* From what is furthest behind to what is furthest. */
enum state { NOT_THERE, LEFT, FAILED, RUNNING, DONE };

struct mark {
    size_t sweep;
    char id[33];
    size_t kind; /* of work: model and task */
    enum state state;
    bool trains;                   /* it needs a model that is made by a training */
    bool planned;                  /* in the newest plan */
    int64_t samples, tokens;       /* there */
    int64_t to_samples, to_tokens; /* to be; 0: no plan says it */
    double seconds;
};

/* A model and a task, and what its cells that are done took. */
struct kind {
    char *model, *task;
    double seconds, tokens;
};

/* What a run added to a cell. */
struct added {
    size_t sweep;
    char id[33];
    int64_t samples;
    size_t pace;
};

/* The last run of a sweep in one database that added samples. */
struct pace {
    size_t sweep;
    bool live, over; /* at work; or ended with all of its work done */
    double seconds, tokens, work;
};

/* The newest plan of a sweep. */
struct newest {
    size_t store;
    int64_t started;
    bool is;
};

struct reader {
    struct status *out;
    struct store *const *stores;
    size_t nstores;
    struct mark *marks;
    size_t nmarks, marks_cap;
    struct kind *kinds;
    size_t nkinds, kinds_cap;
    struct added *added;
    size_t nadded, added_cap;
    struct pace *paces;
    size_t npaces, paces_cap;
    struct newest *newest; /* [sweeps] */
    size_t newest_cap;
};

/* Reads all databases; what is in `r` is for the caller to free, also after -1. */
int status_read_all(struct reader *r, struct buf *err) MUST_USE;
void training_release(struct training_status *t);

#endif
