/* Finds the known word that a mistyped one was probably meant to be. */
#ifndef UTUN_CONFIG_SPELLING_H
#define UTUN_CONFIG_SPELLING_H

#include <stddef.h>

/*
 * How many letters must be inserted, removed, replaced or swapped with their neighbour to turn a
 * into b (optimal string alignment), upper and lower case being the same. Words of more than
 * SPELLING_MAX bytes are infinitely far (SIZE_MAX) from everything.
 */
size_t spelling_distance(const char *a, const char *b);

/* The largest distance at which two words still look like one word and its misspelling. */
size_t spelling_tolerance(const char *word);

#define SPELLING_MAX 64

#endif
