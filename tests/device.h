/*
 * device.h: the engine, and where a test runs it: on the CPU, or where SEQTOPK_TEST_DEVICE says.
 */
#ifndef DEVICE_H
#define DEVICE_H

#include "engine.h"

static const struct engine *engine;
static struct device device;

static void open_engine_and_device(void)
{
    struct buf err = BUF_INIT;
    const char *name = getenv("SEQTOPK_TEST_DEVICE");
    engine = engine_open(&err);
    if (!engine || engine->device_parse(name ? name : "cpu", &device, &err))
        die(1, "%s", err.s);
}

#endif
