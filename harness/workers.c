/*
 * workers.c: see workers.h. Two lists behind one lock: what is to be done, and what is done.
 */
#include "workers.h"

#include <pthread.h>
#include <string.h>

struct list {
    struct job *first, **end;
};

struct workers {
    pthread_t *threads;
    int nthreads, under_way;
    bool stop;
    pthread_mutex_t lock;
    pthread_cond_t to_do_changed, done_changed;
    struct list to_do, done;
};

static void list_put(struct list *l, struct job *j)
{
    j->next = NULL;
    *l->end = j;
    l->end = &j->next;
}

static struct job *list_take(struct list *l)
{
    struct job *j = l->first;
    l->first = j->next;
    if (!l->first)
        l->end = &l->first;
    return j;
}

static void *work(void *arg)
{
    struct workers *w = arg;
    pthread_mutex_lock(&w->lock);
    for (;;) {
        while (!w->to_do.first && !w->stop)
            pthread_cond_wait(&w->to_do_changed, &w->lock);
        if (!w->to_do.first)
            break;
        struct job *j = list_take(&w->to_do);
        pthread_mutex_unlock(&w->lock);
        double from = now_seconds();
        j->rc = j->work(j, &j->err);
        j->seconds = now_seconds() - from;
        pthread_mutex_lock(&w->lock);
        list_put(&w->done, j);
        pthread_cond_signal(&w->done_changed);
    }
    pthread_mutex_unlock(&w->lock);
    return NULL;
}

struct workers *workers_new(int threads)
{
    struct workers *w = xcalloc(1, sizeof(*w));
    w->to_do.end = &w->to_do.first;
    w->done.end = &w->done.first;
    pthread_mutex_init(&w->lock, NULL);
    pthread_cond_init(&w->to_do_changed, NULL);
    pthread_cond_init(&w->done_changed, NULL);
    w->threads = xcalloc((size_t)threads, sizeof(*w->threads));
    for (; w->nthreads < threads; w->nthreads++) {
        int rc = pthread_create(&w->threads[w->nthreads], NULL, work, w);
        if (rc)
            die(1, "no thread could be started: %s", strerror(rc));
    }
    return w;
}

void workers_free(struct workers *w)
{
    pthread_mutex_lock(&w->lock);
    if (w->under_way)
        BUG("%d jobs are under way", w->under_way);
    w->stop = true;
    pthread_cond_broadcast(&w->to_do_changed);
    pthread_mutex_unlock(&w->lock);
    for (int i = 0; i < w->nthreads; i++)
        pthread_join(w->threads[i], NULL);
    pthread_mutex_destroy(&w->lock);
    pthread_cond_destroy(&w->to_do_changed);
    pthread_cond_destroy(&w->done_changed);
    free(w->threads);
    free(w);
}

void workers_put(struct workers *w, struct job *job)
{
    pthread_mutex_lock(&w->lock);
    list_put(&w->to_do, job);
    w->under_way++;
    pthread_cond_signal(&w->to_do_changed);
    pthread_mutex_unlock(&w->lock);
}

struct job *workers_take(struct workers *w)
{
    struct job *j = NULL;
    pthread_mutex_lock(&w->lock);
    if (w->under_way) {
        while (!w->done.first)
            pthread_cond_wait(&w->done_changed, &w->lock);
        j = list_take(&w->done);
        w->under_way--;
    }
    pthread_mutex_unlock(&w->lock);
    return j;
}
