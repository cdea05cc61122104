/*
 * program.h: which program this is.
 */
#ifndef PROGRAM_H
#define PROGRAM_H

extern const char program_version[]; /* "0.1" */
/* The commit it was built from, with "-dirty" where files had been changed; "": not known. */
extern const char program_revision[];

#endif
