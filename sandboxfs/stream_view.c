/* SPDX-License-Identifier: MIT */
/* Offsets of a reader and of the stream. Pure; the handle's owner serializes. */
#include "stream_view.h"

#include <string.h>

#include "base/cleanup.h"

static void add_line(struct stream_view *view, struct output_gap gap, uint64_t offset)
{
	uint64_t here = view->len ? stream_view_offset(view, offset) : offset;

	if (!view->len)
		view->from = offset;
	view->len = output_gap_line(view->line, gap.tail - here);
	view->line_at = offset;
	view->data = gap.tail;
}

static void find_in_stream(struct stream_view *view, struct output_gap gap, uint64_t end,
			   uint64_t offset, size_t size, struct stream_piece *piece)
{
	uint64_t at = stream_view_offset(view, offset);

	if (at >= gap.head && at < gap.tail) {
		add_line(view, gap, offset);
		*piece = (struct stream_piece){ PIECE_LINE, 0, MIN(size, view->len) };
		return;
	}
	if (at < gap.head)
		end = MIN(end, gap.head);
	*piece = (struct stream_piece){ PIECE_STREAM, at,
					at < end ? (size_t)MIN(size, end - at) : 0 };
}

void stream_view_find(struct stream_view *view, struct output_gap gap, uint64_t end,
		      uint64_t passed, uint64_t offset, size_t size, struct stream_piece *piece)
{
	gap.tail = MIN(gap.tail, end);
	if (gap.head >= gap.tail)
		gap = (struct output_gap){ UINT64_MAX, UINT64_MAX };
	/* Who has not come to it yet sees it as it is, the latest that it may be. */
	if (gap.tail != UINT64_MAX && passed <= gap.head && offset >= gap.head) {
		view->len = 0;
		add_line(view, gap, gap.head);
	}
	if (view->len && offset < view->from && offset < gap.head)
		find_in_stream(view, gap, MIN(end, view->from), offset, size, piece);
	/* A lower limit may have taken away some of before the first line, too. */
	else if (view->len && offset < view->line_at)
		*piece = (struct stream_piece){ PIECE_BLANKS, view->line_at - offset,
						(size_t)MIN(size, view->line_at - offset) };
	else if (view->len && offset - view->line_at < view->len)
		*piece = (struct stream_piece){ PIECE_LINE, offset - view->line_at,
						(size_t)MIN(size,
							    view->len - (offset - view->line_at)) };
	else
		find_in_stream(view, gap, end, offset, size, piece);
}

uint64_t stream_view_offset(const struct stream_view *view, uint64_t offset)
{
	if (!view->len || offset < view->from)
		return offset;
	return view->data + MAX(offset, view->line_at + view->len) - (view->line_at + view->len);
}

uint64_t stream_view_size(struct output_gap gap, uint64_t end)
{
	char line[OUTPUT_LINE_SIZE];

	gap.tail = MIN(gap.tail, end);
	if (gap.head >= gap.tail)
		return end;
	return end - (gap.tail - gap.head) + output_gap_line(line, gap.tail - gap.head);
}

void stream_view_copy(const struct stream_view *view, const struct stream_piece *piece, char *buf)
{
	if (piece->kind == PIECE_LINE) {
		memcpy(buf, view->line + piece->at, piece->len);
		return;
	}
	memset(buf, ' ', piece->len);
	if (piece->len && piece->len == piece->at)
		buf[piece->len - 1] = '\n';
}
