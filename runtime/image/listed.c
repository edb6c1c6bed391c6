/* SPDX-License-Identifier: MIT */
/* Walks the whitelist, and the paths that the administrator adds to it. */
#include "image/copy.h"
#include "image/image.h"
#include "image/whitelist.h"

static const unsigned take_flags[] = {
	[TAKE_FILE] = COPY_GUARDED,
	[TAKE_ALTERED] = COPY_GUARDED | COPY_ALTERED,
	[TAKE_LINKS] = COPY_GUARDED | COPY_LINKS_ONLY,
	[TAKE_NAMES] = COPY_GUARDED,
	[TAKE_TREE] = COPY_GUARDED | COPY_SUBFOLDERS,
};

static int copy_row(struct build *b, const struct whitelist_row *row)
{
	struct copy_choice choice = {
		.take = row->names,
		.flags = take_flags[row->take],
		.filter = row->filter,
	};

	if (!(row->families & b->family))
		return 0;
	if (row->take == TAKE_FILE || row->take == TAKE_ALTERED)
		return copy_path(b, row->path, &choice);
	return copy_folder(b, row->path, &choice);
}

int build_copy_listed(struct build *b)
{
	int r = 0;

	for (size_t i = 0; r == 0 && i < whitelist_rows; i++)
		r = copy_row(b, &whitelist[i]);
	return r;
}

int build_copy_added(struct build *b)
{
	/* The administrator names these himself: no guard. */
	static const struct copy_choice everything = { .flags = COPY_SUBFOLDERS | COPY_ALTERED };
	int r = 0;

	for (size_t i = 0; r == 0 && i < b->options->n_adds; i++) {
		build_note(b, "added /%s", b->options->adds[i]);
		r = copy_path(b, b->options->adds[i], &everything);
	}
	return r;
}
