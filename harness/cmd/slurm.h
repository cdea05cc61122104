/*
 * slurm.h: the only file that starts Slurm's commands. They are started as they are, without a shell,
 * and found on the PATH.
 */
#ifndef SLURM_H
#define SLURM_H

#include "util.h"

/* Is there a Slurm on this machine? -1: sbatch is not on the PATH. */
int slurm_find(struct buf *err) MUST_USE;

/*
 * Gives sbatch a script; `dependency`, "afterok:12", may be NULL or empty. `id` gets the job's number.
 * -1: what sbatch said, or why it could not be started.
 */
int slurm_submit(const char *script, const char *dependency, struct buf *id,
                 struct buf *err) MUST_USE;

/* Takes a job back that was submitted; false: scancel could not. */
bool slurm_cancel(const char *id);

#endif
